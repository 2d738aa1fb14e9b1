//! CORS (Fetch §3.3): which pages may read a response, and the answers to preflights.
//!
//! Responses name the allowed origin itself, never `*`, and never allow credentials, since callers send none. Box's own
//! CORS headers have been dropped; it never saw an `Origin`.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::http::headers;
use crate::routing::app::App;

/// Who may read a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The caller is not a web page.
    NoPage,
    /// Scripts of pages of this origin, as their browser wrote it.
    Scripts(HeaderValue),
    /// `<img>`, `<iframe>` and their like on allowed pages.
    Elements,
}

/// Every method of Box's API.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The request fields that pages may send: those that pass to Box and that browsers do not set themselves, others that
/// Box's clients send (`Authorization` is dropped), and those that the gateway evaluates.
const ALLOWED: &str = "authorization, content-type, content-encoding, content-language, content-disposition, content-range, content-md5, digest, content-digest, repr-digest, want-digest, if-match, if-none-match, if-modified-since, if-unmodified-since, if-range, range, accept, accept-language, user-agent, as-user, boxapi, box-version, box-notifications, x-rep-hints, x-box-ua, x-box-client-name, x-box-client-version, x-box-client-event-info, x-file-name, x-file-size, x-box-ai-library, traceparent, tracestate, x-request-id, x-boxgate-redirect, x-boxgate-key";

/// The response fields that pages may read, besides those that Fetch always allows.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, location, content-length, content-range, accept-ranges, content-disposition, content-encoding, digest, content-digest, repr-digest, retry-after, date, box-request-id, box-version, deprecation, box-api-deprecated-reason, www-authenticate, x-request-id, ratelimit, ratelimit-policy, proxy-status",
);

/// Two hours, the longest time that Chromium caches a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Whether the request is a preflight. OPTIONS without these fields is a method of Box's API.
pub(crate) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of an allowed page. It lists everything that a request to the app may have, and the
/// browser checks its request against that. The app's rules apply to the actual request, whose refusal the page can
/// read.
pub(crate) fn preflight(app: &App, asked: &HeaderMap) -> Response<Bytes> {
    let mut allowed = ALLOWED.to_owned();
    for name in app.forward_headers.iter().chain(&app.require_header) {
        allowed.push_str(", ");
        allowed.push_str(name.as_str());
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers::guard(headers);
    headers.insert("proxy-status", HeaderValue::from_static("boxgate"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // Header names are valid header values.
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    // Private Network Access §3.1: a public page calls a private address.
    if asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asks| asks == "true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers.append(
        VARY,
        HeaderValue::from_static(
            "Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
        ),
    );
    response
}

/// Sets the CORS fields for the reader, on responses of Box and of the gateway alike.
pub(crate) fn mark(headers: &mut HeaderMap, reader: Reader) {
    match reader {
        Reader::NoPage => return,
        Reader::Scripts(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        Reader::Elements => {
            headers.append(VARY, HeaderValue::from_static("Referer, Sec-Fetch-Site"));
        }
    }
    headers.insert(headers::RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// Sets `Vary` on the refusal of a page to the fields that caused it.
pub(crate) fn mark_refused(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Referer, Sec-Fetch-Site, User-Agent"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preflights_allow_what_passes_to_box_unless_the_browser_sets_it() {
        let allowed: Vec<&str> = ALLOWED.split(", ").collect();
        for name in &allowed {
            assert!(HeaderName::from_lowercase(name.as_bytes()).is_ok(), "{name}");
        }
        // What Box's SDKs and UI Elements send.
        let clients = "Authorization, Content-Type, Accept, Accept-Language, BoxApi, As-User, X-Rep-Hints, If-Match, If-None-Match, Content-MD5, Digest, Content-Range, Range, X-Box-UA, box-version, box-notifications, X-Box-Client-Name, X-Box-Client-Version, X-Box-Client-Event-Info, X-File-Name, X-File-Size, X-Box-AI-Library, User-Agent, X-Request-Id, traceparent, tracestate";
        for name in clients.split(", ") {
            assert!(allowed.contains(&name.to_ascii_lowercase().as_str()), "{name}");
        }
        let exposed = "Retry-After, ETag, Location, Content-Length, Content-Range, Accept-Ranges, Content-Disposition, Content-Encoding, Digest, box-request-id, box-version, Deprecation, Box-API-Deprecated-Reason, WWW-Authenticate, Date, X-Request-Id, RateLimit, RateLimit-Policy, Proxy-Status";
        let have = EXPOSED;
        let have: Vec<&str> = have.to_str().unwrap().split(", ").collect();
        for name in exposed.split(", ") {
            assert!(have.contains(&name.to_ascii_lowercase().as_str()), "{name}");
        }
    }
}
