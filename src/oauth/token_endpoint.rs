//! One call of Box's token endpoint, and what its answers mean.
//!
//! `POST {token_url}` with a form (`docs/box-api.md#tokens`). Box refuses with 400 (client credentials also with 401) and
//! OAuth JSON with a known code. Everything else that is not a well-formed 200 is a temporary fault: a forward proxy
//! or a firewall also answers with 400 and 401, and says nothing about the identity.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use hyper_util::client::proxy::matcher::Matcher;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::http::retry_after;
use crate::http::trace_context::TRACEPARENT;
use crate::net::egress_proxy::proxy_name;
use crate::net::error_chain::chain;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret::{Secret, wiped_when_sent};
use crate::net::secret_filter;
use crate::oauth::token_span::TokenSpan;

/// The longest accepted token, in bytes; tokens of the newer form have over 700.
const LONGEST_TOKEN: usize = 4096;
const LARGEST_ANSWER: usize = 64 * 1024;
/// The codes with which an identity is refused: those of RFC 6749 §5.2, and two that Box uses besides.
const REFUSALS: [&str; 8] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "insufficient_scope",
    "invalid_token",
];
/// Further ones of a token exchange: Box's, and that of RFC 8693 §2.2.2.
const EXCHANGE_REFUSALS: [&str; 2] = ["invalid_resource", "invalid_target"];
/// The placeholder token that the gateway gives to programs that request one.
pub(crate) const PLACEHOLDER: &str = "boxgate-placeholder-not-a-token";
const FORM: &str = "application/x-www-form-urlencoded";
/// For the whole request; connecting has its own, shorter limit.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a call of the token endpoint requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantType {
    /// A token for client id and secret (RFC 6749 §4.4).
    ClientCredentials,
    /// A token with fewer rights for another token (RFC 8693).
    TokenExchange,
}

impl GrantType {
    /// A word for it, as in traces.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "token_exchange",
        }
    }

    /// Whether an OAuth error of this status refuses the identity. A 401 to a token exchange may be one of something on the way.
    fn is_refused_with(self, status: u16) -> bool {
        match self {
            Self::ClientCredentials => matches!(status, 400 | 401),
            Self::TokenExchange => status == 400,
        }
    }

    fn is_refusal(self, code: &str) -> bool {
        REFUSALS.contains(&code) || self == Self::TokenExchange && EXCHANGE_REFUSALS.contains(&code)
    }
}

/// The token endpoint.
#[derive(Debug, Clone)]
pub(crate) struct TokenEndpoint {
    client: reqwest::Client,
    url: String,
    proxies: Arc<Matcher>,
    own: OwnListeners,
}

/// A token as the endpoint gave it. It cannot be sent to Box's API: only [`Granted`](super::grant::Granted) can.
pub(crate) struct Issued {
    /// As long as this lives, it is blanked in all output.
    pub token: Secret,
    /// Counted from when the request was sent.
    pub lifetime: Duration,
    /// `restricted_to` of the answer; null if it has none.
    pub restricted_to: Value,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Box refuses the identity: retrying soon is useless.
    Refused(Refused),
    /// The network, the endpoint or its response failed: a retry may succeed.
    Transient {
        /// The cause, for the log.
        cause: String,
        /// The endpoint's `Retry-After`.
        retry_after: Option<Duration>,
        /// The endpoint has answered, though without a token.
        reached: bool,
    },
    /// The exchange gave a token with more rights than were asked for, in words for the log. It must not be used; the next may be
    /// another.
    NotNarrowed(String),
    /// The request would go to this gateway or another boxgate; the text names the setting that leads there.
    Loop(String),
}

impl Fault {
    /// A word for it: Box's own code of a refusal, else that of the error that requests get.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.error,
            Self::Transient { .. } | Self::NotNarrowed(_) => "token_unavailable",
            Self::Loop(_) => "loop_detected",
        }
    }
}

/// Box's refusal of an identity (schema `OAuth2Error`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What was refused.
    pub grant_type: GrantType,
    /// Such as `invalid_grant`.
    pub error: String,
    /// Box's `error_description`.
    pub description: String,
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: Zeroizing<String>,
    expires_in: f64,
    token_type: Option<String>,
    #[serde(default)]
    restricted_to: Value,
}

