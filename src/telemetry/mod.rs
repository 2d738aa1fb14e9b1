//! What the process tells of itself.

pub mod access_log; // one line for each request
pub(crate) mod line_writer; // lines on standard output and standard error
pub mod log; // messages
pub(crate) mod exposition; // counts as Prometheus text
pub(crate) mod metrics; // counts
