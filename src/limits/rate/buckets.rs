//! The counts: does a request pass all the limits that apply to it?
//!
//! Each limit is asked what its count would be; only where all let the request pass do the new counts replace the old
//! ones. Time is handed in. A limit keeps [`KEYS_MAX`] live counts; newcomers beyond share one, so that a flood of
//! addresses costs neither memory nor the callers who are known already. A count whose bucket is full again, or whose
//! window is empty, says nothing that a new one would not, and is dropped.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::bucket_counts::{BucketCounts, nanos};
use super::gcra::LONGEST;
use super::headers::RateLimitHeaders;
use super::limit::{Limit, Quota};
use super::matcher::{Counted, Keys, LimitMatcher};
use super::window_counts::WindowCounts;

/// A limit keeps so many live counts.
pub(crate) const KEYS_MAX: usize = 65_536;
/// No request waits longer: Box's SDKs end a call that has no answer after 60 s, and Box takes its time too.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// Each limit's dead counts are looked for once in this time.
const SWEEP: u64 = 10_000_000_000;

/// A request that passed all its limits and is charged to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The windows in which its call is reserved.
    pub reserved: Vec<Counted>,
    /// The limits that would have refused it if they were enforced.
    pub shadow: Vec<Shadow>,
}

/// A limit that is not enforced and would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// Its index in [`LimitMatcher`].
    pub rule: u32,
    pub limit: Arc<str>,
}

/// A request that is refused and charged to no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The index in [`LimitMatcher`] of the limit that said no.
    pub rule: u32,
    /// How it stands with that limit.
    pub headers: RateLimitHeaders,
    /// When all limits let a request pass that comes alone, whoever queues now served first.
    pub retry_after: Duration,
}

/// What one limit would say, before anything is charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    pub(super) counted: Counted,
    pub(super) enforce: bool,
    /// The new count, or how many nanoseconds are missing.
    outcome: Result<u64, u64>,
}

impl Staged {
    /// Nanoseconds until the limit lets one pass; 0 if it does.
    pub(super) fn left(&self) -> u64 {
        self.outcome.err().unwrap_or(0)
    }
}

/// The counts of all limits. Kept behind one lock by its owner.
#[derive(Debug)]
pub(crate) struct Table {
    counters: Vec<Counter>,
    /// Of the request being looked at; kept for its capacity.
    staged: Vec<Staged>,
    keys_max: usize,
    next_sweep: u64,
    swept: usize,
}

impl Table {
    pub(crate) fn new(rules: &LimitMatcher) -> Self {
        Self::with_keys_max(rules, KEYS_MAX)
    }

    fn with_keys_max(rules: &LimitMatcher, keys_max: usize) -> Self {
        Self {
            counters: rules.iter().map(Counter::new).collect(),
            staged: Vec::new(),
            keys_max,
            next_sweep: 0,
            swept: 0,
        }
    }

    /// Asks every limit and charges none.
    pub(super) fn stage(&mut self, keys: &Keys, now: u64) {
        self.sweep(now);
        self.staged.clear();
        for counted in keys.iter() {
            if let Some(counter) = self.counters.get_mut(counted.rule as usize) {
                let outcome = counter.ask(counted.key, now, self.keys_max);
                self.staged.push(Staged { counted, enforce: counter.enforce, outcome });
            }
        }
    }

    /// What the enforced limits said.
    pub(super) fn staged(&self) -> impl Iterator<Item = Staged> {
        self.staged.iter().copied().filter(|staged| staged.enforce)
    }

    /// Whether all of them let the request pass.
    pub(super) fn passes(&self) -> bool {
        self.staged().all(|staged| staged.outcome.is_ok())
    }

    /// Charges the staged request to all limits that let it pass; in windows it is reserved.
    pub(super) fn charge(&mut self, now: u64) -> Passed {
        let mut passed = Passed::default();
        for Staged { counted, outcome, .. } in &self.staged {
            let Some(counter) = self.counters.get_mut(counted.rule as usize) else { continue };
            match (&mut counter.counts, outcome) {
                (Counts::Bucket(counts), Ok(count)) => counts.set(counted.key, *count, self.keys_max),
                (Counts::Window(counts), Ok(_)) => {
                    counts.reserve(counted.key, now, self.keys_max);
                    passed.reserved.push(*counted);
                }
                (_, Err(_)) => {
                    passed.shadow.push(Shadow { rule: counted.rule, limit: Arc::clone(&counter.name) });
                }
            }
        }
        passed
    }

    /// Charges the staged request, which goes to Box whatever these limits say: windows hold more than their figure
    /// then, and buckets that are empty stay so.
    pub(super) fn charge_regardless(&mut self, now: u64) -> Vec<Counted> {
        let mut reserved = Vec::new();
        for Staged { counted, outcome, .. } in &self.staged {
            let Some(counter) = self.counters.get_mut(counted.rule as usize) else { continue };
            match (&mut counter.counts, outcome) {
                (Counts::Bucket(counts), Ok(count)) => counts.set(counted.key, *count, self.keys_max),
                (Counts::Bucket(_), Err(_)) => {}
                (Counts::Window(counts), _) => {
                    counts.reserve(counted.key, now, self.keys_max);
                    reserved.push(*counted);
                }
            }
        }
        reserved
    }

