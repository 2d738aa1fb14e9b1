//! How often?

pub mod limit; // what a limit is
pub mod box_limits; // Box's own
pub mod matcher; // which apply
mod gcra; // the arithmetic
pub mod buckets; // the counts
pub mod headers; // what the caller is told
pub mod queue; // who waits
pub mod waiting; // the waiting itself
