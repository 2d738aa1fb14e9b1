//! Limits repeated log messages: the first is logged, later ones at growing intervals with a count of those left out,
//! so that a fault of every request does not fill the log.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::net::clock::Clock;
use crate::telemetry::words::{grouped, time_of_day};

/// The time from the first line to the second; each further interval is [`GROWTH`] times as long.
const FIRST: Duration = Duration::from_secs(10);
const GROWTH: u32 = 4;
/// An event that did not happen for this long counts as new.
const CALM: Duration = Duration::from_secs(10 * 60);
/// The most kinds that are tracked.
const MOST: usize = 256;

/// The kinds of events that were logged lately.
#[derive(Debug)]
pub(crate) struct Repeats {
    clock: Clock,
    /// Keyed by a text that identifies the kind.
    kinds: Mutex<HashMap<String, Kind>>,
}

#[derive(Debug)]
struct Kind {
    /// The time of the last line.
    told: SystemTime,
    next: Instant,
    interval: Duration,
    last: Instant,
    left_out: u64,
}

/// The end of a line: how many messages were left out; empty if none were.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    count: u64,
    since: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => Ok(()),
            count => write!(f, "; {} more since {}", grouped(count), self.since),
        }
    }
}

impl Repeats {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, kinds: Mutex::default() }
    }

    /// Records an event of this kind. `None`: it must not be logged, and is counted for the next line.
    pub(crate) fn note(&self, kind: &str) -> Option<LeftOut> {
        let now = self.clock.now();
        let is_calm = |kind: &Kind| now.mono.saturating_duration_since(kind.last) >= CALM;
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if kinds.len() >= MOST && !kinds.contains_key(kind) {
            kinds.retain(|_, kind| !is_calm(kind));
            if kinds.len() >= MOST { "" } else { kind }
        } else {
            kind
        };
        let fresh = || Kind { told: now.wall, next: now.mono, interval: FIRST, last: now.mono, left_out: 0 };
        let kind = kinds.entry(kind.to_owned()).or_insert_with(fresh);
        if is_calm(kind) {
            // The count of messages left out before is kept for this line.
            *kind = Kind { told: kind.told, left_out: kind.left_out, ..fresh() };
        }
        kind.last = now.mono;
        if now.mono < kind.next {
            kind.left_out += 1;
            return None;
        }
        let told = LeftOut { count: kind.left_out, since: time_of_day(kind.told, now.wall) };
        (kind.told, kind.left_out, kind.next) = (now.wall, 0, now.mono + kind.interval);
        kind.interval = kind.interval.saturating_mul(GROWTH);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_and_the_others_are_counted() {
        let clock = Clock::adjustable();
        let repeats = Repeats::new(clock.clone());
        let note = |kind| repeats.note(kind).map(|left_out| left_out.to_string());
        assert_eq!(note("a"), Some(String::new()));
        assert!((0..1240).all(|_| note("a").is_none()));
        assert_eq!(note("b"), Some(String::new()), "another kind");
        clock.advance(FIRST);
        let told = note("a").unwrap();
        assert!(told.starts_with("; 1,240 more since "), "{told}");
        clock.advance(FIRST);
        assert_eq!(note("a"), None, "the interval grows");
        clock.advance(CALM);
        assert!(note("a").unwrap().starts_with("; 1 more since "), "after a calm it is new");
    }

    #[test]
    fn days_of_repeats_are_a_dozen_lines() {
        let clock = Clock::adjustable();
        let repeats = Repeats::new(clock.clone());
        let mut lines = 0;
        for _ in 0..3 * 1440 {
            lines += usize::from(repeats.note("a").is_some());
            clock.advance(Duration::from_secs(60));
        }
        assert!((2..=12).contains(&lines), "{lines}");
    }

    #[test]
    fn kinds_are_bounded() {
        let repeats = Repeats::new(Clock::adjustable());
        let told = (0..10_000).filter(|number| repeats.note(&number.to_string()).is_some()).count();
        assert_eq!(told, MOST + 1);
        assert_eq!(repeats.kinds.lock().unwrap().len(), MOST + 1);
    }
}
