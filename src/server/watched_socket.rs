//! A caller's socket with the timeouts that hyper lacks: a head must arrive within `header_timeout` of its
//! first byte, an idle connection ends after `keepalive_timeout`, a caller that stops reading is closed after
//! `body_timeout`. At the end it lingers: the unread rest of a body is read and discarded for a while, since
//! the kernel would otherwise answer it with a reset that can overtake the refusal.
//!
//! It also distinguishes a caller that has gone from one that has only ended its side of the connection after a
//! complete request, and still gets its response (RFC 9112 §9.6). Both look the same until something is written to
//! them, so the first byte of the response, which is always the same, is sent early: a closed socket answers it with a
//! reset.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frame_watch::{FrameWatch, PREFACE};
use super::socket::Socket;
use crate::access::caller::Shown;
use crate::http::incoming_body::{Reader, Reading};
use crate::net::write_timeout::WriteTimeout;
use crate::proxy::handler::Opened;
use crate::proxy::worker::Worker;

/// How long an HTTP/1.1 connection is idle before it is parked: callers with requests one after the other cost nothing.
const PARKED_AFTER: Duration = Duration::from_millis(100);
/// How long after its beginning a connection waits for its first request although the worker drains: whoever has just
/// connected is sending one, and would see it cut off. Older connections have nothing in flight.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(5);
/// How long bytes that arrived before the end of the caller's side may take to reach their reader.
const SETTLING: Duration = Duration::from_millis(20);
/// The first check for a reset by a caller that ended its side is after this time; each further one after twice as long
/// …
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// … up to this.
const LAST_LOOK: Duration = Duration::from_millis(250);
/// Once hyper has gathered so many bytes of a response, it gets no more before it has written them.
const GATHERED: usize = 64 * 1024;
/// The first byte of every HTTP/1 response (RFC 9112 §4).
const FIRST_BYTE: &[u8] = b"H";
/// hyper's interim response, which does not count as the response.
const INVITATION: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The state of a connection that the worker, the service and the socket share.
#[derive(Default)]
pub(crate) struct Control {
    /// The connection is to end after its requests in progress.
    pub(crate) draining: Cell<bool>,
    pub(crate) waker: RefCell<Option<Waker>>,
    /// The number of requests in progress, until hyper has taken the last chunk of their responses.
    pub(crate) busy: Cell<u32>,
    /// The number of requests so far.
    pub(crate) served: Cell<u64>,
    /// The reader of the latest request's body; `None`: it has no body.
    pub(crate) reader: RefCell<Option<Rc<Reader>>>,
    /// The latest request is HTTP/1.0: its response may end with the connection.
    pub(crate) is_http10: Cell<bool>,
    /// A response was truncated.
    pub(crate) broke_off: Cell<bool>,
    /// All that was written has been flushed.
    pub(crate) is_flushed: Cell<bool>,
    /// How many bytes of a response hyper has taken since the last flush.
    pub(crate) gathered: Cell<usize>,
    /// The caller takes no more bytes at the moment.
    pub(crate) is_blocked: Cell<bool>,
    /// A response waits until the caller takes bytes again.
    pub(crate) is_body_held: Cell<bool>,
    /// The connection is HTTP/1.1 and has been idle for so long that it can be parked.
    pub(crate) may_park: Cell<bool>,
    /// A CONNECT was received: hyper does not shut the connection down then.
    pub(crate) asked_to_change: Cell<bool>,
    /// The tunnel that the connection becomes; on the heap, since few do.
    pub(crate) tunnel: RefCell<Option<Box<Opened>>>,
    /// The certificate chain of its caller, see [`Caller::shown`](crate::access::caller::Caller::shown).
    pub(crate) shown: Option<Rc<Shown>>,
    /// It is a tunnel of the forward proxy.
    pub(crate) is_tunnel: bool,
}

