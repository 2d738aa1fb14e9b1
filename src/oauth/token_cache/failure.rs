//! What follows when no token was obtained: the pause before the next attempt, the refusal of requests, and the outage in the log.

use std::time::Duration;

use super::{Phase, Tokens};
use crate::http::error::Refusal;
use crate::net::clock::Moment;
use crate::oauth::grant::AT_EXCHANGE;
use crate::oauth::identity::Identity;
use crate::oauth::token_endpoint::{Fault, GrantType, Refused};
use crate::telemetry::outages::Party;
use crate::telemetry::words::short;

/// Pauses after temporary faults grow from the first to the second.
pub(super) const FAULT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Pauses after a refusal of the credentials, which only a person can fix.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// The same after a refused exchange. It comes after a call that succeeded, so that each attempt is two calls.
const EXCHANGE_REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(1200));

/// How often in succession no token was obtained.
#[derive(Debug, Default)]
pub(super) struct Failures {
    faults: u32,
    refusals: u32,
}

/// What fails for a while.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failing {
    /// The token endpoint.
    Endpoint,
    /// The exchange for a downscoped token, or what it gives; the endpoint has given the token before it.
    Exchange,
    /// The request would come back to a gateway.
    Loop,
}

impl Refused {
    /// As in `Box refuses the credentials`.
    pub(super) fn what(&self) -> &'static str {
        match self.grant_type {
            GrantType::ClientCredentials => "Box refuses the credentials",
            GrantType::TokenExchange => "Box refuses to downscope the token",
        }
    }

    /// Box's code and description.
    pub(super) fn cause(&self) -> String {
        format!("{} ({})", self.error, self.description)
    }

    /// Tells operators when the next request follows, so when a correction takes effect.
    fn next(&self) -> &'static str {
        match self.grant_type {
            GrantType::ClientCredentials => {
                "Box is asked again every 10 minutes at the latest, and at once after a reload (boxgate reload, or SIGHUP)"
            }
            GrantType::TokenExchange => {
                "Box is asked again every 20 minutes at the latest, and at once after a reload (boxgate reload, or SIGHUP)"
            }
        }
    }
}

impl Tokens {
    /// Logs the fault; returns what requests are told, and when to ask again. `at_exchange`: the call before gave a token.
    pub(super) fn failed(
        &self,
        fault: Fault,
        at_exchange: bool,
        identity: &Identity,
        failures: &mut Failures,
    ) -> (Phase, Moment) {
        let after = |pause: Duration| self.clock.now().after(pause);
        if at_exchange {
            self.outages.answered(self.token_endpoint(true), "");
            self.outages.answered(self.credentials(), "");
        }
        match fault {
            Fault::Refused(refused) => {
                failures.refusals += 1;
                self.outages.answered(self.token_endpoint(true), "");
                let next = format!("{}. {}", refused.advice(identity), refused.next());
                let (pauses, party) = match refused.grant_type {
                    GrantType::ClientCredentials => (REFUSED_PAUSE, self.credentials()),
                    GrantType::TokenExchange => (EXCHANGE_REFUSED_PAUSE, self.downscope(true)),
                };
                self.outages.failed(party, &refused.to_string(), 0, &next);
                let until = after(growing(pauses, failures.refusals));
                (Phase::Refused { until, refused }, until)
            }
            Fault::Transient { cause, retry_after, reached } => {
                failures.faults += 1;
                let pause = growing(FAULT_PAUSE, failures.faults)
                    .max(retry_after.unwrap_or_default().min(FAULT_PAUSE.1));
                let (failing, party) = match at_exchange {
                    true => (Failing::Exchange, self.downscope(false)),
                    false => (Failing::Endpoint, self.token_endpoint(reached)),
                };
                self.no_token(party, &cause);
                let until = after(pause);
                (Phase::Down { until, cause, failing }, until)
            }
            Fault::NotNarrowed(cause) => {
                failures.faults += 1;
                self.no_token(self.downscope(false), &cause);
                let until = after(growing(FAULT_PAUSE, failures.faults));
                (Phase::Down { until, cause, failing: Failing::Exchange }, until)
            }
            Fault::Loop(cause) => {
                failures.faults += 1;
                self.no_token(self.token_endpoint(true), &cause);
                let until = after(growing(FAULT_PAUSE, failures.faults));
                (Phase::Down { until, cause, failing: Failing::Loop }, until)
            }
        }
    }

