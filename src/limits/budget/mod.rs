//! Budgets: how many calls in a day or a month?

pub mod call; // a call, for counting
pub mod definition; // the definition of a budget
pub(crate) mod period; // days and months
pub mod account; // what has a count
pub mod counts; // the counts in memory
pub(crate) mod paid; // calls that were charged and not sent
pub(crate) mod untold; // calls that Redis does not know of yet
pub mod spending; // checking and charging
pub(crate) mod telling; // calls summed over replicas
pub(crate) mod usage; // who spent the calls of a month
pub(crate) mod store; // the counts on disk
pub(crate) mod writer; // writes counts to disk
