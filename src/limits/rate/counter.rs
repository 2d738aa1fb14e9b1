//! The counts of one limit, kept as long as a configuration has the limit, even if its figures change.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::bucket_counts::{BucketCounts, nanos};
use super::gcra::LONGEST;
use super::headers::RateLimitHeaders;
use super::limit::{Limit, Quota, WAIT_MAX};
use super::matcher::Rule;
use super::window_counts::WindowCounts;

/// One limit and its counts.
#[derive(Debug)]
pub(super) struct Counter {
    limit: Limit,
    of_box: bool,
    /// The number of configurations that have the limit.
    pub(super) configurations: usize,
    pub(super) counts: Counts,
    /// The quota that response headers show.
    quota: Quota,
    /// The limit's rate as nanoseconds between two calls.
    pub(super) interval: u64,
    /// How long a request may wait for it, in nanoseconds.
    pub(super) wait: u64,
    pub(super) enforce: bool,
}

/// How a limit counts.
#[derive(Debug)]
pub(super) enum Counts {
    Bucket(BucketCounts),
    Window(WindowCounts),
}

/// A limit's figures converted for counting.
struct Figures {
    quota: Quota,
    interval: u64,
    wait: u64,
    /// A bucket's burst, plus the requests that may wait if the limit is not enforced; a window's calls.
    burst: NonZeroU32,
}

impl Counter {
    /// A counter of one configuration, with nothing counted.
    pub(super) fn new(rule: &Rule) -> Self {
        let limit = rule.limit.clone();
        let Figures { quota, interval, wait, burst } = Figures::of(&limit);
        let counts = match quota {
            Quota::Bucket { .. } => Counts::Bucket(BucketCounts::new(interval, burst)),
            Quota::Window { calls, length } => Counts::Window(WindowCounts::new(calls.get(), length)),
        };
        let enforce = limit.enforce;
        Self { limit, of_box: rule.of_box, configurations: 1, counts, quota, interval, wait, enforce }
    }

    /// Whether the rule is the same limit, perhaps with other figures: it has the same name, key and operations, and
    /// counts in the same way. A limit that changes in one of these is a different limit, and begins at zero.
    pub(super) fn is_of(&self, rule: &Rule) -> bool {
        let (one, other) = (&self.limit, &rule.limit);
        let within = |one: &Limit, other: &Limit| one.on.iter().all(|selector| other.on.contains(selector));
        one.name == other.name
            && one.key == other.key
            && self.of_box == rule.of_box
            && one.quota.is_window() == other.quota.is_window()
            && within(one, other)
            && within(other, one)
    }

    /// Takes over the figures of the same limit in the newest configuration. Returns whether they have changed.
    pub(super) fn change(&mut self, rule: &Rule, now: u64) -> bool {
        if self.limit == rule.limit {
            return false;
        }
        self.limit = rule.limit.clone();
        let Figures { quota, interval, wait, burst } = Figures::of(&self.limit);
        match (&mut self.counts, quota) {
            (Counts::Bucket(counts), _) if !counts.is_at(interval, burst) => {
                counts.change(interval, burst, now);
            }
            (Counts::Window(counts), Quota::Window { calls, length }) => counts.change(calls.get(), length),
            _ => {}
        }
        (self.quota, self.interval, self.wait, self.enforce) = (quota, interval, wait, self.limit.enforce);
        true
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.limit.name
    }

    /// The response headers if the next call is free in `reset` nanoseconds.
    pub(super) fn rate_limit_headers(&self, reset: u64) -> RateLimitHeaders {
        let (quota, window) = self.quota.at_once();
        let limit = Arc::clone(&self.limit.name);
        RateLimitHeaders { limit, quota, window, reset: Duration::from_nanos(reset) }
    }

    /// The new count if a call passes; the error is the nanoseconds until one would.
    pub(super) fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<u64, u64> {
        match &mut self.counts {
            Counts::Bucket(counts) => counts.ask(key, now, keys_max),
            Counts::Window(counts) => counts.ask(key, now, keys_max).map(|()| 0),
        }
    }

    /// What these keys have used of the limit, those without a count left out: from 0 to 1, which is full.
    pub(super) fn used<'k>(&'k self, keys: &'k [u64], now: u64) -> impl Iterator<Item = (u64, f64)> + 'k {
        keys.iter().filter_map(move |key| {
            let calls = match &self.counts {
                Counts::Bucket(counts) => counts.spent(*key, now),
                Counts::Window(counts) => counts.held(*key, now),
            };
            Some((*key, self.part(calls?)))
        })
    }

    /// The same of this many keys in no order.
    pub(super) fn some_used(&self, most: usize, now: u64) -> Vec<(u64, f64)> {
        let used: Vec<(u64, u64)> = match &self.counts {
            Counts::Bucket(counts) => counts.some_spent(most, now).collect(),
            Counts::Window(counts) => counts.some_held(most, now).collect(),
        };
        used.into_iter().map(|(key, calls)| (key, self.part(calls))).collect()
    }

    fn part(&self, calls: u64) -> f64 {
        (calls as f64 / f64::from(self.quota.at_once().0.max(1))).min(1.0)
    }

    pub(super) fn sweep(&mut self, now: u64) {
        match &mut self.counts {
            Counts::Bucket(counts) => counts.sweep(now),
            Counts::Window(counts) => counts.sweep(now),
        }
    }

    /// The number of counts, and the capacity.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        match &self.counts {
            Counts::Bucket(counts) => counts.size(),
            Counts::Window(counts) => counts.size(),
        }
    }
}

impl Figures {
    fn of(limit: &Limit) -> Self {
        let wait = nanos(limit.wait.min(WAIT_MAX));
        match limit.quota {
            Quota::Bucket { interval, burst } => {
                let nanos = nanos(interval).max(1);
                let at_most = u32::try_from(LONGEST / nanos).unwrap_or(u32::MAX);
                let least = |calls: u32| NonZeroU32::new(calls.min(at_most)).unwrap_or(NonZeroU32::MIN);
                // Requests that would have waited are not refused: GCRA with that much more tolerance refuses exactly
                // those for whom a queue would have been too long.
                let waiting = if limit.enforce { 0 } else { u32::try_from(wait / nanos).unwrap_or(u32::MAX) };
                let quota = Quota::Bucket { interval, burst: least(burst.get()) };
                Self { quota, interval: nanos, wait, burst: least(burst.get().saturating_add(waiting)) }
            }
            quota @ Quota::Window { calls, length } => {
                let interval = (nanos(length) / u64::from(calls.get())).max(1);
                Self { quota, interval, wait, burst: calls }
            }
        }
    }
}
