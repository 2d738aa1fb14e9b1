//! Connections to Box, pooled: HTTP/1.1 and HTTP/2 by ALPN.
//!
//! Each worker thread has its own pool, driven on the same thread: no lock, no wake-up across cores. A connection is
//! a task of its worker and notices at once that Box has closed it, so a request rarely picks a dead one. Figures
//! and alternatives: `docs/decisions/runtime-for-each-worker.md`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::http::incoming_body::IncomingBody;
use crate::http::large_answers::{self, Kind, LargeAnswers, Measured};
use crate::net::descriptors::Room;
use crate::net::error_chain::chain;
use crate::net::write_timeout::WriteBounded;
use crate::upstream::connector::{ConnectError, Connection, Connector, Offer};
use crate::upstream::request_body::Attempt;

/// The window of a stream: how much of a response is buffered for a caller that does not read. Content and large answers
/// use HTTP/1.1 instead, so this need not cover the bandwidth-delay product to Box (`docs/decisions/content-over-http1.md`).
///
/// The streams' windows together do not exceed the connection's window: callers that stop reading cannot
/// block the others on the same connection.
const STREAM_WINDOW: u32 = large_answers::LARGE;
const STREAMS: usize = 64;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// A connection with requests in progress that is silent for this long gets a PING …
const PING_AFTER: Duration = Duration::from_secs(20);
/// … and is closed without a reply in this time.
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// The most pools of hosts named in Box's responses; beyond, the least recently used one is dropped.
const MOST_NAMED: usize = 64;
/// An unwanted body is read to its end up to this size, to keep its connection …
const WORTH_READING: usize = 64 * 1024;
/// … and within this time.
const READING: Duration = Duration::from_secs(5);

/// An idle connection that is not ready for a request within this time is dropped.
const READY: Duration = Duration::from_millis(200);

/// An HTTP/1.1 connection that was unused for longer carries no large upload, which could not be sent again: Box may close it at any time, and
/// what was sent on it by then may have been processed. Common servers keep an unused connection for at least 5 s.
const FRESH: Duration = Duration::from_secs(3);

/// The most connections that are opened to a host at once because its answers may be large.
const MOST_OPENING: usize = 4;

/// The most connections that one request tries; most failures are dead ones of the pool.
const MOST_CONNECTIONS: usize = 64;

/// One authority of Box and this worker's connections to it.
pub(crate) struct HostPool {
    authority: Authority,
    host: HeaderValue,
    server_name: ServerName<'static>,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Rc<Http2>>>,
    /// The last result of ALPN; `None` before the first connection.
    speaks_http2: Cell<Option<bool>>,
    /// The host refused a connection that offered only HTTP/1.1.
    refuses_http1: Cell<bool>,
    /// What had large answers, unless the host is known to speak HTTP/1.1 alone.
    large: Rc<LargeAnswers>,
    /// How many connections for large answers are being opened.
    opening: Cell<usize>,
    connector: Rc<Connector>,
    /// A connection being established that other requests wait for: the first one, or the next HTTP/2 one.
    shared: RefCell<Option<Outcome>>,
}

/// `None` while the connection is being established.
type Outcome = watch::Receiver<Option<Result<(), SendError>>>;

struct Idle {
    sender: http1::SendRequest<Attempt>,
    since: Instant,
}

struct Http2 {
    sender: http2::SendRequest<Attempt>,
    streams: Cell<usize>,
    limit: Cell<usize>,
    since: Cell<Instant>,
}

/// The HTTP version for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The one that Box chooses: HTTP/2 if it supports it.
    Any,
    /// HTTP/1.1, unless Box does not support it.
    Http1,
    /// HTTP/1.1 for a body that is too large to be sent again, on a connection that is new or was in use a moment ago. As
    /// [`Self::Any`] where there is none and none can be opened at once.
    LargeUpload,
    /// The same for an answer that is expected to be large.
    LargeAnswer,
}

/// Why a request got no response head.
#[derive(Debug, Clone)]
pub(crate) struct SendError {
    /// Nothing of the request can have been processed: a retry is always safe.
    pub unsent: bool,
    pub fault: SendFault,
    /// The cause, for the log.
    pub cause: String,
}

