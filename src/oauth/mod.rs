//! Identities and their access tokens.

pub mod http_client; // who asks for tokens
pub mod identity; // whose tokens
