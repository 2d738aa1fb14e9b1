//! The bodies of a sandbox: [`Body`] goes out, [`Received`] comes in. Neither ever holds more than it must.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Sleep;

use super::{
    answer::Refusal,
    ledger::{InFlight, KEPT_BODY},
    lock,
};

/// The largest piece of an answer handed to hyper at once; hyper asks for the next when the caller has read
/// on.
const PIECE: usize = 64 * 1024;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// How long what was sent before a break gets to leave the process: hyper discards what it has not written
/// yet.
const BREAK_PAUSE: Duration = Duration::from_millis(25);

/// How long an HTTP/1.1 request body stays unread after an early answer. Closing a socket with unread bytes
/// resets the connection, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(5);

/// The largest JSON body that the sandbox reads.
const JSON_LIMIT: usize = 1024 * 1024;

/// Why hyper must drop the connection, or reset the stream.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

/// The body of an answer: some bytes, then some zeros, then perhaps trailers; or less, when it is to break.
#[derive(Default)]
pub(super) struct Body {
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

impl Body {
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { parts: VecDeque::from([bytes.into()]), ..Self::default() }
    }

    pub(super) fn zeros(length: u64) -> Self {
        Self { zeros: length, ..Self::default() }
    }

    /// These pieces one by one, without a length.
    pub(super) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self { parts: pieces.into(), chunked: true, ..Self::default() }
    }

    pub(super) fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum::<u64>() + self.zeros
    }

    pub(super) fn is_sized(&self) -> bool {
        !self.chunked
    }

    pub(super) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.chunked = true;
        self.trailers = Some(trailers);
        self
    }

    /// Breaks after `length` bytes, whatever length was announced.
    pub(super) fn breaking_after(mut self, length: u64) -> Self {
        self.cut = Some(Cut { left: length, pause: None });
        self
    }

    /// Counts the request as in flight until this body has been sent or dropped.
    pub(super) fn guarded(mut self, mut guard: InFlight) -> Self {
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

impl HttpBody for Body {
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
                    // From here on it is the sandbox that breaks off, not its caller.
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

/// What has been read of a request's body so far; shared with the ledger, where tests look at it.
#[derive(Default)]
pub(super) struct BodyRecord {
    pub(super) total: u64,
    pub(super) beginning: BytesMut,
    pub(super) trailers: HeaderMap,
}

/// The body of a request. It is recorded while it is read and at no other time: HTTP/1.1's `100 Continue`
/// goes out when it is first asked for, so nobody may ask before it is wanted.
pub(super) struct Received {
    incoming: Incoming,
    is_http2: bool,
    record: Arc<Mutex<BodyRecord>>,
    begun: bool,
    expects_continue: bool,
    /// An early answer: nothing more may be read.
    abandoned: bool,
}

impl Received {
    pub(super) fn new(
        incoming: Incoming,
        head: &http::request::Parts,
        record: Arc<Mutex<BodyRecord>>,
    ) -> Self {
        let expects_continue = head.headers.get(http::header::EXPECT).is_some();
        let is_http2 = head.version == http::Version::HTTP_2;
        Self { incoming, is_http2, record, begun: false, expects_continue, abandoned: false }
    }

    /// The whole body as JSON.
    pub(super) async fn json(&mut self) -> Result<Value, Refusal> {
        let bytes = self.collected(JSON_LIMIT).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Refusal::bad_request(
                "Entity body should be a correctly nested resource attribute name/value pair",
            )
        })
    }

    /// The whole body, as long as it is not larger than `limit`.
    pub(super) async fn collected(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|_| Refusal::bad_request("The request body could not be read"))?;
            if let Some(data) = frame.data_ref() {
                if all.len() + data.len() > limit {
                    return Err(Refusal::error(413, "request_entity_too_large", "Request Entity Too Large"));
                }
                all.extend_from_slice(data);
            }
        }
        Ok(all.freeze())
    }

    /// Decides that the body will not be read (any further).
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Reads what nobody wanted, so that the connection can carry the next request; unless the caller waits
    /// to be invited and has not been.
    pub(super) async fn settle(&mut self) {
        let uninvited = self.expects_continue && !self.begun;
        if self.abandoned || uninvited {
            return;
        }
        while let Some(Ok(_)) = self.frame().await {}
    }

    /// Takes leave of the body after the answer was made.
    pub(super) fn leave(self, version: http::Version) {
        // In HTTP/2 an unread body costs its stream alone.
        if version < http::Version::HTTP_2 && !self.incoming.is_end_stream() {
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(self);
            });
        }
    }
}

/// The caller broke off its request's body.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl std::error::Error for BrokenOff {}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.begun = true;
        let mut frame = ready!(Pin::new(&mut self.incoming).poll_frame(context))
            .map(|frame| frame.map_err(|_| BrokenOff));
        // To hyper a stream that was reset with NO_ERROR has ended.
        if frame.is_none() && self.is_http2 && !self.incoming.is_end_stream() {
            frame = Some(Err(BrokenOff));
        }
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            let mut record = lock(&self.record);
            record.total += data.len() as u64;
            let room = KEPT_BODY.saturating_sub(record.beginning.len()).min(data.len());
            record.beginning.extend_from_slice(data.get(..room).unwrap_or_default());
        }
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            lock(&self.record).trailers = trailers.clone();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
