//! Connections to Box, pooled: HTTP/1.1 and HTTP/2 by ALPN.
//!
//! Each worker thread has its own pool, driven on the same thread: no lock, no wake-up across cores. A connection is
//! a task of its worker and notices at once that Box has closed it, so a request rarely picks a dead one. Figures
//! and alternatives: `docs/decisions/runtime-for-each-worker.md`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::client::conn::http1;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::incoming_body::IncomingBody;
use crate::upstream::connector::{ConnectError, Connector, Offer};
use crate::upstream::handshake::Opened;
use crate::upstream::host_pool::{FRESH, HostPool, Idle, Lease, Opening};
use crate::upstream::protocol::Protocol;
use crate::upstream::request_body::Attempt;
use crate::upstream::send_error::SendError;

/// The most pools of hosts named in Box's responses; beyond, the least recently used one is dropped.
const MOST_NAMED: usize = 64;

/// The most connections that one request tries; most failures are dead ones of the pool.
const MOST_CONNECTIONS: usize = 64;

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
                let origin = origin.clone();
                let make_room = self.closing_idle();
                tokio::task::spawn_local(async move {
                    let opened = origin.open(Offer::Both, make_room).await;
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
        match origin.open(Offer::Http1AtOnce, || {}).await {
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
        let opening = origin.open(offer, self.closing_idle());
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
