//! Connections to Box.

pub(crate) mod pool; // those that are open
pub(crate) mod connector; // name, TCP, proxy, TLS
pub(crate) mod request_body; // what goes up on them
