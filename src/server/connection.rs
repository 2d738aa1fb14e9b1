//! One caller's connection: HTTP/1.1 or HTTP/2, told apart by ALPN where TLS settled it, else by the first bytes
//! (prior knowledge, RFC 9113 §3.3). Time limits for the caller are in [`super::watched_socket`] for the
//! connection, in [`super::stream_task`] for a stream of HTTP/2.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Write;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use super::connections::Connections;
use super::frame_watch::PREFACE;
use super::parked::{self, Woken};
use super::socket::Socket;
use super::stream_task::{Executor, Flow};
use super::tunnel::{self, Rewound, Served};
use super::watched_socket::{Control, WatchedSocket};
use crate::access::caller::{Caller, Shown};
use crate::http::incoming_body::{IncomingBody, Reader};
use crate::net::error_chain::chain;
use crate::net::peer::Peer;
use crate::net::proxy_protocol;
use crate::proxy::handler::{self, Opened};
use crate::proxy::response_body::{Answer, Broken};
use crate::proxy::worker::Worker;

/// The connection's window is the number of streams times the stream window: one stalled upload does not stop the
/// others.
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 * 1024;
/// An HTTP/2 caller that is silent for a third of `body_timeout`, within these bounds, gets a PING: a
/// laptop that went to sleep during a download does not close its connection.
const PING_AFTER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));
/// Without a reply, its connection is closed after this many times `body_timeout`. Not sooner: the PING waits behind
/// all that the kernels on the way buffer for a slow caller; one that reads nothing at all is detected earlier by other
/// means.
const PING_PATIENCE: u32 = 5;
/// How long bytes are discarded after a failed handshake.
const LINGER: Duration = Duration::from_secs(5);

/// A request's body up to this size that comes after its response is read and discarded, and the connection goes on.
const SMALL_BODY: u64 = 64 * 1024;
/// How long such a body may take.
const LATE: Duration = Duration::from_secs(5);

/// How much hyper reads at once. With 64 KiB an upload takes more CPU time.
const BUFFERED: usize = 256 * 1024;

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

/// A response body that marks its connection as busy until it ends.
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
        // On HTTP/2 each stream has a window of its own.
        if this.flow.is_none() && this.busy.0.holds_body(cx) {
            return Poll::Pending;
        }
        let most = this.flow.as_ref().map_or(usize::MAX, |flow| flow.asked());
        let polled = this.body.poll_piece(cx, most);
        match &polled {
            Poll::Ready(None) => this.has_ended = true,
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => this.has_ended = true,
            Poll::Ready(Some(Ok(frame))) => match &this.flow {
                Some(flow) => flow.handed(),
                None => this.busy.0.gather(frame.data_ref().map_or(0, Bytes::len)),
            },
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
        // hyper does not poll a body again once its Content-Length is reached.
        if !self.has_ended && self.size_hint().exact() != Some(0) && !self.is_end_stream() {
            self.busy.0.broke_off.set(true);
        }
    }
}

/// Reads a load balancer's PROXY protocol header, then serves the connection to its end.
pub(super) async fn serve_balanced(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    mut tcp: TcpStream,
    mut peer: Peer,
) {
    let control = connections.register();
    let limit = worker.gateway().config.server.header_timeout;
    let begun = Instant::now();
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout(limit, proxy_protocol::read(&mut tcp)) => read,
        () = told_to_drain(&control, begun) => return,
    };
    match read {
        Ok(Ok(Some(client))) => peer.client = client,
        Ok(Ok(None)) => {}
        // A load balancer's health check connects and sends nothing.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
        Ok(Err(error)) => return worker.process().balancer_failed(peer.address, &error.to_string()),
        Err(_) => {
            return worker
                .process()
                .balancer_failed(peer.address, "the header did not come within header_timeout");
        }
    }
    // From here on the connection is told to drain like any other.
    drop(control);
    if peer.secure {
        serve_tls(worker, connections, tcp, Caller::outside(peer)).await;
    } else {
        serve(worker, connections, tcp, Caller::outside(peer), false).await;
    }
}

