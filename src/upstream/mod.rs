//! Connections to Box.

pub(crate) mod pool; // open connections
pub(crate) mod connector; // opening one: DNS, TCP, proxy, TLS
pub(crate) mod request_body; // request bodies
pub(crate) mod inspection; // one connection, step by step, for whoever looks for faults
