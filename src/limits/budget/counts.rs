//! All counts, by name, and the state of their file. Shared by the workers and the writer thread.
//!
//! Keys are names, not indices, since the next configuration may list apps in another order. A count is looked up once
//! and then held, so the lock is taken when a day begins, not for each call.
//!
//! Calls are counted by day and kept for 13 months: there is one count for each app, identity and class and each day on
//! which they made a call. Such a count takes about 200 bytes of memory (here and in the copy of the store) and 70
//! bytes of the file. 20 apps with one identity and two classes each, calling every day, are 16 000 counts in 13
//! months: 3 MB of memory and 1.1 MB of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;

use super::account::{Account, Entry, Kind, LOOKUP, Sheet, TOKEN};
use super::definition::{Key, Period};
use super::paid::Paid;
use super::period::{Span, timestamp};
use super::untold::Alone;
use crate::routing::operation_class::Class;

/// The counts of a sheet.
#[derive(Debug, Default)]
struct Counts {
    counts: BTreeMap<Account, Arc<AtomicU64>>,
    /// They may have changed since they were written. The writer does not look at others, so that the past 13 months
    /// cost it nothing.
    open: bool,
}

type Sheets = BTreeMap<Sheet, Counts>;

/// For so many months, this one included, calls are kept.
pub(crate) const CALL_MONTHS: usize = 13;
/// The same for budgets of a month, of which only the current count is used.
const BUDGET_MONTHS: usize = 3;
/// The same for budgets of a day.
const BUDGET_DAYS: usize = 8;

/// All counts.
#[derive(Debug)]
pub struct CallCounts {
    sheets: Mutex<Sheets>,
    alone: Mutex<BTreeMap<(Span, Account), Arc<Alone>>>,
    pub(super) paid: Paid,
    exact: Mutex<()>,
    since: AtomicI64,
    /// The name of this replica for the others.
    replica: OnceLock<u64>,
    /// The state of the file.
    pub file: FileState,
}

/// The state of the file, for metrics and health.
#[derive(Debug, Default)]
pub struct FileState {
    /// There is no file: counts are lost when the process ends.
    pub in_memory: AtomicBool,
    /// The number of corrupt files found since the start.
    pub set_aside: AtomicU64,
    /// The number of failed writes since the start.
    pub failed_writes: AtomicU64,
    /// Why the last write failed; `None` after one that succeeded.
    failure: Mutex<Option<String>>,
}

impl FileState {
    /// Records the outcome of a write, and returns whether the one before had failed. The reason may have line breaks.
    pub(crate) fn written(&self, failure: Option<String>) -> bool {
        let before = std::mem::replace(&mut *self.locked(), failure);
        before.is_some()
    }

