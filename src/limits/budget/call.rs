//! A call, for counting: who makes it, and which budgets apply to it.

use std::sync::Arc;

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

/// A set of budgets, by index in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BudgetSet {
    /// All budgets.
    All,
    /// Those whose index is true.
    Some(Arc<[bool]>),
}

impl BudgetSet {
    /// Whether the set contains this index.
    pub(super) fn has(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(budgets) => budgets.get(index).copied().unwrap_or(false),
        }
    }
}
