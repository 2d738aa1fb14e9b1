//! Arguments and replies of the Redis scripts. Other programs may have written to the keys, so a reply that makes no
//! sense is rejected.

use std::time::Duration;

use crate::limits::budget::definition::Budget;
use crate::limits::rate::limit::{Limit, Quota, margin};

/// A count of a limit: that of one client, app or user, for example.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// Whose count; any text, since it is hashed.
    pub key: &'a str,
}

/// The verdict on a request from the counts of all replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it passes. Only then was it charged to the limits.
    pub verdict: Verdict,
    /// The indices of limits with `enforce = false` that would have refused it.
    pub shadow: Vec<usize>,
    /// The enforced limit with the fewest calls left; none if it is paused.
    pub tightest: Option<Tightest>,
    /// The time stamp of the call in windows, if it passes.
    pub stamp: Stamp,
}

/// A time on the Redis server's clock, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// From microseconds since 1970.
    pub fn of(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> u64 {
        self.0
    }
}

/// Whether a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes after this time, which is zero unless a limit has a `wait`. It has been charged already: a request
    /// that does not wait for its turn has used the call.
    Pass {
        /// The time to wait, from now.
        after: Duration,
    },
    /// A limit refuses it; if several do, the one that refuses for the longest.
    Refused {
        /// Its index among the cells.
        cell: usize,
        /// The time until it would pass, from now.
        after: Duration,
    },
    /// A pause applies; if several do, the longest.
    Paused {
        /// Its index among the pauses.
        pause: usize,
        /// The time until the pause ends.
        left: Duration,
    },
}

/// The limit with the fewest calls left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tightest {
    /// Its index among the cells.
    pub cell: usize,
    /// How many more calls would pass now.
    pub remaining: u32,
    /// The time until the whole burst is available again.
    pub full_in: Duration,
}

/// One call to be charged to one budget.
#[derive(Debug, Clone, Copy)]
pub struct Spend<'a> {
    /// The budget.
    pub budget: &'a Budget,
    /// Whose count; any text, since it is hashed.
    pub key: &'a str,
    /// The period's name, as `2026-11`.
    pub period: &'a str,
    /// The time until the period ends.
    pub ends_in: Duration,
    /// How many calls this replica knows to be spent in this period, to correct a count that Redis has lost.
    pub at_least: u64,
    /// Calls that were made while Redis was unavailable, to be added in any case. After `Unavailable` it is not known
    /// `Unavailable` it is not known whether they were: they are to be sent again, as the same batch.
    pub made: u64,
    /// The batch number of `made`: each batch is added once.
    pub batch: u64,
}

/// The reply to a [`Spend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The index of the first budget that refused the call. The call is then charged to none.
    pub refused: Option<usize>,
    /// The counts now, in the order of the budgets.
    pub counts: Vec<u64>,
}

impl Answer {
    pub(super) fn read(reply: &[i64], cells: usize, pauses: usize, max_pause: Duration) -> Option<Self> {
        let [verdict, whose, micros, tightest, remaining, full, stamp, shadow @ ..] = reply else {
            return None;
        };
        let among = |index: &i64, count: usize| usize::try_from(*index).ok().filter(|index| *index < count);
        let span = |micros: &i64| u64::try_from(*micros).ok().map(Duration::from_micros);
        let verdict = match verdict {
            0 => Verdict::Pass { after: span(micros)? },
            1 => Verdict::Refused { cell: among(whose, cells)?, after: span(micros)? },
            2 => Verdict::Paused { pause: among(whose, pauses)?, left: span(micros)?.min(max_pause) },
            _ => return None,
        };
        let tightest = match tightest {
            -1 => None,
            cell => Some(Tightest {
                cell: among(cell, cells)?,
                remaining: u32::try_from(*remaining).ok()?,
                full_in: span(full)?,
            }),
        };
        let shadow = shadow.iter().map(|cell| among(cell, cells)).collect::<Option<_>>()?;
        Some(Self { verdict, shadow, tightest, stamp: Stamp(u64::try_from(*stamp).ok()?) })
    }
}

impl Spent {
    pub(super) fn read(reply: &[i64], budgets: usize) -> Option<Self> {
        let (refused, counts) = reply.split_first()?;
        let refused = match refused {
            -1 => None,
            index => Some(usize::try_from(*index).ok().filter(|index| *index < budgets)?),
        };
        let counts: Vec<u64> =
            counts.iter().map(|count| u64::try_from(*count).ok()).collect::<Option<_>>()?;
        (counts.len() == budgets).then_some(Self { refused, counts })
    }
}

/// The arguments of the script for a limit: how it counts, two numbers, its wait, and whether it refuses.
pub(super) fn arguments(limit: &Limit) -> [String; 5] {
    let (kind, figures) = match limit.quota {
        Quota::Bucket { interval: step, burst } => ("bucket", [interval(step), burst.to_string()]),
        Quota::Window { calls, length } => ("window", [kept(length).to_string(), calls.to_string()]),
    };
    let [first, second] = figures;
    let enforce = u8::from(limit.enforce).to_string();
    [kind.to_owned(), first, second, limit.wait.as_micros().to_string(), enforce]
}

/// For how many microseconds a call counts in a window of this length.
pub(super) fn kept(length: Duration) -> u128 {
    length.saturating_add(margin(length)).as_micros()
}

/// An interval in microseconds, rounded up to a sixteenth: never faster than the limit, and sums are exact.
fn interval(interval: Duration) -> String {
    let sixteenths = (interval.as_nanos().saturating_mul(16)).div_ceil(1000).max(1);
    format!("{}.{:04}", sixteenths / 16, sixteenths % 16 * 625)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_rounded_up_to_sixteenths() {
        for (nanos, text) in
            [(1, "0.0625"), (1000, "1.0000"), (333_333_334, "333333.3750"), (60_000_000, "60000.0000")]
        {
            assert_eq!(interval(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn replies_that_make_no_sense_are_rejected() {
        let read = |reply: &[i64]| Answer::read(reply, 2, 1, Duration::from_secs(300));
        assert!(read(&[0, 0, 0, 1, 3, 9, 7, 0]).is_some_and(|answer| answer.shadow == [0]));
        for reply in [
            &[][..],
            &[0, 0, 0, -1, 0, 0],
            &[3, 0, 0, -1, 0, 0, 7],
            &[1, 2, 0, -1, 0, 0, 7],
            &[1, -1, 0, -1, 0, 0, 7],
            &[1, 0, -5, -1, 0, 0, 7],
            &[2, 1, 5, -1, 0, 0, 7],
            &[0, 0, 0, 2, 0, 0, 7],
            &[0, 0, 0, 0, -1, 0, 7],
            &[0, 0, 0, -1, 0, 0, -7],
            &[0, 0, 0, -1, 0, 0, 7, 2],
        ] {
            assert_eq!(read(reply), None, "{reply:?}");
        }
        let long = read(&[2, 0, 999_000_000, -1, 0, 0, 7]).unwrap();
        assert_eq!(long.verdict, Verdict::Paused { pause: 0, left: Duration::from_secs(300) });
        assert!(Spent::read(&[-1, 5], 1).is_some());
        for reply in [&[][..], &[-1], &[1, 5], &[-1, -5], &[0, 5, 6]] {
            assert_eq!(Spent::read(reply, 1), None, "{reply:?}");
        }
    }
}