/// What failed between the gateway and Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// No connection could be established.
    Unreachable,
    /// The limit of open files has no room for another connection.
    NoRoom,
    /// The connection would have led to this process itself.
    Loop,
    /// A connection broke, or Box sent something other than HTTP.
    Broken,
}

/// A connection for a large answer that is being opened.
struct Opening<'a>(&'a Cell<usize>);

impl<'a> Opening<'a> {
    /// `None` if there are [`MOST_OPENING`].
    fn begin(count: &'a Cell<usize>) -> Option<Self> {
        (count.get() < MOST_OPENING).then(|| {
            count.set(count.get() + 1);
            Self(count)
        })
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Keeps a connection counted while a response is read; give it back with [`Lease::done`] at its end.
pub(crate) struct Lease(Leased);

enum Leased {
    Http1 {
        origin: Rc<HostPool>,
        sender: http1::SendRequest<Attempt>,
    },
    /// Held only for its `Drop`.
    Http2(#[expect(dead_code, reason = "dropping it frees the stream")] StreamSlot),
}

struct StreamSlot(Rc<Http2>);

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
    }
}

impl Lease {
    /// The response was read to its end: the connection can carry the next request.
    pub(crate) fn done(self) {
        // If another connection waits for a descriptor, closing this one is better than keeping it idle.
        if let Leased::Http1 { origin, sender } = self.0
            && !sender.is_closed()
            && !origin.connector.is_room_wanted()
        {
            origin.idle.borrow_mut().push(Idle { sender, since: Instant::now() });
        }
    }

    /// Discards the response's body, then gives the connection back.
    pub(crate) fn done_after(self, mut body: IncomingBody) {
        if body.is_end_stream() {
            return self.done();
        }
        tokio::task::spawn_local(async move {
            let reading = async {
                let mut read = 0;
                while read <= WORTH_READING {
                    match body.frame().await {
                        None => return true,
                        Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                        Some(Err(_)) => return false,
                    }
                }
                false
            };
            if tokio::time::timeout(READING, reading).await == Ok(true) {
                self.done();
            }
        });
    }
}

/// This worker's connections to Box.
pub(crate) struct Upstream {
    connector: Rc<Connector>,
    idle_timeout: Duration,
    /// The pools of the configured authorities.
    origins: Vec<Rc<HostPool>>,
    /// The pools of other authorities named in Box's responses; the most recently used is last.
    named: RefCell<Vec<Rc<HostPool>>>,
}

impl Upstream {
    /// Creates a pool for each of these authorities.
    pub(crate) fn new<'a>(
        connector: Connector,
        idle_timeout: Duration,
        authorities: impl Iterator<Item = &'a Authority>,
    ) -> Self {
        let connector = Rc::new(connector);
        let mut origins: Vec<Rc<HostPool>> = Vec::new();
        for authority in authorities {
            if !origins.iter().any(|origin| origin.authority == *authority) {
                origins.extend(HostPool::new(authority.clone(), connector.clone()).map(Rc::new));
            }
        }
        Self { connector, idle_timeout, origins, named: RefCell::default() }
    }

    /// The pool of an authority that is known to be Box's. `None`: it is not a host name.
    pub(crate) fn origin(&self, authority: &Authority) -> Option<Rc<HostPool>> {
        // Nearly always spelled the same, and the comparison without regard to case takes longer.
        let is = |origin: &&Rc<HostPool>| {
            origin.authority.as_str() == authority.as_str() || origin.authority == *authority
        };
        if let Some(origin) = self.origins.iter().find(is) {
            return Some(origin.clone());
        }
        let mut named = self.named.borrow_mut();
        let origin = match named.iter().position(|origin| origin.authority == *authority) {
            Some(index) => named.remove(index),
            None => Rc::new(HostPool::new(authority.clone(), self.connector.clone())?),
        };
        if named.len() >= MOST_NAMED {
            named.remove(0);
        }
        named.push(origin.clone());
        Some(origin)
    }

