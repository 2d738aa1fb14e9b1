//! All counts, by name, and what has become of their file. Shared by the workers and by the thread that writes it.
//!
//! Names, not indices, are the keys: apps may stand in another order in the next configuration. A count is found
//! once and then held, so its lock is taken at the turn of a day, not for each call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;

use super::definition::{Key, Period};
use super::period::{Span, timestamp};
use crate::routing::operation_class::Class;

/// The class under which questions to Box's token endpoint are counted. They are no operations, so it is none of
/// [`Class`], and no budget is about it.
pub(super) const TOKEN: &str = "token";

/// What has a count in each span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// A budget's, in the spans of its period.
    Budget {
        /// Of the budget, with what it is about: `Budget::account`.
        name: Arc<str>,
        /// What has a count of its own.
        key: Key,
        /// The app's or the identity's name; empty for the global one.
        value: Arc<str>,
    },
    /// Who spent, by month.
    Calls {
        /// Its name; empty for the class `token`.
        app: Arc<str>,
        /// Its name.
        identity: Arc<str>,
        /// As [`Class`] spells it, or `token`.
        class: Arc<str>,
    },
}

impl Account {
    /// Whether a call on this account is one that the budget's account counts, which is about all calls of `classes`.
    fn counts_for(&self, budget: &Self, classes: &[Class]) -> bool {
        match (self, budget) {
            (Self::Calls { app, identity, class }, Self::Budget { key, value, .. }) => {
                let is_theirs = match key {
                    Key::App => app == value,
                    Key::Identity => identity == value,
                    Key::Global => true,
                };
                is_theirs && classes.iter().any(|of| of.as_str() == &**class)
            }
            _ => false,
        }
    }
}

/// One count as it is stored.
pub type Entry = ((Span, Account), u64);

/// All counts.
#[derive(Debug)]
pub struct CallCounts {
    counts: Mutex<BTreeMap<(Span, Account), Arc<AtomicU64>>>,
    alone: Mutex<BTreeMap<(Span, Account), Arc<Alone>>>,
    pub(super) paid: Paid,
    exact: Mutex<()>,
    since: AtomicI64,
    /// What has become of the file.
    pub file: FileState,
}

/// Of one count, what Redis does not know of yet. It is told in batches, each under a number of its own: where an
/// answer is lost, the same batch is sent again, and counted once.
#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Telling>);

#[derive(Debug, Default)]
struct Telling {
    waiting: u64,
    batch: Option<Batch>,
    /// A question under way has the batch.
    on_its_way: bool,
}

/// Calls that Redis is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) calls: u64,
}

/// A batch on its way; it stays to be sent unless it is said to have arrived.
#[derive(Debug)]
pub(super) struct Told {
    alone: Arc<Alone>,
    batch: Option<Batch>,
}

impl Alone {
    /// A call that Redis was not told of.
    pub(super) fn add(&self) {
        self.lock().waiting += 1;
    }

