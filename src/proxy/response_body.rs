//! The response's body on its way to the caller: streamed and counted, and broken off if Box's body is incomplete.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tracing::{info, warn};

use crate::http::headers;
use crate::http::incoming_body::{BrokenBody, IncomingBody};
use crate::limits::concurrency::Guard;
use crate::proxy::box_error::BoxError;
use crate::proxy::drain::Drain;
use crate::proxy::error_answer::ErrorBody;
use crate::proxy::request_record::{End, RequestRecord};
use crate::proxy::rewrite::Looked;
use crate::proxy::upstream_request::LONG_ANSWER;
use crate::routing::route::{Access, Destination};
use crate::upstream::host_pool::Lease;
use crate::upstream::request_body::KeepSending;

/// The body that the caller gets. The record of the request ends with it.
pub(crate) enum Answer {
    /// Made by the gateway.
    Own {
        /// The rest of the body.
        body: Bytes,
        /// The record; `None`: it continues in a tunnel.
        record: Option<Box<RequestRecord>>,
    },
    /// Box's.
    Streamed(Streamed),
}

/// The source of the bytes of Box's response.
pub(crate) enum Source {
    /// Box's body, unchanged.
    Whole {
        /// Box's body.
        incoming: IncomingBody,
        /// Its connection; `None` once it was returned to the pool.
        lease: Option<Lease>,
    },
    /// Box's body, edited. Boxed, since few are.
    Looked(Box<Looked>),
    /// The body of an error of Box, searched for secrets.
    Error(Box<ErrorBody>),
    /// The response has no body.
    Empty,
}

impl Source {
    /// Box's body, passed on unchanged.
    pub(crate) fn whole(incoming: IncomingBody, lease: Lease) -> Self {
        Self::Whole { incoming, lease: Some(lease) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match self {
            Self::Whole { incoming, lease } => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                let ended = matches!(polled, Poll::Ready(None)) || incoming.is_end_stream();
                if let Some(lease) = lease.take_if(|_| ended) {
                    lease.done();
                }
                polled
            }
            Self::Looked(looked) => looked.poll(cx),
            Self::Error(error) => error.poll(cx),
            Self::Empty => Poll::Ready(None),
        }
    }

    /// Whether a body that is searched or edited has received bytes since the last call, which may still be held back.
    fn has_moved(&mut self) -> bool {
        match self {
            Self::Whole { .. } | Self::Empty => false,
            Self::Looked(looked) => std::mem::take(&mut looked.has_moved),
            Self::Error(error) => std::mem::take(&mut error.has_moved),
        }
    }

    /// Of an error: what it says of itself, as far as that was read since the last call.
    fn take_box_error(&mut self) -> Option<BoxError> {
        match self {
            Self::Whole { .. } | Self::Empty => None,
            Self::Looked(looked) => looked.box_error.take(),
            Self::Error(error) => error.take_box_error(),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Whole { incoming, .. } => incoming.is_end_stream(),
            Self::Looked(looked) => looked.ahead.is_empty() && looked.rest.is_none(),
            Self::Error(error) => error.is_end(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { incoming, .. } => incoming.size_hint(),
            Self::Looked(looked) => looked.size_hint(),
            Self::Error(error) => error.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// How a response of Box is streamed.
pub(crate) struct Stream {
    /// The request's body, which may still be under way during the response; its bytes count as progress.
    upload: Option<KeepSending>,
    body_timeout: Duration,
    /// Set for a long poll, for which a drain does not wait.
    ends_with: Option<Rc<Drain>>,
    /// Its slots among the requests in flight.
    slots: Option<Guard>,
}

impl Stream {
    /// For a response to this request.
    pub(crate) fn new(
        body_timeout: Duration,
        drain: &Rc<Drain>,
        to: &Destination<'_>,
        upload: Option<KeepSending>,
        slots: Option<Guard>,
    ) -> Self {
        match to.access {
            Access::Realtime => {
                let ends_with = Some(drain.clone());
                Self { upload, body_timeout: body_timeout.max(LONG_ANSWER), ends_with, slots }
            }
            Access::Token | Access::Presigned => Self { upload, body_timeout, ends_with: None, slots },
        }
    }

    /// Waits for the future; `None` if a drain has begun that does not wait for this response. Takes a pinned future,
    /// since otherwise its state would be stored twice.
    pub(crate) async fn unless_stopping<T>(&self, future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match &self.ends_with {
            None => Some(future.await),
            Some(drain) => tokio::select! {
                biased;
                done = future => Some(done),
                () = drain.begun() => None,
            },
        }
    }
}

/// The body of a response of Box, under way.
pub(crate) struct Streamed {
    source: Source,
    /// The rest of a frame that is passed on in pieces.
    rest: Bytes,
    record: Box<RequestRecord>,
    /// Dropped at the end of the response.
    upload: Option<KeepSending>,
    body_timeout: Duration,
    /// Since when the gateway has been waiting for Box. Time spent by the caller does not count.
    waiting: Option<Instant>,
    stalled: Option<Pin<Box<Sleep>>>,
    stopping: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Held until the last byte of the response.
    slots: Option<Guard>,
}

/// Why a response's body ends early. The caller sees a broken connection.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Box's body is incomplete or malformed.
    Box(BrokenBody),
    /// The caller's request body broke off during the response.
    Caller,
    /// No byte moved for longer than `body_timeout`.
    Stalled,
    /// The gateway is stopping.
    Stopping,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box(broken) => write!(f, "Box broke off its response: {broken}"),
            Self::Caller => f.write_str("the caller broke off its request body during Box's response"),
            Self::Stalled => f.write_str("Box's response stalled for longer than [upstream] body_timeout"),
            Self::Stopping => f.write_str("a drain does not wait for a long poll"),
        }
    }
}

impl Error for Broken {}

impl Answer {
    /// A response of the gateway's own.
    pub(crate) fn own(body: Bytes, mut record: Box<RequestRecord>) -> Self {
        // hyper does not poll an empty body.
        if body.is_empty() {
            record.ended(End::Complete);
        }
        Self::Own { body, record: Some(record) }
    }

