//! Budgets: so many calls of Box's API in a calendar day or month (UTC), as a Box plan licenses them.
//!
//! [`super::counts`] holds all counts by name, [`super::spending`] is what the workers ask before each call,
//! `store` is the file and `writer` the thread that writes it. What was spent is counted by app,
//! identity and class also where no budget is configured, so that "who spent our calls this month" has an answer.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::limits::selector::{self, Selector};
use crate::routing::operation::Spelled;
use crate::routing::operation_class::Class;

/// One `[[budget]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// In answers, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own.
    pub key: Key,
    /// What it is about; empty: everything.
    pub on: Vec<Selector>,
    /// So many calls in one period.
    pub calls: NonZeroU64,
    /// When the count begins anew.
    pub per: Period,
    /// Whether calls beyond it are refused; otherwise they are logged.
    pub when_spent: WhenSpent,
    /// Whether it refuses at all; otherwise what it would have refused is counted and logged.
    pub enforce: bool,
}

impl Budget {
    /// Under what its calls are counted, in the file and in Redis: its name, and what it is about, where that is not
    /// everything. So a budget without `on` goes on where it was before there was such a key, and one that becomes about
    /// other calls begins anew. A name has no bracket, so no two budgets have one account.
    pub(crate) fn account(&self) -> Arc<str> {
        if self.on.is_empty() {
            return self.name.clone();
        }
        let mut on: Vec<String> = self.on.iter().map(Selector::to_string).collect();
        on.sort();
        on.dedup();
        format!("{}[{}]", self.name, on.join(", ")).into()
    }

    /// Whether it is about this operation, which is of this class.
    pub(super) fn is_about(&self, operation: &Spelled<'_>, class: Class) -> bool {
        selector::select(&self.on, operation, class)
    }

    /// Whether it is about all calls of this class.
    pub(super) fn is_about_class(&self, class: Class) -> bool {
        self.on.is_empty() || self.on.contains(&Selector::Class(class))
    }
}

/// What has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The identity of the configuration.
    Identity,
    /// The app of the configuration.
    App,
    /// One count for all.
    Global,
}

impl Key {
    /// As in configuration and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::App => "app",
            Self::Global => "global",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Identity, Self::App, Self::Global].into_iter().find(|key| key.as_str() == name)
    }
}

/// A period of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first to the last day.
    Month,
}

/// What becomes of calls beyond a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenSpent {
    /// 403 `budget_spent`.
    Reject,
    /// They go on; the log says so.
    Warn,
}
