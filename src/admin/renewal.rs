//! `POST /identities/NAME/renew`: obtains a new token for an identity and answers with the outcome.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tracing::info;

use super::{Overview, ignored_body, json_page};
use crate::http::error::Refusal;
use crate::net::clock::Moment;
use crate::net::peer::Peer;
use crate::oauth::token_cache::{NotRenewed, Tokens};
use crate::telemetry::words::{rfc_3339, short};

/// One renewal of an identity in this time: each is a call of Box's token endpoint.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a caller waits for the outcome: longer than a call of the token endpoint may take, even after another that has to end
/// first, and less than a new connection lives.
const TIMEOUT: Duration = Duration::from_secs(45);

/// When the renewals that operators requested were admitted, by the identity's name.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<HashMap<String, Moment>>);

/// The response body.
#[derive(Serialize)]
struct Answer {
    result: &'static str,
    expires: String,
}

/// The name of the identity whose renewal this path requests, percent-decoded; `None`: another path.
pub(super) fn requested(path: &str) -> Option<Cow<'_, str>> {
    let name = path.strip_prefix("/identities/")?.strip_suffix("/renew")?;
    // A name with a slash in it is percent-encoded.
    (!name.contains('/')).then(|| percent_decode_str(name).decode_utf8_lossy())
}

/// The identity with this name.
///
/// # Errors
/// There is none.
pub(super) fn identity(identities: &[Arc<Tokens>], name: &str) -> Result<Arc<Tokens>, Refusal> {
    identities.iter().find(|tokens| tokens.name() == name).cloned().ok_or_else(|| {
        let known = identities.iter().map(|tokens| format!("{:?}", tokens.name())).collect::<Vec<_>>();
        Refusal::NoSuchIdentity { name: name.to_owned(), known: known.join(", ") }
    })
}

impl Renewals {
    /// Admits a renewal of the identity with this name, and logs who requests it.
    ///
    /// # Errors
    /// The last renewal was less than [`INTERVAL`] ago.
    fn admit(&self, name: &str, peer: &Peer, now: Moment) -> Result<(), Refusal> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that a reload removed do not stay.
        last.retain(|_, at| !at.after(INTERVAL).has_come(now));
        if let Some(at) = last.get(name) {
            let retry_after = at.after(INTERVAL).left(now).as_secs_f64().ceil().max(1.0) as u64;
            return Err(Refusal::RenewalTooSoon { identity: name.to_owned(), retry_after });
        }
        last.insert(name.to_owned(), now);
        info!(identity = name, peer = %peer.address, "an operator requests a new token");
        Ok(())
    }
}

/// Renews and waits for the outcome. The body is ignored, but only a complete request counts as a renewal.
///
/// # Errors
/// Box gives no token, or not in time; the last renewal was just before; or the body is too long, broken or slow.
pub(super) async fn answer<B>(
    overview: &Weak<Overview>,
    tokens: &Tokens,
    peer: &Peer,
    body: B,
) -> Result<Response<Bytes>, Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    ignored_body::read(body).await?;
    // The overview is dropped before the wait.
    overview
        .upgrade()
        .ok_or_else(stopping)
        .and_then(|overview| overview.renewals.admit(tokens.name(), peer, overview.process.clock.now()))?;
    let outcome = tokio::time::timeout(TIMEOUT, tokens.renew()).await.unwrap_or_else(|_| {
        let why = "the token endpoint has not answered after 45 s; the log will show the outcome";
        Err(NotRenewed::Failed(why.to_owned()))
    });
    let still = || match tokens.expires_in() {
        Some(left) => format!("The token in use stays valid for another {}.", short(left)),
        None => "There is no valid token.".to_owned(),
    };
    match outcome {
        Ok(expires) => {
            let mut response = json_page(&Answer { result: "ok", expires: rfc_3339(expires) });
            *response.status_mut() = StatusCode::OK;
            Ok(response)
        }
        Err(NotRenewed::Refused(why)) => {
            Err(Refusal::RenewalRefused(format!("{}. {}", why.trim_end_matches('.'), still())))
        }
        Err(NotRenewed::Failed(why)) => Err(Refusal::RenewalFailed {
            words: format!("No new token: {}. {}", why.trim_end_matches('.'), still()),
            retry_after: INTERVAL.as_secs(),
        }),
    }
}

/// The process is stopping.
pub(super) fn stopping() -> Refusal {
    Refusal::RenewalFailed {
        words: "The gateway is stopping and requests no more tokens.".to_owned(),
        retry_after: INTERVAL.as_secs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_an_identity() {
        assert_eq!(requested("/identities/service/renew").as_deref(), Some("service"));
        assert_eq!(requested("/identities/a%2Fb%20%C3%A4/renew").as_deref(), Some("a/b ä"));
        assert_eq!(requested("/identities//renew").as_deref(), Some(""));
        for other in ["/identities/a/b/renew", "/identities/renew", "/identities/a", "/identities/a/renew/"] {
            assert_eq!(requested(other), None, "{other}");
        }
    }
}
