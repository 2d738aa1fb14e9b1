//! Identities and their access tokens.

pub mod identity; // whose tokens
pub(crate) mod token_cache; // the token of each, kept fresh
pub(crate) mod client_credentials; // the question to the token endpoint
pub(crate) mod http_client; // who asks it
