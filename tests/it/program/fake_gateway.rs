//! A scripted gateway for tests of `boxgate env` and `boxgate exec`; also a plain proxy and a plain host, which share
//! its code.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use boxgate::net::ca_chain::PERMITTED_DOMAINS;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificates::Made;
use super::harness::PATIENCE;

/// A CA as a gateway has one: root, intermediate, and a leaf for some of Box's hosts.
pub(super) struct Chain {
    pub(super) root: Certificate,
    /// Root and intermediate.
    pub(super) pem: String,
    leaf: Made,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// With changes to root and intermediate.
    pub(super) fn with(change: impl FnOnce(&mut CertificateParams, &mut CertificateParams)) -> Self {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "a test's root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        root.name_constraints = Some(NameConstraints {
            permitted_subtrees: PERMITTED_DOMAINS
                .map(|domain| GeneralSubtree::DnsName(domain.to_owned()))
                .to_vec(),
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        let mut intermediate = root.clone();
        intermediate.distinguished_name.push(DnType::CommonName, "a test's intermediate");
        intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut root, &mut intermediate);

        let [root_key, key, leaf_key] = [(), (), ()].map(|()| KeyPair::generate().unwrap());
        let own = root.self_signed(&root_key).unwrap();
        let signed = intermediate.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        let names = ["api.box.com", "upload.box.com", "dl.boxcloud.com"].map(ToOwned::to_owned);
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(intermediate, key)).unwrap();
        Self {
            pem: own.pem() + &signed.pem(),
            root: own,
            leaf: Made { cert: leaf.pem() + &signed.pem(), key: leaf_key.serialize_pem() },
        }
    }
}

/// What a server does with a connection.
#[derive(Clone, Default)]
pub(super) struct Behaviour {
    /// TLS is spoken to the server itself, before anything else.
    pub(super) outer: Option<Arc<ServerConfig>>,
    /// Answered to a GET for the CA; without one 404.
    pub(super) ca: Option<String>,
    /// Answered to CONNECT in place of a tunnel.
    pub(super) refusal: Option<String>,
    /// TLS in a tunnel, which then ends here.
    pub(super) inner: Option<Arc<ServerConfig>>,
    /// Answered to all other requests.
    pub(super) text: &'static str,
}

/// A server on loopback, a thread for each connection.
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = heads.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (behaviour, noted) = (behaviour.clone(), noted.clone());
                // Errors of a caller that breaks off are left to the test.
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = match behaviour.outer.clone() {
                        None => behaviour.serve(stream, &noted),
                        Some(tls) => over_tls(tls, stream).and_then(|stream| behaviour.serve(stream, &noted)),
                    };
                });
            }
        });
        Self { address, heads }
    }

    /// A gateway with this CA, in front of a Box that says "box".
    pub(super) fn gateway(chain: &Chain) -> Self {
        Self::start(gateway(chain))
    }

    /// The heads of all requests so far, their lines separated by `|`.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The heads of all requests for tunnels.
    pub(super) fn tunnels(&self) -> Vec<String> {
        self.heads().into_iter().filter(|head| head.starts_with("CONNECT ")).collect()
    }
}

pub(super) fn gateway(chain: &Chain) -> Behaviour {
    Behaviour {
        ca: Some(chain.pem.clone()),
        inner: Some(tls(&chain.leaf)),
        text: "box",
        ..Behaviour::default()
    }
}

/// An answer with a body in Box's error shape.
pub(super) fn refusal(status: &str, message: &str) -> Option<String> {
    let body = format!("{{\"type\":\"error\",\"code\":\"c\",\"message\":\"{message}\"}}");
    Some(answer(status, &body))
}

pub(super) fn tls(made: &Made) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(made.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

fn over_tls<S: Read + Write>(
    tls: Arc<ServerConfig>,
    stream: S,
) -> io::Result<StreamOwned<ServerConnection, S>> {
    Ok(StreamOwned::new(ServerConnection::new(tls).map_err(io::Error::other)?, stream))
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

impl Behaviour {
    /// One request; in a tunnel one more.
    fn serve<S: Read + Write>(self, mut stream: S, heads: &Mutex<Vec<String>>) -> io::Result<()> {
        let head = head(&mut stream)?;
        heads.lock().unwrap().push(head.clone());
        if head.starts_with("CONNECT ") {
            if let Some(refusal) = &self.refusal {
                return said(&mut stream, refusal);
            }
            if let Some(tls) = self.inner.clone() {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                let stream = over_tls(tls, stream)?;
                // Of types that do not nest further.
                let stream: Box<dyn Both + '_> = Box::new(stream);
                return Self { inner: None, refusal: None, ..self }.in_tunnel(stream, heads);
            }
        }
        let text = match (head.starts_with("GET /.well-known/boxgate/ca.pem "), self.ca) {
            (false, _) => answer("200 OK", self.text),
            (true, Some(ca)) => answer("200 OK", &ca),
            (true, None) => answer("404 Not Found", "{\"code\":\"not_found\",\"message\":\"no CA\"}"),
        };
        said(&mut stream, &text)
    }

    fn in_tunnel(self, mut stream: Box<dyn Both + '_>, heads: &Mutex<Vec<String>>) -> io::Result<()> {
        let head = head(&mut stream)?;
        heads.lock().unwrap().push(head);
        said(&mut stream, &answer("200 OK", self.text))
    }
}

trait Both: Read + Write {}
impl<S: Read + Write> Both for S {}

/// Writes, and then reads to the end, so that nothing is lost to a reset.
fn said(stream: &mut (impl Read + Write), text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()?;
    let _ = io::copy(stream, &mut io::sink());
    Ok(())
}

fn head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut text = String::new();
    for line in String::from_utf8_lossy(&head).lines().filter(|line| !line.is_empty()) {
        write!(text, "{}{line}", if text.is_empty() { "" } else { "|" }).unwrap();
    }
    Ok(text)
}
