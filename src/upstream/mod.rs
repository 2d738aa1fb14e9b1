//! Connections to Box.

pub(crate) mod pool; // all of a worker's connections: which one carries a request
pub(crate) mod host_pool; // those to one host
pub(crate) mod handshake; // HTTP on a new connection
pub(crate) mod send_error; // why there is no answer
pub(crate) mod connector; // opening one: DNS, TCP, proxy, TLS
pub(crate) mod protocol; // which HTTP a request wants
pub(crate) mod request_body; // request bodies
pub(crate) mod inspection; // one connection, step by step, for whoever looks for faults
