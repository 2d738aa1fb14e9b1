//! One harmless call to Box, with all of its answer.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use crate::http::headers::AS_USER;
use crate::upstream::pool::Upstream;
use crate::upstream::protocol::Protocol;
use crate::upstream::request_body::Upload;

/// No check takes longer than this.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Far above what the calls of the checks are answered with.
const LARGEST_ANSWER: usize = 256 * 1024;

/// As whom a call is made.
pub(super) struct Caller<'a> {
    pub(super) authorization: &'a HeaderValue,
    /// The user in `As-User`.
    pub(super) user: Option<&'a str>,
}

/// Box's answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The body, where it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn is_html(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
    }

    /// Why Box refuses, in its own words: the error of `WWW-Authenticate`, or the code of its error; empty where it gives
    /// none.
    pub(super) fn reason(&self) -> String {
        let challenge = self.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let error = challenge.and_then(|challenge| {
            challenge.split_once("error=\"").and_then(|(_, rest)| rest.split('"').next())
        });
        let code = self.json().and_then(|json| Some(json.get("code")?.as_str()?.to_owned()));
        error.map(str::to_owned).or(code).unwrap_or_default()
    }
}

/// `GET` of a path with its query.
///
/// # Errors
/// No answer, in words that name the host.
pub(super) async fn get(
    pool: &Upstream,
    host: &Authority,
    path: &str,
    caller: Option<Caller<'_>>,
) -> Result<Answer, String> {
    let mut request = http::Request::new(Upload::none().attempt());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| format!("{path}: {error}"))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("boxgate/", env!("CARGO_PKG_VERSION"))));
    if let Some(Caller { authorization, user }) = caller {
        headers.insert(AUTHORIZATION, authorization.clone());
        if let Some(user) = user {
            headers.insert(AS_USER, HeaderValue::from_str(user).map_err(|error| error.to_string())?);
        }
    }
    let origin = pool.origin(host).ok_or_else(|| format!("{host} is not a host name"))?;
    let answering = async {
        let (response, _lease) =
            pool.send(&origin, request, Protocol::Any).await.map_err(|error| error.cause)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| format!("{host}: {error}"))?.to_bytes().to_vec();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let answered = tokio::time::timeout(PATIENCE, answering).await;
    answered.unwrap_or_else(|_| Err(format!("{host} does not answer in {PATIENCE:?}")))
}
