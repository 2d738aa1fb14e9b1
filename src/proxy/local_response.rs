//! Answers of the gateway's own that are no refusals.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use hyper::ext::ReasonPhrase;

use crate::access::browser::Page;
use crate::http::error::Refusal;
use crate::http::{error_codes, headers};
use crate::oauth::client_credentials::PLACEHOLDER;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::routing::app::Apps;

/// Where the forward proxy's CA is given to whoever shall trust it.
const CA_PATH: &str = "/.well-known/boxgate/ca.pem";

/// What the gateway itself has to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OwnPage<'a> {
    /// The forward proxy's CA.
    Ca,
    /// The page of this error code, if there is such a code.
    ErrorCode(&'a str),
}

impl<'a> OwnPage<'a> {
    /// The page at this path; `None`: it is none of the gateway's own. Those of error codes are below the paths of the
    /// apps too, which may be all that a proxy in front of the gateway lets through.
    pub(crate) fn at(path: &'a str, apps: &Apps) -> Option<Self> {
        if path == CA_PATH {
            return Some(Self::Ca);
        }
        let (folder, code) = path.split_at(path.rfind('/')? + 1);
        let base = folder.strip_suffix(error_codes::PAGES)?;
        (base.is_empty() || apps.iter().any(|app| app.path == base)).then_some(Self::ErrorCode(code))
    }

    /// The page for whoever the gateway has admitted.
    ///
    /// # Errors
    /// A web page asks, the method is not one that reads, or there is nothing to give.
    pub(crate) fn response(
        self,
        method: &Method,
        page: Page<'_>,
        forward_proxy: Option<&ForwardProxy>,
    ) -> Result<Response<Bytes>, Refusal> {
        if page.is_one() {
            return Err(Refusal::OriginNotAllowed);
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::OnlyForReading);
        }
        match self {
            Self::Ca => {
                let pem = forward_proxy.and_then(ForwardProxy::ca_pem);
                Ok(made(pem.ok_or(Refusal::NoCertificateAuthority)?, "application/x-pem-file"))
            }
            Self::ErrorCode(code) => {
                let entry = error_codes::find(code).ok_or(Refusal::NoSuchErrorCode)?;
                Ok(made(entry.page().into(), "text/plain; charset=utf-8"))
            }
        }
    }
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
