//! One caller's connection: HTTP/1.1 or HTTP/2, told apart by ALPN where TLS settled it, else by the first bytes
//! (prior knowledge, RFC 9113 §3.3). What a caller may take its time with is in [`super::watched_socket`] for the
//! connection, in [`super::stream_task`] for a stream of HTTP/2.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Write;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use super::connections::Connections;
use super::frame_watch::PREFACE;
use super::socket::Socket;
use super::stream_task::{Executor, Flow};
use super::tunnel::{self, Rewound, Served};
use super::watched_socket::{Control, WatchedSocket};
use crate::access::caller::{Caller, Shown};
use crate::http::incoming_body::{IncomingBody, Reading};
use crate::net::error_chain::chain;
use crate::net::peer::Peer;
use crate::net::proxy_protocol;
use crate::proxy::handler::{self, Opened};
use crate::proxy::response_body::{Answer, Broken};
use crate::proxy::worker::Worker;

/// Streams times the stream window is the connection's window: one stalled upload does not stop the others.
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 * 1024;
/// An HTTP/2 caller that is silent for a third of `body_timeout`, but within these bounds, is asked for a sign of life: a
/// laptop that went to sleep in the middle of a download closes nothing.
const PING_AFTER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));
/// It is given up without one in so many times `body_timeout`. Not sooner, as the question stands behind all that the
/// kernels on the way hold for a slow caller; one that takes nothing at all is given up by other means before.
const PING_PATIENCE: u32 = 5;
/// A failed handshake is read away for so long.
const LINGER: Duration = Duration::from_secs(5);

struct Busy(Rc<Control>);

