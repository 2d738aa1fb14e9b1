//! The CA is trusted only for Box's domains, by every TLS library.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use boxgate::net::certificate_authority::CertificateAuthority;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::program::config;
use crate::harness::{in_time, no_tls};

const HOSTS: [(&str, bool); 7] = [
    ("api.box.com", true),
    ("public.boxcloud.com", true),
    ("2.realtime.services.box.net", true),
    ("example.com", false),
    ("box.com.example.com", false),
    ("evilbox.com", false),
    ("127.0.0.1", false),
];

/// A CA as the gateway creates it, used by an attacker who signs anything with it.
struct Stolen {
    folder: PathBuf,
    pem: String,
}

impl Stolen {
    fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("boxgate-trust-{}-{}", std::process::id(), fastrand::u64(..)));
        let authority =
            CertificateAuthority::open(&folder, boxgate::net::clock::Clock::real().wall()).unwrap();
        let pem = authority.pem();
        std::fs::write(folder.join("ca.pem"), &pem).unwrap();
        Self { folder, pem }
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// TLS with a certificate for this host.
    fn server(&self, host: &str) -> Arc<ServerConfig> {
        let kept = std::fs::read_to_string(self.folder.join("forward-proxy-ca.pem")).unwrap();
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(kept.as_bytes()).map(Result::unwrap).collect();
        let stolen = KeyPair::from_pem(
            kept.split("-----BEGIN PRIVATE KEY")
                .nth(1)
                .map(|rest| format!("-----BEGIN PRIVATE KEY{rest}"))
                .unwrap()
                .as_str(),
        );
        let intermediate = certificates[1].clone();
        let issuer = Issuer::from_ca_cert_der(&intermediate, stolen.unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let year = i32::from(jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).year());
        params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
        params.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let builder = ServerConfig::builder_with_provider(no_tls().crypto_provider().clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Arc::new(builder.with_single_cert(vec![leaf.der().clone(), intermediate], key.into()).unwrap())
    }

    /// A server with such a certificate, behind a proxy at the same port that takes every name for it.
    async fn serve(&self, host: &str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(self.server(host));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut first = [0];
                    if socket.peek(&mut first).await? == 1 && first == *b"C" {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            head.push(socket.read_u8().await?);
                        }
                        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                    }
                    let mut tls = acceptor.accept(socket).await?;
                    let mut request = [0; 1024];
                    let _ = tls.read(&mut request).await?;
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
                    tls.shutdown().await
                });
            }
        });
        port
    }
}

impl Drop for Stolen {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a program ends well, and what it said.
async fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = in_time(command.output()).await.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn rustls_accepts_only_boxs_hosts() {
    let stolen = Stolen::new();
    for (host, trusted) in HOSTS {
        let socket = TcpStream::connect(("127.0.0.1", stolen.serve(host).await)).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config(&stolen.pem, b"http/1.1")));
        let shaken = in_time(connector.connect(ServerName::try_from(host).unwrap(), socket)).await;
        assert_eq!(shaken.is_ok(), trusted, "{host} {:?}", shaken.err());
    }
}

#[tokio::test]
async fn openssl_accepts_only_boxs_hosts() {
    let stolen = Stolen::new();
    let ca = stolen.ca();
    for (host, trusted) in HOSTS {
        let at = format!("127.0.0.1:{}", stolen.serve(host).await);
        let named = if host == "127.0.0.1" { "-verify_ip" } else { "-verify_hostname" };
        let arguments = [
            "s_client",
            "-connect",
            &at,
            "-verify_return_error",
            named,
            host,
            "-CAfile",
            ca.to_str().unwrap(),
        ];
        let (is_well, said) = run("openssl", &arguments, &[]).await;
        assert_eq!(is_well, trusted, "{host} {said}");
        assert!(
            trusted
                || said.contains("permitted subtree violation")
                || said.contains("excluded subtree violation"),
            "{host} {said}"
        );
    }
}

/// rclone verifies with Go's own library.
#[tokio::test]
async fn go_accepts_only_boxs_hosts() {
    let stolen = Stolen::new();
    let ca = stolen.ca();
    for (host, trusted) in HOSTS {
        // Go goes to loopback addresses without a proxy.
        let port = stolen.serve(host).await;
        let at = if host == "127.0.0.1" {
            format!("https://127.0.0.1:{port}/")
        } else {
            format!("https://{host}/")
        };
        let proxy = format!("http://127.0.0.1:{port}");
        let arguments = [
            "lsf",
            ":http:",
            "--http-url",
            &at,
            "--http-no-head",
            "--retries",
            "1",
            "--low-level-retries",
            "1",
            "--config",
            "",
        ];
        let variables = [("HTTPS_PROXY", proxy.as_str()), ("RCLONE_CA_CERT", ca.to_str().unwrap())];
        let (is_well, said) = run("rclone", &arguments, &variables).await;
        assert_eq!(is_well, trusted, "{host} {said}");
        assert!(trusted || said.contains("x509: "), "{host} {said}");
    }
}

#[tokio::test]
async fn java_accepts_only_boxs_hosts() {
    let stolen = Stolen::new();
    let ca = stolen.ca();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/TrustedHost.java");
    for (host, trusted) in HOSTS {
        let port = stolen.serve(host).await.to_string();
        let (is_well, said) =
            run("java", &[source.to_str().unwrap(), &port, host, ca.to_str().unwrap()], &[]).await;
        assert_eq!(is_well, trusted, "{host} {said}");
        assert!(
            trusted || said.contains("name constraints") || said.contains("NameConstraints"),
            "{host} {said}"
        );
    }
}