/// Does the TLS handshake, then serves the connection to its end. Handshake and session are on the heap, each as long
/// as it lives: a future that moves a session from state to state would reserve its size several times.
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
    let begun = Instant::now();
    let shaken = tokio::select! {
        biased;
        shaken = tokio::time::timeout(limit, Box::pin(tls.handshake(tcp))) => shaken,
        () = told_to_drain(&control, begun) => return,
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
    // From here on the connection is counted and told to drain like any other.
    drop((counted, control));
    let (_, session) = socket.get_ref();
    let shown = session.peer_certificates().unwrap_or_default();
    caller.peer.uncertified = tls.wants_certificates() && shown.is_empty();
    let chain: Vec<_> = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
    // A reload may have happened during the handshake.
    if worker.gateway().config.tls.as_ref().is_some_and(|now| !Arc::ptr_eq(now, &tls) && !now.admits(&chain))
    {
        return;
    }
    caller.shown = Some(Rc::new(Shown::new(chain)));
    let agreed = session.alpn_protocol() == Some(b"h2");
    serve(worker, connections, socket, caller, agreed).await;
}

/// Serves a connection to its end. `agreed`: the TLS handshake negotiated HTTP/2; otherwise the first bytes decide.
///
/// An idle connection keeps the state of this future and of those within it. What is only needed in between is kept out of
/// it: a value that is moved on still takes its size in the state that it was moved from.
pub(super) fn serve<S: Socket>(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    socket: S,
    caller: Caller,
    agreed: bool,
) -> impl Future<Output = ()> + use<S> {
    let counted = worker.tally().connection();
    let control = connections.register_for(&caller);
    let site = Rc::new(Site { worker, connections, control, caller });
    async move {
        let mut socket = socket;
        if site.caller.inside.is_some() && site.worker.gateway().forward_proxy.is_none() {
            // A reload has taken it away while hands were shaken in the tunnel.
            return;
        }
        let prefix = if agreed {
            Vec::new()
        } else {
            // On the heap: the connection is idle later, not now.
            match Box::pin(first_bytes(&site, &mut socket)).await {
                Some(prefix) => prefix,
                None => return,
            }
        };
        // On the heap: its state is several times as large as an idle HTTP/1.1 connection's.
        let ended = if agreed || prefix == PREFACE {
            Box::pin(serve_http2(site.clone(), socket, prefix)).await.map(|()| None)
        } else {
            serve_http1(&site, socket, prefix).await
        };
        match ended {
            Ok(None) => {}
            Ok(Some(changing)) => {
                // What comes of it is counted and told to drain on its own.
                drop(counted);
                Box::pin(change(site, changing)).await;
            }
            Err(error) => {
                debug!(peer = %site.caller.peer.address, "a caller's connection ended: {}", chain(&error));
            }
        }
    }
}

/// The bytes that tell HTTP/2 from HTTP/1.1; `None`: the connection ends without a request.
async fn first_bytes<S: Socket>(site: &Site, socket: &mut S) -> Option<Vec<u8>> {
    let server = site.worker.gateway().config.server;
    let begun = Instant::now();
    let first = tokio::time::timeout(server.keepalive_timeout, sniff(socket, server.header_timeout));
    tokio::select! {
        biased;
        first = first => first.ok()?.ok(),
        () = told_to_drain(&site.control, begun) => None,
    }
}

/// Returns once a connection that began at this time, and has had no request, is to end.
async fn told_to_drain(control: &Control, begun: Instant) {
    control.told_to_drain_unused(begun).await;
}

/// A connection, as its requests see it.
struct Site {
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    control: Rc<Control>,
    caller: Caller,
}

