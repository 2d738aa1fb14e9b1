//! Makes an HTTP connection of a TLS connection to Box, and drives it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tracing::debug;

use crate::http::large_answers;
use crate::net::descriptors::Room;
use crate::net::error_chain::chain;
use crate::net::write_timeout::WriteBounded;
use crate::upstream::connector::Connection;
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

/// A connection over HTTP/2.
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<Attempt>,
    /// How many requests it carries.
    pub(super) streams: Cell<usize>,
    /// The most that it may carry.
    pub(super) limit: Cell<usize>,
    /// When the last one ended.
    pub(super) since: Cell<Instant>,
}

/// A connection that can carry a request.
pub(super) enum Opened {
    Http1(http1::SendRequest<Attempt>),
    Http2(Rc<Http2>),
}

type Bounded = WriteBounded<TokioIo<Connection>>;

/// Begins HTTP on a connection: the version that ALPN has chosen.
pub(super) async fn begin(
    connection: Connection,
    room: Room,
    write_timeout: Duration,
) -> hyper::Result<Opened> {
    let is_http2 = speaks_http2(&connection);
    // If Box stops reading, the buffered rest would keep a connection whose request is long over.
    let connection = WriteBounded::new(TokioIo::new(connection), write_timeout);
    Ok(match is_http2 {
        true => Opened::Http2(start_http2(connection, room).await?),
        false => Opened::Http1(start_http1(connection, room).await?),
    })
}

/// Whether ALPN has chosen HTTP/2.
pub(super) fn speaks_http2(connection: &Connection) -> bool {
    connection.get_ref().1.alpn_protocol() == Some(b"h2")
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

/// Spawns tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
