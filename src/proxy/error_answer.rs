//! Box's error responses on their way to the caller. An error may repeat parts of the request, including the token, so
//! secrets are blanked in its fields and its body.
//!
//! A body is searched while it streams, and a secret is overwritten without changing its length, so that the framing
//! stays the same. Only errors are searched; content and lists stream unchanged.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::ext::ReasonPhrase;

use crate::http::content_encoding;
use crate::http::error::Refusal;
use crate::http::incoming_body::{BrokenBody, IncomingBody};
use crate::net::secret_filter::{self, Audience};
use crate::proxy::box_error::{BoxError, BoxErrorReader};
use crate::upstream::host_pool::Lease;

/// A compressed body is read as a whole, up to this size compressed and four times as much decoded.
const COMPRESSED: usize = 256 * 1024;

/// Whether a response is searched.
pub(crate) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Blanks secrets in the head of a response.
///
/// `ends_at_head`: the response has no body, and its fields describe the one that a GET would get.
pub(crate) fn blank_head<B>(response: &mut Response<B>, ends_at_head: bool) {
    blank_fields(response.headers_mut());
    if ends_at_head && content_encoding::of(response.headers()).is_some() {
        decoded_head(response.headers_mut());
    }
    // The reason phrase of HTTP/1.1, which hyper would pass on, is dropped if it has a secret.
    let reason = response.extensions().get::<ReasonPhrase>();
    if reason.is_some_and(|reason| secret_filter::blanked(reason.as_bytes(), Audience::Callers).is_some()) {
        response.extensions_mut().remove::<ReasonPhrase>();
    }
}

/// Blanks secrets in the values of fields.
pub(crate) fn blank_fields(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        if let Some(blank) = secret_filter::blanked(value.as_bytes(), Audience::Callers) {
            *value = HeaderValue::from_bytes(&blank).unwrap_or(HeaderValue::from_static(secret_filter::MARK));
        }
    }
}

/// Overwrites secrets in a streamed body, and reads what the error says of itself.
#[derive(Default)]
pub(crate) struct Blanker {
    /// Bytes that were not passed on yet: their end may be the beginning of a secret, or they were not searched yet.
    held: Vec<u8>,
    reader: BoxErrorReader,
}

impl Blanker {
    /// For a body that is there as a whole; [`Blanker::finish`] returns it.
    fn holding(body: Vec<u8>) -> Self {
        let mut reader = BoxErrorReader::default();
        reader.feed(&body);
        Self { held: body, reader }
    }

    /// The error's code and request id, as far as they were found since the last call.
    pub(crate) fn take_box_error(&mut self) -> Option<BoxError> {
        self.reader.take()
    }

    /// Takes the next piece and returns what can be passed on.
    ///
    /// Searches only once half of the held bytes can be passed on, so that no byte is searched more than twice, however
    /// small the pieces are.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Bytes {
        self.reader.feed(piece);
        self.held.extend_from_slice(piece);
        let longest = secret_filter::longest();
        if self.held.len() < 2 * longest {
            return Bytes::new();
        }
        secret_filter::overwrite(&mut self.held, Audience::Callers);
        self.held.drain(..self.held.len() - longest).collect()
    }

    /// Returns the rest, at the end of the body.
    pub(crate) fn finish(&mut self) -> Bytes {
        secret_filter::overwrite(&mut self.held, Audience::Callers);
        Bytes::from(std::mem::take(&mut self.held))
    }

    fn len(&self) -> u64 {
        self.held.len() as u64
    }
}

/// The body of an error response.
pub(crate) struct ErrorBody {
    /// Box's body and its connection; `None` once it was read to its end.
    incoming: Option<(IncomingBody, Lease)>,
    blanker: Blanker,
    trailers: Option<HeaderMap>,
    /// Whether bytes have arrived since this was last reset; they may still be held back.
    pub(crate) has_moved: bool,
}

