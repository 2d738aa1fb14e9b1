//! One caller's connection: HTTP/1.1 or HTTP/2, told apart by ALPN where TLS settled it, else by the first bytes
//! (prior knowledge, RFC 9113 §3.3).
//!
//! [`Watched`] sees every byte and keeps the times that hyper does not: a head must arrive within `header_timeout` of
//! its first byte, an idle connection ends after `keepalive_timeout`, a caller that stops reading is given up after
//! `body_timeout`. At the end it lingers: bytes of a body that nobody wanted are read and thrown away for a while, or
//! the kernel would answer them with a reset that can overtake the refusal.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tracing::debug;

use crate::connect::chain;
use crate::download::Answer;
use crate::gateway;
use crate::upstream::LocalExecutor;
use crate::worker::{Peer, Worker};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams times the stream window is the connection's window: one stalled upload does not stop the others.
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 * 1024;
const LINGER: Duration = Duration::from_secs(5);

/// TCP, Unix or TLS.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Socket for S {}

/// All connections of a worker, so that they can be told to close.
#[derive(Default)]
pub struct Connections {
    draining: Cell<bool>,
    open: RefCell<Vec<Weak<Control>>>,
}

impl Connections {
    /// Idle connections close at once, the others after what they have under way.
    pub fn drain(&self) {
        self.draining.set(true);
        for control in self.open.borrow_mut().drain(..).filter_map(|weak| weak.upgrade()) {
            control.draining.set(true);
            if let Some(waker) = control.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn register(&self) -> Rc<Control> {
        let control = Rc::new(Control { draining: Cell::new(self.draining.get()), ..Control::default() });
        let mut open = self.open.borrow_mut();
        if open.len() == open.capacity() {
            open.retain(|weak| weak.strong_count() > 0);
        }
        open.push(Rc::downgrade(&control));
        control
    }
}

/// What the outside and the service tell a connection.
#[derive(Default)]
struct Control {
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Requests under way, until their answers' last byte was taken.
    busy: Cell<u32>,
    /// Requests so far.
    served: Cell<u64>,
    /// The latest of them has a body, of which something may be left unread.
    has_body: Cell<bool>,
}

impl Control {
    async fn told_to_drain(&self) {
        std::future::poll_fn(|cx| {
            if self.draining.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

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
    _busy: Busy,
}

impl Body for Guarded {
    type Data = <Answer as Body>::Data;
    type Error = <Answer as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Shakes hands, then serves the connection to its end. Handshake and session are on the heap, each for as long as it
/// lives: moved from one state of a future to the next, a session would take its room several times over.
pub async fn serve_tls(worker: Rc<Worker>, connections: &Connections, tcp: TcpStream, mut peer: Peer) {
    let Some(tls) = worker.config().tls.clone() else { return };
    let counted = worker.tally().connection();
    let control = connections.register();
    let limit = worker.config().server.header_timeout;
    let shaken = tokio::select! {
        biased;
        shaken = tokio::time::timeout(limit, Box::pin(tls.handshake(tcp))) => shaken,
        // Nothing is in flight yet.
        () = control.told_to_drain() => return,
    };
    let socket = match shaken {
        Ok(Ok(socket)) => Box::new(socket),
        Ok(Err(failure)) => {
            debug!(peer = %peer.address, "a TLS handshake failed: {}", failure.cause);
            tokio::select! {
                _ = tokio::time::timeout(LINGER, failure.read_away()) => {}
                () = control.told_to_drain() => {}
            }
            return;
        }
        Err(_) => {
            debug!(peer = %peer.address, "a TLS handshake failed: it was not finished in {limit:?}");
            return;
        }
    };
    // The connection is counted and told to drain as any other from here on.
    drop((counted, control));
    let (_, session) = socket.get_ref();
    peer.uncertified = tls.wants_certificates() && session.peer_certificates().is_none();
    let agreed = session.alpn_protocol() == Some(b"h2");
    serve(worker, connections, socket, peer, agreed).await;
}

/// Serves a connection to its end. `agreed`: a handshake settled on HTTP/2; otherwise the first bytes tell.
pub async fn serve<S: Socket>(
    worker: Rc<Worker>,
    connections: &Connections,
    mut socket: S,
    peer: Peer,
    agreed: bool,
) {
    let _counted = worker.tally().connection();
    let control = connections.register();
    let server = &worker.config().server;
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
    let watched = Watched::new(socket, prefix, is_http2, control.clone(), &worker);
    let service = service_fn({
        let (worker, control) = (worker.clone(), control.clone());
        move |request: Request<Incoming>| {
            control.has_body.set(!request.body().is_end_stream());
            let busy = Busy::new(control.clone());
            let answering = gateway::serve(worker.clone(), peer, request);
            async move { answering.await.map(|answer| answer.map(|body| Guarded { body, _busy: busy })) }
        }
    });
    let ended = if is_http2 {
        let connection = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAMS * STREAM_WINDOW)
            .max_header_list_size(u32::try_from(server.max_header_size).unwrap_or(u32::MAX))
            .serve_connection(watched, service);
        drive(connection, &control, |connection| connection.graceful_shutdown()).await
    } else {
        let connection = http1::Builder::new()
            .max_header_size(server.max_header_size)
            .max_buf_size(server.max_header_size.max(64 * 1024))
            .serve_connection(watched, service);
        drive(connection, &control, |connection| connection.graceful_shutdown()).await
    };
    if let Err(error) = ended {
        debug!(peer = %peer.address, "a caller's connection ended: {}", chain(&error));
    }
}

/// Polls a connection, and tells it to close once the worker drains.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    control: &Control,
    close: impl Fn(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut told = false;
    std::future::poll_fn(|cx| {
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

/// A socket that keeps the times.
struct Watched<S> {
    socket: S,
    /// Bytes that [`sniff`] took.
    prefix: Vec<u8>,
    is_http2: bool,
    control: Rc<Control>,
    header_timeout: Duration,
    keepalive_timeout: Duration,
    body_timeout: Duration,
    /// Since when no request is under way, and since when the bytes of a head come.
    idle_since: Instant,
    head_since: Option<Instant>,
    was_busy: bool,
    served: u64,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    write_blocked: Option<Instant>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S: Socket> Watched<S> {
    fn new(socket: S, prefix: Vec<u8>, is_http2: bool, control: Rc<Control>, worker: &Worker) -> Self {
        let config = worker.config();
        let now = Instant::now();
        Self {
            socket,
            prefix,
            is_http2,
            control,
            header_timeout: config.server.header_timeout,
            keepalive_timeout: config.server.keepalive_timeout,
            body_timeout: config.upstream.body_timeout,
            idle_since: now,
            head_since: Some(now),
            was_busy: false,
            served: 0,
            read_timer: None,
            write_timer: None,
            write_blocked: None,
            linger: None,
        }
    }

    fn note_read(&mut self) {
        if self.control.busy.get() == 0 && (self.head_since.is_none() || self.is_http2) {
            // On HTTP/2 a ping is a sign of life, not the beginning of a head.
            if self.is_http2 {
                self.idle_since = Instant::now();
            } else {
                self.head_since = Some(Instant::now());
            }
        }
    }

    /// Whether the caller has been waited for too long; otherwise a timer is set to look again.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let busy = self.control.busy.get() > 0;
            let served = self.control.served.get();
            if std::mem::replace(&mut self.served, served) != served || busy {
                (self.was_busy, self.head_since) = (true, None);
            }
            if !busy && self.was_busy {
                (self.was_busy, self.idle_since) = (false, Instant::now());
            }
            let deadline = match self.head_since {
                Some(since) if !self.is_http2 => since + self.header_timeout,
                // A connection with requests under way is looked at again, not ended.
                _ if busy => Instant::now() + self.keepalive_timeout,
                _ => self.idle_since + self.keepalive_timeout,
            };
            if !busy && deadline <= Instant::now() {
                return true;
            }
            let timer = self.read_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            timer.as_mut().reset(deadline);
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_blocked = None;
            return polled;
        }
        let since = *self.write_blocked.get_or_insert_with(Instant::now);
        let deadline = since + self.body_timeout;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller does not read")));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<S: Socket> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.prefix.is_empty() {
            let count = this.prefix.len().min(buf.remaining());
            let rest = this.prefix.split_off(count);
            buf.put_slice(&this.prefix);
            this.prefix = rest;
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut TokioIo::new(&mut this.socket)).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.note_read();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if this.is_overdue(cx) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing came from the caller in time",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: Socket> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        if this.is_http2 || !this.control.has_body.get() {
            return Poll::Ready(Ok(()));
        }
        let timer = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scrap = [0_u8; 8192];
        loop {
            let mut scrap = tokio::io::ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.socket).poll_read(cx, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {
                    if timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return timer.as_mut().poll(cx).map(Ok),
            }
        }
    }
}
