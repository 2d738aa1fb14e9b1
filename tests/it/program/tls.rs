//! TLS with callers: handshakes, client certificates, draining.

mod apps; // apps told apart by client certificates
mod operators; // the admin listener, and the commands that ask it
mod reloading; // reloaded certificate files
mod revoking; // callers that a reload admits no more

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use boxgate::sandbox::Role;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::certificates::Authority;
use super::client::{self, Answer};
use super::harness::{FakeBox, Folder, PATIENCE, Program, boxgate, command, until, wait, write_file};

const ME: &str = "/2.0/users/me";
const TLS: &str = "address = \"127.0.0.1:0\"\ntls = { cert = \"tls.crt\", key = \"tls.key\" }";
const TLS_WITH_CLIENT_CA: &str = "address = \"127.0.0.1:0\"\n[listen.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = \"callers-ca.crt\"";
const DEBUG: &str = "[log]\nlevel = \"debug\"\n";

type Versions = &'static [&'static SupportedProtocolVersion];
static EACH_VERSION: [Versions; 2] = [&[&TLS12], &[&TLS13]];
static OFFERS: [&[&[u8]]; 3] = [&[], &[b"http/1.1"], &[b"http/1.1", b"h2"]];

/// A gateway with TLS in front of a Box, and the authority that its callers trust.
struct Gate {
    at: FakeBox,
    authority: Authority,
    callers: Authority,
    program: Program,
}

impl Gate {
    /// Files are read again only on SIGHUP.
    fn start(listen: &str, more: &str) -> Self {
        Self::run(listen, more, &["run", "--no-watch"])
    }

    fn run(listen: &str, more: &str, arguments: &[&str]) -> Self {
        let (at, folder) = (FakeBox::start(), Folder::new());
        let (authority, callers) = (Authority::new("Servers"), Authority::new("Callers"));
        authority.server().write(&folder);
        folder.write("callers-ca.crt", &callers.pem);
        write_file(&folder, &at, listen, more);
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        run.args(arguments);
        let program = Program::spawn(folder, run).ready();
        Self { at, authority, callers, program }
    }

    fn address(&self) -> &str {
        self.program.callers.split(' ').next().unwrap().strip_prefix("https://").unwrap()
    }

    fn trusting(&self) -> Caller {
        Caller::trusting(&self.authority.pem)
    }

    fn get(&self, caller: &Caller) -> Answer {
        Answer::read(caller.send(self.address(), "GET", ME, ""))
    }
}

/// The TLS settings of a caller.
#[derive(Clone)]
struct Caller {
    roots: Arc<RootCertStore>,
    versions: Versions,
    alpn: &'static [&'static [u8]],
    certificate: Option<(String, String)>,
}

impl Caller {
    fn trusting(pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        Self { roots: Arc::new(roots), versions: rustls::ALL_VERSIONS, alpn: &[], certificate: None }
    }

    /// A caller with a certificate of this CA.
    fn of(mut self, authority: &Authority) -> Self {
        let made = authority.client();
        self.certificate = Some((made.cert, made.key));
        self
    }

    fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(self.versions);
        let builder = builder.unwrap().with_root_certificates(self.roots.clone());
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    fn send(&self, address: &str, method: &str, target: &str, fields: &str) -> Tls {
        self.send_behind("", address, method, target, fields)
    }

    /// `balancer`: what a load balancer in front sends before the handshake.
    fn send_behind(&self, balancer: &str, address: &str, method: &str, target: &str, fields: &str) -> Tls {
        let mut stream = connect(address, self.config());
        stream.sock.write_all(balancer.as_bytes()).unwrap();
        let host = if fields.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let head = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The handshake happens with the first byte.
fn connect(address: &str, config: Arc<ClientConfig>) -> Tls {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp)
}

/// A kept-alive connection that has been answered once.
fn kept(gate: &Gate) -> Tls {
    let mut stream = connect(gate.address(), gate.trusting().config());
    stream.write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    gate.program.out.wait_for(&["status=200", "end=complete"]);
    stream
}

/// `GET` by reqwest, which negotiates HTTP/2.
fn get_by_http_2(gate: &Gate, caller: &Caller) -> Result<(u16, String), reqwest::Error> {
    let config = Caller { alpn: &[b"h2"], ..caller.clone() }.config();
    let url = format!("https://{}{ME}", gate.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let client = client.tls_backend_preconfigured((*config).clone()).build().unwrap();
        let answer = client.get(url).send().await?;
        assert_eq!(answer.version(), http::Version::HTTP_2);
        Ok((answer.status().as_u16(), answer.text().await?))
    })
}