impl ErrorBody {
    /// Searches the body of this response. A compressed one is read and passed on decoded. `body_timeout`: the longest
    /// time without a frame.
    ///
    /// # Errors
    /// A compressed body is incomplete, stalled, or cannot be decoded.
    pub(crate) async fn of(
        response: Response<IncomingBody>,
        lease: Lease,
        body_timeout: Duration,
    ) -> Result<Response<Self>, Refusal> {
        match content_encoding::of(response.headers()) {
            None => Ok(response.map(|incoming| Self {
                incoming: Some((incoming, lease)),
                blanker: Blanker::default(),
                trailers: None,
                has_moved: false,
            })),
            Some(encoding) => {
                let (mut head, incoming) = response.into_parts();
                let body = whole(incoming, body_timeout).await?;
                lease.done();
                // Some servers declare a coding for a response without a body.
                let text = match body.is_empty() {
                    true => Some(body),
                    false => content_encoding::decoded(&encoding, &body, 4 * COMPRESSED),
                };
                let Some(text) = text else { return Err(unreadable()) };
                decoded_head(&mut head.headers);
                let blanker = Blanker::holding(text);
                Ok(Response::from_parts(
                    head,
                    Self { incoming: None, blanker, trailers: None, has_moved: false },
                ))
            }
        }
    }

    /// The next frame.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        while let Some((incoming, _)) = &mut self.incoming {
            let frame = ready!(Pin::new(incoming).poll_frame(cx)).transpose()?;
            self.has_moved = true;
            match frame.map(Frame::into_data) {
                Some(Ok(piece)) => {
                    let ready = self.blanker.feed(&piece);
                    if !ready.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(ready))));
                    }
                }
                Some(Err(trailers)) => {
                    let mut trailers = trailers.into_trailers().unwrap_or_default();
                    blank_fields(&mut trailers);
                    self.trailers = Some(trailers);
                }
                None => {
                    if let Some((_, lease)) = self.incoming.take() {
                        lease.done();
                    }
                }
            }
        }
        let rest = self.blanker.finish();
        let rest = Some(rest).filter(|rest| !rest.is_empty()).map(Frame::data);
        Poll::Ready(rest.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    /// The error's code and request id, as far as they were found since the last call.
    pub(crate) fn take_box_error(&mut self) -> Option<BoxError> {
        self.blanker.take_box_error()
    }

    /// Whether everything was passed on.
    pub(crate) fn is_end(&self) -> bool {
        self.incoming.is_none() && self.blanker.len() == 0 && self.trailers.is_none()
    }

    /// Exact if Box declared a length.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let left = match &self.incoming {
            Some((incoming, _)) => incoming.size_hint().exact(),
            None => Some(0),
        };
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.blanker.len()))
    }
}

/// Removes the fields that are not true of a decoded body: its coding and its length.
fn decoded_head(fields: &mut HeaderMap) {
    fields.remove(CONTENT_ENCODING);
    fields.remove(CONTENT_LENGTH);
}

async fn whole(mut incoming: IncomingBody, body_timeout: Duration) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        let frame = tokio::time::timeout(body_timeout, incoming.frame()).await;
        match frame.map_err(|_| Refusal::UpstreamTimeout)? {
            None => return Ok(body),
            Some(Err(broken)) => {
                return Err(Refusal::UpstreamProtocolError(format!("Box broke off its response: {broken}")));
            }
            Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
        }
        if body.len() > COMPRESSED {
            return Err(unreadable());
        }
    }
}

fn unreadable() -> Refusal {
    let what = "Box sent an error response with a content coding that was not requested, or a damaged or very large one";
    Refusal::UpstreamProtocolError(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    /// In a body of tiny pieces, searching at each piece would search all held bytes each time.
    #[test]
    fn small_pieces_are_searched_together() {
        let text = "canary-of-a-body-in-pieces";
        let secret = Secret::new(text.to_owned());
        // This secret alone makes the blanker hold back this many bytes.
        let least = 9 * text.len();
        let body = format!("{text}{}", "z".repeat(50)).repeat(200);
        let mut blanker = Blanker::default();
        let (mut passed, mut searches) = (Vec::new(), 0);
        for byte in body.as_bytes() {
            let ready = blanker.feed(std::slice::from_ref(byte));
            searches += usize::from(!ready.is_empty());
            passed.extend_from_slice(&ready);
        }
        passed.extend_from_slice(&blanker.finish());
        assert!(passed == body.replace(text, &"*".repeat(text.len())).into_bytes());
        // Longer secrets of other tests may make it fewer.
        assert!(searches <= body.len() / least, "{searches}");
        drop(secret);
    }
}
