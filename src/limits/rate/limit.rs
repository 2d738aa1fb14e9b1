//! Rate limits: who may ask how often. The rules, as they are configured and as Box publishes its own.
//!
//! A request passes all limits that apply to it, or is refused by the first that says no and is charged to none.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::selector::{self, Selector};
use crate::routing::operation::Spelled;
use crate::routing::operation_class::Class;

/// No request waits longer for its turn: Box's SDKs end a call that has no answer after 60 s, and Box takes its time too.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// One `[[limit]]`, or one of Box's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// In answers, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own.
    pub key: Key,
    /// What it is about; empty: everything.
    pub on: Vec<Selector>,
    /// How many calls it lets pass.
    pub quota: Quota,
    /// A request may wait so long for its turn. For a window it is zero.
    pub wait: Duration,
    /// Whether it refuses; otherwise what it would have refused is counted and logged.
    pub enforce: bool,
}

/// How many calls a limit lets pass, and how they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A bucket that is refilled evenly (GCRA). A request is charged once, when it is admitted.
    Bucket {
        /// One call is added to what may be made each time so much has passed; at least 1 ns.
        interval: Duration,
        /// So many calls may be made at once after a while of rest.
        burst: NonZeroU32,
    },
    /// At most so many calls in any window of this length, wherever it begins and both its ends included. Each
    /// attempt is counted, at the time at which its head is written.
    Window {
        /// Calls in one window.
        calls: NonZeroU32,
        /// The window's length.
        length: Duration,
    },
}

/// A call counts for so much longer than a window of this length: the way to Box takes one call longer than the
/// next, and Box counts when they arrive. 1 % of the window, 250 ms at most, so that 98 % of a figure can be used.
pub(crate) fn margin(length: Duration) -> Duration {
    (length / 100).min(Duration::from_millis(250))
}

/// What has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The client's address; of IPv6 the first 64 bits.
    Client,
    /// The app of the configuration.
    App,
    /// The user at Box: `As-User`, else the identity's subject.
    User,
    /// The identity of the configuration.
    Identity,
    /// The enterprise at Box, as far as it can be told: one for each client id. Only Box's own limits have it.
    Enterprise,
    /// One count for all.
    Global,
}

impl Quota {
    /// So many calls may be made at once after a while of rest, and are so in this time again.
    pub(crate) fn at_once(&self) -> (u32, Duration) {
        match *self {
            Self::Bucket { interval, burst } => (burst.get(), interval.saturating_mul(burst.get())),
            Self::Window { calls, length } => (calls.get(), length),
        }
    }

    /// One share of so many. Where there are more shares than calls, each has one call.
    pub(crate) fn divided(&self, share: NonZeroU32) -> Self {
        let part = |of: NonZeroU32| NonZeroU32::new(of.get() / share).unwrap_or(NonZeroU32::MIN);
        match *self {
            Self::Bucket { interval, burst } => {
                Self::Bucket { interval: interval.saturating_mul(share.get()), burst: part(burst) }
            }
            Self::Window { calls, length } => Self::Window { calls: part(calls), length },
        }
    }

    /// Whether each attempt is counted when it is written.
    pub(crate) fn is_window(&self) -> bool {
        matches!(self, Self::Window { .. })
    }
}

impl Limit {
    /// Whether the limit is about this operation, which is of this class.
    pub fn applies(&self, operation: &Spelled<'_>, class: Class) -> bool {
        selector::select(&self.on, operation, class)
    }
}
