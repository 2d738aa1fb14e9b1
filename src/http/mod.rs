//! What HTTP means here beyond the `http` crate.

pub mod error; // refusals, in Box's error shape
pub mod headers; // which fields pass, in both directions?
pub mod host; // names in Host
pub mod incoming_body; // bodies whose end can be believed
pub mod origin; // of web pages
pub mod target; // can it be read in one way only?
