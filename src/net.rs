//! Sockets and what they cost.

pub mod descriptors;
pub mod write_timeout;
