//! Logs outages: what is unreachable, since when, and how many requests have failed for it. There is one line at the
//! beginning, reminders at growing intervals, and one line at the end: a dozen lines, however many requests fail.
//!
//! If many parties fail together (the network, a proxy), they share the lines: after the first few, one reminder lists
//! all that are down. Parties that fail and recover repeatedly share the same few lines until there was no failure for
//! [`CALM`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, info, warn};

use crate::net::clock::{Clock, Moment};
use crate::net::secret_filter;
use crate::telemetry::words::{grouped, short, time_of_day};

/// How many beginnings, and as many ends, get a line of their own before only reminders report them; one more of each …
const LINES: u32 = 3;
/// … is allowed after each period of this length.
const REFILL: Duration = Duration::from_secs(30 * 60);
/// The time from the beginning to the first reminder; each further interval is [`GROWTH`] times as long.
const FIRST_REMINDER: Duration = Duration::from_secs(10);
const GROWTH: u32 = 8;
/// An outage that lasts this long gets a line even if the lines are used up.
const LONG: Duration = Duration::from_secs(60);
/// After this long without a failure, all lines are available again.
const CALM: Duration = Duration::from_secs(10 * 60);
/// An outage that was not confirmed for this long is forgotten without a line, as for a host that is no longer called.
/// Longer than the interval between attempts at the token endpoint.
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);
/// The most outages that are tracked.
const MOST: usize = 64;
/// The most characters of a cause that are logged. It may come from Box.
const LONGEST_CAUSE: usize = 300;

/// What can have an outage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Party<'a> {
    /// Connections to this authority of Box.
    Host(&'a str),
    /// The token endpoint at this authority. `reached`: it answers, but not with a token.
    TokenEndpoint {
        /// Host and port.
        authority: &'a str,
        reached: bool,
    },
    /// Box refuses this identity's credentials.
    Credentials { identity: &'a str },
    /// This identity's token cannot be exchanged for one with fewer rights. `refused`: Box refuses to; else the endpoint, which
    /// has just given that token, fails at the exchange.
    Downscope { identity: &'a str, refused: bool },
    /// The server of `[state] redis`. `reached`: it answers, but with errors.
    Redis {
        /// Host and port, or a path.
        server: &'a str,
        reached: bool,
    },
    /// The collector of `[trace] otlp` at this authority. `reached`: it answers, but takes no spans.
    Collector {
        /// Host and port.
        authority: &'a str,
        reached: bool,
    },
    /// The file of `[log] audit`.
    AuditLog {
        /// Its path.
        file: &'a str,
    },
}

impl Party<'_> {
    fn name(self) -> String {
        match self {
            Self::Host(authority) => authority.to_owned(),
            Self::TokenEndpoint { authority, .. } => format!("token endpoint {authority}"),
            Self::Credentials { identity } => format!("identity {identity:?}:"),
            // Another party: its outage begins when that of the credentials ends.
            Self::Downscope { identity, .. } => format!("downscope of identity {identity:?}:"),
            Self::Redis { server, .. } => format!("Redis at {server}"),
            Self::Collector { authority, .. } => format!("trace collector {authority}"),
            Self::AuditLog { file } => format!("audit log {file}"),
        }
    }

    /// The words between the name and the time of the beginning, and those between the name and the duration.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Host(_)
            | Self::Redis { reached: false, .. }
            | Self::Collector { reached: false, .. }
            | Self::TokenEndpoint { reached: false, .. } => ("unreachable since", "reachable again after"),
            Self::Redis { reached: true, .. } => ("answers with errors since", "works again after"),
            Self::Collector { reached: true, .. } => ("takes no spans since", "takes spans again after"),
            Self::TokenEndpoint { reached: true, .. } => ("gives no token since", "gives tokens again after"),
            Self::AuditLog { .. } => ("cannot be written since", "is written again after"),
            Self::Credentials { .. } => {
                ("Box refuses its credentials since", "Box accepts its credentials again after")
            }
            Self::Downscope { refused: true, .. } => {
                ("Box refuses the token exchange since", "Box exchanges its tokens again after")
            }
            Self::Downscope { refused: false, .. } => {
                ("the token exchange fails since", "Box exchanges its tokens again after")
            }
        }
    }

    /// Whether it does not end without an operator, and so is logged as an error.
    fn is_severe(self) -> bool {
        matches!(
            self,
            Self::Credentials { .. } | Self::Downscope { refused: true, .. } | Self::AuditLog { .. }
        )
    }
}

