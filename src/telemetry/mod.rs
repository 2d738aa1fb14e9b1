//! Logs, access lines and metrics of the process.

pub mod access_log; // one line for each request
pub(crate) mod audit; // one line for each call that changes something at Box
pub(crate) mod json_lines; // log messages as JSON
pub(crate) mod text_lines; // log messages as text
pub(crate) mod terminal; // colours, and text that a terminal does not obey
pub(crate) mod line_writer; // lines on standard output and standard error
pub mod log; // log messages
pub(crate) mod outages; // few log lines for an outage
pub(crate) mod repeats; // few log lines for a repeated fault
pub(crate) mod words; // numbers and times in log lines
pub(crate) mod figures; // numbers and times in `boxgate status` and on the operators' page
pub(crate) mod exposition; // the Prometheus text format
pub(crate) mod labels; // what tells series of counts apart
pub(crate) mod latency; // histograms of durations, and percentiles
pub(crate) mod metrics; // counters
pub(crate) mod recent_requests; // the last requests, for operators
pub(crate) mod history; // counts of the last five minutes and of the last day
pub mod trace; // spans for a collector
