//! Sockets, TLS and certificates, addresses, secrets and time.

pub(crate) mod address; // addresses to listen on
pub mod ca_chain; // checks the CA that a gateway serves
pub mod certificate_authority; // the forward proxy's CA
pub mod certificate_names; // by which client certificates are told apart
pub(crate) mod certificate_issuer; // who issued what a server shows
pub mod client_address; // the client behind proxies
pub mod clock; // time, which tests can set
pub(crate) mod connect_request; // CONNECT to a proxy
pub(crate) mod connection_limit; // [listen] max_connections
pub(crate) mod descriptors;
pub(crate) mod egress_proxy; // the proxy between the gateway and Box
pub(crate) mod error_chain;
pub(crate) mod file_exposure; // which files every user can read or replace
pub(crate) mod file_fingerprint; // what a path leads to, as it was when it was read
pub(crate) mod file_identity; // is it still the same file?
pub(crate) mod hidden_characters; // invisible characters in copied secrets
pub(crate) mod inherited_sockets; // sockets that the service manager passes
pub(crate) mod leaf_certificates; // certificates for Box's hosts
pub(crate) mod listener; // bound sockets
pub(crate) mod networks; // sets of sources
pub(crate) mod own_listeners;
pub(crate) mod peer;
pub(crate) mod pinned_certificate; // TLS with a server whose certificate is known
pub(crate) mod port_owner; // which process has a port
pub(crate) mod proxy_protocol; // PROXY protocol v1 and v2
pub(crate) mod public_address;
pub(crate) mod relay; // copies between two sockets
pub mod secret; // a secret that is never printed
pub(crate) mod secret_file; // reads one without leaving copies
pub(crate) mod secret_filter; // blanks secrets in output
mod secret_spelling; // encodings of a secret
pub mod tls_client; // trusted roots
pub(crate) mod service_manager; // what systemd is told
pub(crate) mod tls_server; // TLS for callers
pub(crate) mod unix_socket; // Unix sockets to listen on
pub(crate) mod user_id; // users whose processes connect over them
pub(crate) mod unsent;
pub(crate) mod write_timeout;
