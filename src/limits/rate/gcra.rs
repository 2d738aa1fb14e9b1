//! GCRA by the crate governor, applied to a copy of a count: governor charges every call that passes, but a call that
//! passes one limit may be refused by another. Why GCRA: `docs/decisions/gcra-and-windows.md`.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// 146 years in nanoseconds: the longest interval, so that sums stay within 64 bits.
pub(super) const LONGEST: u64 = 1 << 62;

/// The arithmetic of one limit. A count is the time when the bucket is full again, in nanoseconds.
#[derive(Debug)]
pub(super) struct Gcra(RateLimiter<Slot, InSlot, HandSet, NoOpMiddleware<Nanos>>);

impl Gcra {
    /// `interval`: nanoseconds from one call to the next.
    pub(super) fn new(interval: u64, burst: NonZeroU32) -> Self {
        let interval = Duration::from_nanos(interval);
        let quota =
            Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
        Self(RateLimiter::new(quota, InSlot, HandSet(Cell::new(0))))
    }

    /// The count after one more call; the error is the number of nanoseconds until it would pass.
    pub(super) fn ask(&self, count: u64, now: u64) -> Result<u64, u64> {
        let slot = Slot(Cell::new(count));
        self.0.clock().0.set(now);
        match self.0.check_key(&slot) {
            Ok(()) => Ok(slot.0.get()),
            Err(not_until) => {
                let left = not_until.wait_time_from(Nanos::from(now));
                Err(u64::try_from(left.as_nanos()).unwrap_or(LONGEST).max(1))
            }
        }
    }
}

/// A copy of a count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot(Cell<u64>);

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// A state store of governor that only uses the given slot.
#[derive(Debug)]
struct InSlot;

impl StateStore for InSlot {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (said, count) = judge(Some(Nanos::from(slot.0.get())))?;
        slot.0.set(count.as_u64());
        Ok(said)
    }
}

/// A clock of governor that shows the given time.
#[derive(Debug)]
struct HandSet(Cell<u64>);

impl Clock for HandSet {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.get())
    }
}
