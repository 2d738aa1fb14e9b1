//! Identities and their access tokens.

pub mod identity; // accounts at Box
pub(crate) mod token_cache; // the token of each identity, renewed in time
pub(crate) mod token_span; // the trace of a token call
pub(crate) mod client_credentials; // the request to the token endpoint
pub(crate) mod http_client; // the client for the token endpoint
