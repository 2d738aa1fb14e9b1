//! One worker's connections to one host of Box.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::incoming_body::IncomingBody;
use crate::http::large_answers::{Kind, LargeAnswers, Measured};
use crate::net::error_chain::chain;
use crate::upstream::connector::{ConnectError, Connector, Offer};
use crate::upstream::handshake::{self, Http2, Opened};
use crate::upstream::protocol::Protocol;
use crate::upstream::request_body::Attempt;
use crate::upstream::send_error::{SendError, SendFault, never_processed};

/// An unwanted body is read to its end up to this size, to keep its connection …
const WORTH_READING: usize = 64 * 1024;
/// … and within this time.
const READING: Duration = Duration::from_secs(5);

/// An idle connection that is not ready for a request within this time is dropped.
const READY: Duration = Duration::from_millis(200);

/// An HTTP/1.1 connection that was unused for longer carries no large upload, which could not be sent again: Box may close it at any time, and
/// what was sent on it by then may have been processed. Common servers keep an unused connection for at least 5 s.
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// The most connections that are opened to a host at once because its answers may be large.
const MOST_OPENING: usize = 4;

/// One authority of Box and this worker's connections to it.
pub(crate) struct HostPool {
    pub(super) authority: Authority,
    host: HeaderValue,
    server_name: ServerName<'static>,
    pub(super) idle: RefCell<Vec<Idle>>,
    pub(super) http2: RefCell<Vec<Rc<Http2>>>,
    /// The last result of ALPN; `None` before the first connection.
    pub(super) speaks_http2: Cell<Option<bool>>,
    /// The host refused a connection that offered only HTTP/1.1.
    pub(super) refuses_http1: Cell<bool>,
    /// What had large answers, unless the host is known to speak HTTP/1.1 alone.
    pub(super) large: Rc<LargeAnswers>,
    /// How many connections for large answers are being opened.
    pub(super) opening: Cell<usize>,
    connector: Rc<Connector>,
    /// A connection being established that other requests wait for: the first one, or the next HTTP/2 one.
    pub(super) shared: RefCell<Option<Outcome>>,
}

/// `None` while the connection is being established.
pub(super) type Outcome = watch::Receiver<Option<Result<(), SendError>>>;

/// An idle connection over HTTP/1.1.
pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<Attempt>,
    /// When its last request ended.
    pub(super) since: Instant,
}

/// A connection for a large answer that is being opened.
pub(super) struct Opening<'a>(&'a Cell<usize>);

impl<'a> Opening<'a> {
    /// `None` if there are [`MOST_OPENING`].
    pub(super) fn begin(count: &'a Cell<usize>) -> Option<Self> {
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

/// The place of one request on a connection over HTTP/2.
pub(super) struct StreamSlot(Rc<Http2>);

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

/// The head of Box's answer, and its connection.
pub(super) type Answered = (Response<IncomingBody>, Lease);

/// The inner error returns the request: the connection ended before it was sent.
pub(super) type Sent = Result<Answered, Request<Attempt>>;

impl HostPool {
    /// Host and, if not 443, port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// `None`: the authority is not a host name.
    pub(super) fn new(authority: Authority, connector: Rc<Connector>) -> Option<Self> {
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

    /// Opens a connection. `make_room`: closes idle ones, if the limit of open files has no room.
    pub(super) async fn open(&self, offer: Offer, make_room: impl FnOnce()) -> Result<Opened, ConnectError> {
        let connector = &self.connector;
        let connecting = connector.connect(&self.authority, &self.server_name, offer, make_room);
        let (connection, room) = connecting.await?;
        if offer == Offer::Both {
            self.speaks_http2.set(Some(handshake::speaks_http2(&connection)));
        }
        handshake::begin(connection, room, connector.write_timeout())
            .await
            .map_err(|error| ConnectError::Unreachable(format!("{}: {}", self.authority, chain(&error))))
    }

    /// Closes the connections that carry no request.
    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().retain(|connection| connection.streams.get() > 0);
    }

    /// Closes the idle connection over HTTP/1.1 that has been unused longest, if that is longer than [`FRESH`].
    pub(super) fn close_one_unused(&self) {
        let mut idle = self.idle.borrow_mut();
        if idle.first().is_some_and(|idle| idle.since.elapsed() >= FRESH) {
            idle.remove(0);
        }
    }

    /// The kind of a request for which HTTP/2 and HTTP/1.1 are a choice by the size of the answer.
    pub(super) fn kind(&self, request: &Request<Attempt>, protocol: Protocol) -> Option<Kind> {
        let is_choice = protocol == Protocol::Any
            && *request.method() == Method::GET
            && self.speaks_http2.get() != Some(false);
        is_choice.then(|| Kind::of(request.uri().path()))
    }

    /// Notes the size of the answer, once it is known.
    pub(super) fn measured(&self, answered: Answered, kind: Option<Kind>) -> Answered {
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
    pub(super) async fn idle_http1(
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

    pub(super) fn http2_with_room(&self) -> Option<StreamSlot> {
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
    pub(super) fn send_http1(
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
    pub(super) fn send_http2(
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

fn incoming(mut response: Response<Incoming>, version: Version) -> Response<IncomingBody> {
    // With chunked coding a Content-Length is invalid and must not be passed on (RFC 9112 §6.3): the caller would use
    // it.
    if response.headers().contains_key(TRANSFER_ENCODING) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response.map(|body| IncomingBody::new(body, version))
}
