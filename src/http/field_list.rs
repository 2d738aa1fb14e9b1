//! Fields that are lists (RFC 9110 §5.6.1).

use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The elements between the commas, without surrounding white space. A value that is not visible ASCII is one empty
/// element.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// The names of the trailers that a message announces in `Trailer` (RFC 9110 §6.6.2).
pub(crate) fn announced_trailers(fields: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    fields.get_all(TRAILER).iter().flat_map(tokens).filter_map(|name| name.parse().ok())
}
