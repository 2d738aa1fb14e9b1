//! The definition of a rate limit: those of the configuration, and Box's own.
//!
//! A request must pass all limits that apply to it. A request that one limit refuses is not counted against any other.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::selector::{self, Selector};
use crate::routing::operation::Spelled;
use crate::routing::operation_class::Class;

/// No request waits longer for its turn: Box's SDKs end a call that has no answer after 60 s, and Box takes its time too.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// One `[[limit]]`, or one of Box's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The name in responses, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own: each client, for example.
    pub key: Key,
    /// The operations to which it applies; empty: all.
    pub on: Vec<Selector>,
    /// How many calls it lets pass.
    pub quota: Quota,
    /// How long a request may wait for its turn. Zero for a window.
    pub wait: Duration,
    /// Whether it refuses. If false, it only counts and logs what it would have refused.
    pub enforce: bool,
}

/// How many calls a limit lets pass, and how they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A bucket that is refilled evenly (GCRA). A request is charged once, when it is admitted.
    Bucket {
        /// The time after which one more call becomes available; at least 1 ns.
        interval: Duration,
        /// How many calls may be made at once when the limit is unused.
        burst: NonZeroU32,
    },
    /// A sliding window: at most `calls` in any interval of `length`, including both its ends. Each attempt is counted,
    /// at the time when its head is written.
    Window {
        /// The most calls in one window.
        calls: NonZeroU32,
        /// The window's length.
        length: Duration,
    },
}

/// How much longer than the window a call is counted: calls take different times to reach Box, which counts them on
/// arrival. 1 % of the window, at most 250 ms, so that 98 % of the allowance can be used.
pub(crate) fn margin(length: Duration) -> Duration {
    (length / 100).min(Duration::from_millis(250))
}

/// What has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The client's address; for IPv6 its first 64 bits.
    Client,
    /// The app of the configuration.
    App,
    /// The user at Box: `As-User`, else the identity's subject.
    User,
    /// The identity of the configuration.
    Identity,
    /// The enterprise at Box, approximated by the client id. Only Box's own limits use it.
    Enterprise,
    /// One count for all.
    Global,
}

impl Key {
    /// The name in the configuration; `enterprise` is only in Box's own limits.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::App => "app",
            Self::User => "user",
            Self::Identity => "identity",
            Self::Enterprise => "enterprise",
            Self::Global => "global",
        }
    }
}

/// As in the configuration: `10/s`, `90/min`. A window's is the number of calls in its length.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1, "s"), (60, "min"), (3_600, "h"), (86_400, "day")];
        let units = UNITS.map(|(seconds, name)| (Duration::from_secs(seconds), name));
        match *self {
            Self::Bucket { interval, .. } => {
                let calls =
                    |unit: Duration| (unit.as_nanos() + interval.as_nanos() / 2) / interval.as_nanos().max(1);
                // The configuration rounds the interval up to whole nanoseconds.
                let is_it = |(unit, _): &(Duration, _)| {
                    let calls = calls(*unit);
                    calls > 0 && unit.as_nanos().div_ceil(calls) == interval.as_nanos()
                };
                match units.iter().find(|unit| is_it(unit)) {
                    Some((unit, name)) => write!(f, "{}/{name}", calls(*unit)),
                    None => write!(f, "1 in {interval:?}"),
                }
            }
            Self::Window { calls, length } => match units.iter().find(|(unit, _)| *unit == length) {
                Some((_, name)) => write!(f, "{calls}/{name}"),
                None => write!(f, "{calls} in {length:?}"),
            },
        }
    }
}

impl Quota {
    /// How many calls may be made at once when the limit is unused, and in what time they become available again.
    pub(crate) fn at_once(&self) -> (u32, Duration) {
        match *self {
            Self::Bucket { interval, burst } => (burst.get(), interval.saturating_mul(burst.get())),
            Self::Window { calls, length } => (calls.get(), length),
        }
    }

    /// The quota divided by the number of replicas. Every share has at least one call.
    pub(crate) fn divided(&self, share: NonZeroU32) -> Self {
        let part = |of: NonZeroU32| NonZeroU32::new(of.get() / share).unwrap_or(NonZeroU32::MIN);
        match *self {
            Self::Bucket { interval, burst } => {
                Self::Bucket { interval: interval.saturating_mul(share.get()), burst: part(burst) }
            }
            Self::Window { calls, length } => Self::Window { calls: part(calls), length },
        }
    }

    /// Whether it counts each attempt when that is written.
    pub(crate) fn is_window(&self) -> bool {
        matches!(self, Self::Window { .. })
    }
}

impl Limit {
    /// Whether the limit applies to this operation, which has this class.
    pub fn applies(&self, operation: &Spelled<'_>, class: Class) -> bool {
        selector::select(&self.on, operation, class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_in_the_configuration() {
        let bucket = |calls: u128, unit: u64| Quota::Bucket {
            interval: Duration::from_nanos((u128::from(unit) * 1_000_000_000).div_ceil(calls) as u64),
            burst: NonZeroU32::MIN,
        };
        for (calls, unit, text) in [
            (10, 1, "10/s"),
            (3, 1, "3/s"),
            (20, 60, "20/min"),
            (60, 60, "1/s"),
            (90, 60, "90/min"),
            (7, 3_600, "7/h"),
            (1_000, 86_400, "1000/day"),
        ] {
            assert_eq!(bucket(calls, unit).to_string(), text);
        }
        let window = |calls, length| Quota::Window { calls: NonZeroU32::new(calls).unwrap(), length };
        assert_eq!(window(1000, Duration::from_secs(60)).to_string(), "1000/min");
        assert_eq!(window(5, Duration::from_secs(90)).to_string(), "5 in 90s");
        let odd = Quota::Bucket { interval: Duration::from_millis(2_500_300), burst: NonZeroU32::MIN };
        assert_eq!(odd.to_string(), "1 in 2500.3s");
    }
}
