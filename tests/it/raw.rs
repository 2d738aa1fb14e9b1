//! Scripted callers and a scripted Box that send exactly the given bytes and break off wherever a test wants.

pub mod caller;
pub mod frames; // HTTP/2, written and read by hand
pub mod http1; // messages read by hand
pub mod raw_box;
pub mod reading_box;
