//! Checks before each call whether the budgets allow it. All budgets that apply are charged, or none.
//!
//! One atomic addition for each count; with two or more budgets that can refuse, also a short lock. A charge
//! is given back if the call did not reach Box.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use tracing::warn;

use super::account::Account;
use super::call::{BudgetSet, Call};
use super::counts::CallCounts;
use super::definition::{Budget, Key, Period, WhenSpent};
use super::paid::Charges;
use super::period::{Span, timestamp};
use super::untold::Alone;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

mod shared;
mod successor;

/// The counts of one configuration, by the indices of its budgets, apps and identities.
pub struct BudgetLedger {
    /// Those that can refuse come first.
    budgets: Vec<Budget>,
    refusing: usize,
    apps: Vec<Arc<str>>,
    identities: Vec<Arc<str>>,
    /// By budget and key value: calls refused since the start, or that would have been. Shared with the ledgers of the
    /// previous and next configurations.
    refused: Vec<Vec<Arc<AtomicU64>>>,
    page: ArcSwap<Page>,
    counts: Arc<CallCounts>,
}

/// A charged call. [`BudgetLedger::give_back`] of the same ledger undoes the charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    call: Call,
    at: Timestamp,
    would_refuse: Option<Arc<str>>,
    /// It is charged for all replicas, or will be reported to them.
    together: bool,
}

impl Spent {
    /// The first budget with `enforce = false` that would have refused the call.
    pub fn would_have_been_refused_by(&self) -> Option<&str> {
        self.would_refuse.as_deref()
    }
}

/// A call that a budget refuses; nothing was charged for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSpent {
    /// The budget's name.
    pub name: Arc<str>,
    /// When the next period begins.
    pub until: Timestamp,
}

impl fmt::Display for BudgetSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget {:?} is spent until {}", self.name, self.until)
    }
}

impl std::error::Error for BudgetSpent {}

/// The state of all budgets and counts, for metrics and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of the configuration, those that can refuse first; each with all its key values.
    pub budgets: Vec<BudgetState>,
    /// Calls in this month and the one before, including those of apps no longer configured; without zeros.
    pub spent: Vec<SpentCalls>,
    /// When counting began; earlier calls are unknown.
    pub since: Timestamp,
}

/// A budget's state for one key value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget's name.
    pub name: Arc<str>,
    /// What has a count of its own.
    pub key: Key,
    /// The app's or identity's name; empty for the global one.
    pub value: Arc<str>,
    /// Whether it counts all calls, not those of some operations.
    pub of_all_calls: bool,
    /// Day or month.
    pub per: Period,
    /// What happens to calls beyond the budget.
    pub when_spent: WhenSpent,
    /// Whether it refuses at all.
    pub enforce: bool,
    /// The number of calls allowed in the period.
    pub calls: u64,
    /// The number of calls made in the period.
    pub used: u64,
    /// The number of calls expected by the end of the period at the current rate.
    pub forecast: u64,
    /// Calls refused since the start of the process; with `enforce = false`, those that would have been.
    pub refused: u64,
    /// When the next period begins.
    pub ends: Timestamp,
}

/// Calls of one month that reached Box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentCalls {
    /// The month, such as `2026-11`.
    pub month: String,
    /// The app's name; empty for the class `token`.
    pub app: Arc<str>,
    /// The identity's name.
    pub identity: Arc<str>,
    /// The class as in the configuration, or `token`: requests to the token endpoint.
    pub class: Arc<str>,
    /// The number of calls.
    pub calls: u64,
}

type Count = OnceLock<Arc<AtomicU64>>;
type Untold = OnceLock<Arc<Alone>>;

/// The counts of one day and its month, looked up when first needed.
struct Page {
    begins: i64,
    ends: i64,
    day: Span,
    month: Span,
    /// By budget and key value.
    budgets: Vec<Vec<Count>>,
    /// By budget and key value: calls that Redis does not know of yet.
    alone: Vec<Vec<Untold>>,
    /// By app, identity and class.
    calls: Vec<Count>,
}

impl BudgetLedger {
    /// A ledger over the counts. `apps` and `identities`: their names by index. Several ledgers may share the
    /// same counts, as during a reload: they count together. Names of budgets must be unique.
    pub fn new(
        mut budgets: Vec<Budget>,
        apps: Vec<Arc<str>>,
        identities: Vec<Arc<str>>,
        counts: Arc<CallCounts>,
        now: SystemTime,
    ) -> Self {
        budgets.sort_by_key(|budget| !budget.refuses());
        let refusing = budgets.iter().take_while(|budget| budget.refuses()).count();
        let values = |budget: &Budget| match budget.key {
            Key::App => apps.len(),
            Key::Identity => identities.len(),
            Key::Global => 1,
        };
        let zeros = |budget: &Budget| (0..values(budget)).map(|_| Arc::default()).collect();
        let refused = budgets.iter().map(zeros).collect();
        let page = Page::new(timestamp(now), budgets.iter().map(values), apps.len() * identities.len());
        let page = ArcSwap::from_pointee(page);
        Self { budgets, refusing, apps, identities, refused, page, counts }
    }

