//! Identities and their access tokens.

pub mod identity; // whose tokens
pub mod token_cache; // the token of each, kept fresh
pub mod client_credentials; // the question to the token endpoint
pub mod http_client; // who asks it
