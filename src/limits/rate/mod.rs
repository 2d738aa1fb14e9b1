//! How often?

pub mod limit; // what a limit is
pub(crate) mod box_limits; // Box's own
pub(crate) mod matcher; // which apply
mod gcra; // the arithmetic
mod bucket_counts; // the counts of one limit by GCRA
mod window_counts; // the counts of one limit in windows
mod counter; // one limit's counts, and a change of its figures
pub(crate) mod buckets; // the counts of all limits
pub(crate) mod headers; // what the caller is told
pub(crate) mod tally; // what limits have done
pub(crate) mod queue; // who waits
pub(crate) mod waiting; // the waiting itself
