//! Sockets and certificates: what they cost, how long they may take, and where they lead.

pub(crate) mod address; // where to listen
pub mod ca_chain; // what of a gateway's may be trusted
pub mod certificate_authority; // of the forward proxy
pub mod client_address; // of whom is behind proxies
pub mod clock; // time is handed in
pub(crate) mod connect_request; // to a proxy on the way
pub(crate) mod connection_limit; // of callers
pub(crate) mod descriptors;
pub(crate) mod egress_proxy; // on the way to Box
pub(crate) mod error_chain;
pub(crate) mod file_fingerprint; // what a path leads to, as it was when it was read
pub(crate) mod file_identity; // the same file as before?
pub(crate) mod hidden_characters; // in what people copy
pub(crate) mod leaf_certificates; // for Box's hosts
pub(crate) mod listener; // bound sockets
pub(crate) mod networks; // sets of addresses
pub(crate) mod own_listeners;
pub(crate) mod peer;
pub(crate) mod proxy_protocol; // of balancers in front
pub(crate) mod public_address;
pub(crate) mod relay; // two sockets into each other
pub mod secret; // never printed
pub(crate) mod secret_filter; // and where it is, blanked
mod secret_spelling; // as others write it
pub mod tls_client; // whom to trust
pub(crate) mod tls_server; // certificates towards callers
pub(crate) mod unix_socket; // what is in its way, and who may connect
pub(crate) mod unsent;
pub(crate) mod write_timeout;