/// Host and port of a token endpoint's URL; the whole URL where it has none.
pub(crate) fn authority_of(token_url: &str) -> &str {
    let rest = token_url.split_once("://").map_or(token_url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

impl TokenEndpoint {
    /// `client` must follow no redirect: the form holds the secret. `proxies`: those that `client` uses. `own`: the
    /// addresses on which this process listens.
    pub(crate) fn new(client: reqwest::Client, url: String, proxies: Matcher, own: OwnListeners) -> Self {
        Self { client, url, proxies: Arc::new(proxies), own }
    }

    /// The HTTP client, which follows no redirect.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port.
    pub(crate) fn authority(&self) -> &str {
        authority_of(&self.url)
    }

    /// Sends a form. `on_sent` is called once the request has reached the endpoint; the span learns the answer's status.
    pub(crate) async fn call(
        &self,
        grant_type: GrantType,
        form: &[(&str, &str)],
        span: &mut Option<TokenSpan>,
        on_sent: impl Fn(),
    ) -> Result<Issued, Fault> {
        if let Ok(url) = self.url.parse()
            && let Some(cause) = self.own.on_the_way_to(&url, &self.proxies).await
        {
            return Err(Fault::Loop(format!("[box] token_url: {cause}")));
        }
        let request = self.client.post(&self.url).header(CONTENT_TYPE, FORM);
        let mut request = request.body(form_body(form)).timeout(PATIENCE);
        if let Some(span) = span {
            request = request.header(TRACEPARENT, span.traceparent());
        }
        let answered = request.send().await;
        if !answered.as_ref().is_err_and(reqwest::Error::is_connect) {
            on_sent();
        }
        let proxy = || self.url.parse().ok().and_then(|url| proxy_name(&self.proxies, &url));
        let mut answer = answered.map_err(|error| failed(&error, proxy()))?;
        let status = answer.status();
        if let Some(span) = span {
            span.answered(status);
        }
        let retry_after = retry_after::read(answer.headers(), None);
        let html = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.to_ascii_lowercase().contains("html")));
        // With room for all of it: one that grows leaves copies of what it held.
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_ANSWER));
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error, None))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(passing(format!("the token endpoint's answer ({status}) is larger than 64 KiB")));
            }
            body.extend_from_slice(&chunk);
        }
        match status.as_u16() {
            200 => issued(&body),
            400 | 401 => Err(match refused(grant_type, &body, html) {
                Ok(refused) if grant_type.is_refused_with(status.as_u16()) => Fault::Refused(refused),
                // Of an exchange: Box answers so where the Box app lacks a scope (`docs/box-api.md#downscoped-tokens`).
                Ok(refused) => Fault::Transient {
                    cause: format!(
                        "the token endpoint answers {status} ({refused}); if that lasts, the Box app lacks one of the scopes"
                    ),
                    retry_after,
                    reached: true,
                },
                Err(what) => Fault::Transient {
                    cause: format!(
                        "the token endpoint answers {status} with {what} instead of an OAuth error; a proxy on the way to Box may have answered"
                    ),
                    retry_after,
                    reached: true,
                },
            }),
            300..=399 => Err(passing(format!(
                "the token endpoint answers with a redirect ({status}), which is not followed; check [box] token_url"
            ))),
            _ => Err(Fault::Transient {
                cause: format!("the token endpoint answers {status}"),
                retry_after,
                reached: true,
            }),
        }
    }
}

/// A form (`application/x-www-form-urlencoded`); the names of its fields need no encoding.
fn form_body(fields: &[(&str, &str)]) -> Bytes {
    // An encoded byte takes three; a text that grows would leave copies of the secret.
    let longest = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(longest));
    for (name, value) in fields {
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        form_urlencoded::byte_serialize(value.as_bytes())
            .for_each(|piece| body.extend_from_slice(piece.as_bytes()));
    }
    wiped_when_sent(body)
}

fn passing(cause: String) -> Fault {
    Fault::Transient { cause, retry_after: None, reached: true }
}

fn failed(error: &reqwest::Error, proxy: Option<String>) -> Fault {
    Fault::Transient { cause: describe(error, proxy), retry_after: None, reached: false }
}

/// reqwest's messages omit the cause, and contain the URL, which is known and might hold a secret. `proxy`: on the way to
/// the endpoint.
fn describe(error: &reqwest::Error, proxy: Option<String>) -> String {
    let mut words = if error.is_timeout() {
        "the token endpoint did not answer in time".to_owned()
    } else if error.is_connect() {
        let through = proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        format!("the token endpoint cannot be reached{through}")
    } else {
        "the token endpoint did not answer".to_owned()
    };
    if let Some(cause) = std::error::Error::source(error) {
        words.push_str(": ");
        words.push_str(&chain(cause));
    }
    words
}

fn issued(body: &[u8]) -> Result<Issued, Fault> {
    // serde's error could quote the body.
    let answer: AccessToken = serde_json::from_slice(body)
        .map_err(|_| passing("the token endpoint answers 200, but without the JSON of a token".to_owned()))?;
    let token = &answer.access_token;
    if token.as_str() == PLACEHOLDER {
        let cause = "the token endpoint answers with the placeholder of a boxgate: [box] token_url, or the proxy on the way to it, leads to one";
        return Err(Fault::Loop(cause.to_owned()));
    }
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(passing("the token endpoint answers 200, but without a usable access_token".to_owned()));
    }
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(passing(
            "the token endpoint answers 200, but with a token that is not of type bearer".to_owned(),
        ));
    }
    // A day is longer than any of Box's tokens (60 to 71 minutes); the bound prevents overflow.
    if answer.expires_in.is_nan() || answer.expires_in < 1.0 {
        return Err(passing("the token endpoint answers 200, but without a usable expires_in".to_owned()));
    }
    let lifetime = Duration::from_secs_f64(answer.expires_in.min(86_400.0));
    let token = Secret::new(token.to_string());
    Ok(Issued { token, lifetime, restricted_to: answer.restricted_to })
}

