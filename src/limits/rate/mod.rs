//! How often?

pub mod limit; // what a limit is
pub(crate) mod box_limits; // Box's own
pub(crate) mod matcher; // which apply
mod gcra; // the arithmetic
pub(crate) mod buckets; // the counts
pub(crate) mod headers; // what the caller is told
pub(crate) mod queue; // who waits
pub(crate) mod waiting; // the waiting itself
