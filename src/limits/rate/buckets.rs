//! The counts: does a request pass all the limits that apply to it?
//!
//! Each limit is asked what its count would be; only where all let the request pass do the new counts replace the old
//! ones. Time is handed in. A limit keeps [`KEYS_MAX`] live counts; newcomers beyond share one, so that a flood of
//! addresses costs neither memory nor the callers who are known already. A count whose bucket is full again says
//! nothing that a new one would not, and is dropped.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::gcra::{Gcra, LONGEST};
use super::headers::RateLimitHeaders;
use super::limit::Limit;
use super::matcher::{Counted, Keys, LimitMatcher};

/// A limit keeps so many live counts.
pub(crate) const KEYS_MAX: usize = 65_536;
/// No request waits longer: Box's SDKs end a call that has no answer after 60 s, and Box takes its time too.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// Each limit's dead counts are looked for once in this time.
const SWEEP: u64 = 10_000_000_000;
/// A full limit looks for dead counts not more often than this.
const SWEEP_FULL: u64 = 1_000_000_000;

/// A request that passed all its limits and is charged to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
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

    /// Charges the staged request to all limits that let it pass.
    pub(super) fn charge(&mut self) -> Passed {
        let mut shadow = Vec::new();
        for Staged { counted, outcome, .. } in &self.staged {
            let Some(counter) = self.counters.get_mut(counted.rule as usize) else { continue };
            match outcome {
                Ok(count) => counter.set(counted.key, *count, self.keys_max),
                Err(_) => shadow.push(Shadow { rule: counted.rule, limit: Arc::clone(&counter.name) }),
            }
        }
        Passed { shadow }
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
            (len + counter.counts.len(), capacity + counter.counts.capacity())
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

/// The counts of one limit.
#[derive(Debug)]
struct Counter {
    name: Arc<str>,
    gcra: Gcra,
    /// When a key's bucket is full again, in nanoseconds: GCRA's theoretical arrival time. No entry: it is full.
    counts: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    /// The same, for all newcomers while the limit is full of live keys.
    overflow: u64,
    full_until: u64,
    interval: u64,
    burst: u32,
    wait: u64,
    enforce: bool,
}

impl Counter {
    fn new(limit: &Limit) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        let interval = nanos(limit.interval).max(1);
        let wait = nanos(limit.wait.min(WAIT_MAX));
        let at_most = u32::try_from(LONGEST / interval).unwrap_or(u32::MAX);
        let burst = limit.burst.get().min(at_most);
        // Who would have waited is not refused: GCRA with that much more tolerance refuses just those for whom a
        // queue would have been too long.
        let waiting = if limit.enforce { 0 } else { u32::try_from(wait / interval).unwrap_or(u32::MAX) };
        let tolerated =
            NonZeroU32::new(burst.saturating_add(waiting).min(at_most)).unwrap_or(NonZeroU32::MIN);
        Self {
            name: Arc::clone(&limit.name),
            gcra: Gcra::new(interval, tolerated),
            counts: HashMap::default(),
            overflow: 0,
            full_until: 0,
            interval,
            burst,
            wait,
            enforce: limit.enforce,
        }
    }

    fn rate_limit_headers(&self, reset: u64) -> RateLimitHeaders {
        RateLimitHeaders {
            limit: Arc::clone(&self.name),
            quota: self.burst,
            window: Duration::from_nanos(self.interval.saturating_mul(u64::from(self.burst))),
            reset: Duration::from_nanos(reset),
        }
    }

    /// What the limit would say; `Err` has what is missing.
    fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<u64, u64> {
        let count = self.count(key, now, keys_max);
        self.gcra.ask(count, now)
    }

    /// The count of a key; a newcomer's is what newcomers shared before, as long as that says anything: it may have
    /// been among them.
    fn count(&mut self, key: u64, now: u64, keys_max: usize) -> u64 {
        if let Some(count) = self.counts.get(&key) {
            return *count;
        }
        if self.counts.len() >= keys_max && now >= self.full_until {
            self.sweep(now);
            self.full_until = now.saturating_add(SWEEP_FULL);
        }
        self.overflow
    }

    fn set(&mut self, key: u64, count: u64, keys_max: usize) {
        if self.counts.len() < keys_max {
            self.counts.insert(key, count);
        } else {
            match self.counts.get_mut(&key) {
                Some(known) => *known = count,
                None => self.overflow = count,
            }
        }
    }

    /// Drops the counts of full buckets, and their memory.
    fn sweep(&mut self, now: u64) {
        self.counts.retain(|_, count| *count > now);
        if self.counts.len() < self.counts.capacity() / 4 {
            self.counts.shrink_to(self.counts.len() * 2);
        }
    }
}

/// The keys are hashes.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;
