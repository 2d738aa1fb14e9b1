//! Identities and their access tokens.

pub mod identity; // accounts at Box
pub mod user; // users as whom an identity may act, by id or login
pub(crate) mod login_lookup; // the id of a user who is listed by login
pub(crate) mod users_api; // the request for it
pub(crate) mod token_cache; // the token of each identity, renewed in time
pub(crate) mod grant; // a token for an identity, by one call of the token endpoint or two
pub(crate) mod client_credentials; // the first call: a token for client id and secret
pub(crate) mod token_exchange; // the second call: a token with fewer rights for it
pub(crate) mod scopes; // what Box's scopes permit
pub(crate) mod token_endpoint; // one call, and what its answer means
pub(crate) mod token_span; // the trace of a call
pub(crate) mod http_client; // the client for the token endpoint