/// Serves an HTTP/2 connection to its end.
async fn serve_http2<S: Socket>(site: Rc<Site>, socket: S, prefix: Vec<u8>) -> hyper::Result<()> {
    let gateway = site.worker.gateway();
    let (server, body_timeout) = (gateway.config.server, gateway.config.upstream.body_timeout);
    // An idle connection must not keep a replaced configuration alive.
    drop(gateway);
    let executor = Executor::new(body_timeout);
    let ping_after = (body_timeout / 3).clamp(PING_AFTER.0, PING_AFTER.1);
    let watched = WatchedSocket::new(socket, prefix, true, site.control.clone(), &site.worker);
    let (control, flows) = (site.control.clone(), executor.clone());
    let mut connection = pin!(
        http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .keep_alive_interval(ping_after)
            .keep_alive_timeout((body_timeout * PING_PATIENCE).max(PING_AFTER.0))
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAMS * STREAM_WINDOW)
            .max_header_list_size(u32::try_from(server.max_header_size).unwrap_or(u32::MAX))
            .serve_connection(
                watched,
                service_fn(move |request| answer(&site, request, Some(flows.begin())))
            )
    );
    drive(connection.as_mut(), &control, |connection| connection.graceful_shutdown()).await?;
    Ok(())
}

/// Serves an HTTP/1.1 connection to its end, or to a CONNECT: then returns the socket, and the bytes that came after
/// it. While the connection is idle, only its socket is kept.
async fn serve_http1<S: Socket>(
    site: &Rc<Site>,
    mut socket: S,
    mut prefix: Vec<u8>,
) -> hyper::Result<Option<Changing<S>>> {
    loop {
        let mut connection = http1_connection(site, socket, prefix);
        let closing = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
        let driven = drive(Pin::new(&mut *connection), &site.control, closing).await?;
        let until;
        (socket, until) = match taken_apart(site, connection, driven) {
            Left::Nothing => return Ok(None),
            Left::Change(changing) => return Ok(Some(changing)),
            Left::Request(same, begun) => {
                (socket, prefix) = (same, begun);
                continue;
            }
            Left::Idle(idle, until) => (idle, until),
        };
        let parked = site.worker.tally().parked();
        let woken = parked::wait(&mut socket, &site.control, until).await;
        drop(parked);
        prefix = match woken {
            Woken::Bytes(bytes) => bytes,
            Woken::Late => return Ok(None),
            Woken::Ended => {
                let closing = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx));
                // An error here affects only the caller.
                let _ = Box::pin(tokio::time::timeout(LINGER, closing)).await;
                return Ok(None);
            }
        };
    }
}

/// hyper's connection, which begins with these bytes; on the heap, so that a parked connection does not reserve its size.
fn http1_connection<S: Socket>(
    site: &Rc<Site>,
    socket: S,
    prefix: Vec<u8>,
) -> Box<http1::Connection<WatchedSocket<S>, impl Http1Service + use<S>>> {
    let watched = WatchedSocket::new(socket, prefix, false, site.control.clone(), &site.worker);
    let max_header_size = site.worker.gateway().config.server.max_header_size;
    let service = service_fn({
        let site = Rc::clone(site);
        move |request| answer(&site, request, None)
    });
    let connection = http1::Builder::new()
        .max_header_size(max_header_size)
        .max_buf_size(max_header_size.max(BUFFERED))
        .serve_connection(watched, service);
    Box::new(connection)
}

/// The socket of a connection that becomes a tunnel, and the bytes that came after the CONNECT; on the heap, since few do.
type Changing<S> = Box<(WatchedSocket<S>, Bytes)>;

/// What is left of an HTTP/1.1 connection that hyper no longer drives.
enum Left<S: Socket> {
    /// It has ended.
    Nothing,
    /// A CONNECT was its last request.
    Change(Changing<S>),
    /// The beginning of the next head came together with the last request.
    Request(S, Vec<u8>),
    /// It is idle, and ends at this time.
    Idle(S, Instant),
}

