//! A call, as budgets know it: who makes it, and which budgets are about it.

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

/// Budgets by their index in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
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
