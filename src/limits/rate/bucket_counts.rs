//! The counts of one bucket limit: for each key, the time at which its bucket is full again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use super::gcra::{Gcra, LONGEST};

/// The shortest time between two sweeps of a limit without free entries, in nanoseconds.
pub(super) const SWEEP_FULL: u64 = 1_000_000_000;

/// The counts of all keys, at most as many as the table allows; further new keys share one.
#[derive(Debug)]
pub(super) struct BucketCounts {
    gcra: Gcra,
    interval: u64,
    burst: NonZeroU32,
    /// When a key's bucket is full again, in nanoseconds: GCRA's theoretical arrival time. No entry: it is full.
    counts: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    /// The same, shared by all new keys while no entry is free.
    overflow: u64,
    full_until: u64,
}

impl BucketCounts {
    /// `interval`: nanoseconds from one call to the next; `burst`: the most calls at once.
    pub(super) fn new(interval: u64, burst: NonZeroU32) -> Self {
        let gcra = Gcra::new(interval, burst);
        Self { gcra, interval, burst, counts: HashMap::default(), overflow: 0, full_until: 0 }
    }

    /// Changes the rate or the burst: the calls spent of each key's burst stay spent, up to
    /// the new burst. So no key gets a fresh burst (a larger one adds the difference), and none has less than an empty
    /// bucket.
    pub(super) fn change(&mut self, interval: u64, burst: NonZeroU32, now: u64) {
        let (from, to) = (u128::from(self.interval.max(1)), u128::from(interval));
        let empty = to.saturating_mul(u128::from(burst.get())).min(u128::from(LONGEST));
        let changed = |count: u64| {
            let spent = u128::from(count.saturating_sub(now)).saturating_mul(to).div_ceil(from).min(empty);
            now.saturating_add(u64::try_from(spent).unwrap_or(LONGEST))
        };
        // Counts in the past mean a full bucket; they are left for the sweep.
        self.counts.values_mut().filter(|count| **count > now).for_each(|count| *count = changed(*count));
        if self.overflow > now {
            self.overflow = changed(self.overflow);
        }
        (self.gcra, self.interval, self.burst) = (Gcra::new(interval, burst), interval, burst);
    }

    /// Whether it has this rate and burst already.
    pub(super) fn is_at(&self, interval: u64, burst: NonZeroU32) -> bool {
        (self.interval, self.burst) == (interval, burst)
    }

    /// Calls of a key's burst that are spent, a part of one counted whole. Charges nothing.
    pub(super) fn spent(&self, key: u64, now: u64) -> Option<u64> {
        self.counts.get(&key).map(|count| self.spent_of(*count, now))
    }

    /// The same of this many keys in no order.
    pub(super) fn some_spent(&self, most: usize, now: u64) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().take(most).map(move |(key, count)| (*key, self.spent_of(*count, now)))
    }

    fn spent_of(&self, count: u64, now: u64) -> u64 {
        count.saturating_sub(now).div_ceil(self.interval.max(1))
    }

    /// The new count if a call passes, or the nanoseconds until one would. Charges nothing.
    pub(super) fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<u64, u64> {
        let count = self.count(key, now, keys_max);
        self.gcra.ask(count, now)
    }

    /// The count of a key; a new key gets the shared count while that is in force: it may have
    /// been one of those that shared it.
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

    pub(super) fn set(&mut self, key: u64, count: u64, keys_max: usize) {
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
    pub(super) fn sweep(&mut self, now: u64) {
        self.counts.retain(|_, count| *count > now);
        if self.counts.len() < self.counts.capacity() / 4 {
            self.counts.shrink_to(self.counts.len() * 2);
        }
    }

    /// The number of counts, and the capacity.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.counts.len(), self.counts.capacity())
    }
}

/// Nanoseconds, at most [`LONGEST`].
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(LONGEST).min(LONGEST)
}

/// A hasher for keys that are hashes already.
#[derive(Debug, Default)]
pub(super) struct AlreadyHashed(u64);

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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: usize = 10;

    fn some(burst: u32) -> NonZeroU32 {
        NonZeroU32::new(burst).unwrap()
    }

    /// Makes as many calls of a key as pass now, and returns their number.
    fn free(counts: &mut BucketCounts, key: u64, now: u64) -> u32 {
        let mut calls = 0;
        while let Ok(count) = counts.ask(key, now, KEYS) {
            counts.set(key, count, KEYS);
            calls += 1;
        }
        calls
    }

    #[test]
    fn an_unused_key_gets_the_new_burst() {
        let mut counts = BucketCounts::new(1000, some(5));
        counts.change(10, some(7), 0);
        assert_eq!(free(&mut counts, 1, 0), 7);
    }

    #[test]
    fn the_shared_count_of_new_keys_is_changed_too() {
        let mut counts = BucketCounts::new(1000, some(2));
        let one = counts.ask(1, 0, 1).unwrap();
        counts.set(1, one, 1);
        let other = counts.ask(2, 0, 1).unwrap();
        counts.set(2, other, 1);
        counts.change(10, some(2), 0);
        assert_eq!(counts.ask(3, 0, 1), Ok(20), "a new key has spent one");
        assert_eq!(counts.overflow, 10);
    }

    #[test]
    fn extreme_figures_do_no_harm() {
        let mut counts = BucketCounts::new(1, some(u32::MAX));
        for (interval, burst) in [(LONGEST, 1), (1, u32::MAX), (LONGEST / 9, 9)] {
            for now in [0, 1 << 61] {
                if let Ok(count) = counts.ask(1, now, KEYS) {
                    counts.set(1, count, KEYS);
                }
                counts.change(interval, some(burst), now);
            }
        }
    }

    proptest! {
        /// The fraction of calls spent is the same before and after, up to rounding, and never
        /// more than the burst.
        #[test]
        fn what_is_spent_stays_spent(
            interval in 1..100_000_u64, burst in 1..50_u32, calls in 0..50_u32, passes in 0..200_000_u64,
            other in 1..100_000_u64, largest in 1..50_u32,
        ) {
            let mut counts = BucketCounts::new(interval, some(burst));
            for _ in 0..calls {
                if let Ok(count) = counts.ask(1, 1, KEYS) {
                    counts.set(1, count, KEYS);
                }
            }
            let now = 1 + passes;
            let before = counts.counts.get(&1).map_or(0, |count| count.saturating_sub(now));
            counts.change(other, some(largest), now);
            let after = counts.counts.get(&1).map_or(0, |count| count.saturating_sub(now));
            let most = u64::from(largest) * other;
            prop_assert!(after == most || u128::from(after) * u128::from(interval) >= u128::from(before) * u128::from(other));
            prop_assert!(after <= most);
            prop_assert!(after.saturating_sub(1) * interval <= before * other, "a debt does not grow");
            // As many calls are free as are not spent.
            let spent = after.div_ceil(other);
            prop_assert_eq!(u64::from(free(&mut counts, 1, now)), u64::from(largest) - spent);
        }
    }
}
