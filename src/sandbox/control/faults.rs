//! The kinds of faults: of requests, of tokens, of thumbnails.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::sandbox::http::response::Refusal;

/// How the token endpoint answers one call.
#[derive(Debug, Clone)]
pub enum TokenAnswer {
    /// As Box would.
    Normal,
    /// 400 with this OAuth error.
    Refuse {
        /// The OAuth error code, `invalid_grant` for example.
        error: String,
        /// The text in `error_description`.
        description: String,
    },
    /// This status, with Box's error shape.
    Status(u16),
    /// Any response.
    Body {
        /// The status code of the answer.
        status: u16,
        /// The body, sent as it is.
        body: String,
        /// The value of `Content-Type`.
        content_type: String,
    },
    /// No answer, until the caller goes away.
    Hang,
    /// The connection is dropped without an answer.
    Close,
}

impl TokenAnswer {
    /// 400 with this OAuth error.
    pub fn refuse(error: &str, description: &str) -> Self {
        Self::Refuse { error: error.to_owned(), description: description.to_owned() }
    }
}

/// A fault of one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, after the request's body was read.
    Status {
        /// The status code of the answer.
        status: StatusCode,
        /// Headers that replace or complete Box's usual ones.
        headers: HeaderMap,
        /// The body, sent as it is.
        body: Bytes,
    },
    /// 429 as Box sends it.
    RateLimited {
        /// Seconds in `Retry-After`.
        retry_after: u64,
    },
    /// The request is read and the connection dropped (HTTP/2: the stream reset) without an answer.
    CloseBeforeHead,
    /// The usual answer, but the connection is dropped (HTTP/2: the stream reset) after so many bytes of the
    /// body, which must be fewer than it has.
    BreakBodyAfter(u64),
    /// An error in Box's shape, without reading the request's body.
    EarlyAnswer {
        /// The status code of the answer.
        status: StatusCode,
    },
    /// The usual answer without a length, with `Trailer: x-checksum` and that trailer. An HTTP/1.1 caller
    /// gets it only when it sent `TE: trailers`.
    Trailers,
    /// No answer, until the caller goes away.
    Hang,
    /// 200 with these headers, and this body in these pieces; without a length unless the headers have one.
    RawBody {
        /// Headers that replace or complete Box's usual ones.
        headers: HeaderMap,
        /// The body, sent piece by piece.
        pieces: Vec<Bytes>,
    },
    /// 403 `forbidden` to a request with `Expect: 100-continue`, without `100 Continue` and without reading the body.
    RefuseExpectation,
}

impl Fault {
    /// An error of this status in Box's shape.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::Status { status, headers: json_headers(), body: Refusal::usual(status).body(status) }
    }

    /// 200 with this JSON, as a response of Box.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::Status { status: StatusCode::OK, headers: json_headers(), body: value.to_string().into() }
    }

    /// The same with one more header, where a fault has headers.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Self::Status { headers, .. } | Self::RawBody { headers, .. } = &mut self {
            headers.append(name, value);
        }
        self
    }
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// The state of all thumbnails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thumbnail {
    /// 200 with a picture: a PNG, also where a JPEG was asked for.
    #[default]
    Ready,
    /// 202 with `Location` (a placeholder) and `Retry-After`.
    Pending,
    /// 302 to a placeholder: a thumbnail is impossible.
    Impossible,
}
