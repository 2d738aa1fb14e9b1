//! Faults that last as long as the sandbox, to rehearse what a gateway and its callers do about them.

use std::{
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use super::faults::{Fault, TokenAnswer};
use crate::sandbox::http::response::INSUFFICIENT_SCOPE;

const FORMS: &str = "is none of STATUS:SHARE% (429:5%), STATUS:once (401:once), token, revoked, exchange, \
                     scope, slow:TIME (slow:2s); a status is 400 to 599, a share 0.01% to 100%, a time 1ms to 10m";
/// All of a share, in hundredths of a percent.
const ALL: u32 = 10_000;
const SLOWEST: Duration = Duration::from_secs(600);

/// An OAuth error code and its text.
type OauthError = (&'static str, &'static str);

const INVALID_CLIENT: OauthError = ("invalid_client", "The client credentials are invalid");
const NOT_AUTHORIZED: OauthError =
    ("unauthorized_client", "This app is not authorized by the enterprise admin");
const INVALID_RESOURCE: OauthError = ("invalid_resource", "The target resource is invalid.");

/// One way in which a sandbox misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This share of calls, evenly spread, is answered with this status. A 401 is given only to calls with a token.
    Share {
        /// 400 to 599.
        status: u16,
        /// In hundredths of a percent, 1 to 10,000.
        share: u32,
    },
    /// One call is answered with this status, a 401 only one with a token.
    Once {
        /// 400 to 599.
        status: u16,
    },
    /// The token endpoint refuses every client with `invalid_client`.
    Token,
    /// The token endpoint refuses every client with `unauthorized_client`, as after an admin has revoked the app.
    Revoked,
    /// The token endpoint refuses every token exchange with `invalid_resource`, as where the account of the token does
    /// not see the folder or file.
    Exchange,
    /// Calls that change something get 403 `insufficient_scope`, as where the app lacks the scope to write.
    Scope,
    /// Every answer comes so much later, tokens too.
    Slow(Duration),
}

/// `429:5%`, `401:once`, `token`, `revoked`, `exchange`, `scope`, `slow:2s`.
impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            None => match text {
                "token" => Some(Self::Token),
                "revoked" => Some(Self::Revoked),
                "exchange" => Some(Self::Exchange),
                "scope" => Some(Self::Scope),
                _ => None,
            },
            Some(("slow", time)) => duration(time).map(Self::Slow),
            Some((status, what)) => {
                let status = status.parse().ok().filter(|status| (400..600).contains(status));
                match (status, what) {
                    (Some(status), "once") => Some(Self::Once { status }),
                    (Some(status), what) => share(what).map(|share| Self::Share { status, share }),
                    (None, _) => None,
                }
            }
        };
        parsed.ok_or_else(|| FORMS.to_owned())
    }
}

/// `5%`, `0.25%`: in hundredths of a percent.
fn share(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || part.len() > 2 || whole.is_empty() {
        return None;
    }
    let share = format!("{whole}{part:0<2}").parse().ok()?;
    (1..=ALL).contains(&share).then_some(share)
}

/// `2s`, `500ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    let time = unit.checked_mul(number)?;
    (!time.is_zero() && time <= SLOWEST).then_some(time)
}

/// What failures depend on of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// It carries a token.
    pub(crate) has_token: bool,
    /// Its method is not a safe one (RFC 9110 §9.2.1).
    pub(crate) changes: bool,
}

/// The failures of one sandbox, with what of them has happened.
#[derive(Default)]
pub(crate) struct Failures {
    shares: Vec<(u16, u32, AtomicU32)>,
    once: Vec<(u16, AtomicBool)>,
    /// How the token endpoint refuses every client.
    refused: Option<OauthError>,
    /// Whether it refuses token exchanges.
    exchange: bool,
    scope: bool,
    slow: Duration,
}

impl Failures {
    pub(crate) fn new(failures: &[Failure]) -> Self {
        let mut made = Self::default();
        for failure in failures {
            match *failure {
                Failure::Share { status, share } => made.shares.push((status, share, AtomicU32::new(0))),
                Failure::Once { status } => made.once.push((status, AtomicBool::new(false))),
                Failure::Token => made.refused = Some(INVALID_CLIENT),
                Failure::Revoked => made.refused = Some(NOT_AUTHORIZED),
                Failure::Exchange => made.exchange = true,
                Failure::Scope => made.scope = true,
                Failure::Slow(time) => made.slow += time,
            }
        }
        made
    }

