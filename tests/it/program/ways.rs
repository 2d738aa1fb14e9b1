//! Ways to the gateway: over TLS or a Unix socket, by HTTP/1.1 or HTTP/2, through a tunnel or not. No request is sent again:
//! a connection that closes too early fails the test.

use std::convert::Infallible;
use std::net::Ipv4Addr;
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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::certificates::Made;

/// Where the gateway is.
#[derive(Clone)]
pub(super) struct Place {
    /// The address of the TCP listener.
    pub(super) tcp: String,
    /// The path of the Unix socket.
    pub(super) unix: PathBuf,
    /// Who signs the listener's certificates.
    pub(super) authority: String,
    /// Who signs those in tunnels.
    pub(super) tunnel_authority: String,
}

/// What a caller shows of itself when it connects.
pub(super) struct Caller {
    /// The address from which it connects to the TCP listener.
    pub(super) from: Ipv4Addr,
    /// Its client certificate.
    pub(super) certificate: Option<Made>,
    /// Header fields of the CONNECT of a tunnel.
    pub(super) on_connect: Vec<(&'static str, String)>,
}

impl Default for Caller {
    fn default() -> Self {
        Self { from: Ipv4Addr::LOCALHOST, certificate: None, on_connect: Vec::new() }
    }
}

/// How a connection is made and used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// To the TCP listener, else to the Unix socket.
    pub(super) is_tcp: bool,
    /// Over TLS, which only TCP has.
    pub(super) is_tls: bool,
    pub(super) is_http2: bool,
    /// What is asked goes through a tunnel to `api.box.com`.
    pub(super) in_tunnel: bool,
    /// Each request has a connection of its own.
    pub(super) is_new: bool,
}

/// Over TLS, by HTTP/1.1, on a connection that stays open.
pub(super) const KEPT: Way =
    Way { is_tcp: true, is_tls: true, is_http2: false, in_tunnel: false, is_new: false };
/// The same over the Unix socket.
pub(super) const PLAIN: Way = Way { is_tcp: false, is_tls: false, ..KEPT };

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Way {
    /// The host that its requests name.
    pub(super) fn host(self) -> &'static str {
        if self.in_tunnel { "api.box.com" } else { "localhost" }
    }

    /// `connect`: the id of a tunnel's own request.
    pub(super) async fn connect(self, place: &Place, connect: &str) -> Sender {
        let connected = self.connect_as(&Caller::default(), place, connect).await;
        connected.unwrap_or_else(|refusal| panic!("{connect}: {refusal}"))
    }

    /// The same by a caller who shows something of itself.
    ///
    /// # Errors
    /// What the gateway answers to a CONNECT that it refuses.
    pub(super) async fn connect_as(
        self,
        caller: &Caller,
        place: &Place,
        connect: &str,
    ) -> Result<Sender, String> {
        let mut stream = self.stream(place, caller).await;
        if self.in_tunnel {
            stream = open_tunnel(stream, "api.box.com:443", caller, connect).await?;
            stream = shake(stream, &place.tunnel_authority, None, self).await;
        }
        let io = TokioIo::new(stream);
        if self.is_http2 {
            let builder = http2::Builder::new(TokioExecutor::new());
            let (sender, driver) = builder.handshake(io).await.unwrap();
            tokio::spawn(driver);
            return Ok(Sender { way: self, sending: Sending::Http2(sender) });
        }
        let (sender, driver) = http1::handshake(io).await.unwrap();
        tokio::spawn(driver);
        Ok(Sender { way: self, sending: Sending::Http1(sender) })
    }

    /// To a listener, before anything is said.
    pub(super) async fn stream(self, place: &Place, caller: &Caller) -> Box<dyn Stream> {
        if !self.is_tcp {
            return Box::new(UnixStream::connect(&place.unix).await.unwrap());
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((caller.from, 0).into()).unwrap();
        let tcp = socket.connect(place.tcp.parse().unwrap()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        if !self.is_tls {
            return Box::new(tcp);
        }
        // What is asked outside of a tunnel settles on its protocol here.
        let outside = Self { in_tunnel: false, is_http2: self.is_http2 && !self.in_tunnel, ..self };
        shake(Box::new(tcp), &place.authority, caller.certificate.as_ref(), outside).await
    }
}

async fn shake(
    stream: Box<dyn Stream>,
    authority: &str,
    certificate: Option<&Made>,
    way: Way,
) -> Box<dyn Stream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(Made { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![if way.is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = ServerName::try_from(way.host()).unwrap();
    Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// Makes a connection a tunnel.
///
/// # Errors
/// What the gateway answers in place of one.
pub(super) async fn open_tunnel(
    mut stream: Box<dyn Stream>,
    to: &str,
    caller: &Caller,
    id: &str,
) -> Result<Box<dyn Stream>, String> {
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nX-Request-Id: {id}\r\n");
    for (name, value) in &caller.on_connect {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut head = String::from_utf8(head).unwrap();
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(stream);
    }
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.unwrap();
    head.push_str(&String::from_utf8(body).unwrap());
    Err(head)
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
        self.send_with(method, path, self.way.host(), &[("x-request-id", id)], body).await
    }

    /// The same with this host and these header fields.
    pub(super) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        host: &str,
        fields: &[(&str, &str)],
        body: Pieces,
    ) -> Response<Incoming> {
        let scheme = if self.way.is_tls || self.way.in_tunnel { "https" } else { "http" };
        let builder = Request::builder().method(method);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
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
                sender.ready().await.unwrap_or_else(|error| panic!("{fields:?} {:?}: {error:?}", self.way));
                sender.send_request(request).await
            }
            Sending::Http2(sender) => sender.send_request(request).await,
        };
        answer.unwrap_or_else(|error| panic!("{fields:?} {path} {:?}: {error:?}", self.way))
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