    /// So many in all.
    pub(super) fn calls(&self) -> u64 {
        let telling = self.lock();
        telling.waiting + telling.batch.map_or(0, |batch| batch.calls)
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Takes what there is to tell, unless another question does so now or nobody hears it.
    pub(super) fn begin(alone: Arc<Alone>, heard: bool) -> Self {
        let mut telling = alone.lock();
        if telling.on_its_way || !heard {
            drop(telling);
            return Self { alone, batch: None };
        }
        if telling.batch.is_none() && telling.waiting > 0 {
            let calls = std::mem::take(&mut telling.waiting);
            telling.batch = Some(Batch { number: fastrand::u64(..), calls });
        }
        let batch = telling.batch;
        telling.on_its_way = batch.is_some();
        drop(telling);
        Self { alone, batch }
    }

    pub(super) fn batch(&self) -> Option<Batch> {
        self.batch
    }

    /// Redis knows now.
    pub(super) fn arrived(mut self) {
        if self.batch.take().is_some() {
            let mut telling = self.alone.lock();
            (telling.batch, telling.on_its_way) = (None, false);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.batch.is_some() {
            self.alone.lock().on_its_way = false;
        }
    }
}

/// What a call is charged to: budgets' counts, each in its span.
pub(super) type Charges = Vec<(Span, Account)>;

/// Calls that were charged for all replicas and never sent: the next ones that would be charged to the same counts are
/// paid for.
#[derive(Debug, Default)]
pub(super) struct Paid {
    /// How many there are: mostly none, and then no request takes the lock.
    all: AtomicU64,
    calls: Mutex<BTreeMap<Charges, u64>>,
}

impl Paid {
    /// A call that was charged is not made.
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

    /// Takes what pays for a call with these charges, if there is something.
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

    /// Keeps what is charged in these spans alone: nothing more can be paid for in others.
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

/// What has become of the file.
#[derive(Debug, Default)]
pub struct FileState {
    /// There is none: counts are lost when the process ends.
    pub in_memory: AtomicBool,
    /// Files found corrupt, since the start.
    pub set_aside: AtomicU64,
    /// Writes that failed, since the start.
    pub failed_writes: AtomicU64,
    /// The last write failed.
    pub failing: AtomicBool,
}

impl CallCounts {
    /// Counts as they were, begun at that time.
    pub fn new(since: Timestamp, entries: impl IntoIterator<Item = Entry>) -> Self {
        let counts = entries.into_iter().map(|(at, count)| (at, Arc::new(AtomicU64::new(count))));
        Self {
            counts: Mutex::new(counts.collect()),
            alone: Mutex::default(),
            paid: Paid::default(),
            exact: Mutex::new(()),
            since: AtomicI64::new(since.as_second()),
            file: FileState::default(),
        }
    }

    /// Adds what was counted before this process. `since`: from then on.
    pub(super) fn go_on_from(&self, since: Timestamp, entries: impl IntoIterator<Item = Entry>) {
        self.since.fetch_min(since.as_second(), Ordering::Relaxed);
        let mut counts = self.counts();
        for (at, count) in entries {
            counts.entry(at).or_default().fetch_add(count, Ordering::Relaxed);
        }
    }

    /// When counting began: there is nothing from before.
    pub fn since(&self) -> Timestamp {
        Timestamp::from_second(self.since.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The count of an account of calls.
    pub(super) fn count(&self, span: Span, account: Account) -> Arc<AtomicU64> {
        self.counts().entry((span, account)).or_default().clone()
    }

    /// Counts a question to Box's token endpoint, which Box counts as a call. It is made for no app, and no budget is about
    /// it.
    pub(crate) fn count_token_call(&self, identity: Arc<str>, now: SystemTime) {
        let account = Account::Calls { app: Arc::default(), identity, class: TOKEN.into() };
        self.count(Period::Month.at(timestamp(now)), account).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether counts are lost when the process ends, as there is no file for them.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.file.in_memory.load(Ordering::Relaxed)
    }

    /// The count of a budget's account, which is about all calls of these classes at least. That of a month counts at
    /// least what those of the month come to: a budget that is configured, or renamed, in the midst of a month counts
    /// the ones before too.
    pub(super) fn budget_count(&self, span: Span, account: Account, classes: &[Class]) -> Arc<AtomicU64> {
        let mut counts = self.counts();
        let spent: u64 = if span.period() == Period::Month {
            counts
                .iter()
                .filter(|((of, calls), _)| *of == span && calls.counts_for(&account, classes))
                .map(|(_, count)| count.load(Ordering::Relaxed))
                .sum()
        } else {
            0
        };
        let count = counts.entry((span, account)).or_default().clone();
        count.fetch_max(spent, Ordering::Relaxed);
        count
    }

    /// What Redis does not know of yet of this budget's count in this span.
    pub(super) fn alone(&self, span: Span, account: Account) -> Arc<Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).entry((span, account)).or_default().clone()
    }

    /// All counts.
    pub fn entries(&self) -> Vec<Entry> {
        let counts = self.counts();
        counts.iter().map(|(at, count)| (at.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// Forgets what is past: of months the three, of days the eight that are nearest to now are kept. Nearest, so
    /// that a clock that was wrong for a while takes nothing of the right time with it, and is itself forgotten.
    pub(super) fn forget(&self, now: [Span; 2]) {
        let mut counts = self.counts();
        for now in now {
            let mut spans: Vec<Span> = Vec::new();
            for (span, _) in counts.keys() {
                if span.period() == now.period() && !spans.contains(span) {
                    spans.push(*span);
                }
            }
            spans.sort_by_key(|span| span.days_from(now));
            let keep = match now.period() {
                Period::Day => 8,
                Period::Month => 3,
            };
            let past = spans.get(keep..).unwrap_or_default();
            if !past.is_empty() {
                counts.retain(|(span, _), _| !past.contains(span));
                let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
                alone.retain(|(span, _), _| !past.contains(span));
            }
        }
    }

    /// Held while several budgets are asked that can refuse: no call sees another's charge that is then taken back.
    pub(super) fn exact(&self) -> MutexGuard<'_, ()> {
        self.exact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a call is taken off all its counts: nobody makes up a budget's count from that of calls meanwhile.
    pub(super) fn still(&self) -> impl Drop {
        self.counts()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(Span, Account), Arc<AtomicU64>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(app: &str) -> Account {
        Account::Calls { app: app.into(), identity: "i".into(), class: "general".into() }
    }

    fn month(name: &str) -> Span {
        Span::read(name).unwrap()
    }

    #[test]
    fn a_budget_of_the_month_counts_what_was_spent_before_it_was_configured() {
        let entries = [((month("2026-11"), calls("a")), 3), ((month("2026-11"), calls("b")), 4)];
        let counts = CallCounts::new(Timestamp::UNIX_EPOCH, entries);
        let of = |classes: &[Class], key, value: &str, span: &str| {
            let account =
                Account::Budget { name: format!("n{}", classes.len()).into(), key, value: value.into() };
            counts.budget_count(Span::read(span).unwrap(), account, classes).load(Ordering::Relaxed)
        };
        let used = |key, value: &str, span: &str| of(&Class::ALL, key, value, span);
        assert_eq!(of(&[Class::Search], Key::Global, "", "2026-11"), 0, "these are general");
        assert_eq!(of(&[Class::Search, Class::General], Key::App, "a", "2026-11"), 3);
        assert_eq!(used(Key::Global, "", "2026-11"), 7);
        assert_eq!(used(Key::App, "a", "2026-11"), 3);
        assert_eq!(used(Key::App, "renamed", "2026-11"), 0);
        assert_eq!(used(Key::Identity, "i", "2026-11"), 7);
        assert_eq!(used(Key::Global, "", "2026-12"), 0);
        assert_eq!(used(Key::Global, "", "2026-11-25"), 0);
    }

    #[test]
    fn a_wrong_clock_takes_nothing_of_the_right_time_with_it() {
        let names = ["2026-09", "2026-10", "2026-11", "2026-11-25", "2099-01"];
        let counts =
            CallCounts::new(Timestamp::UNIX_EPOCH, names.iter().map(|name| ((month(name), calls("a")), 1)));
        let left = || -> Vec<String> {
            let mut spans: Vec<String> =
                counts.entries().iter().map(|((span, _), _)| span.to_string()).collect();
            spans.sort();
            spans
        };
        counts.forget([month("2099-01"), month("2099-01-01")]);
        assert_eq!(left(), ["2026-10", "2026-11", "2026-11-25", "2099-01"]);
        counts.count(month("2026-12"), calls("a"));
        counts.forget([month("2026-12"), month("2026-12-01")]);
        assert_eq!(left(), ["2026-10", "2026-11", "2026-11-25", "2026-12"]);
    }
}
