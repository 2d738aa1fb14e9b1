//! Answers of the gateway's own that are no refusals.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use crate::headers;

/// What an SDK that brings its own credentials gets for them: tokens that mean nothing, since the gateway replaces
/// whatever the caller sends. The grants of people's logins want a refresh token too.
pub fn placeholder_token() -> Response<Bytes> {
    json(
        br#"{"access_token":"boxgate-placeholder-not-a-token","refresh_token":"boxgate-placeholder-not-a-token","expires_in":3600,"restricted_to":[],"token_type":"bearer"}"#,
    )
}

/// What Box's realtime server says to one who shall ask for a new URL (Box guide "User events").
pub fn reconnect() -> Response<Bytes> {
    json(br#"{"version":1,"message":"reconnect"}"#)
}

/// The Python SDK of the previous generation cannot read an empty answer.
pub fn revoked() -> Response<Bytes> {
    json(b"{}")
}

fn json(body: &'static [u8]) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body));
    let headers = response.headers_mut();
    headers::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("proxy-status", HeaderValue::from_static("boxgate"));
    response
}