    /// The fault of this call, if it is one's turn.
    pub(crate) fn next(&self, call: Call) -> Option<Fault> {
        let has_token = call.has_token;
        let fits = |status: u16| has_token || status != 401;
        let once =
            self.once.iter().find(|(status, done)| fits(*status) && !done.swap(true, Ordering::Relaxed));
        if let Some((status, _)) = once {
            return Some(fault(*status));
        }
        // Each share counts all calls that fit, so that none depends on another.
        let mut found = None;
        for (status, share, sum) in self.shares.iter().filter(|(status, ..)| fits(*status)) {
            let before = sum.fetch_add(*share, Ordering::Relaxed);
            let is_turn = before % ALL + share >= ALL;
            found = found.or(is_turn.then_some(*status));
        }
        found.map(fault).or_else(|| (self.scope && call.changes).then(scope_missing))
    }

    /// How the token endpoint answers.
    pub(crate) fn token_answer(&self, is_exchange: bool) -> TokenAnswer {
        let exchange = (self.exchange && is_exchange).then_some(INVALID_RESOURCE);
        self.refused
            .or(exchange)
            .map_or(TokenAnswer::Normal, |(error, text)| TokenAnswer::refuse(error, text))
    }

    pub(crate) async fn dawdle(&self) {
        if !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
    }
}

/// As Box answers where the token lacks a scope: 403 without a body.
fn scope_missing() -> Fault {
    Fault::Status { status: StatusCode::FORBIDDEN, headers: HeaderMap::new(), body: Bytes::new() }
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT_SCOPE))
}

fn fault(status: u16) -> Fault {
    match status {
        429 => Fault::RateLimited { retry_after: 1 },
        _ => Fault::status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: Call = Call { has_token: true, changes: false };

    #[test]
    fn failures_are_read_and_others_told_the_forms() {
        for (text, want) in [
            ("429:5%", Failure::Share { status: 429, share: 500 }),
            ("503:0.25%", Failure::Share { status: 503, share: 25 }),
            ("500:100%", Failure::Share { status: 500, share: 10_000 }),
            ("401:once", Failure::Once { status: 401 }),
            ("token", Failure::Token),
            ("revoked", Failure::Revoked),
            ("exchange", Failure::Exchange),
            ("scope", Failure::Scope),
            ("slow:2s", Failure::Slow(Duration::from_secs(2))),
            ("slow:250ms", Failure::Slow(Duration::from_millis(250))),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for text in [
            "",
            "429",
            "429:",
            "429:5",
            "429:0%",
            "429:101%",
            "429:.5%",
            "429:1.234%",
            "200:5%",
            "600:once",
            "x:5%",
            "429:-1%",
            "token:5%",
            "Token",
            "revoked:1",
            "exchange:once",
            "scope:5%",
            "slow",
            "slow:",
            "slow:2",
            "slow:0s",
            "slow:11m",
            "slow:2h",
        ] {
            assert_eq!(text.parse::<Failure>(), Err(FORMS.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_share_is_exact_and_evenly_spread() {
        let failures = Failures::new(&["503:5%".parse().unwrap()]);
        let failed: Vec<_> = (1..=200).filter(|_| failures.next(READS).is_some()).collect();
        assert_eq!(failed, (1..=10).map(|count| count * 20).collect::<Vec<_>>());
    }

    #[test]
    fn once_is_once_and_a_401_needs_a_token() {
        let failures = Failures::new(&["401:once".parse().unwrap(), "503:once".parse().unwrap()]);
        let statuses: Vec<_> = [false, true, true, false]
            .into_iter()
            .map(|has_token| match failures.next(Call { has_token, ..READS }) {
                Some(Fault::Status { status, .. }) => status.as_u16(),
                _ => 200,
            })
            .collect();
        assert_eq!(statuses, [503, 401, 200, 200]);
    }

    #[test]
    fn a_missing_scope_stops_changes_alone() {
        let failures = Failures::new(&[Failure::Scope]);
        assert!(failures.next(READS).is_none());
        let Some(Fault::Status { status, headers, body }) = failures.next(Call { changes: true, ..READS })
        else {
            panic!("it has a status")
        };
        assert_eq!((status.as_u16(), body.len()), (403, 0));
        assert!(headers[WWW_AUTHENTICATE].to_str().unwrap().contains("error=\"insufficient_scope\""));
    }
}
