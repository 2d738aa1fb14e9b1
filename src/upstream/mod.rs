//! Connections to Box.

pub mod pool; // those that are open
pub mod connector; // name, TCP, proxy, TLS
pub mod request_body; // what goes up on them
