//! What HTTP means here beyond the `http` crate: bodies whose end can be believed.

pub mod incoming_body;
