//! What the process tells of itself.

pub mod access_log; // one line for each request
pub(crate) mod json_lines; // the form of messages as JSON
pub(crate) mod line_writer; // lines on standard output and standard error
pub mod log; // messages
pub(crate) mod outages; // what cannot be reached, in a dozen lines
pub(crate) mod repeats; // what happens again and again, in a few lines
pub(crate) mod words; // numbers and times in lines
pub(crate) mod exposition; // counts as Prometheus text
pub(crate) mod metrics; // counts
