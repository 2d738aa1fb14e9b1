//! Rate limits: how often may callers call?

pub mod limit; // the definition of a limit
pub(crate) mod box_limits; // Box's own limits
pub(crate) mod matcher; // which limits apply to a request
mod gcra; // the arithmetic of GCRA
mod bucket_counts; // the counts of one limit by GCRA
mod window_counts; // the counts of one limit in windows
mod counter; // one limit's counts, and a change of its figures
pub(crate) mod buckets; // the counts of all limits
pub(crate) mod headers; // the RateLimit fields
pub(crate) mod tally; // what limits have done
pub(crate) mod queue; // the order of waiting requests
pub(crate) mod fullest; // how full limits are
pub(crate) mod waiting; // waiting for a turn
