//! What sockets cost, and how long they may take.

pub mod descriptors;
pub mod unsent;
pub mod write_timeout;
