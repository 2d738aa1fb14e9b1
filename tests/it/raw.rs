//! Peers that say exactly the bytes they are told to: callers and a Box that break off wherever a test wants them to.

pub mod caller;
pub mod frames; // HTTP/2, written and read by hand
pub mod http1; // messages read by hand
pub mod raw_box;
pub mod reading_box;
