//! Fault injection: makes this Box slow, wrong or unavailable.

pub(crate) mod failures; // faults that last as long as the sandbox
pub(crate) mod faults; // the kinds of faults
pub(crate) mod holds; // requests that are held
pub(crate) mod script; // which requests get which fault
