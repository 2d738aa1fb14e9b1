//! Budgets: how many calls in a day or a month?

pub mod call; // a call, for counting
pub mod definition; // the definition of a budget
pub(crate) mod period; // days and months
pub mod counts; // the counts in memory
pub mod spending; // checking and charging
pub(crate) mod store; // the counts on disk
pub(crate) mod writer; // writes counts to disk
