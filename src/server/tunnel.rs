//! A connection that has become a tunnel. To one of Box's hosts, the gateway terminates TLS in it and serves it as it
//! serves any connection; to any other host, it copies bytes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error};

use super::connections::Connections;
use super::socket::Socket;
use super::watched_socket::Control;
use crate::access::caller::Caller;
use crate::access::caller::Inside;
use crate::net::descriptors::Room;
use crate::net::relay::{Relayed, Side, relay};
use crate::proxy::connect::Tunnel;
use crate::proxy::request_record::{End, RequestRecord};
use crate::proxy::worker::Worker;

/// A drain does not wait for a blind tunnel that has been idle for this long.
const QUIET: Duration = Duration::from_secs(1);

/// A connection with the bytes already read from it in front.
pub(super) struct Rewound {
    ahead: Bytes,
    socket: Box<dyn Socket>,
    /// Something was written to the caller, so it has seen a certificate.
    was_answered: bool,
}

impl Rewound {
    /// `ahead`: the bytes already read.
    pub(super) fn new(socket: impl Socket, ahead: Bytes) -> Self {
        Self { ahead, socket: Box::new(socket), was_answered: false }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(count));
        if !self.ahead.has_remaining() {
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.was_answered = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.was_answered = true;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Socket for Rewound {
    fn fault(&self) -> Option<io::Error> {
        self.socket.fault()
    }

    fn abort(&self) {
        self.socket.abort();
    }
}

/// The result of serving a tunnel.
pub(super) enum Served {
    /// The tunnel has ended.
    Ended,
    /// The TLS handshake is done: HTTP for one of Box's hosts follows.
    Inside {
        socket: Box<TlsStream<Rewound>>,
        /// The caller inside the tunnel.
        caller: Caller,
        /// The handshake negotiated HTTP/2.
        agreed: bool,
    },
}

/// Does the TLS handshake in a tunnel to Box; serves any other tunnel to its end. `record`: the record of a blind one.
pub(super) async fn serve(
    worker: &Worker,
    connections: &Connections,
    socket: Rewound,
    tunnel: Tunnel,
    record: Option<Box<RequestRecord>>,
    caller: Caller,
) -> Served {
    match tunnel {
        Tunnel::Box(inside) => handshake(worker, connections, socket, inside, caller).await,
        Tunnel::Blind(stream, room) => {
            let record = Record { record, relayed: Relayed::new() };
            blind(worker, connections.register_tunnel(&caller), socket, (stream, room), record).await;
            Served::Ended
        }
    }
}

/// Does the TLS handshake for the requested host.
async fn handshake(
    worker: &Worker,
    connections: &Connections,
    socket: Rewound,
    mut inside: Arc<Inside>,
    mut caller: Caller,
) -> Served {
    let gateway = worker.gateway();
    let Some(proxy) = &gateway.forward_proxy else { return Served::Ended };
    let host = inside.server_name().to_owned();
    let settings = match proxy.settings(&host, worker.clock().wall()) {
        Ok(settings) => settings,
        Err(cause) => {
            if let Some(left_out) = worker.repeats().note(&format!("tunnel {host}")) {
                error!(host, "a tunnel cannot be served: {cause}{left_out}");
            }
            return Served::Ended;
        }
    };
    let _counted = worker.tally().connection();
    let control = connections.register_tunnel(&caller);
    let limit = worker.gateway().config.server.header_timeout;
    let begun = Instant::now();
    let accepting = TlsAcceptor::from(settings).accept(socket).into_fallible();
    let shaken = tokio::select! {
        biased;
        shaken = timeout(limit, Box::pin(accepting)) => shaken,
        () = control.told_to_drain_unused(begun) => return Served::Ended,
    };
    let failed = |cause: &str, is_mistrust| {
        debug!(client = %inside.client, host, "a handshake in a tunnel failed: {cause}");
        proxy.handshake_failed(inside.client, &host, cause, is_mistrust);
        Served::Ended
    };
    let socket = match shaken {
        Ok(Ok(socket)) => Box::new(socket),
        Ok(Err((error, socket))) => {
            return failed(&error.to_string(), socket.was_answered && is_mistrust(&error));
        }
        Err(_) => return failed(&format!("it was not finished in {limit:?}"), false),
    };
    let (_, session) = socket.get_ref();
    if session.server_name().is_some_and(|named| !named.eq_ignore_ascii_case(&host)) {
        let Inside { authority, named, client, user, .. } = &*inside;
        let (authority, named, user) = (authority.clone(), named.clone(), user.clone());
        inside = Arc::new(Inside { authority, named, client: *client, user, is_misdirected: true });
    }
    let agreed = session.alpn_protocol() == Some(b"h2");
    (caller.peer.secure, caller.inside) = (true, Some(inside));
    Served::Inside { socket, caller, agreed }
}

/// Whether a caller ended the handshake because it does not trust the certificate. Some send an alert, others just
/// close.
fn is_mistrust(error: &io::Error) -> bool {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => matches!(
            alert,
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
        ),
        Some(_) => false,
        None => matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
    }
}

/// The record of a blind tunnel; it logs the bytes copied however the tunnel ends.
struct Record {
    record: Option<Box<RequestRecord>>,
    relayed: Relayed,
}

impl Record {
    fn ended(&mut self, end: End) {
        if let Some(record) = &mut self.record {
            record.ended(end);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.relayed(self.relayed.forth.get(), self.relayed.back.get());
        }
    }
}

async fn blind(
    worker: &Worker,
    control: Rc<Control>,
    mut socket: Rewound,
    (mut stream, _room): (BufReader<TcpStream>, Room),
    mut record: Record,
) {
    let _counted = worker.tally().connection();
    let gateway = worker.gateway();
    let server = gateway.config.server;
    let (idle_limit, drain_timeout) = (server.keepalive_timeout, server.drain_timeout);
    if gateway.forward_proxy.is_none() {
        // A reload has taken it away while the host was connected.
        control.drain();
    }
    drop(gateway);
    let end = tokio::select! {
        copied = relay(&mut socket, &mut stream, &record.relayed) => match copied {
            Ok(()) => End::Complete,
            Err((side, error)) => {
                debug!("a blind tunnel broke off: {error}");
                // A truncated stream must not look complete: reset the other side too.
                socket.abort();
                stream.get_ref().abort();
                if side == Side::One { End::CallerLeft } else { End::BoxBroke }
            }
        },
        () = record.relayed.idle(idle_limit) => End::Complete,
        is_quiet = async {
            control.told_to_drain().await;
            // Whom a reload admits no more must not stay for as long as it keeps the tunnel busy.
            timeout(drain_timeout, record.relayed.idle(QUIET)).await
        } => {
            if is_quiet.is_err() {
                socket.abort();
                stream.get_ref().abort();
            }
            End::Stopped
        }
    };
    record.ended(end);
}
