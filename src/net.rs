//! Sockets and certificates: what they cost, how long they may take, and where they lead.

pub mod ca_chain; // what of a gateway's may be trusted
pub mod certificate_authority; // of the forward proxy
pub(crate) mod connect_request; // to a proxy on the way
pub mod connection_limit; // of callers
pub mod descriptors;
pub mod leaf_certificates; // for Box's hosts
pub mod own_listeners;
pub mod public_address;
pub mod relay; // two sockets into each other
pub mod unsent;
pub mod write_timeout;