fn err(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn both_protocols_over_both_versions_of_tls() {
    let gate = Gate::start(TLS, "");
    for (versions, version) in
        EACH_VERSION.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let caller = Caller { versions, ..gate.trusting() };
        for alpn in OFFERS {
            let caller = Caller { alpn, ..caller.clone() };
            let mut stream = caller.send(gate.address(), "GET", ME, "");
            if alpn.len() == 2 {
                // The gateway's order decides: the response is not HTTP/2.
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
                continue;
            }
            let mut bytes = [0];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(version));
            assert_eq!(stream.conn.alpn_protocol(), alpn.first().copied());
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            assert!(rest.starts_with("TTP/1.1 200") && rest.contains("\"login\""), "{rest}");
        }
        let (status, body) = get_by_http_2(&gate, &caller).unwrap();
        assert!(status == 200 && body.contains("\"login\""), "{status} {body}");
    }
}

#[test]
fn a_session_is_resumed_unless_callers_need_certificates() {
    for (listen, second) in [(TLS, HandshakeKind::Resumed), (TLS_WITH_CLIENT_CA, HandshakeKind::Full)] {
        for versions in EACH_VERSION {
            let gate = Gate::start(listen, "");
            let config = Caller { versions, ..gate.trusting().of(&gate.callers) }.config();
            let kinds: Vec<_> = (0..2)
                .map(|_| {
                    let mut stream = connect(gate.address(), config.clone());
                    let head = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    stream.conn.handshake_kind().unwrap()
                })
                .collect();
            let full = |kind: &HandshakeKind| *kind != HandshakeKind::Resumed;
            assert!(full(&kinds[0]));
            assert_eq!(full(&kinds[1]), second != HandshakeKind::Resumed, "{listen} {versions:?}");
        }
    }
}

#[test]
fn plain_http_is_answered_that_the_port_uses_tls() {
    let gate = Gate::start(TLS, DEBUG);
    let answer = client::request(gate.address(), "GET", ME, "");
    assert_eq!(answer.status, 400);
    assert!(answer.head.starts_with("HTTP/1.1 400 Bad Request"), "{}", answer.head);
    assert!(answer.body.contains("https://"), "{}", answer.body);
    gate.program.err.wait_for(&["DEBUG", "127.0.0.1", "a TLS handshake failed", "plain HTTP"]);
    // Neither plain HTTP nor other bytes affect the listener.
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    gate.program.err.wait_for(&["a TLS handshake failed", "is not TLS"]);
    assert_eq!(gate.get(&gate.trusting()).status, 200);
    assert_eq!(gate.at.seen().len(), 1);
}

#[test]
fn a_caller_that_does_not_trust_the_certificate_is_logged() {
    let gate = Gate::start(TLS, DEBUG);
    let mut stream = connect(gate.address(), Caller::trusting(&gate.callers.pem).config());
    assert!(stream.write_all(b"GET").and_then(|()| stream.flush()).is_err());
    gate.program.err.wait_for(&["a TLS handshake failed", "does not trust the certificate", "UnknownCA"]);
}

#[test]
fn with_client_ca_a_caller_needs_a_certificate_of_it() {
    let gate = Gate::start(TLS_WITH_CLIENT_CA, DEBUG);
    for versions in EACH_VERSION {
        let nobody = Caller { versions, ..gate.trusting() };
        let answer = gate.get(&nobody);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("\"caller_not_allowed\""), "{}", answer.body);
        assert!(answer.body.contains("tls.client_ca"), "{}", answer.body);
        let (status, body) = get_by_http_2(&gate, &nobody).unwrap();
        assert!(status == 403 && body.contains("\"caller_not_allowed\""), "{status} {body}");
        assert!(gate.at.seen().is_empty(), "Box was not asked");
    }
    let known = gate.trusting().of(&gate.callers);
    assert_eq!(gate.get(&known).status, 200);
    assert_eq!(get_by_http_2(&gate, &known).unwrap().0, 200);

    for versions in EACH_VERSION {
        let stranger = Caller { versions, ..gate.trusting().of(&Authority::new("Strangers")) };
        let mut stream = connect(gate.address(), stranger.config());
        // TLS 1.3 lets a caller speak before it learns that its certificate was refused.
        let head = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let told = stream.write_all(head.as_bytes()).and_then(|()| stream.read(&mut [0; 16]));
        let alert = told.unwrap_err().to_string();
        assert!(alert.contains("received fatal alert"), "{alert}");
    }
    gate.program.err.wait_for(&["a TLS handshake failed", "signed by none of tls.client_ca"]);
    assert_eq!(gate.get(&known).status, 200);
}

