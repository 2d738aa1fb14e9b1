//! The body of a request, recorded while it is read.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::{
    lock::lock,
    recorder::{BodyRecord, KEPT_BODY},
    response::Refusal,
};

/// How long an HTTP/1.1 request body stays unread after an early answer. Closing a socket with unread bytes
/// resets the connection, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(5);

/// The largest JSON body that the sandbox reads.
const JSON_LIMIT: usize = 1024 * 1024;

/// The body of a request, recorded while it is read. The first read sends HTTP/1.1's `100 Continue`, so it must not be
/// read before it is needed.
pub(crate) struct RequestBody {
    incoming: Incoming,
    is_http2: bool,
    record: Arc<Mutex<BodyRecord>>,
    begun: bool,
    expects_continue: bool,
    /// An early answer: nothing more may be read.
    abandoned: bool,
}

impl RequestBody {
    pub(crate) fn new(
        incoming: Incoming,
        head: &http::request::Parts,
        record: Arc<Mutex<BodyRecord>>,
    ) -> Self {
        let expects_continue = head.headers.get(http::header::EXPECT).is_some();
        let is_http2 = head.version == http::Version::HTTP_2;
        Self { incoming, is_http2, record, begun: false, expects_continue, abandoned: false }
    }

    /// The whole body as JSON.
    pub(crate) async fn json(&mut self) -> Result<Value, Refusal> {
        parsed(&self.read_all(JSON_LIMIT).await?)
    }

    /// The whole body as JSON, of an operation whose body may be left out; then it is null.
    pub(crate) async fn json_or_empty(&mut self) -> Result<Value, Refusal> {
        let bytes = self.read_all(JSON_LIMIT).await?;
        if bytes.is_empty() { Ok(Value::Null) } else { parsed(&bytes) }
    }

    /// The whole body, as long as it is not larger than `limit`.
    pub(crate) async fn read_all(&mut self, limit: usize) -> Result<Bytes, Refusal> {
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

    /// Stops reading the body.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Reads and discards the rest, so that the connection can carry the next request, unless the caller still waits
    /// for `100 Continue`.
    pub(crate) async fn drain(&mut self) {
        let uninvited = self.expects_continue && !self.begun;
        if self.abandoned || uninvited {
            return;
        }
        while let Some(Ok(_)) = self.frame().await {}
    }

    /// Finishes with the body after the response was made.
    pub(crate) fn linger(self, version: http::Version) {
        // In HTTP/2 an unread body affects only its stream.
        if version < http::Version::HTTP_2 && !self.incoming.is_end_stream() {
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(self);
            });
        }
    }
}

fn parsed(bytes: &[u8]) -> Result<Value, Refusal> {
    let message = "Entity body should be a correctly nested resource attribute name/value pair";
    serde_json::from_slice(bytes).map_err(|_| Refusal::bad_request(message))
}

/// The caller broke off its request's body.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl std::error::Error for BrokenOff {}

impl HttpBody for RequestBody {
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
