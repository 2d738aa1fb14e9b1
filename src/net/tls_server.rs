//! TLS as a server: loading certificate, key and client CA from their files, and the handshake.
//!
//! Each file is checked on its own, so that all faults are reported at once. No message shows the content of a file,
//! which may be a key by mistake.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, Error, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

use crate::net::hidden_characters::without_byte_order_mark;
use crate::net::secret_file;

/// The protocols that ALPN offers to callers.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
const A_CERTIFICATE: &str = "PEM, \"-----BEGIN CERTIFICATE-----\"";
const A_KEY: &str = "PEM of PKCS#8, PKCS#1 or SEC1 without a passphrase, \"-----BEGIN PRIVATE KEY-----\"";

/// The response to plain HTTP on a TLS port, as nginx gives it.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Cache-Control: private, no-store\r\nX-Content-Type-Options: nosniff\r\nProxy-Status: boxgate; error=http_request_error\r\n\
    Connection: close\r\n\r\n\
    This port uses TLS: the URL must begin with https://\n";

/// The paths of the PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, then the chain from it towards its root.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The CA of callers' certificates; `None` if callers need none.
    pub client_ca: Option<PathBuf>,
}

/// The TLS of TCP listeners, loaded from its files.
pub struct Tls {
    files: Files,
    settings: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    /// The CA of callers' certificates, if they need one.
    callers: Option<Callers>,
}

/// The verifier of callers' certificates.
struct Callers {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Shows only the paths of its files.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

/// Compares all but the private key, of which a certificate has one.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        let roots = |tls: &Self| tls.callers.as_ref().map(|callers| callers.roots.roots.clone());
        self.files == other.files && self.chain == other.chain && roots(self) == roots(other)
    }
}

/// A failed handshake, and its socket, on which the caller may still be sending.
pub struct Failure {
    pub cause: String,
    /// Nothing more may be written to it.
    pub socket: TcpStream,
}

impl Tls {
    /// Builds it from the loaded parts. With `authorities`, callers may show a certificate, and one of another CA
    /// ends the handshake.
    ///
    /// # Errors
    /// The key is not the certificate's.
    pub fn new(
        files: Files,
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn SigningKey>,
        authorities: Option<RootCertStore>,
    ) -> Result<Self, String> {
        let certified = CertifiedKey::new(chain.clone(), key);
        certified.keys_match().map_err(|_| {
            format!(
                "{} is not the key of the certificate in {}; give the one that belongs to it, and put the server's own certificate first",
                files.key.display(),
                files.cert.display()
            )
        })?;
        let callers = authorities.map(callers).transpose()?;
        let settings = Arc::new(settings(certified, callers.as_ref())?);
        Ok(Self { files, settings, chain, callers })
    }

    /// The same, and ALPN offers these protocols in place of [`PROTOCOLS`].
    pub(crate) fn offering(self, protocols: &[&[u8]]) -> Self {
        let mut settings = ServerConfig::clone(&self.settings);
        settings.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self { settings: Arc::new(settings), ..self }
    }

    /// When the certificate expires (RFC 5280 §4.1.2.5), in seconds since 1970; 0 if that cannot be read.
    pub(crate) fn ends(&self) -> i64 {
        let leaf = self.chain.first().and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
        leaf.map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp())
    }

    /// The settings for handshakes.
    pub fn settings(&self) -> &Arc<ServerConfig> {
        &self.settings
    }

    /// Whether callers need a certificate.
    pub fn wants_certificates(&self) -> bool {
        self.callers.is_some()
    }

    /// Whether a caller that has shown this chain would be admitted now. `shown` is empty if it has shown none.
    pub(crate) fn admits(&self, shown: &[CertificateDer<'static>]) -> bool {
        let Some(callers) = &self.callers else { return true };
        let Some((leaf, between)) = shown.split_first() else { return false };
        callers.verifier.verify_client_cert(leaf, between, UnixTime::now()).is_ok()
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// The handshake failed. If the caller spoke plain HTTP, it has been answered.
    pub async fn handshake(&self, mut socket: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let mut first = [0];
        match socket.peek(&mut first).await {
            // A handshake begins with 22, a method with a letter.
            Ok(1) if first.iter().all(u8::is_ascii_alphabetic) => {
                let _ = socket.write_all(PLAIN_HTTP.as_bytes()).await;
                let _ = socket.shutdown().await;
                return Err(Failure { cause: "the caller spoke plain HTTP".to_owned(), socket });
            }
            _ => {}
        }
        let shaking = TlsAcceptor::from(self.settings.clone()).accept(socket).into_fallible();
        match shaking.await {
            Ok(socket) => Ok(socket),
            Err((error, mut socket)) => {
                let _ = socket.shutdown().await;
                Err(Failure { cause: words(&error), socket })
            }
        }
    }
}

impl Failure {
    /// Reads and discards what the caller still sends: closing earlier would send a reset, which can overtake the alert
    /// that gives the reason.
    pub async fn read_away(mut self) {
        let mut scrap = [0; 1024];
        while self.socket.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
    }
}

/// The reason in words; rustls's own message if it says enough.
fn words(error: &io::Error) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the caller closed the connection during the handshake".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match cause {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the caller's certificate is signed by none of tls.client_ca".to_owned()
        }
        Error::InvalidCertificate(why) => format!("the caller's certificate is not valid: {why}"),
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown),
        ) => format!("the caller does not trust the certificate of tls.cert ({alert:?})"),
        Error::InvalidMessage(_) => "what the caller sent is not TLS".to_owned(),
        other => other.to_string(),
    }
}

