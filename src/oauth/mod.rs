//! Identities and their access tokens.

pub mod identity; // accounts at Box
pub mod user; // users as whom an identity may act, by id or login
pub(crate) mod login_lookup; // the id of a user who is listed by login
pub(crate) mod users_api; // the request for it
pub(crate) mod token_cache; // the token of each identity, renewed in time
pub(crate) mod token_span; // the trace of a token call
pub(crate) mod client_credentials; // the request to the token endpoint
pub(crate) mod http_client; // the client for the token endpoint
