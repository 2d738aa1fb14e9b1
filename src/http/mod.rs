//! What HTTP means here beyond the `http` crate.

pub(crate) mod content_encoding; // compression that can be undone
pub(crate) mod error; // refusals, in Box's error shape
pub(crate) mod error_codes; // what each code means, and what to do
pub(crate) mod field_list; // what stands between commas
pub(crate) mod headers; // which fields pass, in both directions?
pub(crate) mod host; // names in Host
pub(crate) mod incoming_body; // bodies whose end can be believed
pub(crate) mod origin; // of web pages
pub(crate) mod retry_after; // what the field says
pub(crate) mod target; // can it be read in one way only?