/// An outage, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outage {
    /// When it began, by the wall clock.
    pub since: SystemTime,
    /// What fails and why, as in `unreachable (connection refused)`.
    pub reason: String,
}

/// The current outages.
#[derive(Debug)]
pub(crate) struct Outages {
    clock: Clock,
    /// The number of outages. While it is 0, which is the rule, requests do not take the lock.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By name.
    down: BTreeMap<String, Down>,
    /// How many lines may still be written about beginnings and about ends.
    lines: (u32, u32),
    refilled: Instant,
    interval: Duration,
    reminder: Option<Instant>,
    failed: Option<Instant>,
}

#[derive(Debug)]
struct Down {
    words: (&'static str, &'static str),
    severe: bool,
    since: Moment,
    /// The time of the last failure.
    last: Instant,
    cause: String,
    requests: u64,
    /// Whether its beginning was logged.
    told: bool,
}

impl Outages {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State {
            down: BTreeMap::new(),
            lines: (LINES, LINES),
            refilled: clock.mono(),
            interval: FIRST_REMINDER,
            reminder: None,
            failed: None,
        };
        Self { clock, count: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// Records a failure. `requests`: how many requests failed for it. `detail`: the consequence or what to do, for the
    /// first line.
    pub(crate) fn failed(&self, party: Party<'_>, cause: &str, requests: u64, detail: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.begin(now.mono);
        let name = party.name();
        if state.down.len() >= MOST && !state.down.contains_key(&name) {
            return;
        }
        let may_tell = state.lines.0 > 0;
        let (words, severe) = (party.words(), party.is_severe());
        let before = state.down.get(&name);
        // One that turns into an outage for an operator begins anew: only first lines say what to do.
        let begins = before.is_none_or(|down| severe && !down.severe);
        let down = state.down.entry(name.clone()).or_insert_with(|| Down {
            words,
            severe,
            since: now,
            last: now.mono,
            cause: String::new(),
            requests: 0,
            told: false,
        });
        (down.words, down.last) = (words, now.mono);
        if begins {
            (down.severe, down.since) = (severe, now);
        }
        down.cause = secret_filter::shortened(cause.to_owned(), LONGEST_CAUSE);
        down.requests += requests;
        if begins && may_tell {
            down.told = true;
            let mut line = down.line(&name, now);
            if !detail.is_empty() {
                let _ = write!(line, "; {detail}");
            }
            tell(severe, &line);
            state.lines.0 -= 1;
        } else {
            state.remind(now);
        }
        self.count.store(state.down.len(), Ordering::Release);
    }

    /// Records that a request failed because of a known outage.
    pub(crate) fn request_failed(&self, party: Party<'_>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(down) = state.down.get_mut(&party.name()) {
            (down.requests, down.last) = (down.requests + 1, now.mono);
            state.failed = Some(now.mono);
            state.remind(now);
        }
    }

    /// Records that the party works, which ends its outage. Costs next to nothing while there is no outage.
    pub(crate) fn answered(&self, party: Party<'_>, detail: &str) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let name = party.name();
        let ended = state.down.remove(&name);
        state.forget(now.mono);
        self.count.store(state.down.len(), Ordering::Release);
        let Some(down) = ended else { return };
        // The end of the last outage is always logged: without it, the outage would seem to go on.
        if !down.told || state.lines.1 == 0 && !state.down.is_empty() {
            return;
        }
        state.lines.1 = state.lines.1.saturating_sub(1);
        let (after, failed) = (short(down.since.elapsed(now)), failed(down.requests));
        let detail = if detail.is_empty() { String::new() } else { format!("; {detail}") };
        info!("{name} {} {after}{failed}{detail}", down.words.1);
    }