    /// The head of a call that has these reservations is written now.
    pub(super) fn write(&mut self, reserved: &[Counted], now: u64) {
        self.windows(reserved, |counts, key| counts.write(key, now));
    }

    /// A call that has these reservations is not made.
    pub(super) fn give_back(&mut self, reserved: &[Counted]) {
        self.windows(reserved, WindowCounts::give_back);
    }

    fn windows(&mut self, reserved: &[Counted], change: impl Fn(&mut WindowCounts, u64)) {
        for counted in reserved {
            let counter = self.counters.get_mut(counted.rule as usize);
            if let Some(Counts::Window(counts)) = counter.map(|counter| &mut counter.counts) {
                change(counts, counted.key);
            }
        }
    }

    /// A refusal by this limit.
    pub(super) fn refusal(&self, by: Counted, left: u64) -> Refused {
        let headers = match self.counters.get(by.rule as usize) {
            Some(counter) => counter.rate_limit_headers(left),
            None => RateLimitHeaders {
                limit: "".into(),
                quota: 0,
                window: Duration::ZERO,
                reset: Duration::from_nanos(left),
            },
        };
        Refused { rule: by.rule, headers, retry_after: Duration::from_nanos(left) }
    }

    /// So long a request may wait for this limit.
    pub(super) fn wait(&self, rule: u32) -> u64 {
        self.counters.get(rule as usize).map_or(0, |counter| counter.wait)
    }

    /// Nanoseconds until the limit lets one pass; nothing is charged.
    pub(super) fn left(&mut self, counted: Counted, now: u64) -> u64 {
        let counter = self.counters.get_mut(counted.rule as usize).filter(|counter| counter.enforce);
        counter.and_then(|counter| counter.ask(counted.key, now, self.keys_max).err()).unwrap_or(0)
    }

    /// The limit's pace: the time between two calls.
    pub(super) fn interval(&self, rule: u32) -> u64 {
        self.counters.get(rule as usize).map_or(0, |counter| counter.interval)
    }

    /// How many counts are kept, and for how many there is room, over all limits.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        self.counters.iter().fold((0, 0), |(len, capacity), counter| {
            let (of_it, room) = match &counter.counts {
                Counts::Bucket(counts) => counts.size(),
                Counts::Window(counts) => counts.size(),
            };
            (len + of_it, capacity + room)
        })
    }

    /// Drops dead counts of one limit after the other, so that no request pays for all.
    fn sweep(&mut self, now: u64) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.saturating_add(SWEEP / self.counters.len().max(1) as u64);
        self.swept = (self.swept + 1) % self.counters.len().max(1);
        if let Some(counter) = self.counters.get_mut(self.swept) {
            counter.sweep(now);
        }
    }
}

/// One limit and its counts.
#[derive(Debug)]
struct Counter {
    name: Arc<str>,
    counts: Counts,
    quota: Quota,
    /// The limit's pace in nanoseconds.
    interval: u64,
    wait: u64,
    enforce: bool,
}

/// How a limit counts.
#[derive(Debug)]
enum Counts {
    Bucket(BucketCounts),
    Window(WindowCounts),
}

impl Counter {
    fn new(limit: &Limit) -> Self {
        let wait = nanos(limit.wait.min(WAIT_MAX));
        let (interval, quota, counts) = match limit.quota {
            Quota::Bucket { interval, burst } => {
                let nanos = nanos(interval).max(1);
                let at_most = u32::try_from(LONGEST / nanos).unwrap_or(u32::MAX);
                let least = |calls: u32| NonZeroU32::new(calls.min(at_most)).unwrap_or(NonZeroU32::MIN);
                // Who would have waited is not refused: GCRA with that much more tolerance refuses just those for
                // whom a queue would have been too long.
                let waiting = if limit.enforce { 0 } else { u32::try_from(wait / nanos).unwrap_or(u32::MAX) };
                let counts = BucketCounts::new(nanos, least(burst.get().saturating_add(waiting)));
                let quota = Quota::Bucket { interval, burst: least(burst.get()) };
                (nanos, quota, Counts::Bucket(counts))
            }
            quota @ Quota::Window { calls, length } => {
                let counts = WindowCounts::new(calls.get(), length);
                ((nanos(length) / u64::from(calls.get())).max(1), quota, Counts::Window(counts))
            }
        };
        Self { name: Arc::clone(&limit.name), counts, quota, interval, wait, enforce: limit.enforce }
    }

    fn rate_limit_headers(&self, reset: u64) -> RateLimitHeaders {
        let (quota, window) = self.quota.at_once();
        RateLimitHeaders { limit: Arc::clone(&self.name), quota, window, reset: Duration::from_nanos(reset) }
    }

    /// What the limit would say; `Err` has what is missing.
    fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<u64, u64> {
        match &mut self.counts {
            Counts::Bucket(counts) => counts.ask(key, now, keys_max),
            Counts::Window(counts) => counts.ask(key, now, keys_max).map(|()| 0),
        }
    }

    fn sweep(&mut self, now: u64) {
        match &mut self.counts {
            Counts::Bucket(counts) => counts.sweep(now),
            Counts::Window(counts) => counts.sweep(now),
        }
    }
}

#[cfg(test)]
mod tests;
