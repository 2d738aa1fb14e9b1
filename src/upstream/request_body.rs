//! The request body on its way to Box: streamed, counted, and kept while it is small, so that it can be sent again.
//!
//! hyper invites a waiting caller (`100 Continue`) when the body is first polled. So where the caller expects that
//! invitation, the body is not polled before Box has sent its own, or has been silent for [`INVITE_AFTER`].

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::headers;
use crate::http::incoming_body::{BrokenBody, IncomingBody};

/// Where Box is silent for so long, the body is invited all the same.
const INVITE_AFTER: Duration = Duration::from_secs(1);

/// hyper buffers no more of a message before it writes.
const BUFFERED_FRAMES: usize = 16;
const BUFFERED_BYTES: usize = 400 * 1024;

/// What the rest of the request path sees of a body under way.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes taken from the caller.
    bytes: Cell<u64>,
    /// When the last of them came.
    moved: Cell<Instant>,
    /// The whole body was taken.
    complete: Cell<bool>,
    /// Told once when that happens.
    completed: Notify,
    /// The caller broke it off.
    broken: Cell<bool>,
    /// Nobody wants the rest of it.
    closed: Cell<bool>,
    /// Of the sending that waits for the caller.
    sending: Sleeper,
    /// The caller was asked for more and had none; otherwise it is Box that does not take any.
    starved: Cell<bool>,
}

impl Progress {
    /// Bytes taken from the caller so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The last time that something moved.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the whole body was taken.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Returns once the whole body was taken; never, if it was when this was called.
    pub(crate) async fn completed(&self) {
        self.completed.notified().await;
    }

    /// Whether the caller broke it off, or sent what is no body.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether it is the caller that is waited for.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    fn complete(&self) {
        if !self.complete.replace(true) {
            self.completed.notify_one();
        }
    }
}

/// A task that can be woken.
#[derive(Default)]
struct Sleeper(Cell<Option<Waker>>);

impl Sleeper {
    fn sleeps(&self, cx: &Context<'_>) {
        self.0.set(Some(cx.waker().clone()));
    }

    fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

impl std::fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sleeper")
    }
}

/// Lets a body be sent for as long as its request is under way. When it is dropped, what is still being sent ends with
/// an error: a caller that never ends its body cannot keep a connection to Box after the answer.
pub(crate) struct KeepSending(Rc<Progress>);

impl KeepSending {
    /// What is seen of the body.
    pub(crate) fn progress(&self) -> &Progress {
        &self.0
    }
}

impl Drop for KeepSending {
    fn drop(&mut self) {
        if !self.0.complete.get() {
            self.0.closed.set(true);
            self.0.sending.wake();
        }
    }
}

/// A caller's request body, to be sent one or more times.
pub(crate) struct Upload {
    source: Option<Rc<RefCell<Source>>>,
    progress: Option<Rc<Progress>>,
    invitation: Option<Arc<Invitation>>,
}

struct Source {
    incoming: IncomingBody,
    /// What was taken so far; `None` once it is more than the limit.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    limit: usize,
    trailers: bool,
    /// The names of those that pass to Box.
    passing: Vec<HeaderName>,
    /// Taken ahead of their time.
    early_trailers: Option<Frame<Bytes>>,
    /// Only the latest attempt may take from the caller.
    attempt: u32,
    progress: Rc<Progress>,
}