    /// The party's outage now; `None` of one that was not called yet, or not for [`FORGOTTEN`].
    pub(crate) fn of(&self, party: Party<'_>) -> Option<Outage> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let now = self.clock.mono();
        let state = self.lock();
        let down = state.down.get(&party.name()).filter(|down| !down.is_forgotten(now))?;
        let words = down.words.0.strip_suffix(" since").unwrap_or(down.words.0);
        Some(Outage { since: down.since.wall, reason: format!("{words} ({})", down.cause) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// At a failure: makes all lines available again after [`CALM`], else one more for each [`REFILL`].
    fn begin(&mut self, now: Instant) {
        self.forget(now);
        let is_calm = self.failed.is_none_or(|failed| now.saturating_duration_since(failed) >= CALM);
        if is_calm && self.down.is_empty() {
            (self.lines, self.interval, self.reminder) = ((LINES, LINES), FIRST_REMINDER, None);
            self.refilled = now;
        } else if now.saturating_duration_since(self.refilled) >= REFILL {
            self.lines = ((self.lines.0 + 1).min(LINES), (self.lines.1 + 1).min(LINES));
            self.refilled = now;
        }
        self.failed = Some(now);
        self.reminder.get_or_insert(now + self.interval);
    }

    fn forget(&mut self, now: Instant) {
        self.down.retain(|_, down| !down.is_forgotten(now));
    }

    /// Logs one line that lists all outages, if it is time for a reminder.
    fn remind(&mut self, now: Moment) {
        let is_due = self.reminder.is_some_and(|due| now.mono >= due);
        let is_long = |down: &Down| !down.told && down.since.elapsed(now) >= LONG;
        if !is_due && !self.down.values().any(is_long) {
            return;
        }
        let lines: Vec<String> = self.down.iter().map(|(name, down)| down.line(name, now)).collect();
        tell(self.down.values().any(|down| down.severe), &lines.join(" | "));
        self.down.values_mut().for_each(|down| down.told = true);
        self.interval = self.interval.saturating_mul(GROWTH);
        self.reminder = Some(now.mono + self.interval);
    }
}

impl Down {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN
    }

    fn line(&self, name: &str, now: Moment) -> String {
        let Self { words, since, cause, requests, .. } = self;
        let since = time_of_day(since.wall, now.wall);
        format!("{name} {} {since} ({cause}){}", words.0, failed(*requests))
    }
}

fn failed(requests: u64) -> String {
    match requests {
        0 => String::new(),
        1 => "; 1 request failed".to_owned(),
        many => format!("; {} requests failed", grouped(many)),
    }
}

fn tell(severe: bool, line: &str) {
    if severe {
        error!("{line}");
    } else {
        warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;
    use crate::telemetry::log::captured;

    const API: Party<'_> = Party::Host("api.box.com");

    fn outages() -> (Outages, Clock) {
        let clock = Clock::adjustable();
        (Outages::new(clock.clone()), clock)
    }

    #[test]
    fn an_outage_is_logged_at_its_beginning_in_reminders_and_at_its_end() {
        let (outages, clock) = outages();
        let lines = captured(|| {
            for _ in 0..1240 {
                outages.failed(API, "connection refused", 1, "");
            }
            clock.advance(Duration::from_secs(12));
            outages.failed(API, "connection refused", 1, "");
            clock.advance(Duration::from_secs(240));
            outages.answered(API, "");
            outages.answered(API, "");
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        let begins = ["WARN", "api.box.com unreachable since ", "(connection refused); 1 request failed"];
        assert!(begins.iter().all(|part| lines[0].contains(part)), "{lines:#?}");
        assert!(lines[1].ends_with("(connection refused); 1,241 requests failed"), "{lines:#?}");
        let ends = "api.box.com reachable again after 4m12s; 1,241 requests failed";
        assert!(lines[2].contains("INFO") && lines[2].ends_with(ends), "{lines:#?}");
    }

    #[test]
    fn an_outage_of_any_length_and_extent_is_a_dozen_lines() {
        let (outages, clock) = outages();
        let hosts: Vec<String> = (0..20).map(|number| format!("dl{number}.boxcloud.com")).collect();
        let lines = captured(|| {
            for _ in 0..3600 {
                hosts.iter().for_each(|host| outages.failed(Party::Host(host), "timed out", 1, ""));
                clock.advance(Duration::from_secs(10));
            }
            hosts.iter().for_each(|host| outages.answered(Party::Host(host), ""));
        });
        assert!(lines.len() <= 12, "{lines:#?}");
        let told = |host: &String| lines.iter().any(|line| line.contains(host.as_str()));
        assert!(hosts.iter().all(told), "{lines:#?}");
        assert!(lines.last().unwrap().contains("reachable again"), "{lines:#?}");
    }

    #[test]
    fn repeated_short_outages_are_logged_a_few_times_and_a_long_one_after_them_is_logged() {
        let (outages, clock) = outages();
        let flapping = captured(|| {
            for _ in 0..600 {
                outages.failed(API, "reset", 1, "");
                outages.answered(API, "");
                clock.advance(Duration::from_secs(1));
            }
        });
        assert!(flapping.len() <= 10, "{flapping:#?}");
        let staying = captured(|| {
            for _ in 0..90 {
                outages.failed(API, "reset", 1, "");
                clock.advance(Duration::from_secs(1));
            }
            outages.answered(API, "");
        });
        assert!(staying.iter().any(|line| line.contains("unreachable since")), "{staying:#?}");
        assert!(staying.last().unwrap().contains("reachable again after 1m30s"), "{staying:#?}");
    }

    #[test]
    fn the_outage_of_a_host_that_is_no_longer_called_is_forgotten() {
        let (outages, clock) = outages();
        outages.failed(Party::Host("dl9.boxcloud.com"), "refused", 1, "");
        clock.advance(FORGOTTEN);
        outages.answered(API, "");
        assert_eq!(outages.count.load(Ordering::Relaxed), 0, "requests no longer take the lock");
        let lines = captured(|| outages.failed(API, "refused", 1, ""));
        assert!(lines.len() == 1 && lines[0].ends_with("(refused); 1 request failed"), "{lines:#?}");
    }

    #[test]
    fn a_party_is_down_from_a_failure_to_an_answer_or_until_it_is_forgotten() {
        let (outages, clock) = outages();
        let endpoint = |reached| Party::TokenEndpoint { authority: "api.box.com", reached };
        assert_eq!(outages.of(API), None);
        let since = clock.wall();
        outages.failed(API, "refused", 1, "");
        let outage = outages.of(API).unwrap();
        assert_eq!(outage.reason, "unreachable (refused)");
        assert!(outage.since >= since && outage.since <= clock.wall());
        assert_eq!(outages.of(endpoint(false)), None);
        outages.failed(endpoint(true), "no token", 1, "");
        outages.answered(API, "");
        assert_eq!(outages.of(API), None);
        assert_eq!(outages.of(endpoint(false)).unwrap().reason, "gives no token (no token)");
        clock.advance(FORGOTTEN);
        assert_eq!(outages.of(endpoint(false)), None, "nothing else has to happen for that");
    }

    #[test]
    fn a_truncated_cause_shows_no_part_of_a_secret() {
        let secret = Secret::new("canary-that-is-cut-in-two".to_owned());
        let (outages, _) = outages();
        let cause = format!("{}{}", "x".repeat(LONGEST_CAUSE - 10), secret.expose());
        let lines = captured(|| outages.failed(API, &cause, 1, ""));
        assert!(
            lines.len() == 1 && lines[0].contains("x[secret]") && !lines[0].contains("canary"),
            "{lines:#?}"
        );
    }

    /// Its advice would be lost otherwise, for only first lines have it.
    #[test]
    fn an_outage_that_turns_into_one_for_an_operator_is_logged_again_with_what_to_do() {
        let (outages, clock) = outages();
        let downscope = |refused| Party::Downscope { identity: "a", refused };
        let lines = captured(|| {
            outages.failed(downscope(false), "answers 500", 0, "wait");
            clock.advance(Duration::from_secs(5));
            for _ in 0..20 {
                outages.failed(downscope(true), "invalid_resource", 0, "invite the account");
                outages.failed(downscope(false), "answers 500", 0, "wait");
            }
            outages.answered(downscope(false), "");
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        let refused =
            ["ERROR", "Box refuses the token exchange since ", "(invalid_resource); invite the account"];
        assert!(refused.iter().all(|part| lines[1].contains(part)), "{lines:#?}");
        assert!(lines[2].contains("INFO"), "{lines:#?}");
    }

    #[test]
    fn a_later_outage_is_logged_like_the_first() {
        let (outages, clock) = outages();
        for _ in 0..5 {
            let lines = captured(|| {
                outages.failed(API, "refused", 1, "");
                outages.answered(API, "");
            });
            assert_eq!(lines.len(), 2, "{lines:#?}");
            clock.advance(CALM);
        }
    }

    #[test]
    fn refused_credentials_are_an_error_with_what_to_do_and_the_number_of_failed_requests() {
        let (outages, clock) = outages();
        let refused = Party::Credentials { identity: "service" };
        let lines = captured(|| {
            outages.failed(refused, "invalid_client", 0, "copy the secret again");
            outages.request_failed(refused);
            clock.advance(FIRST_REMINDER);
            outages.request_failed(refused);
            outages.request_failed(Party::Credentials { identity: "other" });
            outages.answered(refused, "");
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].contains("ERROR") && lines[0].ends_with("(invalid_client); copy the secret again"));
        assert!(lines[0].contains("identity \"service\": Box refuses its credentials since "), "{lines:#?}");
        assert!(lines[1].contains("ERROR") && lines[1].ends_with("; 2 requests failed"), "{lines:#?}");
        assert!(lines[2].contains("Box accepts its credentials again after 10s"), "{lines:#?}");
    }
}
