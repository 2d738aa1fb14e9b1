//! Ways to the gateway: over TLS or a Unix socket, by HTTP/1.1 or HTTP/2, through a tunnel or not. No request is sent again:
//! a connection that closes too early fails the test.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

/// Where the gateway is.
#[derive(Clone)]
pub(super) struct Place {
    /// Speaks TLS.
    pub(super) tcp: String,
    /// Does not.
    pub(super) unix: PathBuf,
    /// Who signs the listener's certificates.
    pub(super) authority: String,
    /// Who signs those in tunnels.
    pub(super) tunnel_authority: String,
}

/// How a connection is made and used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// To the TCP listener, else to the Unix socket.
    pub(super) is_tls: bool,
    pub(super) is_http2: bool,
    /// What is asked goes through a tunnel to `api.box.com`.
    pub(super) in_tunnel: bool,
    /// Each request has a connection of its own.
    pub(super) is_new: bool,
}

/// Over TLS, by HTTP/1.1, on a connection that stays open.
pub(super) const KEPT: Way = Way { is_tls: true, is_http2: false, in_tunnel: false, is_new: false };
/// The same over the Unix socket.
pub(super) const PLAIN: Way = Way { is_tls: false, ..KEPT };

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Way {
    /// The host that its requests name.
    fn host(self) -> &'static str {
        if self.in_tunnel { "api.box.com" } else { "localhost" }
    }

    /// `connect`: the id of a tunnel's own request.
    pub(super) async fn connect(self, place: &Place, connect: &str) -> Sender {
        let mut stream = self.stream(place).await;
        if self.in_tunnel {
            stream = open_tunnel(stream, "api.box.com:443", connect).await;
            stream = shake(stream, &place.tunnel_authority, self).await;
        }
        let io = TokioIo::new(stream);
        if self.is_http2 {
            let builder = http2::Builder::new(TokioExecutor::new());
            let (sender, driver) = builder.handshake(io).await.unwrap();
            tokio::spawn(driver);
            return Sender { way: self, sending: Sending::Http2(sender) };
        }
        let (sender, driver) = http1::handshake(io).await.unwrap();
        tokio::spawn(driver);
        Sender { way: self, sending: Sending::Http1(sender) }
    }

    /// To a listener, before anything is said.
    pub(super) async fn stream(self, place: &Place) -> Box<dyn Stream> {
        if !self.is_tls {
            return Box::new(UnixStream::connect(&place.unix).await.unwrap());
        }
        let tcp = TcpStream::connect(&place.tcp).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        // What is asked outside of a tunnel settles on its protocol here.
        let outside = Self { in_tunnel: false, is_http2: self.is_http2 && !self.in_tunnel, ..self };
        shake(Box::new(tcp), &place.authority, outside).await
    }
}

async fn shake(stream: Box<dyn Stream>, authority: &str, way: Way) -> Box<dyn Stream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if way.is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = ServerName::try_from(way.host()).unwrap();
    Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// Makes a connection a tunnel.
pub(super) async fn open_tunnel(mut stream: Box<dyn Stream>, to: &str, id: &str) -> Box<dyn Stream> {
    let head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nX-Request-Id: {id}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{to}: {head}");
    stream
}

enum Sending {
    Http1(http1::SendRequest<Pieces>),
    Http2(http2::SendRequest<Pieces>),
}

/// A connection on which requests can be sent.
pub(super) struct Sender {
    way: Way,
    sending: Sending,
}

impl Sender {
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        id: &str,
        body: Pieces,
    ) -> Response<Incoming> {
        let (host, scheme) =
            (self.way.host(), if self.way.is_tls || self.way.in_tunnel { "https" } else { "http" });
        let builder = Request::builder().method(method).header("x-request-id", id);
        let builder = match &self.sending {
            Sending::Http1(_) => builder.uri(path).header(HOST, host),
            Sending::Http2(_) => builder.uri(format!("{scheme}://{host}{path}")),
        };
        let builder = match body.left {
            0 => builder,
            _ => builder.header(CONTENT_TYPE, "multipart/form-data; boundary=b"),
        };
        let request = builder.body(body).unwrap();
        let answer = match &mut self.sending {
            Sending::Http1(sender) => {
                sender.ready().await.unwrap_or_else(|error| panic!("{id} {:?}: {error:?}", self.way));
                sender.send_request(request).await
            }
            Sending::Http2(sender) => sender.send_request(request).await,
        };
        answer.unwrap_or_else(|error| panic!("{id} {path} {:?}: {error:?}", self.way))
    }
}

/// A body of a known length that comes piece by piece.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Pieces {
    pub(super) fn none() -> Self {
        Self { pieces: mpsc::channel(1).1, left: 0 }
    }

    /// So many bytes in all.
    pub(super) fn of(length: u64) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        (sender, Self { pieces, left: length })
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(piece.map(|piece| {
            self.left -= piece.len() as u64;
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
