//! The request body on its way to Box: streamed, counted, and kept while it is small, so that it can be sent again.
//!
//! hyper invites a waiting caller (`100 Continue`) when the body is first polled. So where the caller expects that
//! invitation, the body is not polled before Box has sent its own, or has been silent for [`INVITE_AFTER`].

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::headers;

/// Contract: "if Box is silent for 1 s the body is invited".
const INVITE_AFTER: Duration = Duration::from_secs(1);

/// What the rest of the request path sees of a body under way.
#[derive(Debug)]
pub struct Progress {
    /// Bytes taken from the caller.
    bytes: Cell<u64>,
    /// When the last of them came.
    moved: Cell<Instant>,
    /// The whole body was taken.
    complete: Cell<bool>,
    /// The caller was asked for more and had none; otherwise it is Box that does not take any.
    starved: Cell<bool>,
}

impl Progress {
    /// Bytes taken from the caller so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The last time that something moved.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the whole body was taken.
    pub fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Whether it is the caller that is waited for.
    pub fn is_starved(&self) -> bool {
        self.starved.get()
    }
}

/// A caller's request body, to be sent one or more times.
pub struct Upload {
    source: Option<Rc<RefCell<Source>>>,
    progress: Option<Rc<Progress>>,
    invitation: Option<Arc<Invitation>>,
}

struct Source {
    incoming: Incoming,
    /// What was taken so far; `None` once it is more than the limit.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    limit: usize,
    trailers: bool,
    /// Taken ahead of their time.
    early_trailers: Option<Frame<Bytes>>,
    /// Only the latest attempt may take from the caller.
    attempt: u32,
    progress: Rc<Progress>,
}

impl Upload {
    /// `keep`: bytes that are kept to be sent again. `expects`: the caller waits for an invitation.
    pub fn new(incoming: Incoming, keep: usize, expects: bool) -> Self {
        if incoming.is_end_stream() {
            return Self::none();
        }
        let progress = Rc::new(Progress {
            bytes: Cell::new(0),
            moved: Cell::new(Instant::now()),
            complete: Cell::new(false),
            starved: Cell::new(false),
        });
        let source = Source {
            incoming,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            limit: keep,
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

    /// No body.
    pub fn none() -> Self {
        Self { source: None, progress: None, invitation: None }
    }

    /// `None` where the request has no body.
    pub fn progress(&self) -> Option<&Rc<Progress>> {
        self.progress.as_ref()
    }

    /// The gate that Box's interim answer opens; `None` where the caller expects none.
    pub fn invitation(&self) -> Option<&Arc<Invitation>> {
        self.invitation.as_ref()
    }

    /// Returns when the caller has gone. hyper does not see the end of a connection whose request body nobody polls,
    /// so some of the body is read ahead while the request waits, up to what is kept anyway. Where that invites the
    /// body, it is done after the time for which Box may be silent.
    pub async fn caller_left(&self) {
        // hyper sees the end where there is no body.
        let Some(source) = &self.source else { return std::future::pending().await };
        if let Some(invitation) = &self.invitation {
            tokio::time::sleep(INVITE_AFTER).await;
            invitation.open();
        }
        std::future::poll_fn(|cx| {
            let mut source = source.borrow_mut();
            while source.kept_bytes < source.limit && !source.progress.complete.get() {
                match std::task::ready!(source.read(cx)) {
                    None => {}
                    Some(Err(_)) => return Poll::Ready(()),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(piece) => source.keep_ahead(piece),
                        Err(trailers) => source.early_trailers = Some(trailers),
                    },
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether everything taken from the caller so far is still at hand.
    pub fn can_be_sent(&self) -> bool {
        match &self.source {
            None => true,
            Some(source) => {
                let source = source.borrow();
                source.kept.is_some() && !source.trailers
            }
        }
    }

    /// The body from its beginning; earlier attempts end with an error. Check [`Upload::can_be_sent`] first.
    pub fn attempt(&self) -> Attempt {
        let Some(source) = &self.source else { return Attempt::empty() };
        let number = {
            let mut source = source.borrow_mut();
            source.attempt += 1;
            source.attempt
        };
        let gate = self.invitation.clone().filter(|invitation| !invitation.is_open()).map(Gate::new);
        Attempt(Some(Sending { source: source.clone(), number, next: 0, gate }))
    }
}

/// Box's `100 Continue`, or its stand-in.
#[derive(Debug, Default)]
pub struct Invitation {
    open: AtomicBool,
    opened: Notify,
}

impl Invitation {
    /// Lets the body be polled, and thereby the caller be invited.
    pub fn open(&self) {
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

/// One sending of a body.
pub struct Attempt(Option<Sending>);

struct Sending {
    source: Rc<RefCell<Source>>,
    number: u32,
    /// Of the kept pieces, the next to send.
    next: usize,
    gate: Option<Gate>,
}

/// Why a body broke off.
#[derive(Debug)]
pub enum UploadError {
    /// The caller broke off, or sent what is not HTTP.
    Caller(hyper::Error),
    /// A later attempt has taken over.
    Superseded,
}

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(error) => write!(f, "the caller's body broke off: {error}"),
            Self::Superseded => f.write_str("the request is sent again elsewhere"),
        }
    }
}

impl std::error::Error for UploadError {}

impl Attempt {
    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(sending) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        if let Some(gate) = &mut sending.gate {
            std::task::ready!(gate.waiting.as_mut().poll(cx));
            sending.gate = None;
        }
        let mut source = sending.source.borrow_mut();
        if source.attempt != sending.number {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if let Some(piece) = source.kept.as_ref().and_then(|kept| kept.get(sending.next)) {
            sending.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if let Some(trailers) = source.early_trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        let polled = source.poll(cx);
        if matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            sending.next += 1;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            None => true,
            Some(sending) => {
                let source = sending.source.borrow();
                let all_sent = source.kept.as_ref().is_none_or(|kept| sending.next >= kept.len());
                all_sent && source.early_trailers.is_none() && source.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.0 else { return SizeHint::with_exact(0) };
        let source = sending.source.borrow();
        let unsent: usize = source.kept.iter().flatten().skip(sending.next).map(Bytes::len).sum();
        match source.incoming.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + unsent as u64),
            None => SizeHint::default(),
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = self.read(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.keep(piece.clone());
        }
        polled
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.starved.set(polled.is_pending());
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        self.progress.moved.set(Instant::now());
        let frame = match frame {
            None => {
                self.progress.complete.set(true);
                None
            }
            Some(Err(error)) => Some(Err(UploadError::Caller(error))),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers_to_box(trailers);
                }
                match frame.data_ref() {
                    Some(piece) => self.progress.bytes.set(self.progress.bytes.get() + piece.len() as u64),
                    None => self.trailers = true,
                }
                self.progress.complete.set(self.incoming.is_end_stream());
                Some(Ok(frame))
            }
        };
        Poll::Ready(frame)
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