    /// The counts by name.
    pub fn counts(&self) -> &Arc<CallCounts> {
        &self.counts
    }

    /// A call of this app and identity, with the budgets that apply to its operation.
    pub fn call(&self, app: AppId, identity: IdentityId, class: Class, operation: Operation<'_>) -> Call {
        let budgets = if self.budgets.iter().all(|budget| budget.on.is_empty()) {
            BudgetSet::All
        } else {
            let operation = operation.in_any_spelling();
            BudgetSet::Some(self.budgets.iter().map(|budget| budget.is_about(&operation, class)).collect())
        };
        Call { app, identity, class, budgets }
    }

    /// The budgets to which a call would be charged, each with the app or identity that has the count, empty where all
    /// have one.
    pub(crate) fn charges_of<'l>(&'l self, call: &'l Call) -> impl Iterator<Item = (&'l Budget, Arc<str>)> {
        self.about(call).map(|(_, budget)| (budget, self.value_name(budget, budget.value(call))))
    }

    /// Checks whether the budgets allow a call; charges nothing. A call that a budget refuses should neither be charged
    /// to limits nor wait for them.
    ///
    /// # Errors
    /// A budget is spent.
    pub fn look(&self, call: &Call, now: SystemTime) -> Result<(), BudgetSpent> {
        if self.refusing == 0 {
            return Ok(());
        }
        let page = self.page(timestamp(now));
        if self.counts.paid.has(|| self.charges(&page, call)) {
            return Ok(());
        }
        for (index, budget) in self.about(call).take_while(|(index, _)| *index < self.refusing) {
            let value = budget.value(call);
            let count = self.count(&page, index, value);
            if count.is_some_and(|count| count.load(Ordering::Relaxed) >= budget.calls.get()) {
                self.note_refused(index, value);
                return Err(BudgetSpent { name: budget.name.clone(), until: page.span(budget.per).ends() });
            }
        }
        Ok(())
    }

    /// Charges one call that is about to be sent to Box.
    ///
    /// # Errors
    /// A budget is spent; nothing was charged then.
    pub fn try_spend(&self, call: &Call, now: SystemTime) -> Result<Spent, BudgetSpent> {
        let at = timestamp(now);
        let page = self.page(at);
        // Allocates only once a threshold is passed.
        let mut marks = Vec::new();
        {
            let _exact = (self.refusing > 1).then(|| self.counts.exact());
            let counts = || {
                self.about(call).take_while(|(index, _)| *index < self.refusing).filter_map(
                    |(index, budget)| {
                        let value = budget.value(call);
                        Some((index, value, budget, self.count(&page, index, value)?))
                    },
                )
            };
            let spent = |index: usize, value: usize, budget: &Budget| {
                self.note_refused(index, value);
                BudgetSpent { name: budget.name.clone(), until: page.span(budget.per).ends() }
            };
            // Check first, so that a spent budget does not cause a charge and a refund of the others for each refusal.
            if self.refusing > 1 {
                for (index, value, budget, count) in counts() {
                    if count.load(Ordering::Relaxed) >= budget.calls.get() {
                        return Err(spent(index, value, budget));
                    }
                }
            }
            for (index, value, budget, count) in counts() {
                match add_below(count, budget.calls.get()) {
                    Some(used) if is_mark(used, budget.calls.get()) => marks.push((index, value, used)),
                    Some(_) => {}
                    None => {
                        for (_, _, _, charged) in counts().take_while(|(other, ..)| *other < index) {
                            take_off(charged);
                        }
                        return Err(spent(index, value, budget));
                    }
                }
            }
        }
        let mut would_refuse = None;
        for (index, budget) in self.about(call).skip_while(|(index, _)| *index < self.refusing) {
            let value = budget.value(call);
            let Some(count) = self.count(&page, index, value) else { continue };
            let used = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if used > budget.calls.get() && budget.when_spent == WhenSpent::Reject {
                self.note_refused(index, value);
                would_refuse.get_or_insert_with(|| budget.name.clone());
            }
            if is_mark(used, budget.calls.get()) {
                marks.push((index, value, used));
            }
        }
        // After the budgets, so that no budget ever counts fewer calls than were made.
        if let Some(count) = self.calls(&page, call) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        for (index, value, used) in marks {
            self.tell(&page, index, value, used);
        }
        Ok(Spent { call: call.clone(), at, would_refuse, together: false })
    }

    /// Undoes the charge of a call that did not reach Box.
    pub fn give_back(&self, spent: Spent) {
        let page = self.page(spent.at);
        let call = &spent.call;
        let budgets = self.about(call).map(|(index, budget)| (index, budget.value(call)));
        let budgets = budgets.filter_map(|(index, value)| self.count(&page, index, value));
        let calls = self.calls(&page, call);
        let counts: Vec<&AtomicU64> = if spent.together {
            self.counts.paid.add(self.charges(&page, call));
            calls.into_iter().collect()
        } else {
            calls.into_iter().chain(budgets).collect()
        };
        let _still = self.counts.still();
        counts.into_iter().for_each(take_off);
    }

    /// The state of all budgets and counts.
    pub fn snapshot(&self, now: SystemTime) -> Snapshot {
        let now = timestamp(now);
        let page = self.page(now);
        let since = self.counts.since();
        let mut budgets = Vec::new();
        for (index, (budget, refused)) in self.budgets.iter().zip(&self.refused).enumerate() {
            let span = page.span(budget.per);
            for (value, refused) in refused.iter().enumerate() {
                let used = self.count(&page, index, value).map_or(0, |count| count.load(Ordering::Relaxed));
                budgets.push(BudgetState {
                    name: budget.name.clone(),
                    key: budget.key,
                    value: self.value_name(budget, value),
                    of_all_calls: budget.on.is_empty(),
                    per: budget.per,
                    when_spent: budget.when_spent,
                    enforce: budget.enforce,
                    calls: budget.calls.get(),
                    used,
                    forecast: span.forecast(used, since, now),
                    refused: refused.load(Ordering::Relaxed),
                    ends: span.ends(),
                });
            }
        }
        let months = [page.month.previous(), page.month];
        let spent = months.into_iter().flat_map(|month| self.spent(month)).collect();
        Snapshot { budgets, spent, since }
    }

    /// The calls of a month, in the order of apps, identities and classes.
    fn spent(&self, month: Span) -> impl Iterator<Item = SpentCalls> {
        let mut sums: BTreeMap<Account, u64> = BTreeMap::new();
        for ((_, account), calls) in self.counts.calls(month) {
            *sums.entry(account).or_default() += calls;
        }
        sums.into_iter().filter_map(move |(account, calls)| match account {
            Account::Calls { app, identity, class } => {
                Some(SpentCalls { month: month.to_string(), app, identity, class, calls })
            }
            Account::Budget { .. } => None,
        })
    }

    /// The page of a time. A new day gets a new page here; a clock that is set back gets its old counts.
    fn page(&self, at: Timestamp) -> Guard<Arc<Page>> {
        let page = self.page.load();
        if page.holds(at) {
            return page;
        }
        let values = self.refused.iter().map(Vec::len);
        let page = Arc::new(Page::new(at, values, self.apps.len() * self.identities.len()));
        self.counts.paid.keep([page.day, page.month]);
        // Two workers may do this at once; their pages refer to the same counts.
        self.page.store(page.clone());
        Guard::from_inner(page)
    }

    fn count<'p>(&self, page: &'p Page, budget: usize, value: usize) -> Option<&'p AtomicU64> {
        let count = page.budgets.get(budget)?.get(value)?;
        Some(count.get_or_init(|| match self.budgets.get(budget) {
            Some(rule) => {
                let classes: Vec<Class> =
                    Class::ALL.into_iter().filter(|class| rule.is_about_class(*class)).collect();
                self.counts.budget_count(page.span(rule.per), self.account(rule, value), &classes)
            }
            None => Arc::default(),
        }))
    }

    fn account(&self, rule: &Budget, value: usize) -> Account {
        Account::Budget { name: rule.account(), key: rule.key, value: self.value_name(rule, value) }
    }

    /// The counts to which a call is charged. It allocates names, so it is called only if paid calls are left.
    fn charges(&self, page: &Page, call: &Call) -> Charges {
        let about = self.about(call);
        let mut charges: Charges = about
            .map(|(_, budget)| (page.span(budget.per), self.account(budget, budget.value(call))))
            .collect();
        charges.sort();
        charges
    }

    /// The budgets that apply to a call, by index.
    fn about<'l>(&'l self, call: &'l Call) -> impl Iterator<Item = (usize, &'l Budget)> {
        self.budgets.iter().enumerate().filter(|(index, _)| call.budgets.has(*index))
    }

    fn calls<'p>(&self, page: &'p Page, call: &Call) -> Option<&'p AtomicU64> {
        let Call { app, identity, class, .. } = *call;
        let (app_name, identity_name) = (self.apps.get(app.index())?, self.identities.get(identity.index())?);
        let of_class = Class::ALL.iter().position(|other| *other == class)?;
        let count = page
            .calls
            .get((app.index() * self.identities.len() + identity.index()) * Class::ALL.len() + of_class)?;
        Some(count.get_or_init(|| {
            let (app, identity) = (app_name.clone(), identity_name.clone());
            self.counts.count(page.day, Account::Calls { app, identity, class: class.as_str().into() })
        }))
    }

    fn value_name(&self, budget: &Budget, value: usize) -> Arc<str> {
        match budget.key {
            Key::App => self.apps.get(value).cloned().unwrap_or_default(),
            Key::Identity => self.identities.get(value).cloned().unwrap_or_default(),
            Key::Global => Arc::default(),
        }
    }

    fn note_refused(&self, budget: usize, value: usize) {
        if let Some(count) = self.refused.get(budget).and_then(|values| values.get(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn tell(&self, page: &Page, budget: usize, value: usize, used: u64) {
        let Some(budget) = self.budgets.get(budget) else { return };
        let (calls, until) = (budget.calls.get(), page.span(budget.per).ends());
        let consequence = match (used < calls, budget.when_spent, budget.enforce) {
            (true, ..) => "is nearly spent",
            (false, WhenSpent::Reject, true) => "is spent; calls are refused until the next period",
            (false, WhenSpent::Reject, false) => "is spent; calls would be refused if it were enforced",
            (false, WhenSpent::Warn, _) => "is spent; calls continue",
        };
        let percent = u128::from(used) * 100 / u128::from(calls);
        let value = self.value_name(budget, value);
        // A global budget has no value of its key.
        let value = (!value.is_empty()).then_some(&*value);
        warn!(budget = &*budget.name, key = budget.key.as_str(), value, used, calls, %until, "{percent} % used: the budget {consequence}");
    }
}

impl Budget {
    fn refuses(&self) -> bool {
        self.enforce && self.when_spent == WhenSpent::Reject
    }

    /// The index of the key value of a call.
    fn value(&self, call: &Call) -> usize {
        match self.key {
            Key::App => call.app.index(),
            Key::Identity => call.identity.index(),
            Key::Global => 0,
        }
    }
}

impl Page {
    fn new(at: Timestamp, values: impl Iterator<Item = usize>, apps_and_identities: usize) -> Self {
        let empty = |count: usize| (0..count).map(|_| Count::new()).collect();
        let values: Vec<usize> = values.collect();
        let (day, month) = (Period::Day.at(at), Period::Month.at(at));
        Self {
            begins: day.begins().as_second(),
            ends: day.ends().as_second(),
            day,
            month,
            budgets: values.iter().copied().map(empty).collect(),
            alone: values.iter().map(|count| (0..*count).map(|_| Untold::new()).collect()).collect(),
            calls: empty(apps_and_identities * Class::ALL.len()),
        }
    }

    fn holds(&self, at: Timestamp) -> bool {
        (self.begins..self.ends).contains(&at.as_second())
    }

    fn span(&self, period: Period) -> Span {
        match period {
            Period::Day => self.day,
            Period::Month => self.month,
        }
    }
}

/// Adds one if the count is less than `most`, and returns the new count.
fn add_below(count: &AtomicU64, most: u64) -> Option<u64> {
    let add = |used| (used < most).then_some(used + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(|used| used + 1)
}

fn take_off(count: &AtomicU64) {
    // It may already be 0: old months are dropped.
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_sub(1));
}

/// Whether exactly this count calls for a log line: at 80 and 100 %, at each further 10 % up to 200 %, then whenever
/// it has doubled. Each count is reached by one call alone, so the line is written once.
fn is_mark(used: u64, calls: u64) -> bool {
    if used <= calls / 2 {
        return false;
    }
    if used / 2 >= calls {
        return used.is_multiple_of(calls) && (used / calls).is_power_of_two();
    }
    let tenths = |used: u64| u128::from(used) * 10 / u128::from(calls);
    let (before, now) = (tenths(used - 1), tenths(used));
    now > before && (now >= 10 || (now >= 8 && before < 8))
}

#[cfg(test)]
mod tests;
