//! Refusals: every answer that the gateway makes itself instead of Box's, in Box's error shape.
//!
//! The caller gets a status, a code, a fixed message and the request id. The cause, which may reveal internals, goes
//! only to the log. The match has no `_`: a new reason must choose its answer.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::http::error_codes;
use crate::http::incoming_body::{BrokenBody, Fault};
use crate::net::secret_filter::{self, Audience};

/// Why a request got no answer from Box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A target or header that the gateway refuses to interpret; the message says which one and what is allowed.
    BadRequest(&'static str),
    /// A query of the admin listener that cannot be used; the message names the parameter, its value and what is allowed.
    BadQuery(String),
    /// A query of the admin listener that asks about something unknown; the message names the parameter, its value and where
    /// the known ones are listed.
    UnknownName(String),
    /// TRACE; or CONNECT without `[forward_proxy]` or inside a tunnel.
    MethodNotAllowed,
    /// A method other than GET and HEAD for a resource that the gateway serves itself.
    OnlyForReading,
    /// A method other than POST, where the gateway itself has something to do.
    OnlyByPost,
    /// CONNECT, or plain HTTP in absolute form, to a host that the gateway does not connect to.
    TunnelNotAllowed {
        /// As the caller wrote it; it has the characters of a host name only.
        host: String,
        /// Why not, and what to do.
        why: String,
    },
    /// A host that is not Box's cannot be reached by a tunnel.
    TunnelUnreachable {
        /// As the caller wrote it.
        host: String,
        /// For the log.
        cause: String,
    },
    /// A request in a tunnel is for another host than the tunnel.
    NotOfThisTunnel {
        /// As the caller wrote it; it has the characters of a host name only.
        host: String,
        /// What CONNECT asked for.
        asked: String,
    },
    /// A program that uses the gateway as its proxy must name an app; the message says how.
    ProxyAuthenticationRequired(&'static str),
    /// The program names no app, and no app serves the path `/` for it.
    NoAppForProxy,
    /// A login page of Box: the gateway does not forward logins.
    LoginNotServed,
    /// The gateway has no CA certificate to serve.
    NoCertificateAuthority,
    /// The help page of an error code that does not exist.
    NoSuchErrorCode,
    /// The gateway would call itself.
    LoopDetected(String),
    /// A Host name that is not listed.
    HostNotAllowed {
        /// As the caller wrote it; it has the characters of a host name only.
        host: String,
        /// The configuration key that lists allowed hosts.
        key: &'static str,
    },
    /// The peer's or the client's address is in none of the allowed networks.
    SourceNotAllowed,
    /// The listener asks for client certificates, and the caller has shown none.
    CertificateMissing,
    /// The client certificate carries none of the names that the app admits.
    CertificateNotAllowed,
    /// The app requires this header, and the request does not carry it.
    HeaderMissing(HeaderName),
    /// The app's key is missing or wrong.
    KeyMissing,
    /// The operators' listener has a key, and the request has none or a wrong one.
    AdminKeyRequired { is_wrong: bool },
    /// An address has tried so many wrong keys at the operators' listener that none of its keys is looked at for a while.
    TooManyWrongKeys {
        /// Seconds until a key is looked at again, at least 1.
        retry_after: u64,
    },
    /// The operators' listener has no key, and answers this only to programs on the gateway's machine.
    OnlyOnThisMachine,
    /// A request from a web page whose origin the app does not list.
    OriginNotAllowed,
    /// A page of another origin would change something on the admin listener.
    ForeignPage,
    /// No reload can be carried out, or none that is waited for; the words say why and what to do.
    ReloadUnavailable(&'static str),
    /// The path of the admin listener names an identity that does not exist.
    NoSuchIdentity {
        /// As the path says it, decoded.
        name: String,
        /// The names that exist, quoted.
        known: String,
    },
    /// An operator requests a new token too soon after the last one.
    RenewalTooSoon {
        identity: String,
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
    },
    /// Box refuses to give an operator's new token; the words say why and what to do.
    RenewalRefused(String),
    /// An operator's new token cannot be obtained now.
    RenewalFailed {
        /// Why, and whether there is a token.
        words: String,
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
    },
    /// The app's rules exclude the operation.
    OperationNotAllowed {
        /// The rule of `deny` that matches, for the log; `None`: no rule of `allow` does.
        denied_by: Option<Box<str>>,
    },
    /// A batch, which no `allow` pattern names. The operations in its body cannot be checked against the rules.
    BatchNotAllowed,
    /// The app is switched off.
    AppDisabled,
    /// `As-User` names a user that the app may not name.
    AsUserNotAllowed,
    /// `As-User` names a login that the app lists, but Box knows no user with it, or several.
    AsUserUnknown,
    /// `As-User` names a user whom the app lists by login, and Box has not said yet which id that is.
    AsUserNotLookedUp {
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
        /// For the log.
        cause: String,
    },
    /// A limit has no call left for the request.
    RateLimitExceeded {
        /// The limit's name.
        limit: Arc<str>,
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
        /// `RateLimit` and `RateLimit-Policy`.
        fields: Box<(String, String)>,
    },
    /// Box asked for a pause that takes longer than the request may wait.
    PausedByBox {
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
        /// `RateLimit` and `RateLimit-Policy`.
        fields: Box<(String, String)>,
    },
    /// A budget of calls is used up.
    BudgetSpent {
        budget: Arc<str>,
        /// When its next period begins.
        until: Timestamp,
    },
    /// Too many requests in flight; holds the name of the bound.
    Overloaded(Arc<str>),
    /// No app serves this path, Host and source.
    NoSuchApp,
    /// An app serves the path, but the path is none of Box's.
    NotFound,
    /// Box's token endpoint refused the identity. While the back-off lasts, the remembered refusal is repeated.
    CredentialsRefused {
        /// Its name; only for the log.
        identity: String,
        /// Box's error code and description; only for the log.
        cause: String,
    },
    /// Box's token endpoint refused to exchange the identity's token for one with fewer rights. Remembered in the same way.
    DownscopeRefused {
        /// Its name; only for the log.
        identity: String,
        /// Box's error code and description; only for the log.
        cause: String,
    },
    /// Box answered 401 to a fresh token.
    UpstreamUnauthorized,
    /// Box answered 401 to a pre-signed URL, which carries its own credential.
    UrlUnauthorized,
    /// No connection to Box: name resolution, TCP, proxy or TLS failed.
    UpstreamUnreachable(String),
    /// Box, or something that answered instead, broke HTTP or the connection before it answered.
    UpstreamProtocolError(String),
    /// The caller's connection or stream ended before its request body did.
    CallerLeft,
    /// The caller's body stalled for longer than `body_timeout`.
    RequestTimeout,
    /// No response head in time.
    UpstreamTimeout,
    /// There is no valid token and none can be obtained at the moment.
    TokenUnavailable {
        /// Seconds until a retry makes sense, at least 1.
        retry_after: u64,
        /// For the log.
        cause: String,
    },
    /// Box answered 401 to a token, and the request's body cannot be sent again with the next one.
    TokenRetired,
}

/// Box's `ClientError` (`docs/box-api.md#errors`).
#[derive(Serialize)]
struct ClientError<'a> {
    r#type: &'static str,
    status: u16,
    code: &'static str,
    message: String,
    request_id: &'a str,
    help_url: String,
}

/// draft-ietf-httpapi-ratelimit-headers-10.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Refusal {
    /// The status and the code, as the table in `docs/errors.md` lists them.
    pub fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) | Self::BadQuery(_) | Self::CallerLeft => {
                (StatusCode::BAD_REQUEST, "bad_request")
            }
            Self::MethodNotAllowed | Self::OnlyForReading | Self::OnlyByPost => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
            }
            Self::TunnelNotAllowed { .. } => (StatusCode::FORBIDDEN, "tunnel_not_allowed"),
            Self::HostNotAllowed { .. } | Self::NotOfThisTunnel { .. } => {
                (StatusCode::MISDIRECTED_REQUEST, "host_not_allowed")
            }
            Self::ProxyAuthenticationRequired(_) => {
                (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "proxy_authentication_required")
            }
            Self::LoopDetected(_) => (StatusCode::LOOP_DETECTED, "loop_detected"),
            Self::SourceNotAllowed => (StatusCode::FORBIDDEN, "source_not_allowed"),
            Self::CertificateMissing
            | Self::CertificateNotAllowed
            | Self::HeaderMissing(_)
            | Self::KeyMissing
            | Self::OnlyOnThisMachine => (StatusCode::FORBIDDEN, "caller_not_allowed"),
            Self::AdminKeyRequired { .. } => (StatusCode::UNAUTHORIZED, "admin_key_required"),
            Self::OriginNotAllowed | Self::ForeignPage => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::ReloadUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "reload_unavailable"),
            Self::OperationNotAllowed { .. } | Self::BatchNotAllowed | Self::LoginNotServed => {
                (StatusCode::FORBIDDEN, "operation_not_allowed")
            }
            Self::AppDisabled => (StatusCode::SERVICE_UNAVAILABLE, "app_disabled"),
            Self::AsUserNotAllowed | Self::AsUserUnknown => (StatusCode::FORBIDDEN, "as_user_not_allowed"),
            Self::RateLimitExceeded { .. }
            | Self::PausedByBox { .. }
            | Self::TooManyWrongKeys { .. }
            | Self::RenewalTooSoon { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            Self::BudgetSpent { .. } => (StatusCode::FORBIDDEN, "budget_spent"),
            Self::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NoSuchApp | Self::NoAppForProxy => (StatusCode::NOT_FOUND, "no_such_app"),
            Self::NotFound
            | Self::NoCertificateAuthority
            | Self::NoSuchErrorCode
            | Self::UnknownName(_)
            | Self::NoSuchIdentity { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::CredentialsRefused { .. } | Self::DownscopeRefused { .. } | Self::RenewalRefused(_) => {
                (StatusCode::BAD_GATEWAY, "credentials_refused")
            }
            Self::UpstreamUnauthorized | Self::UrlUnauthorized => {
                (StatusCode::BAD_GATEWAY, "upstream_unauthorized")
            }
            Self::UpstreamUnreachable(_) | Self::TunnelUnreachable { .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable")
            }
            Self::UpstreamProtocolError(_) => (StatusCode::BAD_GATEWAY, "upstream_protocol_error"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
            Self::TokenUnavailable { .. }
            | Self::TokenRetired
            | Self::RenewalFailed { .. }
            | Self::AsUserNotLookedUp { .. } => (StatusCode::SERVICE_UNAVAILABLE, "token_unavailable"),
        }
    }

    /// The message for the caller. Secrets are blanked, since parts of it may come from the request.
    pub fn message(&self) -> String {
        secret_filter::blanked_text(self.unfiltered_message(), Audience::Callers)
    }

    fn unfiltered_message(&self) -> String {
        match self {
            Self::BadRequest(what) => (*what).to_owned(),
            Self::BadQuery(what) | Self::UnknownName(what) => what.clone(),
            Self::MethodNotAllowed => "TRACE is not served here, nor CONNECT inside a tunnel or without a [forward_proxy] in the gateway's configuration.".to_owned(),
            Self::OnlyForReading => "Only GET and HEAD are served here.".to_owned(),
            Self::OnlyByPost => "Only POST is served here.".to_owned(),
            Self::TunnelNotAllowed { host, why } => format!("This gateway does not connect to {host}: {why}."),
            Self::TunnelUnreachable { host, .. } => format!("{host} cannot be reached."),
            Self::NotOfThisTunnel { host, asked } => {
                format!("This tunnel was opened to {asked}; a request for {host}, or a TLS handshake for another name, cannot be served in it.")
            }
            Self::ProxyAuthenticationRequired(what) => (*what).to_owned(),
            Self::NoAppForProxy => {
                "No app with the path / serves this caller; name an app in the proxy URL, as in http://APP@HOST:PORT.".to_owned()
            }
            Self::LoginNotServed => {
                "Logins of people do not go through this gateway, which has a token of its own: give the program any text as its access token, or let it ask for a token with client id and secret (POST /oauth2/token). No allow of the app changes that.".to_owned()
            }
            Self::NoCertificateAuthority => {
                "This gateway has no CA certificate to serve: its configuration has no [forward_proxy], or its [forward_proxy] has a cert.".to_owned()
            }
            Self::NoSuchErrorCode => {
                "There is no error code of this name; the help_url of an error points to the page of its code.".to_owned()
            }
            Self::LoopDetected(_) => {
                "The gateway would call itself or another boxgate. Nothing is wrong with this request unless it came through two of them; whoever runs them finds the cause in the gateway's log.".to_owned()
            }
            Self::HostNotAllowed { host, key } => format!(
                "The Host {host:?} is not a name of this gateway. If it should be, add it to {key} in the gateway's configuration; localhost and IP addresses always work, except 0.0.0.0, [::] and [::ffff:…], which name no host: write 127.0.0.1 or [::1]."
            ),
            Self::SourceNotAllowed => {
                "Neither your address nor, over a Unix socket, your user may call here ([listen] sources, or sources of the app).".to_owned()
            }
            Self::CertificateMissing => {
                "This listener requires a client certificate signed by tls.client_ca of its table in the gateway's configuration; this connection has none.".to_owned()
            }
            Self::CertificateNotAllowed => {
                "Callers of this app must show a client certificate with one of the names that it admits; this connection has shown none such (certificates of the app).".to_owned()
            }
            Self::HeaderMissing(name) => format!(
                "Requests here must carry the header {name}, with any value (require_header of the app)."
            ),
            Self::KeyMissing => {
                "Callers of this app must send its key in the header X-Boxgate-Key; the key is missing or wrong (key of the app).".to_owned()
            }
            Self::AdminKeyRequired { is_wrong } => {
                let what = if *is_wrong { "The key is wrong." } else { "This listener asks operators for a key." };
                format!("{what} Send that of [admin] key in the gateway's configuration in the header X-Boxgate-Key, or as the password of HTTP Basic with any user name; the commands take it from --key-file or BOXGATE_ADMIN_KEY.")
            }
            Self::TooManyWrongKeys { retry_after } => format!(
                "Too many different keys from your address were wrong; none is looked at for another {retry_after} s."
            ),
            Self::OnlyOnThisMachine => {
                "As long as the gateway's configuration has no [admin] key, this is answered only to programs on the gateway's own machine: from a loopback address or over a Unix socket, and not through a proxy (X-Forwarded-For, Forwarded, X-Real-IP and Via are signs of one). Set [admin] key and send it, or ask on that machine.".to_owned()
            }
            Self::OriginNotAllowed => {
                "This request comes from a web page whose origin is not listed in origins of an app here; scheme, host and port count.".to_owned()
            }
            Self::ForeignPage => {
                "This request comes from a web page of another origin than this listener's, or says so of itself. Use boxgate reload, or a program that sends neither Origin nor Sec-Fetch-Site.".to_owned()
            }
            Self::ReloadUnavailable(why) => (*why).to_owned(),
            Self::NoSuchIdentity { name, known } => {
                format!("No identity has the name {name:?}; those of the configuration are {known}.")
            }
            Self::RenewalTooSoon { identity, retry_after } => format!(
                "A new token of identity {identity:?} was requested less than 10 s ago; try again in {retry_after} s."
            ),
            Self::RenewalRefused(words) | Self::RenewalFailed { words, .. } => words.clone(),
            Self::OperationNotAllowed { .. } => "The rules of this app (allow and deny in the gateway's configuration) do not permit this operation.".to_owned(),
            Self::BatchNotAllowed => {
                "Batches are refused: their body carries operations that rules, limits and budgets cannot check. Send the operations one by one, or list \"POST /2.0/batch\" in allow of this app.".to_owned()
            }
            Self::AppDisabled => {
                "This app is switched off for now (enabled = false of the app in the gateway's configuration).".to_owned()
            }
            Self::AsUserNotAllowed => "The As-User header must name a user listed in as_user of this app: by id, at most 20 digits and the first of them not 0, or by a login that is listed there.".to_owned(),
            Self::AsUserUnknown => {
                "Box knows no user, or several, with the login in As-User, although as_user of this app lists it. Name the user by id, or tell whoever runs the gateway.".to_owned()
            }
            Self::AsUserNotLookedUp { retry_after, .. } => format!(
                "The gateway does not know yet which user of Box has a login in as_user of this app; try again in {retry_after} s."
            ),
            Self::RateLimitExceeded { limit, retry_after, .. } if limit.starts_with("box-zip-") => format!(
                "As many zip downloads are under way as Box allows at once ({limit:?}); try again in {retry_after} s."
            ),
            Self::RateLimitExceeded { limit, retry_after, .. } if limit.starts_with("box-") => format!(
                "Box's own limit {limit:?}, which the gateway keeps to, has no call left for this request; try again in {retry_after} s."
            ),
            Self::PausedByBox { retry_after, .. } => format!(
                "Box asked this user to pause; send requests of this kind again in {retry_after} s."
            ),
            Self::RateLimitExceeded { limit, retry_after, .. } => {
                format!("The limit {limit:?} has no call left for this request; try again in {retry_after} s.")
            }
            Self::BudgetSpent { budget, until } => {
                format!("The budget {budget:?} of calls is used up until {until} ([[budget]] in the gateway's configuration).")
            }
            Self::Overloaded(what) => format!("Too many requests are under way ({what}); try again."),
            Self::NoSuchApp => "No app is configured for this path and Host.".to_owned(),
            Self::NotFound => "This path is none of Box's: API paths begin with /2.0/, and /_box/HOST/ takes hosts of Box alone.".to_owned(),
            Self::CredentialsRefused { .. } => {
                "Box refuses the credentials that the gateway has for this app. Nothing is wrong with this request, and none will succeed until whoever runs the gateway mends them; boxgate check says how.".to_owned()
            }
            Self::DownscopeRefused { .. } => {
                "Box refuses to narrow the gateway's token to the rights that are set for this app (downscope). Nothing is wrong with this request, and none will succeed until whoever runs the gateway mends that; boxgate check says how.".to_owned()
            }
            Self::UpstreamUnauthorized => {
                "Box answers 401 to this request, although it has just given the gateway the access token. Tell whoever runs the gateway; boxgate check may say why.".to_owned()
            }
            Self::UrlUnauthorized => {
                "Box answers 401 to this pre-signed URL, which may have expired: ask for a new one.".to_owned()
            }
            Self::UpstreamUnreachable(_) => {
                "The gateway cannot connect to Box at the moment; the request was not sent. Send it again later.".to_owned()
            }
            Self::UpstreamProtocolError(_) => {
                "The connection to Box broke before a whole answer came, or what came cannot be used. Box may have done what was asked: look before sending it again.".to_owned()
            }
            Self::CallerLeft => "The request's body broke off before its end.".to_owned(),
            Self::RequestTimeout => "The request's body did not arrive in time.".to_owned(),
            Self::UpstreamTimeout => {
                "Box did not answer in time. What was asked may still be under way: look before sending it again.".to_owned()
            }
            Self::TokenUnavailable { retry_after, .. } => format!(
                "The gateway has no valid access token and gets none from Box's token endpoint at the moment; try again in {retry_after} s."
            ),
            Self::TokenRetired => {
                "Box no longer accepts the access token that was used, and this body is too large to be sent a second time. A new token is on its way: send the request again.".to_owned()
            }
        }
    }

    /// The error type and details of RFC 9209 §2.3.
    fn proxy_status(&self) -> &'static str {
        match self {
            Self::BadRequest(_)
            | Self::BadQuery(_)
            | Self::MethodNotAllowed
            | Self::OnlyForReading
            | Self::OnlyByPost
            | Self::CallerLeft
            | Self::RequestTimeout => "boxgate; error=http_request_error",
            Self::LoopDetected(_) => "boxgate; error=proxy_loop_detected",
            Self::TunnelNotAllowed { .. }
            | Self::NotOfThisTunnel { .. }
            | Self::ProxyAuthenticationRequired(_)
            | Self::LoginNotServed
            | Self::HostNotAllowed { .. }
            | Self::SourceNotAllowed
            | Self::CertificateMissing
            | Self::CertificateNotAllowed
            | Self::HeaderMissing(_)
            | Self::KeyMissing
            | Self::AdminKeyRequired { .. }
            | Self::TooManyWrongKeys { .. }
            | Self::RenewalTooSoon { .. }
            | Self::OnlyOnThisMachine
            | Self::OriginNotAllowed
            | Self::ForeignPage
            | Self::OperationNotAllowed { .. }
            | Self::BatchNotAllowed
            | Self::AppDisabled
            | Self::AsUserNotAllowed
            | Self::AsUserUnknown => "boxgate; error=http_request_denied",
            Self::ReloadUnavailable(_) => "boxgate; error=destination_unavailable",
            Self::RateLimitExceeded { .. } | Self::PausedByBox { .. } | Self::BudgetSpent { .. } => {
                "boxgate; error=http_request_denied"
            }
            Self::Overloaded(_) => "boxgate; error=connection_limit_reached",
            Self::NoSuchApp
            | Self::NoAppForProxy
            | Self::NotFound
            | Self::NoCertificateAuthority
            | Self::NoSuchErrorCode
            | Self::UnknownName(_)
            | Self::NoSuchIdentity { .. } => "boxgate; error=destination_not_found",
            Self::CredentialsRefused { .. } | Self::DownscopeRefused { .. } | Self::RenewalRefused(_) => {
                "boxgate; error=proxy_configuration_error"
            }
            Self::UpstreamUnauthorized => "boxgate; error=proxy_configuration_error; received-status=401",
            Self::UrlUnauthorized => "boxgate; error=http_request_denied; received-status=401",
            Self::UpstreamUnreachable(_) | Self::TunnelUnreachable { .. } => {
                "boxgate; error=destination_unavailable"
            }
            Self::UpstreamProtocolError(_) => "boxgate; error=http_protocol_error",
            Self::UpstreamTimeout => "boxgate; error=http_response_timeout",
            Self::TokenUnavailable { .. }
            | Self::TokenRetired
            | Self::RenewalFailed { .. }
            | Self::AsUserNotLookedUp { .. } => "boxgate; error=destination_unavailable",
        }
    }

    /// Seconds for `Retry-After`: whole ones, since Box's SDKs parse a number (a date makes them throw).
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TokenUnavailable { retry_after, .. }
            | Self::RateLimitExceeded { retry_after, .. }
            | Self::PausedByBox { retry_after, .. }
            | Self::TooManyWrongKeys { retry_after }
            | Self::RenewalTooSoon { retry_after, .. }
            | Self::RenewalFailed { retry_after, .. }
            | Self::AsUserNotLookedUp { retry_after, .. } => Some((*retry_after).max(1)),
            Self::Overloaded(_) | Self::TokenRetired => Some(1),
            Self::BadRequest(_)
            | Self::BadQuery(_)
            | Self::MethodNotAllowed
            | Self::OnlyForReading
            | Self::OnlyByPost
            | Self::TunnelNotAllowed { .. }
            | Self::TunnelUnreachable { .. }
            | Self::NotOfThisTunnel { .. }
            | Self::ProxyAuthenticationRequired(_)
            | Self::NoAppForProxy
            | Self::LoginNotServed
            | Self::NoCertificateAuthority
            | Self::NoSuchErrorCode
            | Self::UnknownName(_)
            | Self::LoopDetected(_)
            | Self::HostNotAllowed { .. }
            | Self::SourceNotAllowed
            | Self::CertificateMissing
            | Self::CertificateNotAllowed
            | Self::HeaderMissing(_)
            | Self::KeyMissing
            | Self::AdminKeyRequired { .. }
            | Self::OnlyOnThisMachine
            | Self::OriginNotAllowed
            | Self::ForeignPage
            | Self::ReloadUnavailable(_)
            | Self::NoSuchIdentity { .. }
            | Self::RenewalRefused(_)
            | Self::OperationNotAllowed { .. }
            | Self::BatchNotAllowed
            | Self::AppDisabled
            | Self::AsUserNotAllowed
            | Self::AsUserUnknown
            | Self::BudgetSpent { .. }
            | Self::NoSuchApp
            | Self::NotFound
            | Self::CredentialsRefused { .. }
            | Self::DownscopeRefused { .. }
            | Self::UpstreamUnauthorized
            | Self::UrlUnauthorized
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamProtocolError(_)
            | Self::CallerLeft
            | Self::RequestTimeout
            | Self::UpstreamTimeout => None,
        }
    }

    /// The value of `Allow` (RFC 9110 §15.5.6), for refusals of a method.
    fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed => Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            Self::OnlyForReading => Some("GET, HEAD"),
            Self::OnlyByPost => Some("POST"),
            _ => None,
        }
    }

    /// The response to the caller. `base`: scheme, authority and path under which the help page of the code is served.
    pub fn response(&self, request_id: &str, base: &str) -> Response<Bytes> {
        let (status, code) = self.status_and_code();
        let error = ClientError {
            r#type: "error",
            status: status.as_u16(),
            code,
            message: self.message(),
            request_id,
            help_url: format!("{base}{}{code}", error_codes::PAGES),
        };
        let body = serde_json::to_vec(&error).expect("strings and a number always serialize");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        if let Self::RateLimitExceeded { fields, .. } | Self::PausedByBox { fields, .. } = self {
            for (name, value) in [(RATE_LIMIT, &fields.0), (RATE_LIMIT_POLICY, &fields.1)] {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            }
        }
        if let Some(methods) = self.allow() {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if let Self::ProxyAuthenticationRequired(_) = self {
            let asks = HeaderValue::from_static("Basic realm=\"boxgate\", charset=\"UTF-8\"");
            headers.insert(PROXY_AUTHENTICATE, asks);
        }
        if let Self::AdminKeyRequired { .. } = self {
            let asks = HeaderValue::from_static("Basic realm=\"boxgate admin\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, asks);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The caller's body is incomplete or malformed.
impl From<&BrokenBody> for Refusal {
    fn from(broken: &BrokenBody) -> Self {
        match broken.fault() {
            Fault::Malformed => Self::BadRequest(
                "The framing of the request's body is not valid HTTP: a chunk's size or end, or the length, is wrong.",
            ),
            Fault::Incomplete => Self::CallerLeft,
        }
    }
}

/// The cause, for the log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpstreamUnreachable(cause)
            | Self::UpstreamProtocolError(cause)
            | Self::LoopDetected(cause)
            | Self::TokenUnavailable { cause, .. }
            | Self::AsUserNotLookedUp { cause, .. } => f.write_str(cause),
            Self::CredentialsRefused { identity, cause } => {
                write!(f, "Box refuses the credentials of identity {identity:?}: {cause}")
            }
            Self::DownscopeRefused { identity, cause } => {
                write!(f, "Box refuses to downscope the token of identity {identity:?}: {cause}")
            }
            Self::UpstreamTimeout => f.write_str(
                "Box did not begin to answer within [upstream] response_timeout, or took nothing of the body for body_timeout",
            ),
            Self::UpstreamUnauthorized => {
                f.write_str("Box answers 401 to access tokens that it has just given (boxgate check may say why)")
            }
            Self::UrlUnauthorized => f.write_str("Box answers 401 to a pre-signed URL; it may have expired"),
            Self::TokenRetired => f.write_str("Box answered 401, and the body could not be sent a second time"),
            Self::TunnelUnreachable { host, cause } => write!(f, "cannot connect to {host}: {cause}"),
            other => f.write_str(&other.message()),
        }
    }
}

impl std::error::Error for Refusal {}
