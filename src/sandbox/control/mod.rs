//! What shall go wrong.

pub(crate) mod faults;
