//! The answer's body on its way to the caller: streamed, counted, and broken where Box broke it.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tracing::warn;

use crate::connect::chain;
use crate::exchange::{End, Exchange};
use crate::upload::Progress;
use crate::upstream::Lease;

/// What the caller gets; the record of the request ends with it.
pub enum Answer {
    /// Made by the gateway.
    Own {
        /// `None` once it was taken.
        body: Option<Bytes>,
        /// The record.
        exchange: Exchange,
    },
    /// Box's.
    Streamed(Streamed),
}

/// A body of Box under way.
pub struct Streamed {
    incoming: Incoming,
    lease: Option<Lease>,
    exchange: Exchange,
    /// A request body may still be under way while the answer is; its bytes count as movement.
    upload: Option<Rc<Progress>>,
    body_timeout: Duration,
    moved: Instant,
    stalled: Option<Pin<Box<Sleep>>>,
}

/// Why a body ends before its end. The caller sees a broken connection.
#[derive(Debug)]
pub enum Broken {
    /// Box broke off.
    Box(hyper::Error),
    /// Nothing moved for too long.
    Stalled,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box(error) => write!(f, "Box broke off its answer: {}", chain(error)),
            Self::Stalled => f.write_str("Box's answer stalled for longer than [upstream] body_timeout"),
        }
    }
}

impl Error for Broken {}

impl Answer {
    /// An answer of the gateway's own.
    pub fn own(body: Bytes, method: &Method, mut exchange: Exchange) -> Self {
        // hyper does not ask for a body that is not sent.
        if body.is_empty() || method == Method::HEAD {
            exchange.ended(End::Complete);
        }
        Self::Own { body: Some(body), exchange }
    }

    /// Box's answer.
    pub fn streamed(
        incoming: Incoming,
        lease: Lease,
        exchange: Exchange,
        upload: Option<Rc<Progress>>,
        body_timeout: Duration,
    ) -> Self {
        let mut streamed = Streamed {
            incoming,
            lease: Some(lease),
            exchange,
            upload,
            body_timeout,
            moved: Instant::now(),
            stalled: None,
        };
        streamed.finish_at_end();
        Self::Streamed(streamed)
    }
}

impl Streamed {
    fn finish_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.exchange.ended(End::Complete);
        if let Some(lease) = self.lease.take() {
            lease.done();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let broken = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                if !self.has_stalled(cx) {
                    return Poll::Pending;
                }
                Broken::Stalled
            }
            Poll::Ready(None) => {
                self.finish();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = Instant::now();
                self.exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                self.finish_at_end();
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => Broken::Box(error),
        };
        self.exchange.ended(End::BoxBroke);
        warn!(request_id = self.exchange.request_id_text(), "{broken}");
        Poll::Ready(Some(Err(broken)))
    }

    /// One timer for the whole body, set anew only when it fires: movement is noted, not timed.
    fn has_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        let moved = self.upload.as_ref().map_or(self.moved, |upload| upload.moved().max(self.moved));
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
        match self.get_mut() {
            Self::Own { body, exchange } => Poll::Ready(body.take().map(|body| {
                exchange.sent(body.len());
                exchange.ended(End::Complete);
                Ok(Frame::data(body))
            })),
            Self::Streamed(streamed) => streamed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { body, .. } => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Streamed(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { body, .. } => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}
