//! Budgets: so many calls of Box's API in a calendar day or month (UTC), as a Box plan licenses them.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The identity of the configuration.
    Identity,
    /// The app of the configuration.
    App,
    /// One count for all.
    Global,
}

/// A period of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
