//! The same when replicas count together: Redis has the counts, and this replica keeps a copy, so that it
//! can go on alone while Redis is unavailable. Calls that it counted alone are added to Redis later.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::{Budget, BudgetLedger, BudgetSpent, Call, Key, Page, Spent, is_mark};
use crate::limits::budget::definition::WhenSpent;
use crate::limits::budget::period::timestamp;
use crate::limits::budget::untold::{Alone, Told};
use crate::limits::redis::replicas::{Replicas, Spend, Unavailable};

/// One call's charge to one budget.
struct Claim<'l> {
    index: usize,
    value: usize,
    budget: &'l Budget,
    key: Arc<str>,
    period: String,
    /// The count as this replica knows it.
    known: u64,
    /// Calls counted only here while Redis was unavailable.
    alone: Arc<Alone>,
    told: Told,
}

impl BudgetLedger {
    /// As [`BudgetLedger::try_spend`], for all replicas together.
    ///
    /// # Errors
    /// A budget is spent; nothing was charged then.
    pub async fn spend_together(
        &self,
        replicas: &Replicas,
        call: &Call,
        now: SystemTime,
    ) -> Result<Spent, BudgetSpent> {
        if self.budgets.is_empty() {
            return self.try_spend(call, now);
        }
        let at = timestamp(now);
        let page = Arc::clone(&self.page(at));
        // Paid calls are used first: a count in Redis is never decreased, since replicas that know the higher value
        // would restore it.
        if self.counts.paid.take(|| self.charges(&page, call)) {
            self.count_call(&page, call);
            return Ok(Spent { call: call.clone(), at, would_refuse: None, together: true });
        }
        let claims = self.claims(&page, call, replicas.in_reach());
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
                    made: claim.told.batch().map_or(0, |batch| batch.calls),
                    batch: claim.told.batch().map_or(0, |batch| batch.number),
                }
            })
            .collect();
        let spent = match replicas.spend(&spends).await {
            Ok(spent) => spent,
            Err(Unavailable) => {
                let spent = self.try_spend(call, now)?;
                claims.iter().for_each(|claim| claim.alone.add());
                return Ok(Spent { together: true, ..spent });
            }
        };
        let mut would_refuse = None;
        let mut refused = None;
        for (nth, (claim, used)) in claims.into_iter().zip(spent.counts).enumerate() {
            let Claim { index, budget, value, alone, told, .. } = claim;
            told.arrived();
            // Calls counted only here meanwhile are unknown to Redis.
            let all = used.saturating_add(alone.calls());
            let before = self.count(&page, index, value).map(|count| count.fetch_max(all, Ordering::Relaxed));
            if spent.refused == Some(nth) {
                self.note_refused(index, value);
                let until = page.span(budget.per).ends();
                refused = Some(BudgetSpent { name: budget.name.clone(), until });
            }
            if spent.refused.is_some() {
                continue;
            }
            if !budget.refuses() && budget.when_spent == WhenSpent::Reject && used > budget.calls.get() {
                self.note_refused(index, value);
                would_refuse.get_or_insert_with(|| budget.name.clone());
            }
            if before.is_some_and(|before| before < used) && is_mark(used, budget.calls.get()) {
                self.tell(&page, index, value, used);
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        self.count_call(&page, call);
        Ok(Spent { call: call.clone(), at, would_refuse, together: true })
    }

    fn count_call(&self, page: &Page, call: &Call) {
        if let Some(count) = self.calls(page, call) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn claims<'l>(&'l self, page: &Page, call: &'l Call, in_reach: bool) -> Vec<Claim<'l>> {
        let claims = self.about(call).filter_map(|(index, budget)| {
            let value = budget.value(call);
            let alone = Arc::clone(
                page.alone
                    .get(index)?
                    .get(value)?
                    .get_or_init(|| self.counts.alone(page.span(budget.per), self.account(budget, value))),
            );
            let used = self.count(page, index, value)?.load(Ordering::Relaxed);
            let known = used.saturating_sub(alone.calls());
            let key = match budget.key {
                Key::Global => Arc::default(),
                Key::App | Key::Identity => self.value_name(budget, value),
            };
            let (period, told) = (page.span(budget.per).to_string(), Told::begin(alone.clone(), in_reach));
            Some(Claim { index, value, budget, key, period, known, alone, told })
        });
        claims.collect()
    }
}
