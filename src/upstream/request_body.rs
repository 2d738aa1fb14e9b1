//! The request body on its way to Box: streamed and counted. Its beginning is kept while that is small, so that it can
//! be sent again.
//!
//! hyper sends `100 Continue` to the caller when the body is first polled. So if the caller expects that, the body is
//! not polled before Box has sent its own `100 Continue` or has been silent for [`INVITE_AFTER`].

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

/// If Box is silent for this long, the caller is sent `100 Continue` anyway.
const INVITE_AFTER: Duration = Duration::from_secs(1);

/// hyper writes once it has buffered this much of a message.
const BUFFERED_FRAMES: usize = 16;
const BUFFERED_BYTES: usize = 400 * 1024;

/// The progress of a body, for the rest of the request path.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes taken from the caller.
    bytes: Cell<u64>,
    /// When the caller was last read from.
    moved: Cell<Instant>,
    /// The whole body was read from the caller.
    complete: Cell<bool>,
    /// Notified once when `complete` becomes true.
    completed: Notify,
    /// The caller's body is incomplete or malformed.
    broken: Cell<bool>,
    /// The request is over, and the rest is not needed.
    closed: Cell<bool>,
    /// Wakes the attempt that waits for the caller.
    sending: Sleeper,
    /// Whether the body waits for the caller. Otherwise it waits for Box, which accepts no more at the moment.
    starved: Cell<bool>,
}

impl Progress {
    /// Bytes read from the caller so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When the caller was last read from.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the whole body was read from the caller.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Returns once the whole body was read; never, if that was already so at the call.
    pub(crate) async fn completed(&self) {
        self.completed.notified().await;
    }

