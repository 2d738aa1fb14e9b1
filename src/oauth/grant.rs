//! A token for an identity: by the Client Credentials Grant and, if the identity is downscoped, a token exchange after it.
//!
//! Only a [`Granted`] can be sent to Box's API. Of a downscoped identity it is made from the answer to the exchange alone, so
//! that a failed exchange cannot fall back to the token with all rights. Why there are two calls each time:
//! `docs/decisions/token-exchange.md`.

use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::net::clock::Clock;
use crate::net::secret::{Secret, wiped_when_sent};
use crate::oauth::client_credentials;
use crate::oauth::identity::Identity;
use crate::oauth::token_endpoint::{Fault, GrantType, Issued, Refused, TokenEndpoint};
use crate::oauth::token_exchange::{self, Restriction};
use crate::oauth::token_span::TokenSpan;
use crate::telemetry::trace::tracer::CurrentTracer;

/// Follows the cause of a temporary fault at the exchange.
pub(crate) const AT_EXCHANGE: &str = " (at the token exchange for downscope)";

/// A token that may be sent to Box's API.
pub(crate) struct Granted {
    /// `Bearer …`, marked sensitive.
    pub authorization: HeaderValue,
    /// The token alone: as long as this lives, it is blanked in all output.
    pub token: Secret,
    /// Counted from before the first request was sent.
    pub lifetime: Duration,
    /// What Box says the token is restricted to; empty if it says nothing.
    pub restricted_to: Vec<Restriction>,
}

/// The token that was exchanged for one with fewer rights, or was to be. Box accepts it until its end, so it is kept to be
/// blanked in all output, and for nothing else.
pub(crate) struct Parent {
    pub token: Secret,
    /// Counted from when its request was sent.
    pub lifetime: Duration,
}

/// What came of the calls for a token.
pub(crate) struct Fetched {
    pub outcome: Result<Granted, Fault>,
    /// `None`: there was no exchange.
    pub parent: Option<Parent>,
}

/// What traces the calls.
#[derive(Clone, Copy)]
pub(crate) struct Tracing<'a> {
    pub tracer: &'a CurrentTracer,
    pub clock: &'a Clock,
}

/// Gets a token that may be sent to Box's API. `on_sent` is called for each request that has reached the endpoint.
pub(crate) async fn fetch(
    endpoint: &TokenEndpoint,
    identity: &Identity,
    tracing: Option<Tracing<'_>>,
    on_sent: impl Fn(),
) -> Fetched {
    let call = Call { endpoint, identity, tracing };
    let form = client_credentials::form(identity);
    let issued = match call.send(GrantType::ClientCredentials, &form, &on_sent).await {
        Ok(issued) => issued,
        Err(fault) => return Fetched { outcome: Err(fault), parent: None },
    };
    let Some(downscope) = &identity.downscope else {
        return Fetched { outcome: granted(issued), parent: None };
    };
    let Issued { token, lifetime, .. } = issued;
    let parent = Parent { token, lifetime };
    let (scopes, resource) = token_exchange::parameters(downscope);
    let form = token_exchange::form(&parent.token, &scopes, resource.as_deref());
    let exchanged = call.send(GrantType::TokenExchange, &form, &on_sent).await;
    let outcome = exchanged
        .and_then(|child| token_exchange::narrower(child, &parent.token))
        .and_then(granted)
        .and_then(|child| token_exchange::within(&child.restricted_to, downscope).map(|()| child));
    let outcome = outcome.map_err(Fault::at_exchange).map(|child| {
        // Box does not say whether a child outlives its parent.
        let lifetime = child.lifetime.min(parent.lifetime);
        Granted { lifetime, ..child }
    });
    Fetched { outcome, parent: Some(parent) }
}

/// What a call needs besides its form.
struct Call<'a> {
    endpoint: &'a TokenEndpoint,
    identity: &'a Identity,
    tracing: Option<Tracing<'a>>,
}

impl Call<'_> {
    async fn send(
        &self,
        grant_type: GrantType,
        form: &[(&str, &str)],
        on_sent: impl Fn(),
    ) -> Result<Issued, Fault> {
        let Some(Tracing { tracer, clock }) = self.tracing else {
            return self.endpoint.call(grant_type, form, &mut None, on_sent).await;
        };
        let mut span = TokenSpan::begin(tracer, clock.now());
        let issued = self.endpoint.call(grant_type, form, &mut span, on_sent).await;
        if let Some(span) = span {
            let error = issued.as_ref().err().map(Fault::code);
            span.end(&self.identity.name, grant_type.as_str(), self.endpoint.url(), error, clock.now());
        }
        issued
    }
}

fn granted(issued: Issued) -> Result<Granted, Fault> {
    let Issued { token, lifetime, restricted_to } = issued;
    let bearer = Zeroizing::new([&b"Bearer "[..], token.expose().as_bytes()].concat());
    let mut authorization =
        HeaderValue::from_maybe_shared(wiped_when_sent(bearer)).map_err(|_| Fault::Transient {
            cause: "the token endpoint answers 200, but without a usable access_token".to_owned(),
            retry_after: None,
            reached: true,
        })?;
    authorization.set_sensitive(true);
    Ok(Granted {
        authorization,
        token,
        lifetime,
        restricted_to: token_exchange::restrictions(&restricted_to),
    })
}

impl Fault {
    /// The same, as met at the exchange.
    fn at_exchange(self) -> Self {
        match self {
            Self::Transient { cause, retry_after, reached } => {
                Self::Transient { cause: cause + AT_EXCHANGE, retry_after, reached }
            }
            Self::NotNarrowed(cause) => Self::NotNarrowed(cause + AT_EXCHANGE),
            Self::Refused(_) | Self::Loop(_) => self,
        }
    }
}

impl Refused {
    /// The known cause of the refusal, and where to fix it.
    pub(crate) fn advice(&self, identity: &Identity) -> String {
        match (self.grant_type, &identity.downscope) {
            (GrantType::TokenExchange, Some(downscope)) => token_exchange::advice(self, identity, downscope),
            (GrantType::TokenExchange | GrantType::ClientCredentials, _) => {
                client_credentials::advice(self, identity)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_keeps_its_lifetime_and_is_sensitive() {
        let lifetime = Duration::from_secs(3751);
        let issued = Issued { token: Secret::new("abc".to_owned()), lifetime, restricted_to: Value::Null };
        let granted = granted(issued).ok().unwrap();
        assert_eq!(granted.lifetime, lifetime);
        assert!(granted.authorization.is_sensitive() && granted.restricted_to.is_empty());
        assert_eq!(granted.authorization, "Bearer abc");
    }
}