#[allow(clippy::boxed_local, reason = "in the caller's state, the connection itself would take its size")]
fn taken_apart<S: Socket, H: Http1Service>(
    site: &Site,
    connection: Box<http1::Connection<WatchedSocket<S>, H>>,
    driven: Driven,
) -> Left<S> {
    if driven == Driven::Ended && !site.control.asked_to_change.get() {
        return Left::Nothing;
    }
    let http1::Parts { io: watched, read_buf: ahead, .. } = connection.into_parts();
    if driven == Driven::Ended {
        return Left::Change(Box::new((watched, ahead)));
    }
    let until = watched.idle_until();
    match watched.into_socket() {
        (None, _) => Left::Nothing,
        (Some(socket), _) if ahead.is_empty() => Left::Idle(socket, until),
        (Some(socket), _) => Left::Request(socket, ahead.into()),
    }
}

/// [`answer`], as hyper calls it.
trait Http1Service:
    Service<Request<Incoming>, Response = Response<Guarded>, Error = Infallible, Future: 'static> + 'static
{
}

impl<H> Http1Service for H where
    H: Service<Request<Incoming>, Response = Response<Guarded>, Error = Infallible, Future: 'static>
        + 'static
{
}

/// Serves one request. `flow`: on HTTP/2.
fn answer(
    site: &Rc<Site>,
    mut request: Request<Incoming>,
    flow: Option<Rc<Flow>>,
) -> impl Future<Output = Result<Response<Guarded>, Infallible>> + use<> {
    let Site { worker, connections, control, caller } = &**site;
    let busy = Busy::new(control.clone());
    // Boxed, since few requests are a CONNECT, but the state of each is moved as a whole.
    let asks = (request.method() == Method::CONNECT).then(|| {
        Box::new(Asking {
            stream: flow.is_some().then(|| hyper::upgrade::on(&mut request)),
            control: control.clone(),
            connections: connections.clone(),
            caller: caller.clone(),
        })
    });
    let (worker, mut caller, request) = (worker.clone(), caller.clone(), received(request, control));
    let large_body = (flow.is_none() && asks.is_none())
        .then(|| control.reader.borrow().clone().filter(|reader| reader.ends_connection()))
        .flatten();
    // On HTTP/2, requests may still arrive until the caller has received GOAWAY.
    caller.peer.uncertified |= caller.is_revoked();
    // Called inside: a future that is captured and then awaited takes its size twice.
    async move {
        let served = handler::serve(worker.clone(), caller, request).await;
        if let (Some(asks), Some(tunnel)) = (asks, served.tunnel) {
            asks.got(worker, tunnel);
        }
        let mut response = served.response;
        // hyper does not say so.
        if large_body.is_some_and(|reader| reader.ends_connection()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Guarded::new(body, flow, busy)))
    }
}

/// Continues with a connection that hyper has finished and not shut down: it becomes a tunnel, or its CONNECT was
/// refused.
async fn change<S: Socket>(site: Rc<Site>, changing: Changing<S>) {
    let (mut socket, ahead) = *changing;
    let Some(tunnel) = site.control.tunnel.take() else {
        // An error here affects only the caller.
        let _ = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await;
        return;
    };
    let (Some(socket), earlier) = socket.into_socket() else { return };
    let ahead = if earlier.is_empty() { ahead } else { [&*earlier, &*ahead].concat().into() };
    let (worker, connections, caller) = (site.worker.clone(), site.connections.clone(), site.caller.clone());
    drop(site);
    serve_tunnel(worker, connections, Rewound::new(socket, ahead), *tunnel, caller).await;
}

/// Serves a tunnel to its end. Boxed and of a named type, since a connection calls this and this serves a connection.
fn serve_tunnel(
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    socket: Rewound,
    opened: Opened,
    caller: Caller,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        // Counted until the tunnel's end; an HTTP/2 connection may hold several.
        let _counted = opened.counted;
        let served = tunnel::serve(&worker, &connections, socket, opened.tunnel, opened.record, caller).await;
        if let Served::Inside { socket, caller, agreed } = served {
            serve(worker, connections, socket, caller, agreed).await;
        }
    })
}