    /// Why the last write failed; `None` after one that succeeded.
    pub(crate) fn failure(&self) -> Option<String> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallCounts {
    /// Begins with these counts, which are in no file yet. `since`: when counting began.
    pub fn new(since: Timestamp, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut sheets = Sheets::new();
        for ((span, account), count) in entries {
            let sheet = sheets.entry(Sheet::of(span, &account)).or_default();
            sheet.open = true;
            sheet.counts.insert(account, Arc::new(AtomicU64::new(count)));
        }
        Self {
            sheets: Mutex::new(sheets),
            alone: Mutex::default(),
            paid: Paid::default(),
            exact: Mutex::new(()),
            since: AtomicI64::new(since.as_second()),
            replica: OnceLock::new(),
            file: FileState::default(),
        }
    }

    /// Adds the counts of earlier processes, which are in the file. `since`: when these began to count.
    pub(super) fn go_on_from(&self, since: Timestamp, entries: impl IntoIterator<Item = Entry>) {
        self.since.fetch_min(since.as_second(), Ordering::Relaxed);
        let mut sheets = self.sheets();
        for ((span, account), count) in entries {
            let sheet = sheets.entry(Sheet::of(span, &account)).or_default();
            sheet.counts.entry(account).or_default().fetch_add(count, Ordering::Relaxed);
        }
    }

    /// When counting began; earlier calls are unknown.
    pub fn since(&self) -> Timestamp {
        Timestamp::from_second(self.since.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Names this replica for the others, once its counts belong to this name as long as they last.
    pub(super) fn set_replica(&self, number: u64) {
        self.replica.get_or_init(|| number);
    }

    /// The name under which other replicas know the counts of this one; `None`: not yet.
    pub(super) fn replica(&self) -> Option<String> {
        self.replica.get().map(|number| format!("{number:016x}"))
    }

    /// The count of an account of calls.
    pub(super) fn count(&self, span: Span, account: Account) -> Arc<AtomicU64> {
        handle(&mut self.sheets(), span, account)
    }

    /// Counts a request to Box's token endpoint, which Box counts as a call. It belongs to no app, and no budget
    /// applies to it.
    pub(crate) fn count_token_call(&self, identity: Arc<str>, now: SystemTime) {
        self.count_own_call(identity, TOKEN, now);
    }

    /// Counts a request for the id of a user who is listed by login. It belongs to no app, and no budget applies to it.
    pub(crate) fn count_lookup(&self, identity: Arc<str>, now: SystemTime) {
        self.count_own_call(identity, LOOKUP, now);
    }

    fn count_own_call(&self, identity: Arc<str>, class: &str, now: SystemTime) {
        let account = Account::Calls { app: Arc::default(), identity, class: class.into() };
        self.count(Period::Day.at(timestamp(now)), account).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether counts are lost when the process ends, as there is no file for them.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.file.in_memory.load(Ordering::Relaxed)
    }

    /// The count of a budget, which applies at least to all calls of `classes`. The count of a month begins with the
    /// calls of these classes already made in it, so that a budget that is added or renamed during a month includes
    /// them.
    pub(super) fn budget_count(&self, span: Span, account: Account, classes: &[Class]) -> Arc<AtomicU64> {
        let mut sheets = self.sheets();
        let spent: u64 = if span.period() == Period::Month {
            let of_sheet = |counts: &Counts| -> u64 {
                let counts = counts.that_may_count_for(&account);
                let counted = counts.filter(|(calls, _)| calls.counts_for(&account, classes));
                counted.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
            };
            calls_of(&sheets, span).map(|(_, counts)| of_sheet(counts)).sum()
        } else {
            0
        };
        let count = handle(&mut sheets, span, account);
        count.fetch_max(spent, Ordering::Relaxed);
        count
    }

    /// The calls of this budget's count in this span that Redis does not know of yet.
    pub(super) fn alone(&self, span: Span, account: Account) -> Arc<Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).entry((span, account)).or_default().clone()
    }

    /// The calls of a month: the counts of its days, and that of the month itself, whose calls are of no known day. In
    /// order; counts of 0 are left out.
    pub(super) fn calls(&self, month: Span) -> Vec<Entry> {
        let sheets = self.sheets();
        let counts = calls_of(&sheets, month).flat_map(|(span, counts)| {
            counts.counts.iter().map(move |(account, count)| (span, account, count.load(Ordering::Relaxed)))
        });
        let made = counts.filter(|(_, _, count)| *count > 0);
        made.map(|(span, account, count)| ((span, account.clone()), count)).collect()
    }

    /// All calls of a month by its days, in order; those of no known day come first, under the month itself.
    pub(crate) fn calls_by_day(&self, month: Span) -> Vec<(Span, u64)> {
        let sheets = self.sheets();
        let sum = |counts: &Counts| {
            let counts = counts.counts.values().map(|count| count.load(Ordering::Relaxed));
            counts.fold(0, u64::saturating_add)
        };
        let days = calls_of(&sheets, month).map(|(span, counts)| (span, sum(counts)));
        let mut days: Vec<(Span, u64)> = days.filter(|(_, calls)| *calls > 0).collect();
        days.sort_by_key(|(span, _)| (span.period() == Period::Day, *span));
        days
    }

    /// The months with calls, in order.
    pub(super) fn months(&self) -> BTreeSet<Span> {
        let sheets = self.sheets();
        let has_calls = |sheet: &Sheet, counts: &Counts| {
            let mut counts = counts.counts.values();
            sheet.kind == Kind::Calls && counts.any(|count| count.load(Ordering::Relaxed) > 0)
        };
        let with_calls = sheets.iter().filter(|(sheet, counts)| has_calls(sheet, counts));
        with_calls.map(|(sheet, _)| sheet.span.month()).collect()
    }

    /// Each sheet in order, and whether it may have changed since it was written.
    pub(super) fn sheet_states(&self) -> Vec<(Sheet, bool)> {
        self.sheets().iter().map(|(sheet, counts)| (*sheet, counts.open)).collect()
    }

    /// The counts of a sheet.
    pub(super) fn entries(&self, sheet: Sheet) -> Vec<(Account, u64)> {
        let sheets = self.sheets();
        let counts = sheets.get(&sheet).into_iter().flat_map(|counts| &counts.counts);
        counts.map(|(account, count)| (account.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// Tells the writer not to look at these sheets again until a count in them is looked up. Those of these spans and the
    /// ones before stay open, since requests hold counts of theirs.
    pub(super) fn close(&self, written: &[Sheet], now: [Span; 2]) {
        let current = now.map(|span| [span, span.previous()]);
        let mut sheets = self.sheets();
        for sheet in written.iter().filter(|sheet| !current.as_flattened().contains(&sheet.span)) {
            if let Some(counts) = sheets.get_mut(sheet) {
                counts.open = false;
            }
        }
    }

    /// Drops old counts: those of the months and days nearest to now are kept. Nearest, so that after a wrong clock the
    /// right counts are still there and the wrong ones are dropped. `now`: the current day and month.
    pub(super) fn forget(&self, [day, month]: [Span; 2]) {
        let mut sheets = self.sheets();
        let spans = |kind| sheets.keys().filter(move |sheet| sheet.kind == kind).map(|sheet| sheet.span);
        let budgets = |now: Span, most| {
            nearest(spans(Kind::Budgets).filter(|span| span.period() == now.period()), now, most)
        };
        let calls = nearest(spans(Kind::Calls).map(Span::month), month, CALL_MONTHS);
        let budgets = [budgets(day, BUDGET_DAYS), budgets(month, BUDGET_MONTHS)].concat();
        let is_kept = |sheet: &Sheet| match sheet.kind {
            Kind::Budgets => budgets.contains(&sheet.span),
            Kind::Calls => calls.contains(&sheet.span.month()),
        };
        let past: Vec<Sheet> = sheets.keys().copied().filter(|sheet| !is_kept(sheet)).collect();
        if !past.is_empty() {
            sheets.retain(|sheet, _| !past.contains(sheet));
            let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
            alone.retain(|(span, account), _| !past.contains(&Sheet::of(*span, account)));
        }
    }

    /// Held while several budgets that can refuse are charged, so that no call sees another's charge that is then
    /// undone.
    pub(super) fn exact(&self) -> MutexGuard<'_, ()> {
        self.exact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a call is removed from all its counts, so that no budget's count is initialized from them meanwhile.
    pub(super) fn still(&self) -> impl Drop {
        self.sheets()
    }

    fn sheets(&self) -> MutexGuard<'_, Sheets> {
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// The accounts that may count for a budget: accounts of calls are in the order of their apps, so that the budget of
    /// an app need not look at all.
    fn that_may_count_for(&self, budget: &Account) -> impl Iterator<Item = (&Account, &Arc<AtomicU64>)> {
        let app = match budget {
            Account::Budget { key: Key::App, value, .. } => Some(value.clone()),
            _ => None,
        };
        let from = Account::Calls {
            app: app.clone().unwrap_or_default(),
            identity: Arc::default(),
            class: Arc::default(),
        };
        let is_theirs = move |account: &Account| match (&app, account) {
            (Some(wanted), Account::Calls { app, .. }) => app == wanted,
            _ => true,
        };
        self.counts.range(from..).take_while(move |(account, _)| is_theirs(account))
    }
}

/// The count of an account, which may change from now on.
fn handle(sheets: &mut Sheets, span: Span, account: Account) -> Arc<AtomicU64> {
    let sheet = sheets.entry(Sheet::of(span, &account)).or_default();
    sheet.open = true;
    sheet.counts.entry(account).or_default().clone()
}

/// The sheets of the calls of a month and its days.
fn calls_of(sheets: &Sheets, month: Span) -> impl Iterator<Item = (Span, &Counts)> {
    let is_of_month = move |sheet: &Sheet| sheet.kind == Kind::Calls && sheet.span.month() == month;
    let sheets = sheets.iter().filter(move |(sheet, _)| is_of_month(sheet));
    sheets.map(|(sheet, counts)| (sheet.span, counts))
}

/// At most so many of these spans, those nearest to now.
fn nearest(spans: impl Iterator<Item = Span>, now: Span, most: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = spans.collect::<BTreeSet<Span>>().into_iter().collect();
    spans.sort_by_key(|span| span.days_from(now));
    spans.truncate(most);
    spans
}

#[cfg(test)]
mod tests;