impl Busy {
    fn new(control: Rc<Control>) -> Self {
        control.busy.set(control.busy.get() + 1);
        control.served.set(control.served.get() + 1);
        Self(control)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// A body that keeps its connection busy.
struct Guarded {
    body: Answer,
    /// On HTTP/2.
    flow: Option<Rc<Flow>>,
    has_ended: bool,
    busy: Busy,
}

impl Guarded {
    fn new(body: Answer, flow: Option<Rc<Flow>>, busy: Busy) -> Self {
        Self { body, flow, has_ended: false, busy }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let most = this.flow.as_ref().map_or(usize::MAX, |flow| flow.asked());
        let polled = this.body.poll_piece(cx, most);
        match &polled {
            Poll::Ready(None) => this.has_ended = true,
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => this.has_ended = true,
            Poll::Ready(Some(Ok(_))) => {
                if let Some(flow) = &this.flow {
                    flow.handed();
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // hyper does not ask for what comes after a length.
        if !self.has_ended && !self.is_end_stream() && self.size_hint().exact() != Some(0) {
            self.busy.0.broke_off.set(true);
        }
    }
}

/// Reads for whom a balancer connects, then serves the connection to its end.
pub(super) async fn serve_balanced(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    mut tcp: TcpStream,
    mut peer: Peer,
) {
    let control = connections.register();
    let limit = worker.gateway().config.server.header_timeout;
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout(limit, proxy_protocol::read(&mut tcp)) => read,
        // Nothing is in flight yet.
        () = control.told_to_drain() => return,
    };
    match read {
        Ok(Ok(Some(client))) => peer.client = client,
        Ok(Ok(None)) => {}
        // A balancer that looks whether somebody listens says nothing.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
        Ok(Err(error)) => return worker.process().balancer_failed(peer.address, &error.to_string()),
        Err(_) => {
            return worker
                .process()
                .balancer_failed(peer.address, "the header did not come within header_timeout");
        }
    }
    // The connection is told to drain as any other from here on.
    drop(control);
    if peer.secure {
        serve_tls(worker, connections, tcp, Caller::outside(peer)).await;
    } else {
        serve(worker, connections, tcp, Caller::outside(peer), false).await;
    }
}

/// Shakes hands, then serves the connection to its end. Handshake and session are on the heap, each for as long as it
/// lives: moved from one state of a future to the next, a session would take its room several times over.
pub(super) async fn serve_tls(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    tcp: TcpStream,
    mut caller: Caller,
) {
    let Some(tls) = worker.gateway().config.tls.clone() else { return };
    let counted = worker.tally().connection();
    let control = connections.register();
    let limit = worker.gateway().config.server.header_timeout;
    let shaken = tokio::select! {
        biased;
        shaken = tokio::time::timeout(limit, Box::pin(tls.handshake(tcp))) => shaken,
        // Nothing is in flight yet.
        () = control.told_to_drain() => return,
    };
    let socket = match shaken {
        Ok(Ok(socket)) => Box::new(socket),
        Ok(Err(failure)) => {
            debug!(peer = %caller.peer.address, "a TLS handshake failed: {}", failure.cause);
            tokio::select! {
                _ = tokio::time::timeout(LINGER, failure.read_away()) => {}
                () = control.told_to_drain() => {}
            }
            return;
        }
        Err(_) => {
            debug!(peer = %caller.peer.address, "a TLS handshake failed: it was not finished in {limit:?}");
            return;
        }
    };
    // The connection is counted and told to drain as any other from here on.
    drop((counted, control));
    let (_, session) = socket.get_ref();
    let shown = session.peer_certificates().unwrap_or_default();
    caller.peer.uncertified = tls.wants_certificates() && shown.is_empty();
    let chain: Vec<_> = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
    // A reload may have come while hands were shaken.
    if worker.gateway().config.tls.as_ref().is_some_and(|now| !Arc::ptr_eq(now, &tls) && !now.admits(&chain))
    {
        return;
    }
    caller.shown = Some(Rc::new(Shown { chain, ..Shown::default() }));
    let agreed = session.alpn_protocol() == Some(b"h2");
    serve(worker, connections, socket, caller, agreed).await;
}

/// Serves a connection to its end. `agreed`: a handshake settled on HTTP/2; otherwise the first bytes tell.
pub(super) async fn serve<S: Socket>(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    mut socket: S,
    caller: Caller,
    agreed: bool,
) {
    let counted = worker.tally().connection();
    let control = connections.register_for(&caller);
    if caller.inside.is_some() && worker.gateway().forward_proxy.is_none() {
        // A reload has taken it away while hands were shaken in the tunnel.
        return;
    }
    // A copy: an idle connection holds no configuration.
    let server = worker.gateway().config.server;
    let prefix = if agreed {
        Vec::new()
    } else {
        let first = tokio::time::timeout(server.keepalive_timeout, sniff(&mut socket, server.header_timeout));
        tokio::select! {
            biased;
            first = first => match first {
                Ok(Ok(prefix)) => prefix,
                _ => return,
            },
            // A connection that has said nothing has nothing in flight.
            () = control.told_to_drain() => return,
        }
    };
    let is_http2 = agreed || prefix == PREFACE;
    let watched = WatchedSocket::new(socket, prefix, is_http2, control.clone(), &worker);
    let body_timeout = worker.gateway().config.upstream.body_timeout;
    let executor = Executor::new(body_timeout);
    let ping_after = (body_timeout / 3).clamp(PING_AFTER.0, PING_AFTER.1);
    let service = service_fn({
        let (worker, control, executor) = (worker.clone(), control.clone(), executor.clone());
        let (connections, caller) = (connections.clone(), caller.clone());
        move |mut request: Request<Incoming>| {
            let busy = Busy::new(control.clone());
            let flow = is_http2.then(|| executor.begin());
            let asks = (request.method() == Method::CONNECT).then(|| Asking {
                stream: is_http2.then(|| hyper::upgrade::on(&mut request)),
                control: control.clone(),
                connections: connections.clone(),
                caller: caller.clone(),
            });
            let (worker, mut caller, request) = (worker.clone(), caller.clone(), received(request, &control));
            // On HTTP/2 requests may still come before the caller has heard that the connection ends.
            caller.peer.uncertified |= caller.is_revoked();
            // Called inside: a future that is captured and then awaited has its room twice.
            async move {
                let served = handler::serve(worker.clone(), caller, request).await;
                if let (Some(asks), Some(tunnel)) = (asks, served.tunnel) {
                    asks.got(worker, tunnel);
                }
                Ok::<_, Infallible>(served.response.map(|body| Guarded::new(body, flow, busy)))
            }
        }
    });
    let ended = if is_http2 {
        let connection = http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .keep_alive_interval(ping_after)
            .keep_alive_timeout((body_timeout * PING_PATIENCE).max(PING_AFTER.0))
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAMS * STREAM_WINDOW)
            .max_header_list_size(u32::try_from(server.max_header_size).unwrap_or(u32::MAX))
            .serve_connection(watched, service);
        // On the heap: it takes twice the room of an HTTP/1.1 connection, which would be kept for each of those too.
        let mut connection = Box::pin(connection);
        drive(connection.as_mut(), &control, |connection| connection.graceful_shutdown()).await
    } else {
        let mut connection = http1::Builder::new()
            .max_header_size(server.max_header_size)
            .max_buf_size(server.max_header_size.max(64 * 1024))
            .serve_connection(watched, service);
        let closing = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
        let ended = drive(Pin::new(&mut connection), &control, closing).await;
        if control.asked_to_change.get() && ended.is_ok() {
            let parts = connection.into_parts();
            let tunnel = control.tunnel.take();
            drop((counted, control));
            return change(worker, connections, parts.io, parts.read_buf, tunnel, caller).await;
        }
        ended
    };
    if let Err(error) = ended {
        debug!(peer = %caller.peer.address, "a caller's connection ended: {}", chain(&error));
    }
}

/// Goes on with a connection that hyper has done with and not shut down: it is a tunnel from here on, or was refused to be.
async fn change<S: Socket>(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    mut socket: WatchedSocket<S>,
    ahead: Bytes,
    tunnel: Option<Opened>,
    caller: Caller,
) {
    let Some(tunnel) = tunnel else {
        // An error is the caller's business.
        let _ = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await;
        return;
    };
    let (Some(socket), earlier) = socket.into_socket() else { return };
    let ahead = if earlier.is_empty() { ahead } else { [&*earlier, &*ahead].concat().into() };
    serve_tunnel(worker, connections, Rewound::new(socket, ahead), tunnel, caller).await;
}

/// Serves a tunnel to its end. On the heap, and of a type that is named: it is served by what it was opened from.
fn serve_tunnel(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    socket: Rewound,
    opened: Opened,
    caller: Caller,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        // Counted on until the tunnel's end, where a connection holds more than one.
        let _counted = opened.counted;
        let served = tunnel::serve(&worker, &connections, socket, opened.tunnel, opened.record, caller).await;
        if let Served::Inside { socket, caller, agreed } = served {
            serve(worker, connections, socket, caller, agreed).await;
        }
    })
}

/// A CONNECT under way.
struct Asking {
    /// What becomes the tunnel on HTTP/2: a stream.
    stream: Option<OnUpgrade>,
    control: Rc<Control>,
    connections: Rc<Connections>,
    caller: Caller,
}

impl Asking {
    /// It got its tunnel, which begins once the answer was sent.
    fn got(self, worker: Rc<Worker>, tunnel: Opened) {
        let Self { stream, control, connections, caller } = self;
        let Some(stream) = stream else {
            control.tunnel.replace(Some(tunnel));
            return;
        };
        let busy = Busy::new(control);
        tokio::task::spawn_local(async move {
            // The connection has something under way until the tunnel's end.
            let _busy = busy;
            if let Ok(stream) = stream.await {
                let socket = Rewound::new(TokioIo::new(stream), Bytes::new());
                serve_tunnel(worker, connections, socket, tunnel, caller).await;
            }
        });
    }
}

/// The request with a body whose end can be believed, and whose reading the connection sees.
fn received(request: Request<Incoming>, control: &Control) -> Request<IncomingBody> {
    let version = request.version();
    control.is_http10.set(version == Version::HTTP_10);
    let asks_to_change = version < Version::HTTP_2 && request.extensions().get::<OnUpgrade>().is_some();
    control.asked_to_change.set(asks_to_change || control.asked_to_change.get());
    // What follows a CONNECT that is refused was meant for the tunnel, and is read away as the rest of a body is.
    let is_connect = request.method() == Method::CONNECT;
    let reading =
        (is_connect || !request.body().is_end_stream()).then(|| Rc::new(Cell::new(Reading::Unread)));
    control.reading.replace(reading.clone());
    request.map(|body| match reading {
        None => IncomingBody::new(body, version),
        Some(reading) => IncomingBody::watched(body, version, reading),
    })
}

/// Polls a connection, and tells it to close once the worker drains.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    control: &Control,
    close: impl Fn(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut told = false;
    poll_fn(|cx| {
        if control.draining.get() && !told {
            told = true;
            close(connection.as_mut());
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() && !told {
            let mut waker = control.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        polled
    })
    .await
}

/// Reads until the bytes are HTTP/2's preface or can no longer become it.
async fn sniff<S: Socket>(socket: &mut S, header_timeout: Duration) -> io::Result<Vec<u8>> {
    let mut prefix = Vec::with_capacity(PREFACE.len());
    let mut deadline = None;
    while prefix.len() < PREFACE.len() && PREFACE.starts_with(&prefix) {
        let mut limited = (&mut *socket).take((PREFACE.len() - prefix.len()) as u64);
        let read = limited.read_buf(&mut prefix);
        let count = match deadline {
            None => read.await?,
            Some(deadline) => tokio::time::timeout_at(deadline, read).await??,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        deadline.get_or_insert_with(|| Instant::now() + header_timeout);
    }
    Ok(prefix)
}
