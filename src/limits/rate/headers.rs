//! The `RateLimit` fields, which describe the limit that refused a request.

use std::sync::Arc;
use std::time::Duration;

/// The state of one limit for the `RateLimit` fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateLimitHeaders {
    pub limit: Arc<str>,
    /// How many calls may be made at once when the limit is unused …
    pub quota: u32,
    /// … and in what time these become available again.
    pub window: Duration,
    /// No call is left; the time until there is one.
    pub reset: Duration,
}

impl RateLimitHeaders {
    /// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub(crate) fn policy(&self) -> String {
        format!("{};q={};w={}", quoted(&self.limit), self.quota, whole_seconds(self.window))
    }

    /// The value of `RateLimit`.
    pub(crate) fn state(&self) -> String {
        format!("{};r=0;t={}", quoted(&self.limit), whole_seconds(self.reset))
    }
}

/// A quoted string of RFC 9651 §3.3.3; characters that it cannot contain become `_`.
fn quoted(name: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '_' };
    format!("\"{}\"", name.chars().map(plain).collect::<String>())
}

/// Seconds for header fields, rounded up, so that a caller that waits this long is not too early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
