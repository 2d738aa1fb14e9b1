//! How it stands with a limit that said no, as the `RateLimit` fields tell it.

use std::sync::Arc;
use std::time::Duration;

/// How it stands with one limit, as the `RateLimit` fields tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateLimitHeaders {
    pub limit: Arc<str>,
    /// So many calls may be made at once after a while of rest …
    pub quota: u32,
    /// … and are so in this time again.
    pub window: Duration,
    /// None is left; until there is one.
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

/// A string of RFC 9651 §3.3.3; what cannot stand in one becomes `_`.
fn quoted(name: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '_' };
    format!("\"{}\"", name.chars().map(plain).collect::<String>())
}

/// Rounded up, for header fields: whoever comes back then is not too early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
