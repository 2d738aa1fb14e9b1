//! Sockets and certificates: what they cost, how long they may take, and where they lead.

pub mod address; // where to listen
pub mod ca_chain; // what of a gateway's may be trusted
pub mod certificate_authority; // of the forward proxy
pub mod clock; // time is handed in
pub(crate) mod connect_request; // to a proxy on the way
pub mod connection_limit; // of callers
pub mod descriptors;
pub mod egress_proxy; // on the way to Box
pub mod error_chain;
pub mod leaf_certificates; // for Box's hosts
pub mod listener; // bound sockets
pub mod networks; // sets of addresses
pub mod own_listeners;
pub mod peer;
pub mod public_address;
pub mod relay; // two sockets into each other
pub mod secret; // never printed
pub mod tls_client; // whom to trust
pub mod tls_server; // certificates towards callers
pub mod unsent;
pub mod write_timeout;
