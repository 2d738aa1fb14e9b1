//! What is asked of Redis, and what its answers mean. They may have been written by anybody: what makes no sense is none.

use std::time::Duration;

use crate::limits::budget::definition::Budget;
use crate::limits::rate::limit::{Limit, Quota, margin};

/// A limit and what of it is meant: the client, the app, the user.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The rule.
    pub limit: &'a Limit,
    /// Whose count; any text, it is hashed.
    pub key: &'a str,
}

/// What all replicas together have to say to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it passes. Only then has it been charged to the limits.
    pub verdict: Verdict,
    /// The indices of those limits that do not refuse but would have.
    pub shadow: Vec<usize>,
    /// Of the limits that refuse, the one with the least left; none if it is paused.
    pub tightest: Option<Tightest>,
    /// The stamp under which windows count the call, where it passes.
    pub stamp: Stamp,
}

/// A time on the server's clock, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// At so many microseconds.
    pub fn of(micros: u64) -> Self {
        Self(micros)
    }

    /// Its microseconds.
    pub fn micros(self) -> u64 {
        self.0
    }
}

/// Whether a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does; its turn is after this, zero unless a limit has a `wait`. It has been charged already: who does not
    /// wait for the turn loses it.
    Pass {
        /// From now.
        after: Duration,
    },
    /// A limit says no: of all that do, the one that will for the longest.
    Refused {
        /// Its index among the cells.
        cell: usize,
        /// When its turn would be.
        after: Duration,
    },
    /// A pause holds, the longest of those asked about.
    Paused {
        /// Its index among the pauses.
        pause: usize,
        /// What is left of it.
        left: Duration,
    },
}

/// The limit with the least left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tightest {
    /// Its index among the cells.
    pub cell: usize,
    /// So many more calls would pass now.
    pub remaining: u32,
    /// Until its whole burst is back.
    pub full_in: Duration,
}

/// One call, on one budget.
#[derive(Debug, Clone, Copy)]
pub struct Spend<'a> {
    /// The rule.
    pub budget: &'a Budget,
    /// Whose count; any text, it is hashed.
    pub key: &'a str,
    /// The period's name, as `2026-11`.
    pub period: &'a str,
    /// Until the period's end.
    pub ends_in: Duration,
    /// So many calls are known to be spent in this period: what Redis has lost is put right.
    pub at_least: u64,
    /// Calls that were made while Redis was away and are in no count of its; they are added in any case. After
    /// `Unavailable` it is not known whether they were: they are to be sent again, as the same batch.
    pub made: u64,
    /// A number for those that were made: what comes under one number is added once.
    pub batch: u64,
}

/// What has been spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The index of the first budget that refused the call; it is then on none.
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

/// What the script reads of a limit: how it counts, two figures, its wait, and whether it refuses.
pub(super) fn arguments(limit: &Limit) -> [String; 5] {
    let (kind, figures) = match limit.quota {
        Quota::Bucket { interval: step, burst } => ("bucket", [interval(step), burst.to_string()]),
        Quota::Window { calls, length } => ("window", [kept(length).to_string(), calls.to_string()]),
    };
    let [first, second] = figures;
    let enforce = u8::from(limit.enforce).to_string();
    [kind.to_owned(), first, second, limit.wait.as_micros().to_string(), enforce]
}

/// For how many microseconds a stamp counts.
pub(super) fn kept(length: Duration) -> u128 {
    length.saturating_add(margin(length)).as_micros()
}

/// In microseconds, rounded up to a sixteenth of one: never faster than the limit, and sums stay exact.
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
    fn answers_that_make_no_sense_are_none() {
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
