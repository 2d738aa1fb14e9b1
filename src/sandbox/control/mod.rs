//! The handles by which a test makes this Box slow, wrong or absent.

pub(crate) mod faults; // what can go wrong
pub(crate) mod holds; // what waits
pub(crate) mod script; // with which requests
