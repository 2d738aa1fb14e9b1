//! A reload: the ledger of the next configuration continues the counts, by name.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use super::BudgetLedger;
use crate::limits::budget::definition::Budget;

impl BudgetLedger {
    /// The ledger of the next configuration. It has the same counts by name, including paid calls. Calls that
    /// began with this ledger stay with it, and it gives back their charges.
    ///
    /// A budget that keeps its name and key keeps its counts of refused calls, by the names of apps or identities.
    pub fn successor(
        &self,
        budgets: Vec<Budget>,
        apps: Vec<Arc<str>>,
        identities: Vec<Arc<str>>,
        now: SystemTime,
    ) -> Self {
        let mut next = Self::new(budgets, apps, identities, self.counts.clone(), now);
        let mut refused = std::mem::take(&mut next.refused);
        for (budget, counts) in next.budgets.iter().zip(&mut refused) {
            for (value, count) in counts.iter_mut().enumerate() {
                if let Some(known) = self.refused_of(budget, &next.value_name(budget, value)) {
                    *count = known;
                }
            }
        }
        Self { refused, ..next }
    }

    /// The calls that a budget of this name and key has refused for this key value.
    fn refused_of(&self, wanted: &Budget, value_name: &str) -> Option<Arc<AtomicU64>> {
        let is_same = |budget: &Budget| (&budget.name, budget.key) == (&wanted.name, wanted.key);
        let index = self.budgets.iter().position(is_same)?;
        let budget = self.budgets.get(index)?;
        let mut values = self.refused.get(index)?.iter().enumerate();
        let known = values.find(|(value, _)| *self.value_name(budget, *value) == *value_name);
        known.map(|(_, count)| Arc::clone(count))
    }
}
