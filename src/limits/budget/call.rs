//! A call, as budgets know it: who makes it, and which budgets are about it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation_class::Class;

/// A call of Box's API. Made by [`super::spending::BudgetLedger::call`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub(super) app: AppId,
    pub(super) identity: IdentityId,
    pub(super) class: Class,
    pub(super) budgets: BudgetSet,
}

/// Budgets by their index in a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum BudgetSet {
    /// All there are.
    All,
    /// Those at whose index it says so.
    Some(Arc<[bool]>),
}

impl BudgetSet {
    /// Whether the budget of this index is in it.
    pub(super) fn has(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(budgets) => budgets.get(index).copied().unwrap_or(false),
        }
    }
}

/// Calls that were charged for all replicas and never sent: the next ones of the same app, identity and budgets are paid
/// for.
#[derive(Debug, Default)]
pub(super) struct Paid {
    /// How many there are: mostly none, and then no request takes the lock.
    all: AtomicU64,
    calls: Mutex<HashMap<(AppId, IdentityId, BudgetSet), u64>>,
}

impl Paid {
    /// A call that was charged is not made.
    pub(super) fn add(&self, call: &Call) {
        *self.lock().entry(of(call)).or_default() += 1;
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this call would be paid for.
    pub(super) fn has(&self, call: &Call) -> bool {
        self.all.load(Ordering::Relaxed) > 0 && self.lock().contains_key(&of(call))
    }

    /// Takes what pays for this call, if there is something.
    pub(super) fn take(&self, call: &Call) -> bool {
        if self.all.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut calls = self.lock();
        let key = of(call);
        let Some(left) = calls.get_mut(&key) else { return false };
        *left -= 1;
        if *left == 0 {
            calls.remove(&key);
        }
        self.all.fetch_sub(1, Ordering::Relaxed);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AppId, IdentityId, BudgetSet), u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(call: &Call) -> (AppId, IdentityId, BudgetSet) {
    (call.app, call.identity, call.budgets.clone())
}
