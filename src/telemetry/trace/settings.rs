//! What `[trace]` says.

/// The settings of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The URL to which spans are sent: `http://` or `https://`, without a user, query or fragment.
    pub endpoint: String,
    /// The part of requests that is traced, 0 to 1, among those that bring no decision of their own.
    pub sample: f64,
}
