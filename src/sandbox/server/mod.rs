//! Sockets, TLS, and the path of one request.

pub(crate) mod listener; // sockets, TLS, HTTP
pub(crate) mod ca;
pub(crate) mod connect_proxy; // the CONNECT proxy for Box's names
pub(crate) mod handler; // the path of one request
