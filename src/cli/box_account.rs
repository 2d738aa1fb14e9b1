//! An account at Box, tried: a token for it, and who Box says it is. Box's refusals are explained with what to do.

use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, USER_AGENT, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method};

use crate::config::Config;
use crate::net::descriptors::UpstreamRoom;
use crate::net::egress_proxy::proxy_matcher;
use crate::net::own_listeners::OwnListeners;
use crate::net::tls_client::Trust;
use crate::oauth::grant::{self, Granted};
use crate::oauth::http_client::token_client;
use crate::oauth::identity::{Identity, Subject};
use crate::oauth::token_endpoint::{Fault, TokenEndpoint};
use crate::upstream::connector::Connector;
use crate::upstream::pool::Upstream;
use crate::upstream::protocol::Protocol;
use crate::upstream::request_body::Upload;

/// What asks Box about accounts: the token endpoint and the API host of one configuration. Its connections are tasks of
/// the current thread, so that it must be used inside a `LocalSet`.
pub(super) struct BoxAccounts {
    token_endpoint: TokenEndpoint,
    pool: Upstream,
    host: Authority,
    response_timeout: Duration,
}

/// The user for whom a token was given, as Box describes it.
#[derive(Debug)]
pub(super) struct User {
    /// Such as `AutomationUser_…@boxdevedition.com`.
    pub(super) login: String,
    /// Digits.
    pub(super) id: String,
}

/// Why an account is not well, once there is a token for it.
#[derive(Debug)]
pub(super) struct NotWell {
    /// What is wrong and what to do.
    pub(super) words: String,
    /// Whether Box itself refuses. No answer, or one of another kind, says nothing about the account.
    pub(super) refused: bool,
}

impl From<String> for NotWell {
    fn from(words: String) -> Self {
        Self { words, refused: false }
    }
}

impl BoxAccounts {
    /// `own`: where a gateway of this configuration listens.
    ///
    /// # Errors
    /// No certificate roots, or `[upstream] proxy` cannot be used; in words for the operator.
    pub(super) fn new(config: &Config, own: &OwnListeners) -> Result<Self, String> {
        let upstream = &config.upstream;
        let trust = Trust::new(&config.hosts.extra_roots).map_err(|error| error.to_string())?;
        let client = token_client(&trust, &upstream.proxy, upstream.connect_timeout)
            .map_err(|error| format!("[upstream] proxy: {error}"))?;
        let proxies = proxy_matcher(&upstream.proxy);
        let token_endpoint = TokenEndpoint::new(client, config.hosts.token_url.clone(), proxies, own.clone());
        let room = UpstreamRoom::new();
        room.add(1);
        let connector = Connector::new(&trust, upstream.connector(), room, own.clone());
        let host = config.hosts.api.clone();
        let pool = Upstream::new(connector, upstream.pool_idle_timeout, std::iter::once(&host));
        Ok(Self { token_endpoint, pool, host, response_timeout: upstream.response_timeout })
    }

    /// Asks the token endpoint for a token.
    pub(super) async fn token(&self, identity: &Identity) -> Result<Granted, Fault> {
        grant::fetch(&self.token_endpoint, identity, None, || {}).await.outcome
    }

    /// What [`Self::token`] met, and what to do.
    pub(super) fn explain(&self, fault: &Fault, identity: &Identity) -> String {
        let endpoint = self.token_endpoint.authority();
        match fault {
            Fault::Transient { cause, .. } => {
                let about = match cause.strip_prefix("the token endpoint ") {
                    Some(words) => format!("the token endpoint {endpoint} {words}"),
                    None => format!("{endpoint}: {cause}"),
                };
                format!(
                    "not checked: {about}. Box has not checked this identity yet; check again once its token endpoint answers"
                )
            }
            Fault::NotNarrowed(cause) => cause.clone(),
            Fault::Loop(cause) => format!("the gateway would call itself at {endpoint}: {cause}"),
            Fault::Refused(refused) => {
                let (error, description) = (&refused.error, &refused.description);
                let advice = refused.advice(identity);
                format!("Box ({endpoint}) refuses this identity with {error} ({description}): {advice}")
            }
        }
    }

    /// Asks the API whose token this is, and compares the enterprise.
    pub(super) async fn user_of(&self, identity: &Identity, granted: Granted) -> Result<User, NotWell> {
        let mut request = http::Request::new(Upload::none().attempt());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = http::Uri::from_static("/2.0/users/me?fields=login,name,status,enterprise");
        let headers: &mut HeaderMap = request.headers_mut();
        // The token is kept until the end, so that it is blanked in Box's messages.
        let Granted { authorization, token: _token, .. } = granted;
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("boxgate/", env!("CARGO_PKG_VERSION"))));
        headers.remove(HOST);
        let host = &self.host;
        let origin = self.pool.origin(host).ok_or_else(|| "[box] api is not a host name".to_owned())?;
        let limit = self.response_timeout;
        let answering = async {
            let (response, _lease) =
                self.pool.send(&origin, request, Protocol::Any).await.map_err(|error| error.cause)?;
            let (head, body) = response.into_parts();
            let body = http_body_util::BodyExt::collect(http_body_util::Limited::new(body, 64 * 1024));
            let body = body.await.map_err(|error| format!("{host}: {error}"))?.to_bytes();
            Ok::<_, String>((head, body))
        };
        let (head, body) = tokio::time::timeout(limit, answering)
            .await
            .map_err(|_| format!("{host} did not answer in {limit:?}"))??;
        if !head.status.is_success() {
            let why = head.headers.get(WWW_AUTHENTICATE).and_then(|why| why.to_str().ok());
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            let words = match head.status.as_u16() {
                401 => format!(
                    "{host} answers 401 to a token it has just given: the user or the app may be deactivated{why}"
                ),
                403 => format!(
                    "{host} answers 403 to GET /2.0/users/me: the app lacks a scope, or an IP rule of the enterprise forbids it{why}"
                ),
                429 => format!(
                    "{host} answers 429 to GET /2.0/users/me: this account has made too many calls; the token is valid, check again later"
                ),
                status @ 500.. => format!(
                    "{host} answers {status} to GET /2.0/users/me: the fault is at Box or a proxy on the way there; the token is valid, check again later"
                ),
                status => format!("{host} answers {status} to GET /2.0/users/me"),
            };
            return Err(NotWell { words, refused: matches!(head.status.as_u16(), 401 | 403) });
        }
        let me: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|_| format!("{host} answers GET /2.0/users/me with what is not JSON"))?;
        let text =
            |pointer: &str| me.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
        let (login, id, enterprise) = (text("/login"), text("/id"), text("/enterprise/id"));
        if let Subject::Enterprise(expected) = &identity.subject
            && enterprise != "?"
            && enterprise != *expected
        {
            let words = format!(
                "the token belongs to enterprise {enterprise}, but the configuration says {expected}"
            );
            return Err(NotWell { words, refused: true });
        }
        Ok(User { login, id })
    }
}