    /// Of a request that needs a token in this phase, and what causes it; `None`: the request waits.
    pub(super) fn refusal(&self, phase: &Phase) -> Option<(Refusal, Party<'_>)> {
        Some(match phase {
            Phase::Asking | Phase::Holding => return None,
            Phase::Down { until, cause, failing } => match failing {
                Failing::Endpoint => (self.unavailable(*until, cause), self.token_endpoint(true)),
                Failing::Exchange => (self.unavailable(*until, cause), self.downscope(false)),
                Failing::Loop => (Refusal::LoopDetected(cause.clone()), self.token_endpoint(true)),
            },
            Phase::Refused { refused, .. } => {
                let (identity, cause) = (self.name().to_owned(), refused.cause());
                match refused.grant_type {
                    GrantType::ClientCredentials => {
                        (Refusal::CredentialsRefused { identity, cause }, self.credentials())
                    }
                    GrantType::TokenExchange => {
                        (Refusal::DownscopeRefused { identity, cause }, self.downscope(true))
                    }
                }
            }
        })
    }

    pub(super) fn unavailable(&self, until: Moment, cause: &str) -> Refusal {
        let left = until.left(self.clock.now());
        let retry_after = left.as_secs_f64().ceil().max(1.0) as u64;
        Refusal::TokenUnavailable { retry_after, cause: cause.to_owned() }
    }

    pub(super) fn token_endpoint(&self, reached: bool) -> Party<'_> {
        Party::TokenEndpoint { authority: &self.endpoint, reached }
    }

    pub(super) fn credentials(&self) -> Party<'_> {
        Party::Credentials { identity: self.name() }
    }

    pub(super) fn downscope(&self, refused: bool) -> Party<'_> {
        Party::Downscope { identity: self.name(), refused }
    }

    /// The endpoint gave no token: logged as one outage together with the requests that fail because of it.
    fn no_token(&self, party: Party<'_>, cause: &str) {
        // The log line already says so.
        let cause = cause.strip_suffix(AT_EXCHANGE).unwrap_or(cause);
        let cause = cause.strip_prefix("the token endpoint ").unwrap_or(cause);
        let cause = cause.strip_prefix("cannot be reached").unwrap_or(cause);
        let cause = cause.trim_start_matches([':', ' ']);
        let identity = self.name();
        let detail = match self.expires_in() {
            Some(left) => format!("the token of identity {identity:?} is valid for another {}", short(left)),
            None => {
                format!("identity {identity:?} has no valid token, its requests get 503 token_unavailable")
            }
        };
        self.outages.failed(party, cause, 0, &detail);
    }
}

/// The `nth` pause (from 1): doubled each time, with jitter so that replicas do not retry together.
pub(in crate::oauth) fn growing((first, longest): (Duration, Duration), nth: u32) -> Duration {
    let whole = first.saturating_mul(1 << (nth.saturating_sub(1)).min(16)).min(longest);
    whole.mul_f64(0.75 + 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        assert!(growing(FAULT_PAUSE, 1) <= Duration::from_secs(1));
        assert!(growing(FAULT_PAUSE, 3) > Duration::from_secs(2));
        for nth in [7, 40, u32::MAX] {
            let pause = growing(FAULT_PAUSE, nth);
            assert!(pause <= FAULT_PAUSE.1 && pause >= FAULT_PAUSE.1 / 2);
        }
    }

    /// An attempt with an exchange makes two calls.
    #[test]
    fn a_refused_exchange_causes_no_more_calls_than_refused_credentials() {
        for (of_one_call, of_two) in
            [(REFUSED_PAUSE.0, EXCHANGE_REFUSED_PAUSE.0), (REFUSED_PAUSE.1, EXCHANGE_REFUSED_PAUSE.1)]
        {
            assert_eq!(2 * of_one_call, of_two);
        }
    }
}