#[test]
fn all_problems_of_the_files_are_reported_with_their_locations() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let (one, other) = (Authority::new("One"), Authority::new("Other"));
    let made = one.server();
    folder.write("good.crt", &made.cert);
    folder.write("good.key", &made.key);
    folder.write("other.key", &other.server().key);
    folder.write("empty", "");
    folder.write("cut.key", &made.key.replace("-----END", "----END"));
    folder.write("locked.key", &made.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    folder.write("junk.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let cases: [(&str, &[&str]); 11] = [
        (
            "tls = { cert = \"no.crt\", key = \"no.key\", client_ca = \"no-ca.crt\" }",
            &[
                ":16: listen.tls.cert: no.crt cannot be read: ",
                ":32: listen.tls.key: no.key cannot be read: ",
                ":54: listen.tls.client_ca: no-ca.crt cannot be read: ",
            ],
        ),
        (
            "tls = { cert = \"empty\", key = \"empty\", client_ca = \"empty\" }",
            &[
                ":16: listen.tls.cert: empty has no certificate in it; allowed: PEM",
                ":31: listen.tls.key: empty has no private key in it; allowed: PEM of PKCS#8",
                ":52: listen.tls.client_ca: empty has no certificate in it; allowed: PEM",
            ],
        ),
        (
            "tls = { cert = \"good.crt\", key = \"other.key\" }",
            &[":34: listen.tls.key: other.key is not the key of the certificate in good.crt; give the one"],
        ),
        ("tls = { cert = \"good.crt\", key = \"cut.key\" }", &["listen.tls.key: cut.key is damaged PEM"]),
        (
            "tls = { cert = \"good.crt\", key = \"locked.key\" }",
            &["listen.tls.key: locked.key is encrypted with a passphrase; write the key without one"],
        ),
        (
            "tls = { cert = \"junk.crt\", key = \"good.key\", client_ca = \"junk.crt\" }",
            &[
                "listen.tls.cert: junk.crt: certificate 1 cannot be used",
                "listen.tls.client_ca: junk.crt: certificate 1 cannot be a root",
            ],
        ),
        ("tls = { cert = \"good.crt\" }", &[":7: listen.tls.key: is missing; write for example key = "]),
        (
            "tls = {}",
            &[":7: listen.tls.cert: is missing; write for example cert = ", "listen.tls.key: is missing"],
        ),
        (
            "tls = true",
            &[":7: listen.tls: expected a table { cert = \"PATH\", key = \"PATH\" }, found a boolean"],
        ),
        (
            "tls = { cert = \"good.crt\", key = \"good.key\", clientca = \"x\" }",
            &[":46: listen.tls.clientca: unknown key; did you mean \"client_ca\"?"],
        ),
        (
            "tls = { cert = 1, key = [] }",
            &[
                "listen.tls.cert: expected the path of a PEM file, found the integer 1",
                "listen.tls.key: expected the path of a PEM file, found a list",
            ],
        ),
    ];
    for (line, problems) in cases {
        let file = write_file(&folder, &at, line, "");
        let text = std::fs::read_to_string(file).unwrap();
        let place = 1 + text.lines().position(|have| have == line).unwrap();
        for arguments in [&["check", "--offline"][..], &[]] {
            let output = boxgate(&folder, arguments);
            assert_eq!(output.status.code(), Some(2), "{line}");
            let said = err(&output);
            assert_eq!(said.lines().count(), problems.len(), "{line}\n{said}");
            for problem in problems {
                let found = said.lines().find(|line| line.contains(problem));
                let found = found.unwrap_or_else(|| panic!("{problem} in\n{said}"));
                assert!(found.starts_with(&format!("proxy.toml:{place}:")), "{found}");
            }
        }
    }
    assert_eq!(at.connections(Role::Api), 0);
}

