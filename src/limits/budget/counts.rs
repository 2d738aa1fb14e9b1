//! All counts, by name, and the state of their file. Shared by the workers and the writer thread.
//!
//! Keys are names, not indices, since the next configuration may list apps in another order. A count is looked up once
//! and then held, so the lock is taken when a day begins, not for each call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;

use super::definition::{Key, Period};
use super::period::{Span, timestamp};
use crate::routing::operation_class::Class;

/// The class under which requests to Box's token endpoint are counted. They are not operations, so it is not a
/// [`Class`], and no budget applies to them.
pub(super) const TOKEN: &str = "token";

/// Identifies a count within a span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The count of a budget, in the spans of its period.
    Budget {
        /// The budget's name and the calls to which it applies: `Budget::account`.
        name: Arc<str>,
        /// What has a count of its own.
        key: Key,
        /// The app's or the identity's name; empty for the global one.
        value: Arc<str>,
    },
    /// Calls of an app, an identity and a class, by month.
    Calls {
        /// The app's name; empty for the class `token`.
        app: Arc<str>,
        /// The identity's name.
        identity: Arc<str>,
        /// The name of the [`Class`], or `token`.
        class: Arc<str>,
    },
}

impl Account {
    /// Whether calls on this account also count for this budget, which applies to all calls of `classes`.
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
    /// The state of the file.
    pub file: FileState,
}

/// The calls of one count that Redis does not know of yet. They are sent in numbered batches: if a reply is lost, the
/// same batch is sent again, and Redis counts it once.
#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Telling>);

#[derive(Debug, Default)]
struct Telling {
    waiting: u64,
    batch: Option<Batch>,
    /// An operation under way carries the batch.
    on_its_way: bool,
}

/// Calls that are reported to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) calls: u64,
}

/// A batch under way. Unless [`Told::arrived`] is called, it stays to be sent.
#[derive(Debug)]
pub(super) struct Told {
    alone: Arc<Alone>,
    batch: Option<Batch>,
}

impl Alone {
    /// Adds a call that Redis does not know of.
    pub(super) fn add(&self) {
        self.lock().waiting += 1;
    }

    /// The number of calls that Redis does not know of.
    pub(super) fn calls(&self) -> u64 {
        let telling = self.lock();
        telling.waiting + telling.batch.map_or(0, |batch| batch.calls)
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Takes the batch to be sent, unless another operation carries it or Redis is not in use (`heard` is false).
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

    /// Redis has counted the batch.
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

/// The state of the file, for metrics and health.
#[derive(Debug, Default)]
pub struct FileState {
    /// There is no file: counts are lost when the process ends.
    pub in_memory: AtomicBool,
    /// The number of corrupt files found since the start.
    pub set_aside: AtomicU64,
    /// The number of failed writes since the start.
    pub failed_writes: AtomicU64,
    /// Whether the last write failed.
    pub failing: AtomicBool,
}

impl CallCounts {
    /// Begins with these counts. `since`: when counting began.
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

    /// Adds the counts of earlier processes. `since`: when these began to count.
    pub(super) fn go_on_from(&self, since: Timestamp, entries: impl IntoIterator<Item = Entry>) {
        self.since.fetch_min(since.as_second(), Ordering::Relaxed);
        let mut counts = self.counts();
        for (at, count) in entries {
            counts.entry(at).or_default().fetch_add(count, Ordering::Relaxed);
        }
    }

    /// When counting began; earlier calls are unknown.
    pub fn since(&self) -> Timestamp {
        Timestamp::from_second(self.since.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The count of an account of calls.
    pub(super) fn count(&self, span: Span, account: Account) -> Arc<AtomicU64> {
        self.counts().entry((span, account)).or_default().clone()
    }

    /// Counts a request to Box's token endpoint, which Box counts as a call. It belongs to no app, and no budget
    /// applies to it.
    pub(crate) fn count_token_call(&self, identity: Arc<str>, now: SystemTime) {
        let account = Account::Calls { app: Arc::default(), identity, class: TOKEN.into() };
        self.count(Period::Month.at(timestamp(now)), account).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether counts are lost when the process ends, as there is no file for them.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.file.in_memory.load(Ordering::Relaxed)
    }

    /// The count of a budget, which applies at least to all calls of `classes`. The count of a month begins with the
    /// calls of these classes already made in it, so that a budget that is added or renamed during a month includes
    /// them.
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

    /// The calls of this budget's count in this span that Redis does not know of yet.
    pub(super) fn alone(&self, span: Span, account: Account) -> Arc<Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).entry((span, account)).or_default().clone()
    }

    /// All counts.
    pub fn entries(&self) -> Vec<Entry> {
        let counts = self.counts();
        counts.iter().map(|(at, count)| (at.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// Drops old counts: the three months and the eight days nearest to now are kept. Nearest, so that after a wrong
    /// clock the right counts are still there and the wrong ones are dropped.
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

    /// Held while several budgets that can refuse are charged, so that no call sees another's charge that is then
    /// undone.
    pub(super) fn exact(&self) -> MutexGuard<'_, ()> {
        self.exact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a call is removed from all its counts, so that no budget's count is initialized from them meanwhile.
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
    fn a_wrong_clock_does_not_drop_the_counts_of_the_right_time() {
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