impl Upload {
    /// `keep`: bytes that are kept to be sent again. `expects`: the caller waits for an invitation. `trailers`: those that
    /// pass to Box.
    pub(crate) fn new(incoming: IncomingBody, keep: usize, expects: bool, trailers: Vec<HeaderName>) -> Self {
        // Of a length of 0 hyper does not ask for the end.
        if incoming.is_end_stream() || incoming.size_hint().exact() == Some(0) {
            return Self::none();
        }
        let progress = Rc::new(Progress {
            bytes: Cell::new(0),
            moved: Cell::new(Instant::now()),
            complete: Cell::new(false),
            completed: Notify::new(),
            broken: Cell::new(false),
            closed: Cell::new(false),
            sending: Sleeper::default(),
            starved: Cell::new(false),
        });
        let source = Source {
            incoming,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            limit: keep,
            passing: trailers,
            trailers: false,
            early_trailers: None,
            attempt: 0,
            progress: progress.clone(),
        };
        Self {
            source: Some(Rc::new(RefCell::new(source))),
            progress: Some(progress),
            invitation: expects.then(Arc::default),
        }
    }

    pub(crate) fn none() -> Self {
        Self { source: None, progress: None, invitation: None }
    }

    /// `None` where the request has no body.
    pub(crate) fn progress(&self) -> Option<&Rc<Progress>> {
        self.progress.as_ref()
    }

    /// Whether there may turn out to be no body: a GET or HEAD rarely has one, and none is announced by a length.
    pub(crate) fn may_be_empty(&self, method: &Method) -> bool {
        let is_read = method == Method::GET || method == Method::HEAD;
        let is_open = |source: &Rc<RefCell<Source>>| source.borrow().incoming.size_hint().exact().is_none();
        is_read && self.invitation.is_none() && self.source.as_ref().is_some_and(is_open)
    }

    /// Keeps the body being sent; `None` where the request has none. Drop it when the request is over.
    pub(crate) fn keep_sending(&self) -> Option<KeepSending> {
        self.progress.clone().map(KeepSending)
    }

    /// Why the caller's body broke off, where it did and that was read.
    pub(crate) fn broken(&self) -> Option<BrokenBody> {
        self.source.as_ref().and_then(|source| source.borrow().incoming.broken().cloned())
    }

    /// Returns once the first bytes of the body are there, or its end, or its fault: whether there is a body at all.
    pub(crate) async fn has_content(&self) -> bool {
        let Some(source) = &self.source else { return false };
        std::future::poll_fn(|cx| {
            let mut source = source.borrow_mut();
            source.read_ahead(cx).map(|_| !source.is_empty())
        })
        .await
    }

    /// The gate that Box's interim answer opens; `None` where the caller expects none.
    pub(crate) fn invitation(&self) -> Option<&Arc<Invitation>> {
        self.invitation.as_ref()
    }

