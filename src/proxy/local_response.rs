//! Answers of the gateway's own that are no refusals.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use hyper::ext::ReasonPhrase;

use crate::access::browser::Page;
use crate::http::error::Refusal;
use crate::http::headers;
use crate::oauth::client_credentials::PLACEHOLDER;
use crate::proxy::forward_proxy::ForwardProxy;

/// Where the forward proxy's CA is given to whoever shall trust it.
const CA_PATH: &str = "/.well-known/boxgate/ca.pem";

/// Whether the forward proxy's CA is asked for.
pub(crate) fn is_for_ca(method: &Method, path: &str) -> bool {
    path == CA_PATH && (method == Method::GET || method == Method::HEAD)
}

/// The forward proxy's CA as PEM: roots and intermediates.
///
/// # Errors
/// There is none, or a page asks.
pub(crate) fn ca(forward_proxy: Option<&ForwardProxy>, page: Page<'_>) -> Result<Response<Bytes>, Refusal> {
    if page.is_one() {
        return Err(Refusal::OriginNotAllowed);
    }
    let pem = forward_proxy.and_then(ForwardProxy::ca_pem);
    Ok(made(pem.ok_or(Refusal::NoCertificateAuthority)?, "application/x-pem-file"))
}

/// The answer to a CONNECT. A tunnel begins behind its head.
pub(crate) fn tunnel_opened() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    response
}

/// What an SDK that brings its own credentials gets for them: tokens that mean nothing, since the gateway replaces
/// whatever the caller sends. The grants of people's logins want a refresh token too.
pub(crate) fn placeholder_token() -> Response<Bytes> {
    let body = format!(
        r#"{{"access_token":"{PLACEHOLDER}","refresh_token":"{PLACEHOLDER}","expires_in":3600,"restricted_to":[],"token_type":"bearer"}}"#
    );
    made(body.into(), "application/json")
}

/// What Box's realtime server says to one who shall ask for a new URL
/// (`docs/box-api.md#long-answers-and-long-polls`).
pub(crate) fn reconnect() -> Response<Bytes> {
    json(br#"{"version":1,"message":"reconnect"}"#)
}

/// The Python SDK of the previous generation cannot read an empty answer.
pub(crate) fn revoked() -> Response<Bytes> {
    json(b"{}")
}

fn json(body: &'static [u8]) -> Response<Bytes> {
    made(Bytes::from_static(body), "application/json")
}

fn made(body: Bytes, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("proxy-status", HeaderValue::from_static("boxgate"));
    response
}
