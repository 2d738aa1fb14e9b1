//! What has a count of its own.

use std::sync::Arc;

use super::definition::Key;
use super::period::Span;
use crate::routing::operation_class::Class;

/// The class under which requests to Box's token endpoint are counted. They are not operations, so it is not a
/// [`Class`], and no budget applies to them.
pub(super) const TOKEN: &str = "token";
/// The class under which lookups of logins are counted. They are of no app, so no budget applies to them.
pub(super) const LOOKUP: &str = "lookup";

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
    /// Calls of an app, an identity and a class, by day. The count of a month has the calls that were counted before days
    /// were: they are of no known day.
    Calls {
        /// The app's name; empty for the classes `token` and `lookup`.
        app: Arc<str>,
        /// The identity's name.
        identity: Arc<str>,
        /// The name of the [`Class`], `token` or `lookup`.
        class: Arc<str>,
    },
}

impl Account {
    /// Whether calls on this account also count for this budget, which applies to all calls of `classes`.
    pub(super) fn counts_for(&self, budget: &Self, classes: &[Class]) -> bool {
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

/// What is counted in a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Budgets,
    Calls,
}

/// Identifies the counts of one kind in one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sheet {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

impl Sheet {
    pub(super) fn of(span: Span, account: &Account) -> Self {
        let kind = match account {
            Account::Budget { .. } => Kind::Budgets,
            Account::Calls { .. } => Kind::Calls,
        };
        Self { kind, span }
    }
}