/// Box's refusal, or a description of the body: never its text, which may hold anything.
fn refused(grant_type: GrantType, body: &[u8], html: bool) -> Result<Refused, &'static str> {
    if body.trim_ascii().is_empty() {
        return Err("an empty body");
    }
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Err(if html { "HTML" } else { "a body that is not JSON" });
    };
    let text = |key: &str| answer.get(key).and_then(Value::as_str);
    match text("error") {
        None => Err("JSON without an error code"),
        Some(error) if !grant_type.is_refusal(error) => Err("JSON with an unknown error code"),
        Some(error) => Ok(Refused {
            grant_type,
            error: error.to_owned(),
            description: printable(text("error_description").unwrap_or_default()),
        }),
    }
}

/// Prepares Box's text for the log and `check`: shortened, without control characters and secrets.
fn printable(text: &str) -> String {
    secret_filter::shortened(text.chars().filter(|c| !c.is_control()).collect(), 300)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description.as_str() {
            "" => f.write_str(&self.error),
            description => write!(f, "{}: {description}", self.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_and_empty_answers_are_temporary_faults() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            "null",
            r#"{"access_token":"","expires_in":3600}"#,
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","expires_in":0}"#,
            r#"{"access_token":"a","expires_in":-5}"#,
            r#"{"access_token":"a b","expires_in":3600}"#,
            r#"{"access_token":"a\r\nX: y","expires_in":3600}"#,
            r#"{"access_token":"a","expires_in":3600,"token_type":"mac"}"#,
        ] {
            assert!(matches!(issued(body.as_bytes()), Err(Fault::Transient { .. })), "{body}");
        }
    }

    #[test]
    fn only_json_with_a_known_code_is_a_refusal() {
        let grant_type = GrantType::ClientCredentials;
        for code in REFUSALS {
            let refusal = Refused { grant_type, error: code.to_owned(), description: "Why not".to_owned() };
            let body = format!(r#"{{"error":"{code}","error_description":"Why\u0007 not","new":1}}"#);
            assert_eq!(refused(grant_type, body.as_bytes(), false), Ok(refusal));
            let body = format!(r#"{{"error_description":null,"error":"{code}"}}"#);
            assert_eq!(refused(grant_type, body.as_bytes(), true).unwrap().description, "");
        }
        for (body, html, what) in [
            ("", true, "an empty body"),
            (" \r\n", false, "an empty body"),
            ("<html>invalid_client</html>", true, "HTML"),
            ("invalid_client", false, "a body that is not JSON"),
            (r#"{"error":"invalid_client""#, false, "a body that is not JSON"),
            ("{}", false, "JSON without an error code"),
            (r#"["invalid_client"]"#, false, "JSON without an error code"),
            (r#""invalid_client""#, false, "JSON without an error code"),
            (r#"{"error":null}"#, false, "JSON without an error code"),
            (r#"{"error":{"code":"invalid_client"}}"#, false, "JSON without an error code"),
            (r#"{"type":"error","status":401,"code":"unauthorized"}"#, false, "JSON without an error code"),
            (r#"{"error":"proxy_authentication"}"#, false, "JSON with an unknown error code"),
            (r#"{"error":"Invalid_Client"}"#, false, "JSON with an unknown error code"),
            (r#"{"error":""}"#, false, "JSON with an unknown error code"),
        ] {
            assert_eq!(refused(grant_type, body.as_bytes(), html), Err(what), "{body}");
        }
    }

    #[test]
    fn a_shortened_text_contains_no_part_of_a_secret() {
        let secret = Secret::new("canary-that-is-cut-in-two".to_owned());
        for before in 270..300 {
            let said = printable(&format!("{}{}", "x".repeat(before), secret.expose()));
            assert!(!said.contains("ca") && said.chars().count() <= 300, "{said}");
        }
    }

    #[test]
    fn a_form_is_encoded_as_url_encodes_it() {
        let fields = [("client_id", "a b&c=d"), ("client_secret", "ä%+/€~*-._"), ("box_subject_id", "")];
        let want = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        assert_eq!(form_body(&fields), want.as_bytes());
    }

    #[test]
    fn an_exchange_has_refusals_of_its_own() {
        for code in EXCHANGE_REFUSALS {
            let body = format!(r#"{{"error":"{code}"}}"#);
            assert!(refused(GrantType::TokenExchange, body.as_bytes(), false).is_ok(), "{code}");
            let elsewhere = refused(GrantType::ClientCredentials, body.as_bytes(), false);
            assert_eq!(elsewhere, Err("JSON with an unknown error code"), "{code}");
        }
    }
}
