//! Box's error answers on their way to the caller: an error may repeat what it is about, the token among it. So live
//! secrets are blanked in its fields and in its body.
//!
//! A body is searched as it comes, and a secret overwritten in its length, so that nothing of its framing changes. Only
//! answers that are errors are searched; content and lists stream untouched.

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
use crate::upstream::pool::Lease;

/// A compressed body is read as a whole, up to this size on the wire and four times as much as text.
const COMPRESSED: usize = 256 * 1024;

/// Whether an answer is searched.
pub(crate) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Blanks secrets in an answer's head.
///
/// The head of an answer that ends with it says what is true of the body that a GET would get.
pub(crate) fn blank_head<B>(response: &mut Response<B>, ends_at_head: bool) {
    blank_fields(response.headers_mut());
    if ends_at_head && content_encoding::of(response.headers()).is_some() {
        decoded_head(response.headers_mut());
    }
    // Of HTTP/1.1; hyper hands it on to the caller, who can do without it.
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

/// Overwrites secrets in a body that comes in pieces.
#[derive(Default)]
pub(crate) struct Blanker {
    /// What has not been handed on: its end may be the beginning of a secret, and it may not have been searched yet.
    held: Vec<u8>,
}

impl Blanker {
    /// What of the body so far can be handed on.
    ///
    /// Nothing is searched until half of it can be handed on: no byte is searched more than twice, however small the
    /// pieces are.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Bytes {
        self.held.extend_from_slice(piece);
        let longest = secret_filter::longest();
        if self.held.len() < 2 * longest {
            return Bytes::new();
        }
        secret_filter::overwrite(&mut self.held, Audience::Callers);
        self.held.drain(..self.held.len() - longest).collect()
    }

    /// The rest, at the end of the body.
    pub(crate) fn finish(&mut self) -> Bytes {
        secret_filter::overwrite(&mut self.held, Audience::Callers);
        Bytes::from(std::mem::take(&mut self.held))
    }

    fn len(&self) -> u64 {
        self.held.len() as u64
    }
}

/// The body of an error answer.
pub(crate) struct ErrorBody {
    /// Box's body and its connection; `None` once it was read to its end.
    incoming: Option<(IncomingBody, Lease)>,
    blanker: Blanker,
    trailers: Option<HeaderMap>,
    /// Something has come since this was last asked for, though it may be held back.
    pub(crate) has_moved: bool,
}

impl ErrorBody {
    /// Searches this answer's body. Where it is compressed, it is read and handed on as it is meant. `body_timeout`: the
    /// longest without a frame.
    ///
    /// # Errors
    /// Box broke off or stalled in the midst of a compressed body, or it cannot be read.
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
                // Some servers say a coding of an answer without a body.
                let text = match body.is_empty() {
                    true => Some(body),
                    false => content_encoding::decoded(&encoding, &body, 4 * COMPRESSED),
                };
                let Some(text) = text else { return Err(unreadable()) };
                decoded_head(&mut head.headers);
                let blanker = Blanker { held: text };
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

    /// Whether everything was handed on.
    pub(crate) fn is_end(&self) -> bool {
        self.incoming.is_none() && self.blanker.len() == 0 && self.trailers.is_none()
    }

    /// Exact where Box said a length.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let left = match &self.incoming {
            Some((incoming, _)) => incoming.size_hint().exact(),
            None => Some(0),
        };
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.blanker.len()))
    }
}

/// What stays true of an answer's head where its body is decoded: neither its coding nor its length.
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
                return Err(Refusal::UpstreamProtocolError(format!("Box broke off its answer: {broken}")));
            }
            Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
        }
        if body.len() > COMPRESSED {
            return Err(unreadable());
        }
    }
}

fn unreadable() -> Refusal {
    let what =
        "Box sent an error answer in a compression that was not asked for, or a damaged or very large one";
    Refusal::UpstreamProtocolError(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    /// A body in tiny pieces would cost a search of all that is held for each of them.
    #[test]
    fn however_small_the_pieces_are_they_are_searched_together() {
        let text = "canary-of-a-body-in-pieces";
        let secret = Secret::new(text.to_owned());
        // This secret alone holds back so much.
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
        // Of other tests' longer secrets there may be fewer.
        assert!(searches <= body.len() / least, "{searches}");
        drop(secret);
    }
}