    /// The response to a CONNECT, whose record continues in the tunnel.
    pub(crate) fn begin_of_tunnel() -> Self {
        Self::Own { body: Bytes::new(), record: None }
    }

    /// The next frame, with at most `most` bytes.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Own { body, .. } if body.is_empty() => Poll::Ready(None),
            Self::Own { body, record } => {
                let piece = body.split_to(most.min(body.len()));
                if let Some(record) = record {
                    record.sent(piece.len());
                    if body.is_empty() {
                        record.ended(End::Complete);
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Self::Streamed(streamed) => streamed.poll(cx, most),
        }
    }

    /// A response of Box.
    pub(crate) fn streamed(source: Source, record: Box<RequestRecord>, stream: Stream) -> Self {
        let Stream { upload, body_timeout, ends_with, slots } = stream;
        let stopping = ends_with.map(|drain| {
            let stopping: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { drain.begun().await });
            stopping
        });
        let (rest, waiting, stalled) = (Bytes::new(), None, None);
        let mut streamed =
            Streamed { source, rest, record, upload, body_timeout, waiting, stalled, stopping, slots };
        streamed.finish_at_end();
        Self::Streamed(streamed)
    }
}

impl Streamed {
    fn finish_at_end(&mut self) {
        // hyper does not poll after the last byte of a known length.
        if self.is_end() || self.size_hint().exact() == Some(0) {
            self.finish();
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.source.size_hint().exact().map(|left| left + self.rest.len() as u64);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn is_end(&self) -> bool {
        self.rest.is_empty() && self.source.is_end()
    }

    fn finish(&mut self) {
        self.slots = None;
        self.upload = None;
        self.record.ended(End::Complete);
        if let Source::Whole { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.done();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(most))));
        }
        let polled = self.source.poll(cx);
        if let Some(of_body) = self.source.take_box_error() {
            self.record.add_box_error(of_body);
        }
        if self.source.has_moved() || polled.is_ready() {
            self.waiting = None;
        }
        let broken = match polled {
            Poll::Pending => {
                if self.has_stalled(cx) {
                    Broken::Stalled
                } else if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready())
                {
                    Broken::Stopping
                } else {
                    return Poll::Pending;
                }
            }
            Poll::Ready(None) => {
                self.finish();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers_from_box(trailers);
                }
                let frame = match frame.into_data() {
                    Ok(bytes) => {
                        self.record.answer_passes(&bytes);
                        self.rest = bytes;
                        self.piece(most)
                    }
                    Err(trailers) => {
                        self.finish_at_end();
                        trailers
                    }
                };
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(_))) if self.is_callers_fault() => Broken::Caller,
            Poll::Ready(Some(Err(broken))) => Broken::Box(broken),
        };
        let request_id = self.record.request_id_text();
        match &broken {
            Broken::Caller => {}
            Broken::Stopping => info!(request_id, "{broken}"),
            Broken::Box(_) | Broken::Stalled => {
                let host = self.record.sent_to();
                if let Some(left_out) = self.record.repeats().note(&format!("body {host}")) {
                    warn!(request_id, host, "{broken}{left_out}");
                }
            }
        }
        self.record.ended(match &broken {
            Broken::Caller => End::CallerLeft,
            Broken::Stopping => End::Stopped,
            Broken::Box(_) | Broken::Stalled => End::BoxBroke,
        });
        Poll::Ready(Some(Err(broken)))
    }

    fn piece(&mut self, most: usize) -> Frame<Bytes> {
        let piece =
            if self.rest.len() > most { self.rest.split_to(most) } else { std::mem::take(&mut self.rest) };
        self.record.sent(piece.len());
        self.finish_at_end();
        Frame::data(piece)
    }

    fn is_callers_fault(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.progress().is_broken())
    }

    /// Whether the body has stalled. One timer serves the whole body and is reset only when it fires, so that progress
    /// costs no timer operations.
    fn has_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let moved = self.upload.as_ref().map_or(since, |upload| upload.progress().moved().max(since));
        let deadline = moved + self.body_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.get_mut().poll_piece(cx, usize::MAX)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { body, .. } => body.is_empty(),
            Self::Streamed(streamed) => streamed.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { body, .. } => SizeHint::with_exact(body.len() as u64),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}
