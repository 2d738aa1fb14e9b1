//! Calls that were charged for all replicas and never sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::period::Span;

/// What a call is charged to: budgets' counts, each in its span.
pub(super) type Charges = Vec<(Span, Account)>;

/// Calls that were charged for all replicas and never sent: the next ones that would be charged to the same counts are
/// paid for.
#[derive(Debug, Default)]
pub(super) struct Paid {
    /// The number of such calls. While it is 0, which is usual, requests do not take the lock.
    all: AtomicU64,
    calls: Mutex<BTreeMap<Charges, u64>>,
}

impl Paid {
    /// Records a call that was charged but not made.
    pub(super) fn add(&self, charges: Charges) {
        if !charges.is_empty() {
            let mut calls = self.lock();
            *calls.entry(charges).or_default() += 1;
            self.all.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a call with these charges would be paid for.
    pub(super) fn has(&self, charges: impl FnOnce() -> Charges) -> bool {
        self.all.load(Ordering::Relaxed) > 0 && self.lock().contains_key(&charges())
    }

    /// Uses up one paid call with these charges; false if there is none.
    pub(super) fn take(&self, charges: impl FnOnce() -> Charges) -> bool {
        if self.all.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let charges = charges();
        let mut calls = self.lock();
        let Some(left) = calls.get_mut(&charges) else { return false };
        *left -= 1;
        if *left == 0 {
            calls.remove(&charges);
        }
        self.all.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Keeps only the charges in these spans: calls in other spans are over.
    pub(super) fn keep(&self, now: [Span; 2]) {
        if self.all.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut calls = self.lock();
        calls.retain(|charges, _| charges.iter().all(|(span, _)| now.contains(span)));
        self.all.store(calls.values().sum(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Charges, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
