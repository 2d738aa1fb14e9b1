//! The body of a response: bytes or zeros, in one or several pieces, complete or broken off on purpose.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::recorder::InFlight;

/// The largest piece of an answer handed to hyper at once; hyper polls for the next when the caller has read on.
const PIECE: usize = 64 * 1024;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// How long what was sent before a break gets to leave the process: hyper discards what it has not written
/// yet.
const BREAK_PAUSE: Duration = Duration::from_millis(25);

/// Why hyper must drop the connection, or reset the stream.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

/// The body of an answer: some bytes, then some zeros, then perhaps trailers; or less, when it is to break.
#[derive(Default)]
pub(crate) struct ResponseBody {
    parts: VecDeque<Bytes>,
    zeros: u64,
    /// Without a length it is sent chunked (HTTP/1.1).
    chunked: bool,
    trailers: Option<HeaderMap>,
    cut: Option<Cut>,
    guard: Option<InFlight>,
}

struct Cut {
    left: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { parts: VecDeque::from([bytes.into()]), ..Self::default() }
    }

    pub(crate) fn zeros(length: u64) -> Self {
        Self { zeros: length, ..Self::default() }
    }

    /// These pieces one by one, without a length.
    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self { parts: pieces.into(), chunked: true, ..Self::default() }
    }

    pub(crate) fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum::<u64>() + self.zeros
    }

    pub(crate) fn is_sized(&self) -> bool {
        !self.chunked
    }

    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.chunked = true;
        self.trailers = Some(trailers);
        self
    }

    /// Breaks after `length` bytes, whatever length was announced.
    pub(crate) fn breaking_after(mut self, length: u64) -> Self {
        self.cut = Some(Cut { left: length, pause: None });
        self
    }

    /// Counts the request as in flight until this body has been sent or dropped.
    pub(crate) fn guarded(mut self, mut guard: InFlight) -> Self {
        if self.is_end_stream() {
            guard.finish();
        }
        self.guard = Some(guard);
        self
    }

    fn take(&mut self, at_most: u64) -> Option<Bytes> {
        let at_most = usize::try_from(at_most).unwrap_or(PIECE).min(PIECE);
        while let Some(part) = self.parts.front_mut() {
            if part.is_empty() {
                self.parts.pop_front();
                continue;
            }
            return Some(part.split_to(part.len().min(at_most)));
        }
        let length = usize::try_from(self.zeros).unwrap_or(PIECE).min(at_most);
        self.zeros -= length as u64;
        (length > 0).then(|| Bytes::from_static(&ZEROS).slice(..length))
    }

    fn finish(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.finish();
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let mut limit = u64::MAX;
        let mut is_cut = false;
        if let Some(cut) = &mut this.cut {
            if cut.left == 0 {
                let pause = cut.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(BREAK_PAUSE)));
                ready!(pause.as_mut().poll(context));
                this.finish();
                return Poll::Ready(Some(Err(Broken)));
            }
            limit = cut.left;
        }
        let frame = match this.take(limit) {
            Some(piece) => {
                if let Some(cut) = &mut this.cut {
                    cut.left -= piece.len() as u64;
                    // From here on the sandbox itself breaks off, not its caller.
                    is_cut = cut.left == 0;
                }
                Some(Ok(Frame::data(piece)))
            }
            None => this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
        };
        // hyper drops a body that says it has ended without asking once more.
        if frame.is_none() || is_cut || this.is_end_stream() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none()
            && self.trailers.is_none()
            && self.zeros == 0
            && self.parts.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked { SizeHint::default() } else { SizeHint::with_exact(self.length()) }
    }
}