/// ring, independent of the process-wide default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let certificates = CertificateDer::pem_slice_iter(without_byte_order_mark(&pem))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("{shown} is damaged PEM"))?;
    if certificates.is_empty() {
        return Err(format!("{shown} has no certificate in it; allowed: {A_CERTIFICATE}"));
    }
    Ok(certificates)
}

/// The certificates of a PEM file as roots.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(path)?.into_iter().enumerate() {
        roots
            .add(certificate)
            .map_err(|error| format!("{shown}: certificate {} cannot be a root: {error}", number + 1))?;
    }
    Ok(roots)
}

/// A server's certificate and the chain from it towards its root.
pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = certificates(path)?;
    for (number, certificate) in chain.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|error| {
            format!("{}: certificate {} cannot be used: {error}", path.display(), number + 1)
        })?;
    }
    Ok(chain)
}

/// A private key.
pub(crate) fn key(path: &Path) -> Result<Arc<dyn SigningKey>, String> {
    let shown = path.display();
    let pem =
        secret_file::read(path, usize::MAX).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut der = PrivateKeyDer::from_pem_slice(without_byte_order_mark(&pem)).map_err(|error| match error {
        _ if pem.windows(9).any(|word| word == b"ENCRYPTED") => format!(
            "{shown} is encrypted with a passphrase; write the key without one: openssl pkey -in OLD -out NEW"
        ),
        pem::Error::NoItemsFound => format!("{shown} has no private key in it; allowed: {A_KEY}"),
        _ => format!("{shown} is damaged PEM; allowed: {A_KEY}"),
    })?;
    let key = any_supported_type(&der).map_err(|_| {
        format!("{shown}: the private key cannot be used; allowed: RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, Ed25519")
    });
    der.zeroize();
    key
}

/// The verifier of callers' certificates.
fn callers(roots: RootCertStore) -> Result<Callers, String> {
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        // A caller without a certificate is refused by HTTP, which says what is missing.
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(Callers { roots, verifier })
}

/// The settings of a listener.
fn settings(certified: CertifiedKey, callers: Option<&Callers>) -> Result<ServerConfig, String> {
    let failed = |error: &dyn fmt::Display| format!("TLS cannot be set up: {error}");
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(callers) => builder.with_client_cert_verifier(callers.verifier.clone()),
    };
    let mut settings = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    settings.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    if callers.is_some() {
        // A resumed session would not verify the certificate again, though it may have expired meanwhile.
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.send_tls13_tickets = 0;
    } else {
        settings.ticketer = ring::Ticketer::new().map_err(|error| failed(&error))?;
    }
    Ok(settings)
}

/// Whether a certificate is for this host, which must be a DNS name.
pub(crate) fn is_for(chain: &[CertificateDer<'static>], host: &str) -> bool {
    let Some(leaf) = chain.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok()) else {
        return false;
    };
    ServerName::try_from(host).is_ok_and(|name| rustls::client::verify_server_name(&leaf, &name).is_ok())
}

/// A warning if callers will refuse the certificate because of its dates.
pub(crate) fn out_of_date(chain: &[CertificateDer<'static>]) -> Option<String> {
    let leaf = chain.first()?;
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    // webpki checks dates before names and signatures.
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()) {
        Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Some("the certificate has expired; callers will refuse it until it is renewed".to_owned()),
        Err(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Some(
            "the certificate is not valid yet; callers will refuse it, unless the clock of this machine is wrong".to_owned(),
        ),
        _ => None,
    }
}