    /// Whether the caller's body is incomplete or malformed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether the body waits for the caller, not for Box.
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

/// Keeps a body's attempts alive while its request is under way. Dropping it ends them with an error, so that a caller
/// that never ends its body cannot keep a connection to Box after the response.
pub(crate) struct KeepSending(Rc<Progress>);

impl KeepSending {
    /// The progress of the body.
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
    /// What was read so far; `None` once it exceeds the limit.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    limit: usize,
    trailers: bool,
    /// The names of the trailers that pass to Box.
    passing: Vec<HeaderName>,
    /// Trailers that were read ahead and not sent yet.
    early_trailers: Option<Frame<Bytes>>,
    /// The number of the latest attempt, the only one that may read from the caller.
    attempt: u32,
    progress: Rc<Progress>,
}

impl Upload {
    /// `keep`: how many bytes are kept to be sent again. `expects`: the caller sent `Expect: 100-continue`. `trailers`:
    /// the names of trailers that pass to Box.
    pub(crate) fn new(incoming: IncomingBody, keep: usize, expects: bool, trailers: Vec<HeaderName>) -> Self {
        // With a length of 0, hyper does not poll for the end.
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

    /// Whether the body may turn out to be empty: its length is unknown and the method is GET or HEAD.
    pub(crate) fn may_be_empty(&self, method: &Method) -> bool {
        let is_read = method == Method::GET || method == Method::HEAD;
        let is_open = |source: &Rc<RefCell<Source>>| source.borrow().incoming.size_hint().exact().is_none();
        is_read && self.invitation.is_none() && self.source.as_ref().is_some_and(is_open)
    }

    /// A guard that keeps attempts alive; `None` if the request has no body. Drop it when the request is over.
    pub(crate) fn keep_sending(&self) -> Option<KeepSending> {
        self.progress.clone().map(KeepSending)
    }

    /// Why the caller's body is incomplete or malformed, once that was read.
    pub(crate) fn broken(&self) -> Option<BrokenBody> {
        self.source.as_ref().and_then(|source| source.borrow().incoming.broken().cloned())
    }

    /// Waits for the first bytes, the end, or an error of the body. Returns whether there is a body.
    pub(crate) async fn has_content(&self) -> bool {
        let Some(source) = &self.source else { return false };
        std::future::poll_fn(|cx| {
            let mut source = source.borrow_mut();
            source.read_ahead(cx).map(|_| !source.is_empty())
        })
        .await
    }

    /// The invitation that Box's `100 Continue` opens; `None` if the caller does not expect it.
    pub(crate) fn invitation(&self) -> Option<&Arc<Invitation>> {
        self.invitation.as_ref()
    }

    /// Returns when the caller has gone or its body is malformed. hyper does not notice the end of a connection whose
    /// request body is not polled, so the body is read ahead while the request waits, up to what is kept anyway. If the
    /// caller expects `100 Continue`, which reading sends, it is read only after [`INVITE_AFTER`].
    pub(crate) async fn broke_off(&self) -> BrokenBody {
        // Without a body, hyper itself notices the end of the connection.
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

    /// Whether everything read from the caller so far is still kept.
    pub(crate) fn can_be_sent(&self) -> bool {
        match &self.source {
            None => true,
            Some(source) => {
                let source = source.borrow();
                source.kept.is_some() && !source.trailers && source.incoming.broken().is_none()
            }
        }
    }

    /// Starts a new attempt from the beginning of the body; earlier attempts end with an error. Check
    /// [`Upload::can_be_sent`] first.
    pub(crate) fn attempt(&self) -> Attempt {
        let taken = Rc::default();
        let Some(source) = &self.source else { return Attempt { sending: None, taken, is_http2: false } };
        let number = {
            let mut source = source.borrow_mut();
            source.attempt += 1;
            // An earlier attempt may wait for the caller on a connection that this one needs: wake it, so that it ends.
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

/// Opened by Box's `100 Continue`, or when Box was silent for [`INVITE_AFTER`].
#[derive(Debug, Default)]
pub(crate) struct Invitation {
    open: AtomicBool,
    opened: Notify,
}

impl Invitation {
    /// Allows the body to be polled, upon which hyper sends `100 Continue` to the caller.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.opened.notify_one();
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

/// Waits until the invitation opens, or for [`INVITE_AFTER`].
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

/// Whether a connection has taken the request and will write it, with a callback for that moment.
#[derive(Default)]
pub(crate) struct Taken {
    taken: Cell<bool>,
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Taken {
    /// Whether a connection has taken the request.
    pub(crate) fn is_set(&self) -> bool {
        self.taken.get()
    }

    /// Registers a callback for when a connection takes the request. If none does, the callback is dropped with this.
    pub(crate) fn then(&self, call: impl FnOnce() + 'static) {
        self.then.set(Some(Box::new(call)));
    }

    /// Marks the request as taken and calls the callback.
    pub(crate) fn set(&self) {
        if !self.taken.replace(true)
            && let Some(then) = self.then.take()
        {
            then();
        }
    }
}

/// One attempt to send a body to Box.
pub(crate) struct Attempt {
    sending: Option<Sending>,
    taken: Rc<Taken>,
    is_http2: bool,
}

struct Sending {
    source: Rc<RefCell<Source>>,
    number: u32,
    /// The index of the next kept piece to send.
    next: usize,
    gate: Option<Gate>,
    /// How many frames the connection has polled and may not have written yet.
    frames: usize,
    bytes: usize,
}

/// Why an attempt ended before the end of the body.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The caller's body is incomplete or malformed.
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
    /// Set once a connection has taken the request and will write it. hyper calls `is_end_stream` when it takes the
    /// head. Over HTTP/2 the head is then written in any case. Over HTTP/1.1 hyper writes only when the body is pending
    /// or its buffer is full; if the body fails before, nothing is written at all.
    pub(crate) fn taken(&self) -> &Rc<Taken> {
        &self.taken
    }

    /// Sets whether the connection uses HTTP/2.
    pub(crate) fn over_http2(&mut self, is_http2: bool) {
        self.is_http2 = is_http2;
    }

    /// Whether there is a body of unknown length.
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
            // After trailers, and after the last bytes of a known length, hyper does not poll again.
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
    /// Whether hyper writes its buffer after this frame.
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
                // With a known length, the body is complete with its last bytes. (Over HTTP/2, `IncomingBody` holds
                // those back until the stream has ended.)
                if self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0) {
                    self.progress.complete();
                }
                Some(Ok(frame))
            }
        })
    }

    /// Reads one frame ahead, before any of the body was sent.
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

    /// Whether the body is complete and empty.
    fn is_empty(&self) -> bool {
        self.progress.complete.get() && self.kept_bytes == 0 && self.early_trailers.is_none()
    }

    /// Keeps a piece whatever its size, since nothing of the body was sent yet.
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
