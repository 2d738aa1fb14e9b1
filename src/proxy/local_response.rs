//! Responses that the gateway makes itself, other than refusals.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use hyper::ext::ReasonPhrase;

use crate::access::browser::Page;
use crate::http::error::Refusal;
use crate::http::error_codes::{self, ErrorCode};
use crate::http::headers;
use crate::oauth::token_endpoint::PLACEHOLDER;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::routing::app::Apps;

/// The path of the forward proxy's CA, for callers that must trust it.
const CA_PATH: &str = "/.well-known/boxgate/ca.pem";

/// A page that the gateway serves itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OwnPage<'a> {
    /// The forward proxy's CA.
    Ca,
    /// The page of this error code, if there is such a code.
    ErrorCode(&'a str),
}

impl<'a> OwnPage<'a> {
    /// The page at this path; `None` if it is not one of the gateway's. Pages of error codes are also served below the
    /// apps' paths, which may be all that a proxy in front of the gateway forwards.
    pub(crate) fn at(path: &'a str, apps: &Apps) -> Option<Self> {
        if path == CA_PATH {
            return Some(Self::Ca);
        }
        let (folder, code) = path.split_at(path.bytes().rposition(|byte| byte == b'/')? + 1);
        let base = folder.strip_suffix(error_codes::PAGES)?;
        (base.is_empty() || apps.iter().any(|app| app.path == base)).then_some(Self::ErrorCode(code))
    }

    /// What is served to an admitted caller. `has_ca`: the forward proxy has a CA of its own.
    ///
    /// # Errors
    /// The caller is a web page, the method is not GET or HEAD, or there is no such page.
    pub(crate) fn check(self, method: &Method, page: Page<'_>, has_ca: bool) -> Result<ServedPage, Refusal> {
        if page.is_one() {
            return Err(Refusal::OriginNotAllowed);
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::OnlyForReading);
        }
        match self {
            Self::Ca if has_ca => Ok(ServedPage::Ca),
            Self::Ca => Err(Refusal::NoCertificateAuthority),
            Self::ErrorCode(code) => {
                error_codes::find(code).map(ServedPage::ErrorCode).ok_or(Refusal::NoSuchErrorCode)
            }
        }
    }
}

/// A page of the gateway's that exists, for a caller that may read it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServedPage {
    /// The forward proxy's CA.
    Ca,
    /// The page of this error code.
    ErrorCode(&'static ErrorCode),
}

impl ServedPage {
    /// The page as a response.
    ///
    /// # Errors
    /// The forward proxy has no CA of its own.
    pub(crate) fn response(self, forward_proxy: Option<&ForwardProxy>) -> Result<Response<Bytes>, Refusal> {
        match self {
            Self::Ca => {
                let pem = forward_proxy.and_then(ForwardProxy::ca_pem);
                Ok(made(pem.ok_or(Refusal::NoCertificateAuthority)?, "application/x-pem-file"))
            }
            Self::ErrorCode(entry) => Ok(made(entry.page().into(), "text/plain; charset=utf-8")),
        }
    }
}

/// The response to a CONNECT. The tunnel begins after its head.
pub(crate) fn tunnel_opened() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    response
}

/// The response to an SDK that requests a token with its own credentials: placeholders, since the gateway replaces
/// whatever token the caller sends. SDKs that use a login's grant also expect a refresh token.
pub(crate) fn placeholder_token() -> Response<Bytes> {
    let body = format!(
        r#"{{"access_token":"{PLACEHOLDER}","refresh_token":"{PLACEHOLDER}","expires_in":3600,"restricted_to":[],"token_type":"bearer"}}"#
    );
    made(body.into(), "application/json")
}

/// The message with which Box's realtime server tells a client to fetch a new URL
/// (`docs/box-api.md#long-answers-and-long-polls`).
pub(crate) fn reconnect() -> Response<Bytes> {
    json(br#"{"version":1,"message":"reconnect"}"#)
}

/// The response to a revocation. It has a body, since the previous generation of the Python SDK cannot parse an empty
/// one.
pub(crate) fn revoked() -> Response<Bytes> {
    json(b"{}")
}

fn json(body: &'static [u8]) -> Response<Bytes> {
    made(Bytes::from_static(body), "application/json")
}

/// A response of the gateway's own with a body of this media type.
pub(crate) fn made(body: Bytes, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("proxy-status", HeaderValue::from_static("boxgate"));
    response
}
