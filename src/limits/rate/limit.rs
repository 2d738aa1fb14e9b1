//! Rate limits: who may ask how often. The rules, as they are configured and as Box publishes its own.
//!
//! A request passes all limits that apply to it, or is refused by the first that says no and is charged to none.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::routing::operation::{Pattern, Spelled};
use crate::routing::operation_class::Class;

/// One `[[limit]]`, or one of Box's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// In answers, access lines and metrics.
    pub name: Arc<str>,
    /// What has a count of its own.
    pub key: Key,
    /// What it is about; empty: everything.
    pub on: Vec<Selector>,
    /// One call is added to what may be made each time so much has passed; at least 1 ns.
    pub interval: Duration,
    /// So many calls may be made at once after a while of rest.
    pub burst: NonZeroU32,
    /// A request may wait so long for its turn.
    pub wait: Duration,
    /// Whether it refuses; otherwise what it would have refused is counted and logged.
    pub enforce: bool,
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

/// A class or a pattern of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All of this class.
    Class(Class),
    /// What matches, in any spelling.
    Pattern(Pattern),
}

impl Limit {
    /// Whether the limit is about this operation, which is of this class.
    pub fn applies(&self, operation: &Spelled<'_>, class: Class) -> bool {
        self.on.is_empty()
            || self.on.iter().any(|selector| match selector {
                Selector::Class(wanted) => *wanted == class,
                Selector::Pattern(pattern) => pattern.matches_any_spelling(operation),
            })
    }
}
