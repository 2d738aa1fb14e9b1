//! Sockets, TLS, and the way of one request.

pub(crate) mod listener; // sockets, TLS, HTTP
pub(crate) mod ca;
pub(crate) mod connect_proxy; // from Box's names to here
pub(crate) mod handler; // the way of one request