    /// Sends a request whose URI consists of path and query.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the request twice: as it came and as it is used"
    )]
    pub(crate) fn send(
        &self,
        origin: &Rc<HostPool>,
        mut request: Request<Attempt>,
        mut protocol: Protocol,
    ) -> impl Future<Output = Result<(Response<IncomingBody>, Lease), SendError>> {
        async move {
            let kind = origin.kind(&request, protocol);
            if kind.is_some_and(|kind| origin.large.had(kind)) {
                protocol = Protocol::LargeAnswer;
            }
            // Bounded: connections that end before they can be used could otherwise continue this for ever.
            for _ in 0..MOST_CONNECTIONS {
                if matches!(protocol, Protocol::LargeUpload | Protocol::LargeAnswer) {
                    // Boxed, since few requests come here, but all would store the state of this future.
                    let at_once = Box::pin(self.http1_at_once(origin, protocol));
                    let Some((sender, reused)) = at_once.await else {
                        protocol = Protocol::Any;
                        continue;
                    };
                    match origin.send_http1(sender, request, reused).await? {
                        Ok(answered) => return Ok(origin.measured(answered, kind)),
                        Err(returned) => request = returned,
                    }
                    continue;
                }
                let http1_only = protocol == Protocol::Http1 && !origin.refuses_http1.get();
                if !http1_only {
                    if origin.speaks_http2.get().is_none() {
                        Box::pin(self.connect_shared(origin)).await?;
                    }
                    if origin.speaks_http2.get() == Some(true) {
                        match origin.http2_with_room() {
                            Some(slot) => match origin.send_http2(slot, request).await? {
                                Ok(answered) => return Ok(origin.measured(answered, kind)),
                                Err(returned) => request = returned,
                            },
                            None => Box::pin(self.connect_shared(origin)).await?,
                        }
                        continue;
                    }
                }
                // What waits for `100 Continue` is mostly a large upload.
                let is_upload = protocol == Protocol::Http1 && !request.method().is_safe();
                let unused = if is_upload { FRESH } else { Duration::MAX };
                let (sender, reused) = match origin.idle_http1(self.idle_timeout, unused).await {
                    Some(sender) => (sender, true),
                    None => match self.connect_http1(origin, http1_only).await? {
                        Some(sender) => (sender, false),
                        None => continue,
                    },
                };
                match origin.send_http1(sender, request, reused).await? {
                    Ok(answered) => return Ok(origin.measured(answered, kind)),
                    Err(returned) => request = returned,
                }
            }
            Err(SendError::unreachable(format!(
                "{}: connections end before they can be used",
                origin.authority
            )))
        }
    }

    /// Waits for a connection shared by all requests that need one. It is a task of its own: a caller that leaves does
    /// not cancel the handshake.
    async fn connect_shared(&self, origin: &Rc<HostPool>) -> Result<(), SendError> {
        let waiting = origin.shared.borrow().clone();
        let mut outcome = match waiting {
            Some(outcome) => outcome,
            None => {
                let (sender, receiver) = watch::channel(None);
                *origin.shared.borrow_mut() = Some(receiver.clone());
                let (connector, origin) = (self.connector.clone(), origin.clone());
                let make_room = self.closing_idle();
                tokio::task::spawn_local(async move {
                    let opened = open(&connector, &origin, Offer::Both, make_room).await;
                    let connected = opened.map_err(SendError::from).map(|opened| match opened {
                        Opened::Http1(sender) => {
                            origin.idle.borrow_mut().push(Idle { sender, since: Instant::now() });
                        }
                        Opened::Http2(connection) => origin.http2.borrow_mut().push(connection),
                    });
                    origin.shared.borrow_mut().take();
                    sender.send_replace(Some(connected));
                });
                receiver
            }
        };
        let result = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        result.unwrap_or_else(|| Err(SendError::unreachable("the worker is stopping".to_owned())))
    }

    /// A connection over HTTP/1.1 that was in use a moment ago, or a new one, for what could also go over HTTP/2: `None` if it
    /// would have to wait for a descriptor, or Box cannot be reached so.
    async fn http1_at_once(
        &self,
        origin: &Rc<HostPool>,
        protocol: Protocol,
    ) -> Option<(http1::SendRequest<Attempt>, bool)> {
        if origin.refuses_http1.get() {
            return None;
        }
        if let Some(sender) = origin.idle_http1(self.idle_timeout, FRESH).await {
            return Some((sender, true));
        }
        let _opening = match protocol {
            // A guess must not open a connection for each of many requests.
            Protocol::LargeAnswer => Some(Opening::begin(&origin.opening)?),
            _ => None,
        };
        match open(&self.connector, origin, Offer::Http1AtOnce, || {}).await {
            Ok(Opened::Http1(sender)) => {
                // Otherwise each pause between uploads would leave one more idle connection.
                origin.close_one_unused();
                Some((sender, false))
            }
            Ok(Opened::Http2(_)) => None,
            Err(error) => {
                if matches!(error, ConnectError::NotSpoken(_)) {
                    origin.refuses_http1.set(true);
                }
                None
            }
        }
    }

    /// `None` if the connection uses HTTP/2; it is in the pool then.
    async fn connect_http1(
        &self,
        origin: &Rc<HostPool>,
        http1_only: bool,
    ) -> Result<Option<http1::SendRequest<Attempt>>, SendError> {
        // Boxed: a handshake is rare and its state large, and the state of every request would reserve its size.
        let offer = if http1_only { Offer::Http1 } else { Offer::Both };
        let opening = open(&self.connector, origin, offer, self.closing_idle());
        match Box::pin(opening).await {
            Ok(Opened::Http1(sender)) => Ok(Some(sender)),
            Ok(Opened::Http2(connection)) => {
                origin.http2.borrow_mut().push(connection);
                Ok(None)
            }
            Err(ConnectError::NotSpoken(_)) if http1_only => {
                origin.refuses_http1.set(true);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a function that closes this worker's idle connections.
    fn closing_idle(&self) -> impl FnOnce() + use<> {
        let named = self.named.borrow();
        let origins: Vec<_> = self.origins.iter().chain(named.iter()).map(Rc::downgrade).collect();
        move || {
            origins.iter().filter_map(std::rc::Weak::upgrade).for_each(|origin| origin.close_idle());
        }
    }

    /// Closes connections that were unused for too long. Call it from time to time.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let fresh = |since: Instant| now.duration_since(since) < self.idle_timeout;
        let is_room_wanted = self.connector.is_room_wanted();
        for origin in self.origins.iter().chain(self.named.borrow().iter()) {
            if is_room_wanted {
                origin.close_idle();
            }
            origin.idle.borrow_mut().retain(|idle| !idle.sender.is_closed() && fresh(idle.since));
            origin.http2.borrow_mut().retain(|connection| {
                !connection.sender.is_closed()
                    && (connection.streams.get() > 0 || fresh(connection.since.get()))
            });
        }
    }
}

type Bounded = WriteBounded<TokioIo<Connection>>;

enum Opened {
    Http1(http1::SendRequest<Attempt>),
    Http2(Rc<Http2>),
}

async fn open(
    connector: &Connector,
    origin: &HostPool,
    offer: Offer,
    make_room: impl FnOnce(),
) -> Result<Opened, ConnectError> {
    let connecting = connector.connect(&origin.authority, &origin.server_name, offer, make_room);
    let (connection, room) = connecting.await?;
    let http2 = connection.get_ref().1.alpn_protocol() == Some(b"h2");
    // If Box stops reading, the buffered rest would keep a connection whose request is long over.
    let connection = WriteBounded::new(TokioIo::new(connection), connector.write_timeout());
    if offer == Offer::Both {
        origin.speaks_http2.set(Some(http2));
    }
    let handshake =
        |error: hyper::Error| ConnectError::Unreachable(format!("{}: {}", origin.authority, chain(&error)));
    if http2 {
        Ok(Opened::Http2(start_http2(connection, room).await.map_err(handshake)?))
    } else {
        Ok(Opened::Http1(start_http1(connection, room).await.map_err(handshake)?))
    }
}

async fn start_http1(connection: Bounded, room: Room) -> hyper::Result<http1::SendRequest<Attempt>> {
    let (sender, driver) = http1::Builder::new().handshake(connection).await?;
    tokio::task::spawn_local(async move {
        let _room = room;
        if let Err(error) = driver.await {
            debug!("an HTTP/1.1 connection to Box ended: {}", chain(&error));
        }
    });
    Ok(sender)
}

async fn start_http2(connection: Bounded, room: Room) -> hyper::Result<Rc<Http2>> {
    let (sender, driver) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_PATIENCE)
        .handshake(connection)
        .await?;
    let connection = Rc::new(Http2 {
        sender,
        streams: Cell::new(0),
        limit: Cell::new(STREAMS),
        since: Cell::new(Instant::now()),
    });
    let watched = Rc::downgrade(&connection);
    tokio::task::spawn_local(async move {
        let _room = room;
        let mut driver = pin!(driver);
        let ended = poll_fn(|cx| {
            let polled = driver.as_mut().poll(cx);
            // Box may lower or raise its limit at any time (RFC 9113 §6.5.2).
            if let (Poll::Pending, Some(connection)) = (&polled, watched.upgrade()) {
                connection.limit.set(driver.current_max_send_streams().clamp(1, STREAMS));
            }
            polled
        })
        .await;
        if let Err(error) = ended {
            debug!("an HTTP/2 connection to Box ended: {}", chain(&error));
        }
    });
    Ok(connection)
}

