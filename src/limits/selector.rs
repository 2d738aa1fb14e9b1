//! To which operations a limit or budget applies: classes and patterns, or all.

use std::fmt;

use crate::routing::operation::Spelled;
use crate::routing::operation_class::Class;
use crate::routing::operation_pattern::Pattern;

/// A class or a pattern of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All operations of this class.
    Class(Class),
    /// Operations that match the pattern, in any spelling.
    Pattern(Pattern),
}

/// As written in the configuration.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => f.write_str(class.as_str()),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

/// Whether one of the selectors matches this operation, which has this class. An empty list matches everything.
pub(crate) fn select(on: &[Selector], operation: &Spelled<'_>, class: Class) -> bool {
    on.is_empty()
        || on.iter().any(|selector| match selector {
            Selector::Class(wanted) => *wanted == class,
            Selector::Pattern(pattern) => pattern.matches_any_spelling(operation),
        })
}
