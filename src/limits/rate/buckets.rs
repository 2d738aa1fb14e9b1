//! The counts of limits: whether a request passes all limits that apply to it.
//!
//! Each limit computes its new count; only if all let the request pass do the new counts replace the old
//! ones. Time is a parameter. A limit keeps [`KEYS_MAX`] live counts; further new keys share one, so that a flood of
//! addresses costs no memory and does not affect callers with a count. A count whose bucket is full again, or whose
//! window is empty, is the same as a new one, and is dropped.

use std::sync::Arc;
use std::time::Duration;

use super::counter::{Counter, Counts};
use super::headers::RateLimitHeaders;
use super::matcher::{Counted, Keys, LimitMatcher};
use super::window_counts::WindowCounts;

/// The most live counts of a limit.
pub(crate) const KEYS_MAX: usize = 65_536;
/// The most counts of a limit that are looked at for operators while the lock is held: it takes some tens of microseconds.
const SCANNED: usize = 512;
/// The time between two sweeps of each limit's dead counts, in nanoseconds.
const SWEEP: u64 = 10_000_000_000;

/// A request that passed all its limits and is charged to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The windows in which its call is reserved.
    pub reserved: Keys,
    /// The limits that would have refused it if they were enforced.
    pub shadow: Vec<Shadow>,
}

/// A limit that is not enforced and would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// The slot of its counts in [`Table`].
    pub slot: u32,
    pub limit: Arc<str>,
}

/// A request that is refused and charged to no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The slot in [`Table`] of the limit that refused.
    pub slot: u32,
    /// The state of that limit, for the response.
    pub headers: RateLimitHeaders,
    /// After which time all limits would let a single request pass, once all queued requests are served.
    pub retry_after: Duration,
}

/// The decision of one limit, before anything is charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    pub(super) counted: Counted,
    pub(super) enforce: bool,
    /// The new count, or the nanoseconds until a call would pass.
    outcome: Result<u64, u64>,
}

impl Staged {
    /// Nanoseconds until the limit lets one pass; 0 if it does.
    pub(super) fn left(&self) -> u64 {
        self.outcome.err().unwrap_or(0)
    }
}

/// The counts of all limits of the configurations in use, each at a slot of its own. Kept behind one lock by its owner.
#[derive(Debug)]
pub(crate) struct Table {
    /// By slot; `None`: free.
    counters: Vec<Option<Counter>>,
    /// The decisions about the current request; kept for its capacity.
    staged: Vec<Staged>,
    keys_max: usize,
    next_sweep: u64,
    swept: usize,
}