impl Control {
    /// Ends the connection after its requests in progress.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Returns once the connection is to end.
    pub(crate) async fn told_to_drain(&self) {
        std::future::poll_fn(|cx| if self.is_draining(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Returns once the connection, which began at this time and has had no request, is to end.
    pub(crate) async fn told_to_drain_unused(&self, begun: Instant) {
        self.told_to_drain().await;
        tokio::time::sleep_until(begun + FIRST_REQUEST).await;
    }

    /// Whether the connection is to end; if not yet, the task is woken when it is.
    pub(crate) fn is_draining(&self, cx: &Context<'_>) -> bool {
        if self.draining.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Whether the response's body is to wait: until hyper has written what it gathered, or until the caller takes more of
    /// it. Otherwise hyper would fill its buffer, which is as large as uploads need it, for each caller that does not read.
    /// The connection's task is polled again once the body may go on.
    pub(crate) fn holds_body(&self, cx: &Context<'_>) -> bool {
        let is_blocked = self.is_blocked.get();
        self.is_body_held.set(is_blocked);
        let is_full = self.gathered.get() >= GATHERED;
        if is_full && !is_blocked {
            // hyper writes at the end of each poll.
            cx.waker().wake_by_ref();
        }
        is_blocked || is_full
    }

    /// hyper has taken this many bytes of a response, and has not written them yet.
    pub(crate) fn gather(&self, count: usize) {
        self.gathered.set(self.gathered.get() + count);
    }

    /// Whether nothing of hyper's state is needed for what comes next; asked after hyper was polled.
    pub(crate) fn takes_park(&self) -> bool {
        self.may_park.take()
            && self.busy.get() == 0
            && self.is_flushed.get()
            && self.reading() == Reading::Complete
    }

    fn set_reading(&self, reading: Reading) {
        if let Some(reader) = self.reader.borrow().as_ref() {
            reader.set_reading(reading);
        }
    }

    fn reading(&self) -> Reading {
        self.reader.borrow().as_ref().map_or(Reading::Complete, |reader| reader.reading())
    }
}

/// A socket with timeouts.
pub(crate) struct WatchedSocket<S: Socket> {
    socket: Held<S>,
    /// Bytes that were read to detect the protocol.
    prefix: Vec<u8>,
    /// Tracks frames; only on HTTP/2.
    frames: Option<Box<FrameWatch>>,
    control: Rc<Control>,
    header_timeout: Duration,
    keepalive_timeout: Duration,
    /// Since when no request is in progress.
    idle_since: Instant,
    /// Since when an HTTP/1.1 head is arriving.
    head_since: Option<Instant>,
    was_busy: bool,
    served: u64,
    read_timer: Option<Pin<Box<Sleep>>>,
    /// The timer is set for a look at whether the connection is idle.
    looks_soon: bool,
    /// When an idle HTTP/2 connection was told to end.
    ending_since: Option<Instant>,
    half_closed: Option<Box<HalfClosed>>,
    /// The first byte of the response was sent early.
    first_byte_sent: bool,
    /// The number of requests whose responses have begun.
    answered: u64,
    writing: WriteTimeout,
    linger: Option<Pin<Box<Sleep>>>,
}

/// The socket, until [`WatchedSocket::into_socket`] takes it.
struct Held<S>(Option<S>);

impl<S> Deref for Held<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.0.as_ref().expect("it is taken with all of the watched socket")
    }
}

impl<S> DerefMut for Held<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.0.as_mut().expect("it is taken with all of the watched socket")
    }
}