fn incoming(mut response: Response<Incoming>, version: Version) -> Response<IncomingBody> {
    // With chunked coding a Content-Length is invalid and must not be passed on (RFC 9112 §6.3): the caller would use
    // it.
    if response.headers().contains_key(TRANSFER_ENCODING) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response.map(|body| IncomingBody::new(body, version))
}

type Answered = (Response<IncomingBody>, Lease);

type Sent = Result<Answered, Request<Attempt>>;

impl HostPool {
    /// Host and, if not 443, port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn new(authority: Authority, connector: Rc<Connector>) -> Option<Self> {
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            server_name: ServerName::try_from(bare.to_owned()).ok()?,
            authority,
            idle: RefCell::default(),
            http2: RefCell::default(),
            speaks_http2: Cell::new(None),
            refuses_http1: Cell::new(false),
            large: Rc::default(),
            opening: Cell::new(0),
            connector,
            shared: RefCell::default(),
        })
    }

    fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().retain(|connection| connection.streams.get() > 0);
    }

    /// Closes the idle connection over HTTP/1.1 that has been unused longest, if that is longer than [`FRESH`].
    fn close_one_unused(&self) {
        let mut idle = self.idle.borrow_mut();
        if idle.first().is_some_and(|idle| idle.since.elapsed() >= FRESH) {
            idle.remove(0);
        }
    }

    /// The kind of a request for which HTTP/2 and HTTP/1.1 are a choice by the size of the answer.
    fn kind(&self, request: &Request<Attempt>, protocol: Protocol) -> Option<Kind> {
        let is_choice = protocol == Protocol::Any
            && *request.method() == Method::GET
            && self.speaks_http2.get() != Some(false);
        is_choice.then(|| Kind::of(request.uri().path()))
    }

    /// Notes the size of the answer, once it is known.
    fn measured(&self, answered: Answered, kind: Option<Kind>) -> Answered {
        let (response, lease) = answered;
        // An error says nothing about the next answer.
        let kind = kind.filter(|_| response.status().is_success());
        let Some(kind) = kind else { return (response, lease) };
        let measured = Measured::new(self.large.clone(), kind);
        (response.map(|body| body.measured(measured)), lease)
    }

    /// Whether the most recently used connection was in use within this time.
    fn has_used_within(&self, unused: Duration) -> bool {
        self.idle.borrow().last().is_some_and(|idle| idle.since.elapsed() < unused)
    }

    /// The most recently used connection that is still usable, and was in use within this time.
    async fn idle_http1(
        &self,
        idle_timeout: Duration,
        unused: Duration,
    ) -> Option<http1::SendRequest<Attempt>> {
        loop {
            // The others have been unused for longer, and can still carry other requests.
            if !self.has_used_within(unused) {
                return None;
            }
            let idle = self.idle.borrow_mut().pop()?;
            let mut sender = idle.sender;
            if sender.is_closed() || idle.since.elapsed() >= idle_timeout {
                continue;
            }
            // A connection that still sends an abandoned body ends, but only once Box reads the buffered rest.
            let is_ready =
                sender.is_ready() || matches!(tokio::time::timeout(READY, sender.ready()).await, Ok(Ok(())));
            if is_ready {
                return Some(sender);
            }
        }
    }

    fn http2_with_room(&self) -> Option<StreamSlot> {
        let mut connections = self.http2.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        let connection = connections.iter().find(|c| c.streams.get() < c.limit.get())?;
        connection.streams.set(connection.streams.get() + 1);
        Some(StreamSlot(connection.clone()))
    }

    /// The inner error returns the request: the connection ended before it was sent.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the request twice: as it came and as it is used"
    )]
    fn send_http1(
        self: &Rc<Self>,
        mut sender: http1::SendRequest<Attempt>,
        mut request: Request<Attempt>,
        reused: bool,
    ) -> impl Future<Output = Result<Sent, SendError>> {
        async move {
            *request.version_mut() = Version::HTTP_11;
            request.body_mut().over_http2(false);
            request.headers_mut().insert(http::header::HOST, self.host.clone());
            if request.body().is_of_unknown_length() {
                // Without this header, hyper treats the body of a GET as empty.
                request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            match sender.try_send_request(request).await {
                Ok(response) => Ok(Ok((
                    incoming(response, Version::HTTP_11),
                    Lease(Leased::Http1 { origin: self.clone(), sender }),
                ))),
                Err(mut failed) => match failed.take_message() {
                    Some(request) if reused => Ok(Err(request)),
                    message => Err(SendError::from_hyper(message.is_some(), failed.error(), &self.authority)),
                },
            }
        }
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the request twice: as it came and as it is used"
    )]
    fn send_http2(
        &self,
        slot: StreamSlot,
        mut request: Request<Attempt>,
    ) -> impl Future<Output = Result<Sent, SendError>> {
        async move {
            *request.version_mut() = Version::HTTP_2;
            request.body_mut().over_http2(true);
            request.headers_mut().remove(http::header::HOST);
            request.headers_mut().remove(TRANSFER_ENCODING);
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            let path = parts.path_and_query.clone();
            parts.scheme = Some(http::uri::Scheme::HTTPS);
            parts.authority = Some(self.authority.clone());
            *request.uri_mut() = Uri::from_parts(parts).map_err(|error| SendError {
                unsent: true,
                fault: SendFault::Broken,
                cause: error.to_string(),
            })?;
            let mut sender = slot.0.sender.clone();
            match sender.try_send_request(request).await {
                Ok(response) => Ok(Ok((incoming(response, Version::HTTP_2), Lease(Leased::Http2(slot))))),
                Err(mut failed) => match failed.take_message() {
                    Some(mut request) => {
                        *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
                        Ok(Err(request))
                    }
                    None => {
                        let unsent = never_processed(failed.error());
                        Err(SendError::from_hyper(unsent, failed.error(), &self.authority))
                    }
                },
            }
        }
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable(cause) | ConnectError::NotSpoken(cause) => Self::unreachable(cause),
            ConnectError::Loop(cause) => Self { unsent: true, fault: SendFault::Loop, cause },
            ConnectError::NoRoom => Self {
                unsent: true,
                fault: SendFault::NoRoom,
                cause: "the limit of open files has no room for another connection to Box".to_owned(),
            },
        }
    }
}

impl SendError {
    fn unreachable(cause: String) -> Self {
        Self { unsent: true, fault: SendFault::Unreachable, cause }
    }

    fn from_hyper(unsent: bool, error: &hyper::Error, authority: &Authority) -> Self {
        Self { unsent, fault: SendFault::Broken, cause: format!("{authority}: {}", chain(error)) }
    }
}

/// RFC 9113 §8.7: a stream above GOAWAY's last one, or refused, was not processed.
fn never_processed(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        source = cause.source();
    }
    false
}

/// Spawns tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