/// A CONNECT request in progress.
struct Asking {
    /// On HTTP/2, the stream that becomes the tunnel.
    stream: Option<OnUpgrade>,
    control: Rc<Control>,
    connections: Rc<Connections>,
    caller: Caller,
}

impl Asking {
    /// The tunnel was granted; it begins once the response is sent.
    fn got(self, worker: Rc<Worker>, tunnel: Opened) {
        let Self { stream, control, connections, caller } = self;
        let Some(stream) = stream else {
            control.tunnel.replace(Some(Box::new(tunnel)));
            return;
        };
        let busy = Busy::new(control);
        tokio::task::spawn_local(async move {
            // The connection is busy until the tunnel's end.
            let _busy = busy;
            if let Ok(stream) = stream.await {
                let socket = Rewound::new(TokioIo::new(stream), Bytes::new());
                serve_tunnel(worker, connections, socket, tunnel, caller).await;
            }
        });
    }
}

/// The request with a body whose end is verified, and whose reading the connection tracks.
fn received(request: Request<Incoming>, control: &Control) -> Request<IncomingBody> {
    let version = request.version();
    control.is_http10.set(version == Version::HTTP_10);
    let asks_to_change = version < Version::HTTP_2 && request.extensions().get::<OnUpgrade>().is_some();
    control.asked_to_change.set(asks_to_change || control.asked_to_change.get());
    // Bytes after a refused CONNECT were meant for the tunnel, and are discarded like the rest of a body.
    let is_connect = request.method() == Method::CONNECT;
    let reader = (is_connect || !request.body().is_end_stream()).then(|| {
        // Over HTTP/2, only the stream ends. Who expects `100 Continue` may send the next request instead of the body.
        let is_small = request.body().size_hint().exact().is_some_and(|size| size <= SMALL_BODY);
        let keeps_rest =
            is_small && !is_connect && version < Version::HTTP_2 && !request.headers().contains_key(EXPECT);
        Rc::new(Reader::new(keeps_rest))
    });
    control.reader.replace(reader.clone());
    request.map(|body| match reader {
        None => IncomingBody::new(body, version),
        Some(reader) => IncomingBody::watched(body, version, reader),
    })
}

/// Why [`drive`] returned.
#[derive(PartialEq, Eq)]
enum Driven {
    /// The connection has ended.
    Ended,
    /// It is HTTP/1.1 and idle: it can be parked.
    Idle,
}

/// Polls a connection until it ends or can be parked, and starts its graceful shutdown once the worker drains; after what
/// has arrived was read, since hyper closes a connection in which it sees no request.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    control: &Control,
    close: impl Fn(Pin<&mut C>),
) -> hyper::Result<Driven> {
    let mut told = false;
    // Until when the rest of which request's body may come, by the number of the request.
    let mut late: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        let mut polled = connection.as_mut().poll(cx);
        if polled.is_pending() && !told && control.is_draining(cx) {
            told = true;
            close(connection.as_mut());
            polled = connection.as_mut().poll(cx);
        }
        match polled {
            Poll::Ready(ended) => Poll::Ready(ended.map(|()| Driven::Ended)),
            Poll::Pending if !told && control.takes_park() => Poll::Ready(Ok(Driven::Idle)),
            Poll::Pending => {
                let reader = control.reader.borrow();
                match reader.as_ref().filter(|reader| reader.discard_rest(cx)) {
                    None => late = None,
                    Some(reader) => {
                        let number = control.served.get();
                        late = late.take().filter(|(of, _)| *of == number);
                        let (_, timer) = late.get_or_insert_with(|| (number, Box::pin(sleep(LATE))));
                        if timer.as_mut().poll(cx).is_ready() {
                            reader.drop_rest();
                        }
                    }
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Reads until the bytes are the HTTP/2 preface or differ from it.
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
