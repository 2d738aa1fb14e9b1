//! Budgets: so many calls of Box's API in a calendar day or month (UTC), as a Box plan licenses them.
//!
//! [`super::counts`] holds all counts by name, [`super::spending`] is what the workers ask before each call,
//! [`super::store`] is the file and [`super::writer`] the thread that writes it. What was spent is counted by app,
//! identity and class also where no budget is configured, so that "who spent our calls this month" has an answer.

use std::num::NonZeroU64;
use std::sync::Arc;

/// One `[[budget]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// In answers, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own.
    pub key: Key,
    /// So many calls in one period.
    pub calls: NonZeroU64,
    /// When the count begins anew.
    pub per: Period,
    /// Whether calls beyond it are refused; otherwise they are logged.
    pub when_spent: WhenSpent,
    /// Whether it refuses at all; otherwise what it would have refused is counted and logged.
    pub enforce: bool,
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
