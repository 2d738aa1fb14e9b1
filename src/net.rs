//! Sockets and what they cost.

pub mod descriptors;
pub mod unsent;
pub mod write_timeout;
