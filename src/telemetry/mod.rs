//! What the process tells of itself.

pub mod line_writer; // lines on standard output and standard error