#[test]
fn odd_settings_that_work_get_a_warning() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let tls = "tls = { cert = \"tls.crt\", key = \"tls.key\" }";
    let check = |made: super::certificates::Made, listen: &str| {
        made.write(&folder);
        write_file(&folder, &at, listen, "");
        let output = boxgate(&folder, &["check", "--offline"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines()
            .filter(|line| line.contains("  warning  ") && line.contains("listen.tls"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let authority = Authority::new("One");
    let expired = check(authority.server_of(2001, 2002), tls);
    assert!(expired[0].contains("listen.tls.cert: tls.crt: the certificate has expired"), "{expired:?}");
    let early = check(authority.server_of(2901, 2902), tls);
    assert!(early[0].contains("listen.tls.cert: tls.crt: the certificate is not valid yet"), "{early:?}");
    let unix = check(authority.server(), &format!("address = \"unix:gate.sock\"\n{tls}"));
    assert!(unix[0].contains("listen.tls: it does nothing"), "{unix:?}");
    assert_eq!((expired.len(), early.len(), unix.len()), (1, 1, 1));
    assert_eq!(check(authority.server(), tls), Vec::<String>::new());
}

#[test]
fn a_slow_handshake_is_closed() {
    let more = format!("{DEBUG}[server]\nheader_timeout = \"200ms\"");
    let gate = Gate::start(TLS, &more);
    let begun = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(gate.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    // No byte at all, and the beginning of a record.
    for mut stream in [begun(&[]), begun(&[22, 3, 1, 2, 0, 1])] {
        let ended = stream.read(&mut [0; 16]);
        let is_reset = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        assert!(is_reset || matches!(ended, Ok(0)), "{ended:?}");
    }
    gate.program.err.wait_for(&["a TLS handshake failed", "not finished in 200ms"]);
}

#[test]
fn draining_finishes_what_is_in_flight_and_waits_for_nothing_else() {
    let mut gate = Gate::start(TLS, "[server]\ndrain_timeout = \"10m\"");
    let idle = kept(&gate);
    let _shaking = TcpStream::connect(gate.address()).unwrap();
    let hold = gate.at.hold_replies(ME);
    let in_flight = gate.trusting().send(gate.address(), "GET", ME, "");
    wait(gate.at.wait_for_calls(2));

    gate.program.terminate();
    gate.program.err.wait_for(&["draining"]);
    // It ends cleanly: the response, then the TLS close alert.
    assert_eq!(Answer::read(idle).status, 200);
    drop(hold);
    assert_eq!(Answer::read(in_flight).status, 200);
    assert_eq!(gate.program.exited().code(), Some(0));
    gate.program.err.wait_for(&["drained"]);
}

#[test]
fn a_refusal_arrives_though_the_body_was_not_read() {
    let gate = Gate::start(TLS, "");
    let fields = "Host: elsewhere.example\r\nContent-Length: 4194304\r\n";
    let mut stream = gate.trusting().send(gate.address(), "POST", "/2.0/files/content", fields);
    for _ in 0..64 {
        if stream.write_all(&[0; 65536]).is_err() {
            break;
        }
    }
    assert_eq!(Answer::read(stream).status, 421);
}

#[test]
fn pages_work_beyond_loopback_and_unix_sockets_work_beside_tls() {
    let folder = Folder::new();
    let socket = folder.join("gate.sock");
    let listen = TLS_WITH_CLIENT_CA
        .replace("\"127.0.0.1:0\"", &format!("[\"0.0.0.0:0\", \"unix:{}\"]", socket.display()));
    let gate = Gate::start(&listen, "");
    // Over TLS browsers send fetch metadata: a request without it does not come from a page.
    let address = gate.address().replace("0.0.0.0", "127.0.0.1");
    let caller = gate.trusting().of(&gate.callers);
    let answer = Answer::read(caller.send(&address, "GET", ME, "User-Agent: Mozilla/5.0\r\n"));
    assert_eq!(answer.status, 200);

    let mut curl = command("curl", &gate.program.folder);
    curl.args(["--silent", "--fail", "--unix-socket"]).arg(&socket).arg(format!("http://localhost{ME}"));
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Box's Java SDK refuses `http://`, so Java programs use TLS.
#[test]
fn a_java_program_calls_and_uploads() {
    let gate = Gate::start(TLS, "");
    let ca = gate.program.folder.write("servers-ca.crt", &gate.authority.pem);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/TlsClient.java");
    let mut java = command("java", &gate.program.folder);
    java.arg(source).arg(format!("https://localhost:{}", gate.address().rsplit(':').next().unwrap())).arg(ca);
    let output = match java.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "java is missing: install a JDK of 11 or later, such as default-jdk-headless (tests/run does)"
            )
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", err(&output));
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["GET /2.0/users/me 200 HTTP_2", "POST /2.0/files/content 201 HTTP_2"]
    );
}

/// A load balancer forwards the bytes of TLS after a header with the caller's address.
#[test]
fn a_load_balancers_header_precedes_the_handshake() {
    let listen = format!("{TLS}\nproxy_protocol = [\"127.0.0.1\"]");
    let gate = Gate::start(&listen, "");
    let caller = gate.trusting();
    let header = "PROXY TCP4 203.0.113.9 127.0.0.1 51234 443\r\n";
    let answer = Answer::read(caller.send_behind(header, gate.address(), "GET", ME, ""));
    assert_eq!(answer.status, 200);
    gate.program.out.wait_for(&["client=203.0.113.9", "status=200"]);
    // Without it there is no handshake. A wrongly configured load balancer keeps failing, so it is logged once.
    for _ in 0..3 {
        let mut stream = connect(gate.address(), caller.config());
        let refused = stream.write_all(b"GET").and_then(|()| stream.flush());
        assert!(refused.is_err() || stream.read(&mut [0; 16]).map_or(true, |count| count == 0));
    }
    gate.program.err.wait_for(&["WARN", "peers in [listen] proxy_protocol must begin each", "127.0.0.1"]);
    let said = gate.program.err.text();
    assert_eq!(said.matches("must begin each with a PROXY protocol header").count(), 1, "{said}");
}
