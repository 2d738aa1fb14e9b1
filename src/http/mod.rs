//! HTTP: parsing and checks that the `http` crate does not do.

pub(crate) mod basic_credentials; // HTTP Basic
pub(crate) mod content_encoding; // codings that can be decoded
pub(crate) mod error; // refusals, in Box's error shape
pub(crate) mod error_codes; // what each code means, and what to do
pub(crate) mod field_list; // comma-separated fields
pub(crate) mod headers; // which fields pass to Box and back?
pub(crate) mod host; // names in Host
pub(crate) mod incoming_body; // bodies whose end is checked
pub(crate) mod large_answers; // operations whose answers are large
pub(crate) mod origin; // origins of web pages
pub(crate) mod query; // parameters of a query
pub(crate) mod retry_after; // the field Retry-After
pub(crate) mod trace_context; // W3C Trace Context
pub(crate) mod target; // refuses ambiguous targets