impl Table {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { counters: Vec::new(), staged: Vec::new(), keys_max: KEYS_MAX, next_sweep: 0, swept: 0 }
    }

    /// Adds the counts of one more configuration. Limits that another configuration also has share its counts; if this
    /// one is the newest, its figures apply to both. Returns the slots in the order of the limits, and those whose
    /// figures have changed.
    pub(super) fn bind(&mut self, rules: &LimitMatcher, newest: bool, now: u64) -> (Vec<u32>, Vec<u32>) {
        let (mut slots, mut changed) = (Vec::new(), Vec::new());
        for rule in rules.rules() {
            let mut used = (0..).zip(&mut self.counters);
            let known = used.find_map(|(slot, counter)| {
                let counter = counter.as_mut()?;
                (counter.is_of(rule) && !slots.contains(&slot)).then_some((slot, counter))
            });
            let slot = match known {
                Some((slot, counter)) => {
                    counter.configurations += 1;
                    if newest && counter.change(rule, now) {
                        changed.push(slot);
                    }
                    slot
                }
                None => self.occupy(Counter::new(rule)),
            };
            slots.push(slot);
        }
        (slots, changed)
    }

    fn occupy(&mut self, counter: Counter) -> u32 {
        let mut slots = (0..).zip(&mut self.counters);
        match slots.find(|(_, counter)| counter.is_none()) {
            Some((slot, free)) => {
                *free = Some(counter);
                slot
            }
            None => {
                self.counters.push(Some(counter));
                self.counters.len() as u32 - 1
            }
        }
    }

    /// Removes a configuration with these slots that has ended, with nothing waiting or reserved. Counts that no other
    /// has are dropped.
    pub(super) fn release(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            let Some(place) = self.counters.get_mut(slot as usize) else { continue };
            if let Some(counter) = place {
                counter.configurations -= 1;
                if counter.configurations == 0 {
                    *place = None;
                }
            }
        }
        while let Some(None) = self.counters.last() {
            self.counters.pop();
        }
    }

    /// The number of slots, including free ones.
    pub(super) fn slots(&self) -> usize {
        self.counters.len()
    }

    fn counter(&self, slot: u32) -> Option<&Counter> {
        self.counters.get(slot as usize)?.as_ref()
    }

    fn counter_mut(counters: &mut [Option<Counter>], slot: u32) -> Option<&mut Counter> {
        counters.get_mut(slot as usize)?.as_mut()
    }

    /// Asks every limit and charges none.
    pub(super) fn stage(&mut self, keys: &Keys, now: u64) {
        self.sweep(now);
        self.staged.clear();
        for counted in keys.iter() {
            if let Some(counter) = Self::counter_mut(&mut self.counters, counted.slot) {
                let outcome = counter.ask(counted.key, now, self.keys_max);
                self.staged.push(Staged { counted, enforce: counter.enforce, outcome });
            }
        }
    }

    /// The decisions of the enforced limits.
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
            let Some(counter) = Self::counter_mut(&mut self.counters, counted.slot) else { continue };
            match (&mut counter.counts, outcome) {
                (Counts::Bucket(counts), Ok(count)) => counts.set(counted.key, *count, self.keys_max),
                (Counts::Window(counts), Ok(_)) => {
                    counts.reserve(counted.key, now, self.keys_max);
                    passed.reserved.push(*counted);
                }
                (_, Err(_)) => {
                    let limit = Arc::clone(counter.name());
                    passed.shadow.push(Shadow { slot: counted.slot, limit });
                }
            }
        }
        passed
    }

    /// Charges the staged request, which goes to Box regardless of these limits: windows then hold more than their
    /// figure, and empty buckets stay empty.
    pub(super) fn charge_regardless(&mut self, now: u64) -> Keys {
        let mut reserved = Keys::default();
        for Staged { counted, outcome, .. } in &self.staged {
            let Some(counter) = Self::counter_mut(&mut self.counters, counted.slot) else { continue };
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

    /// Records that the head of a call with these reservations is written now.
    pub(super) fn write(&mut self, reserved: &Keys, now: u64) {
        self.windows(reserved, |counts, key| counts.write(key, now));
    }

    /// Gives back the reservations of a call that is not made.
    pub(super) fn give_back(&mut self, reserved: &Keys) {
        self.windows(reserved, WindowCounts::give_back);
    }

    fn windows(&mut self, reserved: &Keys, change: impl Fn(&mut WindowCounts, u64)) {
        for counted in reserved.iter() {
            let counter = Self::counter_mut(&mut self.counters, counted.slot);
            if let Some(Counts::Window(counts)) = counter.map(|counter| &mut counter.counts) {
                change(counts, counted.key);
            }
        }
    }

    /// A refusal by this limit.
    pub(super) fn refusal(&self, by: Counted, left: u64) -> Refused {
        let headers = match self.counter(by.slot) {
            Some(counter) => counter.rate_limit_headers(left),
            None => RateLimitHeaders {
                limit: "".into(),
                quota: 0,
                window: Duration::ZERO,
                reset: Duration::from_nanos(left),
            },
        };
        Refused { slot: by.slot, headers, retry_after: Duration::from_nanos(left) }
    }

    /// How long a request may wait for this limit, in nanoseconds.
    pub(super) fn wait(&self, slot: u32) -> u64 {
        self.counter(slot).map_or(0, |counter| counter.wait)
    }

    /// Nanoseconds until the limit lets one pass; nothing is charged.
    pub(super) fn left(&mut self, counted: Counted, now: u64) -> u64 {
        let counter = Self::counter_mut(&mut self.counters, counted.slot).filter(|counter| counter.enforce);
        counter.and_then(|counter| counter.ask(counted.key, now, self.keys_max).err()).unwrap_or(0)
    }

    /// What keys have used of a limit, from 0 to 1: these, and [`SCANNED`] others in no order; one may occur twice.
    pub(super) fn used(&self, slot: u32, keys: &[u64], now: u64) -> Vec<(u64, f64)> {
        let Some(counter) = self.counter(slot) else { return Vec::new() };
        let mut used = counter.some_used(SCANNED, now);
        used.extend(counter.used(keys, now));
        used
    }

    /// The limit's rate as nanoseconds between two calls.
    pub(super) fn interval(&self, slot: u32) -> u64 {
        self.counter(slot).map_or(0, |counter| counter.interval)
    }

    /// The number of slots in use.
    #[cfg(test)]
    pub(super) fn occupied(&self) -> usize {
        self.counters.iter().flatten().count()
    }

    /// The number of counts and the capacity, over all limits.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        self.counters.iter().flatten().fold((0, 0), |(len, capacity), counter| {
            let (of_it, room) = counter.size();
            (len + of_it, capacity + room)
        })
    }

    /// Drops dead counts of one limit at a time, so that no single request pays for all.
    fn sweep(&mut self, now: u64) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.saturating_add(SWEEP / self.counters.len().max(1) as u64);
        self.swept = (self.swept + 1) % self.counters.len().max(1);
        if let Some(Some(counter)) = self.counters.get_mut(self.swept) {
            counter.sweep(now);
        }
    }
}

#[cfg(test)]
mod tests;