/// The caller ended its side while a request was in progress.
struct HalfClosed {
    since: Instant,
    is_probed: bool,
    next_look: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<S: Socket> WatchedSocket<S> {
    /// `prefix`: bytes already read; with `is_http2`, the whole preface or nothing of it.
    pub(crate) fn new(
        socket: S,
        prefix: Vec<u8>,
        is_http2: bool,
        control: Rc<Control>,
        worker: &Worker,
    ) -> Self {
        let gateway = worker.gateway();
        let config = &gateway.config;
        let now = Instant::now();
        let served = control.served.get();
        Self {
            socket: Held(Some(socket)),
            frames: is_http2
                .then(|| Box::new(FrameWatch::new(if prefix.is_empty() { PREFACE.len() } else { 0 }))),
            prefix,
            control,
            header_timeout: config.server.header_timeout,
            keepalive_timeout: config.server.keepalive_timeout,
            idle_since: now,
            head_since: Some(now),
            was_busy: false,
            served,
            read_timer: None,
            looks_soon: false,
            ending_since: None,
            half_closed: None,
            first_byte_sent: false,
            answered: served,
            writing: WriteTimeout::new(config.upstream.body_timeout),
            linger: None,
        }
    }

    /// When it ends if nothing comes any more.
    pub(crate) fn idle_until(&self) -> Instant {
        self.idle_since + self.keepalive_timeout
    }

    /// Takes the socket, and the bytes that were read and not yet consumed.
    pub(crate) fn into_socket(mut self) -> (Option<S>, Vec<u8>) {
        (self.socket.0.take(), std::mem::take(&mut self.prefix))
    }

    /// A request is in progress, or the caller has not yet taken all of a response.
    fn is_busy(&self) -> bool {
        self.control.busy.get() > 0 || self.writing.is_blocked()
    }

    /// Whether the caller has exceeded a timeout; otherwise sets a timer for the next check.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let busy = self.is_busy();
            let served = self.control.served.get();
            if std::mem::replace(&mut self.served, served) != served || busy {
                (self.was_busy, self.head_since) = (true, None);
            }
            let now = Instant::now();
            if !busy && self.was_busy {
                (self.was_busy, self.idle_since) = (false, now);
                // A request that arrived after the first GOAWAY has been answered; its last bytes may still be in
                // transit.
                self.ending_since = self.ending_since.map(|_| now);
            }
            let idle_until = self.idle_until();
            let head_since = match &self.frames {
                None => self.head_since,
                Some(frames) => frames.since(),
            };
            let deadline = match head_since {
                Some(since) => since + self.header_timeout,
                // A connection with requests in progress is checked again, not ended.
                None if busy => now + self.keepalive_timeout,
                None if self.frames.is_none() => idle_until.min(self.idle_since + PARKED_AFTER),
                None => self.ending_since.map_or(idle_until, |since| since + LINGER),
            };
            let is_idle = self.frames.is_none() && head_since.is_none() && !busy;
            let deadline = if is_idle && deadline <= now && now < idle_until {
                self.control.may_park.set(true);
                idle_until
            } else {
                deadline
            };
            if deadline <= now {
                // The head is late, or this is HTTP/1.1, or GOAWAY was sent already.
                if head_since.is_some() || self.frames.is_none() || self.ending_since.is_some() {
                    return true;
                }
                // A request may be in transit: GOAWAY says that it was not processed (RFC 9113 §6.8).
                self.ending_since = Some(now);
                self.control.draining.set(true);
                cx.waker().wake_by_ref();
                continue;
            }
            let timer = self.read_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
                self.looks_soon = is_idle;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            timer.as_mut().reset(deadline);
            self.looks_soon = is_idle;
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// Sets the timer for a look at whether the connection stays idle, since hyper does not read again at the end of a
    /// response. With requests one after the other it is set once in [`PARKED_AFTER`], not for each.
    fn look_soon(&mut self, cx: &mut Context<'_>) {
        let served = self.control.served.get();
        // A head that is arriving has a time limit of its own, for which the timer is set.
        let has_head = self.head_since.is_some() && self.served == served;
        if self.looks_soon || self.frames.is_some() || has_head || self.is_busy() {
            return;
        }
        if let Some(timer) = &mut self.read_timer {
            timer.as_mut().reset(Instant::now() + PARKED_AFTER);
            // Pending: it was just set.
            let _ = timer.as_mut().poll(cx);
            self.looks_soon = true;
        }
    }

    /// Passes on the result of a write, flush or shutdown, as far as the caller is in time.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let watched = self.writing.watch(cx, polled);
        self.control.is_blocked.set(self.writing.is_blocked());
        if watched.is_ready() && self.control.is_body_held.take() {
            // hyper polls the body before it writes, so the task must be polled once more.
            cx.waker().wake_by_ref();
        }
        watched
    }

    /// Reads, and inspects the bytes as far as the timeouts need it. Returns the count, 0 at the end.
    fn read(&mut self, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let mut tap = Tap { socket: &mut *self.socket, frames: self.frames.as_deref_mut(), count: 0 };
        ready!(Pin::new(&mut TokioIo::new(&mut tap)).poll_read(cx, buf))?;
        let count = tap.count;
        let reading = self.control.reading();
        if count > 0 && reading == Reading::Waiting {
            self.control.set_reading(Reading::Unread);
        }
        // Bytes of a body that comes after its response are not the beginning of a head.
        let begins_head = reading == Reading::Complete && !self.is_busy() && self.head_since.is_none();
        if self.frames.is_none() && count > 0 && begins_head {
            self.head_since = Some(Instant::now());
        }
        Poll::Ready(Ok(count))
    }