    /// Returns when the caller has gone, or sent what is no body. hyper does not see the end of a connection whose request body nobody polls,
    /// so some of the body is read ahead while the request waits, up to what is kept anyway. Where that invites the
    /// body, it is done after the time for which Box may be silent.
    pub(crate) async fn broke_off(&self) -> BrokenBody {
        // hyper sees the end where there is no body.
        let Some(source) = &self.source else { return std::future::pending().await };
        if let Some(invitation) = &self.invitation {
            tokio::time::sleep(INVITE_AFTER).await;
            invitation.open();
        }
        std::future::poll_fn(|cx| {
            let mut source = source.borrow_mut();
            while source.kept_bytes < source.limit && !source.progress.complete.get() {
                if let Err(broken) = std::task::ready!(source.read_ahead(cx)) {
                    return Poll::Ready(broken);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether everything taken from the caller so far is still at hand.
    pub(crate) fn can_be_sent(&self) -> bool {
        match &self.source {
            None => true,
            Some(source) => {
                let source = source.borrow();
                source.kept.is_some() && !source.trailers && source.incoming.broken().is_none()
            }
        }
    }

    /// The body from its beginning; earlier attempts end with an error. Check [`Upload::can_be_sent`] first.
    pub(crate) fn attempt(&self) -> Attempt {
        let taken = Rc::default();
        let Some(source) = &self.source else { return Attempt { sending: None, taken, is_http2: false } };
        let number = {
            let mut source = source.borrow_mut();
            source.attempt += 1;
            // The connection of an earlier one may be needed for this one, and waits for the caller.
            source.progress.sending.wake();
            source.attempt
        };
        let gate = self.invitation.clone().filter(|invitation| !invitation.is_open()).map(Gate::new);
        Attempt {
            sending: Some(Sending { source: source.clone(), number, next: 0, gate, frames: 0, bytes: 0 }),
            taken,
            is_http2: false,
        }
    }
}

/// Box's `100 Continue`, or its stand-in.
#[derive(Debug, Default)]
pub(crate) struct Invitation {
    open: AtomicBool,
    opened: Notify,
}

impl Invitation {
    /// Lets the body be polled, and thereby the caller be invited.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.opened.notify_one();
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

/// Waits for the invitation or its time.
struct Gate {
    waiting: Pin<Box<dyn Future<Output = ()>>>,
}

impl Gate {
    fn new(invitation: Arc<Invitation>) -> Self {
        let waiting = async move {
            let opened = invitation.opened.notified();
            let _ = tokio::time::timeout(INVITE_AFTER, opened).await;
            invitation.open.store(true, Ordering::Release);
        };
        Self { waiting: Box::pin(waiting) }
    }
}

/// Whether a connection has taken the request and will write it, and what is to be done then.
#[derive(Default)]
pub(crate) struct Taken {
    taken: Cell<bool>,
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Taken {
    /// Whether it has.
    pub(crate) fn is_set(&self) -> bool {
        self.taken.get()
    }

    /// Calls this once it has, or drops it with the last of those who may ask.
    pub(crate) fn then(&self, call: impl FnOnce() + 'static) {
        self.then.set(Some(Box::new(call)));
    }

    /// Notes that it has, and does what is to be done then.
    pub(crate) fn set(&self) {
        if !self.taken.replace(true)
            && let Some(then) = self.then.take()
        {
            then();
        }
    }
}

/// One sending of a body.
pub(crate) struct Attempt {
    sending: Option<Sending>,
    taken: Rc<Taken>,
    is_http2: bool,
}

struct Sending {
    source: Rc<RefCell<Source>>,
    number: u32,
    /// Of the kept pieces, the next to send.
    next: usize,
    gate: Option<Gate>,
    /// What a connection has asked for and may not have written yet.
    frames: usize,
    bytes: usize,
}

/// Why a body broke off.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The caller broke off, or sent what is not HTTP.
    Caller(BrokenBody),
    /// A later attempt has taken over.
    Superseded,
    /// The request is over without the rest of its body.
    Closed,
}

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(error) => write!(f, "the caller's body broke off: {error}"),
            Self::Superseded => f.write_str("the request is sent again elsewhere"),
            Self::Closed => f.write_str("the request is over before its body is"),
        }
    }
}

impl std::error::Error for UploadError {}

impl Attempt {
    /// Set once a connection has taken the request and will write it. hyper asks for the body's end when it takes the
    /// head. Over HTTP/2 the head is written whatever the body does. Over HTTP/1.1 nothing is before the body has no more
    /// for the moment, or much of it has come; where it breaks off before, nothing is written at all.
    pub(crate) fn taken(&self) -> &Rc<Taken> {
        &self.taken
    }

    /// It goes over HTTP/2, or does not.
    pub(crate) fn over_http2(&mut self, is_http2: bool) {
        self.is_http2 = is_http2;
    }

    /// Whether there is a body whose length is not known.
    pub(crate) fn is_of_unknown_length(&self) -> bool {
        self.sending.is_some() && !self.is_at_end() && self.size_hint().exact().is_none()
    }

    fn is_at_end(&self) -> bool {
        match &self.sending {
            None => true,
            Some(sending) => {
                let source = sending.source.borrow();
                let all_sent = source.kept.as_ref().is_none_or(|kept| sending.next >= kept.len());
                all_sent && source.early_trailers.is_none() && source.incoming.is_end_stream()
            }
        }
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        let Some(sending) = &mut this.sending else { return Poll::Ready(None) };
        let polled = sending.poll(cx);
        let is_written = match &polled {
            Poll::Pending | Poll::Ready(None) => true,
            // Trailers are the end, and so are the last bytes of a length: hyper asks for nothing behind them.
            Poll::Ready(Some(Ok(frame))) => {
                sending.is_written_with(frame) || frame.is_trailers() || this.size_hint().exact() == Some(0)
            }
            Poll::Ready(Some(Err(_))) => false,
        };
        if is_written {
            this.taken.set();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_at_end = self.is_at_end();
        if is_at_end || self.is_http2 {
            self.taken.set();
        }
        is_at_end
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.sending else { return SizeHint::with_exact(0) };
        let source = sending.source.borrow();
        let unsent: usize = source.kept.iter().flatten().skip(sending.next).map(Bytes::len).sum();
        match source.incoming.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + unsent as u64),
            None => SizeHint::default(),
        }
    }
}

impl Sending {
    /// Whether hyper writes what it has now that it gets this.
    fn is_written_with(&mut self, frame: &Frame<Bytes>) -> bool {
        self.frames += 1;
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        self.frames > BUFFERED_FRAMES || self.bytes > BUFFERED_BYTES
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let sending = self;
        let mut source = sending.source.borrow_mut();
        if source.attempt != sending.number {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if source.progress.closed.get() {
            return Poll::Ready(Some(Err(UploadError::Closed)));
        }
        if let Some(gate) = &mut sending.gate {
            if gate.waiting.as_mut().poll(cx).is_pending() {
                source.progress.sending.sleeps(cx);
                return Poll::Pending;
            }
            sending.gate = None;
        }
        if let Some(piece) = source.kept.as_ref().and_then(|kept| kept.get(sending.next)) {
            sending.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if let Some(trailers) = source.early_trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        let polled = source.poll(cx);
        match &polled {
            Poll::Pending => source.progress.sending.sleeps(cx),
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => sending.next += 1,
            Poll::Ready(_) => {}
        }
        polled.map_err(UploadError::Caller)
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let polled = self.read(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.keep(piece.clone());
        }
        polled
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.starved.set(polled.is_pending());
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        self.progress.moved.set(Instant::now());
        Poll::Ready(match frame {
            None => {
                self.progress.complete();
                None
            }
            Some(Err(broken)) => {
                self.progress.broken.set(true);
                Some(Err(broken))
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers_to_box(trailers, &self.passing);
                }
                match frame.data_ref() {
                    Some(piece) => self.progress.bytes.set(self.progress.bytes.get() + piece.len() as u64),
                    None => self.trailers = true,
                }
                // The last bytes of a length come with the end of the body, or, over HTTP/2, once it is known.
                if self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0) {
                    self.progress.complete();
                }
                Some(Ok(frame))
            }
        })
    }

    /// Reads one frame before anything of the body was sent.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BrokenBody>> {
        Poll::Ready(match std::task::ready!(self.read(cx)) {
            None => Ok(()),
            Some(Err(broken)) => Err(broken),
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(piece) => self.keep_ahead(piece),
                    Err(trailers) => self.early_trailers = Some(trailers),
                }
                Ok(())
            }
        })
    }

    /// Complete, and nothing was in it.
    fn is_empty(&self) -> bool {
        self.progress.complete.get() && self.kept_bytes == 0 && self.early_trailers.is_none()
    }

    /// Nothing of it was sent yet, so it is kept whatever its size.
    fn keep_ahead(&mut self, piece: Bytes) {
        self.kept_bytes = self.kept_bytes.saturating_add(piece.len());
        if let Some(kept) = &mut self.kept {
            kept.push(piece);
        }
    }

    fn keep(&mut self, piece: Bytes) {
        self.kept_bytes = self.kept_bytes.saturating_add(piece.len());
        if self.kept_bytes > self.limit {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(piece);
        }
    }
}
