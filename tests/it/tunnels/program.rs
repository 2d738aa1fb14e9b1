//! A caller that knows nothing but Box's hosts, a proxy and a CA.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use http::{Method, Version};
use reqwest::RequestBuilder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Bench, PATIENCE, in_time, no_tls};

/// reqwest with a proxy and a CA.
pub struct Program(reqwest::Client);

impl Program {
    /// `user`: of the proxy's URL, `APP` or `APP:KEY`.
    pub async fn new(bench: &Bench, user: &str) -> Self {
        Self::speaking(bench, user, Version::HTTP_11).await
    }

    pub async fn speaking(bench: &Bench, user: &str, version: Version) -> Self {
        Self::trusting(bench, user, &ca(bench).await, version)
    }

    pub fn trusting(bench: &Bench, user: &str, ca: &str, version: Version) -> Self {
        let mut proxy = reqwest::Proxy::all(format!("http://{}", bench.address)).unwrap();
        if !user.is_empty() {
            let (name, key) = user.split_once(':').unwrap_or((user, ""));
            proxy = proxy.basic_auth(name, key);
        }
        let alpn: &[u8] = if version == Version::HTTP_2 { b"h2" } else { b"http/1.1" };
        let client = reqwest::Client::builder()
            .proxy(proxy)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(config(ca, alpn))
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self(client)
    }

    pub async fn get(&self, url: &str) -> reqwest::Response {
        self.request(Method::GET, url).send().await.unwrap()
    }

    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.request(method, url)
    }
}

impl Deref for Program {
    type Target = reqwest::Client;
    fn deref(&self) -> &reqwest::Client {
        &self.0
    }
}

/// The CA that the gateway serves for programs to trust.
pub async fn ca(bench: &Bench) -> String {
    bench.get("/.well-known/boxgate/ca.pem").await.text().await.unwrap()
}

pub fn config(ca: &str, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(no_tls().crypto_provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// TLS in an open tunnel, for a host of this name.
pub async fn inside<S: AsyncRead + AsyncWrite + Unpin>(
    bench: &Bench,
    socket: S,
    host: &str,
    alpn: &[u8],
) -> io::Result<TlsStream<S>> {
    let connector = TlsConnector::from(Arc::new(config(&ca(bench).await, alpn)));
    in_time(connector.connect(ServerName::try_from(host.to_owned()).unwrap(), socket)).await
}

/// The certificate that is shown for a host, whatever its dates.
pub async fn leaf(bench: &Bench, host: &str) -> CertificateDer<'static> {
    let socket = tunnel::open(bench, &format!("{host}:443"), "").await;
    let tls = crate::raw::caller::over(socket, host).await;
    tls.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Sends a request and reads head and body to the end of the connection, or of the length.
pub async fn asked(mut socket: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (String, String) {
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.flush().await.unwrap();
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let count = in_time(socket.read(&mut piece)).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if count == 0 || length.is_some_and(|length: usize| body.len() >= length) {
                return (head.to_owned(), body.to_owned());
            }
        } else if count == 0 {
            return (text, String::new());
        }
    }
}

/// A handshake whose first message goes ahead.
pub struct Handshake {
    connection: rustls::ClientConnection,
}

pub async fn handshake(bench: &Bench, host: &str) -> (Handshake, Vec<u8>) {
    let config = Arc::new(config(&ca(bench).await, b"http/1.1"));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    (Handshake { connection }, hello)
}

impl Handshake {
    pub async fn complete(&mut self, mut socket: TcpStream) {
        let mut piece = [0; 4096];
        while self.connection.is_handshaking() {
            let count = in_time(socket.read(&mut piece)).await.unwrap();
            assert_ne!(count, 0, "the gateway closes the connection");
            self.connection.read_tls(&mut &piece[..count]).unwrap();
            self.connection.process_new_packets().unwrap();
            let mut out = Vec::new();
            while self.connection.wants_write() {
                self.connection.write_tls(&mut out).unwrap();
            }
            socket.write_all(&out).await.unwrap();
        }
    }
}

/// Tunnels, byte by byte.
pub mod tunnel {
    use super::*;

    /// A connection on which this was sent.
    pub async fn with(bench: &Bench, bytes: &[u8]) -> TcpStream {
        let mut socket = bench.connect().await;
        socket.write_all(bytes).await.unwrap();
        socket
    }

    /// The head of the next answer.
    pub async fn head(mut socket: TcpStream) -> (String, TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(
                in_time(socket.read(&mut byte)).await.unwrap(),
                1,
                "{}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), socket)
    }

    /// A tunnel that is open. `more`: further lines of the head.
    pub async fn open(bench: &Bench, target: &str, more: &str) -> TcpStream {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n");
        let (head, socket) = head(with(bench, request.as_bytes()).await).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        socket
    }

    /// The answer to a CONNECT that is refused, to the end of the connection.
    pub async fn refused(bench: &Bench, target: &str, more: &str) -> String {
        bench.raw(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n")).await
    }

    /// A tunnel to one of Box's hosts, with TLS in it and HTTP/1.1 agreed on.
    pub async fn to(bench: &Bench, host: &str) -> TlsStream<TcpStream> {
        let socket = open(bench, &format!("{host}:443"), "").await;
        inside(bench, socket, host, b"http/1.1").await.unwrap()
    }

    /// Reads to the end.
    pub async fn ended(mut socket: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end too.
        let _ = socket.read_to_end(&mut all).await;
        all
    }

    /// The header that names an app.
    pub fn basic(user: &str) -> String {
        let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
        let encoded = base64::engine::general_purpose::STANDARD.encode(user);
        format!("Proxy-Authorization: Basic {encoded}\r\n")
    }
}
