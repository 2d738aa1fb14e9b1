//! What the process tells of itself.

pub mod access_log; // one line for each request
pub mod line_writer;
pub mod log; // messages
pub mod metrics; // counts // lines on standard output and standard error
