//! Sockets and what they cost.

pub mod descriptors;
