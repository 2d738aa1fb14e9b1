//! The counts of one limit that is a bucket: for each key the time at which its bucket is full again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use super::gcra::{Gcra, LONGEST};

/// A full limit looks for dead counts not more often than this, in nanoseconds.
pub(super) const SWEEP_FULL: u64 = 1_000_000_000;

/// Counts of all keys, no more of them than the table allows; newcomers beyond share one.
#[derive(Debug)]
pub(super) struct BucketCounts {
    gcra: Gcra,
    interval: u64,
    burst: NonZeroU32,
    /// When a key's bucket is full again, in nanoseconds: GCRA's theoretical arrival time. No entry: it is full.
    counts: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    /// The same, for all newcomers while the limit is full of live keys.
    overflow: u64,
    full_until: u64,
}

impl BucketCounts {
    /// `interval`: nanoseconds from one call to the next; `burst`: so many may be made at once.
    pub(super) fn new(interval: u64, burst: NonZeroU32) -> Self {
        let gcra = Gcra::new(interval, burst);
        Self { gcra, interval, burst, counts: HashMap::default(), overflow: 0, full_until: 0 }
    }

    /// Goes on at another pace or with another burst: the calls that are spent of each key's burst stay spent, up to
    /// the new burst. So no key gets a fresh burst (a larger one adds the difference), and none has less than an empty
    /// bucket.
    pub(super) fn change(&mut self, interval: u64, burst: NonZeroU32, now: u64) {
        let (from, to) = (u128::from(self.interval.max(1)), u128::from(interval));
        let empty = to.saturating_mul(u128::from(burst.get())).min(u128::from(LONGEST));
        let changed = |count: u64| {
            let spent = u128::from(count.saturating_sub(now)).saturating_mul(to).div_ceil(from).min(empty);
            now.saturating_add(u64::try_from(spent).unwrap_or(LONGEST))
        };
        // Counts that are past say nothing; they are left for the sweep.
        self.counts.values_mut().filter(|count| **count > now).for_each(|count| *count = changed(*count));
        if self.overflow > now {
            self.overflow = changed(self.overflow);
        }
        (self.gcra, self.interval, self.burst) = (Gcra::new(interval, burst), interval, burst);
    }

    /// Whether it goes on so already.
    pub(super) fn is_at(&self, interval: u64, burst: NonZeroU32) -> bool {
        (self.interval, self.burst) == (interval, burst)
    }

    /// What the limit would say: the new count, or the nanoseconds that are missing.
    pub(super) fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<u64, u64> {
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

    /// How many counts are kept, and for how many there is room.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.counts.len(), self.counts.capacity())
    }
}

/// Nanoseconds, [`LONGEST`] at most.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(LONGEST).min(LONGEST)
}

/// The keys are hashes.
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
