//! Faults that last as long as the sandbox, to rehearse what a gateway and its callers do about them.

use std::{
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use super::faults::{Fault, TokenAnswer};

const FORMS: &str = "is none of STATUS:SHARE% (429:5%), STATUS:once (401:once), token, slow:TIME (slow:2s); \
                     a status is 400 to 599, a share 0.01% to 100%, a time 1ms to 10m";
/// All of a share, in hundredths of a percent.
const ALL: u32 = 10_000;
const SLOWEST: Duration = Duration::from_secs(600);

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
    /// Every answer comes so much later, tokens too.
    Slow(Duration),
}

/// `429:5%`, `401:once`, `token`, `slow:2s`.
impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            None if text == "token" => Some(Self::Token),
            None => None,
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

/// The failures of one sandbox, with what of them has happened.
#[derive(Default)]
pub(crate) struct Failures {
    shares: Vec<(u16, u32, AtomicU32)>,
    once: Vec<(u16, AtomicBool)>,
    token: bool,
    slow: Duration,
}

impl Failures {
    pub(crate) fn new(failures: &[Failure]) -> Self {
        let mut made = Self::default();
        for failure in failures {
            match *failure {
                Failure::Share { status, share } => made.shares.push((status, share, AtomicU32::new(0))),
                Failure::Once { status } => made.once.push((status, AtomicBool::new(false))),
                Failure::Token => made.token = true,
                Failure::Slow(time) => made.slow += time,
            }
        }
        made
    }

    /// The fault of this call, if it is one's turn.
    pub(crate) fn next(&self, has_token: bool) -> Option<Fault> {
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
        found.map(fault)
    }

    /// How the token endpoint answers.
    pub(crate) fn token_answer(&self) -> TokenAnswer {
        match self.token {
            true => TokenAnswer::refuse("invalid_client", "The client credentials are invalid"),
            false => TokenAnswer::Normal,
        }
    }

    pub(crate) async fn dawdle(&self) {
        if !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
    }
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

    #[test]
    fn failures_are_read_and_others_told_the_forms() {
        for (text, want) in [
            ("429:5%", Failure::Share { status: 429, share: 500 }),
            ("503:0.25%", Failure::Share { status: 503, share: 25 }),
            ("500:100%", Failure::Share { status: 500, share: 10_000 }),
            ("401:once", Failure::Once { status: 401 }),
            ("token", Failure::Token),
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
        let failed: Vec<_> = (1..=200).filter(|_| failures.next(true).is_some()).collect();
        assert_eq!(failed, (1..=10).map(|count| count * 20).collect::<Vec<_>>());
    }

    #[test]
    fn once_is_once_and_a_401_needs_a_token() {
        let failures = Failures::new(&["401:once".parse().unwrap(), "503:once".parse().unwrap()]);
        let statuses: Vec<_> = [false, true, true, false]
            .into_iter()
            .map(|has_token| match failures.next(has_token) {
                Some(Fault::Status { status, .. }) => status.as_u16(),
                _ => 200,
            })
            .collect();
        assert_eq!(statuses, [503, 401, 200, 200]);
    }
}
