//! The same question where replicas count together: Redis has the counts, and this replica's follow them, so that it
//! can go on alone where Redis has no say. What it counted alone is added there later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{Budget, BudgetSpent, Key, Ledger, Page, Spent, is_mark};
use crate::budget::WhenSpent;
use crate::budget::period::timestamp;
use crate::class::Class;
use crate::replicas::{Replicas, Spend, Unavailable};

/// Of a budget, what one call is about.
struct Claim<'l> {
    place: usize,
    value: usize,
    budget: &'l Budget,
    key: Arc<str>,
    period: String,
    /// As far as this replica knows.
    known: u64,
    /// Counted here alone, since Redis was away.
    alone: u64,
}

impl Ledger {
    /// As [`Ledger::try_spend`], for all replicas together.
    ///
    /// # Errors
    /// A budget is spent; nothing was charged then.
    pub async fn spend_together(
        &self,
        replicas: &Replicas,
        app: usize,
        identity: usize,
        class: Class,
        now: SystemTime,
    ) -> Result<Spent, BudgetSpent> {
        if self.budgets.is_empty() {
            return self.try_spend(app, identity, class, now);
        }
        let at = timestamp(now);
        let page = Arc::clone(&self.page(at));
        let claims = self.claims(&page, app, identity);
        let spends: Vec<Spend<'_>> = claims
            .iter()
            .map(|claim| {
                let ends = page.span(claim.budget.per).ends();
                Spend {
                    budget: claim.budget,
                    key: &claim.key,
                    period: &claim.period,
                    ends_in: ends.duration_since(at).try_into().unwrap_or_default(),
                    at_least: claim.known,
                    made: claim.alone,
                }
            })
            .collect();
        let spent = match replicas.spend(&spends).await {
            Ok(spent) => spent,
            Err(Unavailable) => {
                self.remember(&claims, |claim| claim.alone);
                let spent = self.try_spend(app, identity, class, now)?;
                self.remember(&claims, |_| 1);
                return Ok(spent);
            }
        };
        let mut would_refuse = None;
        for (place, (claim, used)) in claims.iter().zip(&spent.counts).enumerate() {
            let Claim { budget, value, .. } = claim;
            let before =
                self.count(&page, claim.place, *value).map(|count| count.fetch_max(*used, Ordering::Relaxed));
            if spent.refused == Some(place) {
                self.note_refused(claim.place, *value);
                let until = page.span(budget.per).ends();
                return Err(BudgetSpent { name: budget.name.clone(), until });
            }
            if !budget.refuses() && budget.when_spent == WhenSpent::Reject && *used > budget.calls.get() {
                self.note_refused(claim.place, *value);
                would_refuse.get_or_insert_with(|| budget.name.clone());
            }
            if before.is_some_and(|before| before < *used) && is_mark(*used, budget.calls.get()) {
                self.tell(&page, claim.place, *value, *used);
            }
        }
        if spent.refused.is_none()
            && let Some(count) = self.calls(&page, app, identity, class)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Spent { app, identity, class, at, would_refuse })
    }

    fn claims(&self, page: &Page, app: usize, identity: usize) -> Vec<Claim<'_>> {
        let claims = self.budgets.iter().enumerate().filter_map(|(place, budget)| {
            let value = budget.value(app, identity);
            let alone = self.alone(place, value)?.swap(0, Ordering::Relaxed);
            let used = self.count(page, place, value)?.load(Ordering::Relaxed);
            let key = match budget.key {
                Key::Global => Arc::default(),
                Key::App | Key::Identity => self.value_name(budget, value),
            };
            let (period, known) = (page.span(budget.per).to_string(), used.saturating_sub(alone));
            Some(Claim { place, value, budget, key, period, known, alone })
        });
        claims.collect()
    }

    fn remember(&self, claims: &[Claim<'_>], calls: impl Fn(&Claim<'_>) -> u64) {
        for claim in claims {
            if let Some(alone) = self.alone(claim.place, claim.value) {
                alone.fetch_add(calls(claim), Ordering::Relaxed);
            }
        }
    }

    fn alone(&self, budget: usize, value: usize) -> Option<&AtomicU64> {
        self.alone.get(budget)?.get(value)
    }
}
