//! Budgets: a number of calls of Box's API in a calendar day or month (UTC), as Box plans license them.
//!
//! The module `counts` holds all counts by name, `spending` checks and charges each call, `store` is the file and
//! `writer` the thread that writes it. Calls are also counted by day, app, identity and class: `usage` says who made
//! them.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::limits::selector::{self, Selector};
use crate::routing::operation::Spelled;
use crate::routing::operation_class::Class;

/// One `[[budget]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The name in responses, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own: each app, for example.
    pub key: Key,
    /// The operations to which it applies; empty: all.
    pub on: Vec<Selector>,
    /// The number of calls in one period.
    pub calls: NonZeroU64,
    /// The period.
    pub per: Period,
    /// Whether calls beyond the budget are refused or only logged.
    pub when_spent: WhenSpent,
    /// If false, it only counts and logs what it would have refused.
    pub enforce: bool,
}

impl Budget {
    /// The name under which its calls are counted in the file and in Redis: its own name, followed by `on` if that is
    /// set. So a budget without `on` keeps the count from versions without that key, and one whose `on` changes begins
    /// a new count. Names contain no brackets, so no two budgets share an account.
    pub(crate) fn account(&self) -> Arc<str> {
        if self.on.is_empty() {
            return self.name.clone();
        }
        let mut on: Vec<String> = self.on.iter().map(Selector::to_string).collect();
        on.sort();
        on.dedup();
        format!("{}[{}]", self.name, on.join(", ")).into()
    }

    /// Whether it applies to this operation, which has this class.
    pub(super) fn is_about(&self, operation: &Spelled<'_>, class: Class) -> bool {
        selector::select(&self.on, operation, class)
    }

    /// Whether it applies to all calls of this class.
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
    /// The name in configuration and metrics.
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
    /// From midnight to midnight, UTC.
    Day,
    /// From the first to the last day of a month, UTC.
    Month,
}

/// What happens to calls beyond a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenSpent {
    /// They are refused with 403 `budget_spent`.
    Reject,
    /// They pass, and the log has a warning.
    Warn,
}