    /// The caller has ended its side. Ready with the end if no request is in progress or the request is truncated by
    /// it, with an error if the caller has closed the connection.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (is_busy, reading) = (self.is_busy(), self.control.reading());
        let is_answering = self.answered == self.control.served.get();
        // The byte must not go into an earlier response that the caller is slow to read.
        let may_probe = !is_answering && !self.writing.is_blocked();
        let closed = self.half_closed.get_or_insert_with(|| {
            Box::new(HalfClosed {
                since: Instant::now(),
                is_probed: false,
                next_look: FIRST_LOOK,
                timer: Box::pin(tokio::time::sleep(SETTLING)),
            })
        });
        loop {
            let elapsed = closed.since.elapsed();
            if !is_busy || (reading == Reading::Waiting && elapsed >= SETTLING) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.socket.fault() {
                return Poll::Ready(Err(error));
            }
            if elapsed >= SETTLING && may_probe && !closed.is_probed {
                closed.is_probed = true;
                ready!(Pin::new(&mut *self.socket).poll_write(cx, FIRST_BYTE))?;
                self.first_byte_sent = true;
                ready!(Pin::new(&mut *self.socket).poll_flush(cx))?;
            }
            ready!(closed.timer.as_mut().poll(cx));
            closed.timer.as_mut().reset(Instant::now() + closed.next_look);
            closed.next_look = (closed.next_look * 2).min(LAST_LOOK);
        }
    }
}

/// A socket whose bytes are inspected as they are read.
struct Tap<'a, S> {
    socket: &'a mut S,
    frames: Option<&'a mut FrameWatch>,
    count: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.socket).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        self.count = read.len();
        if let Some(frames) = &mut self.frames {
            frames.see(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> Read for WatchedSocket<S> {
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
        if this.half_closed.is_some() {
            return this.poll_half_closed(cx);
        }
        match this.read(cx, buf) {
            // On HTTP/2 the end of the connection ends its streams.
            Poll::Ready(Ok(0)) if this.frames.is_none() && this.is_busy() => this.poll_half_closed(cx),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if this.is_overdue(cx) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller sent nothing in time")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: Socket> Write for WatchedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.control.is_flushed.set(false);
        if buf != INVITATION {
            self.answered = self.control.served.get();
        }
        if self.first_byte_sent && !buf.is_empty() {
            self.first_byte_sent = false;
            return Poll::Ready(Ok(FIRST_BYTE.len()));
        }
        let polled = Pin::new(&mut *self.socket).poll_write(cx, buf);
        self.watch_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.control.is_flushed.set(false);
        if !bufs.iter().any(|buf| **buf == *INVITATION) {
            self.answered = self.control.served.get();
        }
        if self.first_byte_sent && bufs.iter().any(|buf| !buf.is_empty()) {
            self.first_byte_sent = false;
            return Poll::Ready(Ok(FIRST_BYTE.len()));
        }
        let polled = Pin::new(&mut *self.socket).poll_write_vectored(cx, bufs);
        self.watch_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.socket).poll_flush(cx);
        let watched = self.watch_write(cx, polled);
        if let Poll::Ready(Ok(())) = watched {
            self.control.is_flushed.set(true);
            self.control.gathered.set(0);
            self.look_soon(cx);
        }
        watched
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let polled = Pin::new(&mut *this.socket).poll_shutdown(cx);
            ready!(this.watch_write(cx, polled))?;
        }
        if this.frames.is_some() || this.control.reading() == Reading::Complete {
            return Poll::Ready(Ok(()));
        }
        let timer = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scrap = [0_u8; 8192];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *this.socket).poll_read(cx, &mut scrap) {
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

impl<S: Socket> Drop for WatchedSocket<S> {
    fn drop(&mut self) {
        // A response to HTTP/1.0 without a length ends with the connection: a truncated one must end with a reset.
        let is_cut = self.control.broke_off.get() || self.is_busy();
        if self.frames.is_none()
            && self.control.is_http10.get()
            && is_cut
            && let Some(socket) = &self.socket.0
        {
            socket.abort();
        }
    }
}
