//! Box's own limits, applied here so that callers do not get 429 from Box.
//!
//! The figures are in `docs/box-api.md#limits-and-429`. Box does not say how it counts, so each limit applies to every
//! sliding window of its length, and nearly all of it can be used (`docs/decisions/gcra-and-windows.md`).

use std::num::NonZeroU32;
use std::time::Duration;

use super::limit::{Key, Limit, Quota};
use crate::limits::selector::Selector;
use crate::routing::operation_class::Class;
use crate::routing::operation_pattern::Pattern;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All of Box's limits. No request waits for its turn.
pub(crate) fn limits() -> Vec<Limit> {
    let sent = ["POST /2.0/sign_requests", "POST /2.0/sign_requests/*/resend"];
    vec![
        published("box-user", Key::User, vec![], 1000, MINUTE),
        published("box-upload", Key::User, vec![Selector::Class(Class::Upload)], 240, MINUTE),
        published("box-search", Key::User, vec![Selector::Class(Class::Search)], 6, SECOND),
        published("box-search-minute", Key::User, vec![Selector::Class(Class::Search)], 60, MINUTE),
        published("box-search-enterprise", Key::Enterprise, vec![Selector::Class(Class::Search)], 12, SECOND),
        published("box-sign-send", Key::User, patterns(&sent), 100, MINUTE),
        published("box-sign-get", Key::User, patterns(&["GET /2.0/sign_requests/*"]), 1000, MINUTE),
        published(
            "box-metadata-query",
            Key::Enterprise,
            patterns(&["POST /2.0/metadata_queries/execute_read"]),
            10,
            SECOND,
        ),
        published(
            "box-storage-policy",
            Key::User,
            patterns(&["DELETE /2.0/storage_policy_assignments/*"]),
            2,
            DAY,
        ),
    ]
}

/// A limit of `calls` in each window of this length.
fn published(name: &str, key: Key, on: Vec<Selector>, calls: u32, length: Duration) -> Limit {
    let calls = NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::Window { calls, length };
    Limit { name: name.into(), key, on, quota, wait: Duration::ZERO, enforce: true }
}

fn patterns(written: &[&str]) -> Vec<Selector> {
    written.iter().filter_map(|text| Pattern::parse(text).ok()).map(Selector::Pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::operation::Operation;
    use http::Method;

    #[test]
    fn each_limit_applies_to_its_operations() {
        let named = |method: &str, path: &str| -> Vec<String> {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let operation = Operation { method: &method, path };
            let class = Class::of(operation);
            limits()
                .into_iter()
                .filter(|limit| limit.applies(&operation.in_any_spelling(), class))
                .map(|limit| limit.name.trim_start_matches("box-").to_owned())
                .collect()
        };
        assert_eq!(named("GET", "/2.0/users/me"), ["user"]);
        assert_eq!(named("POST", "/2.0/files/content"), ["user", "upload"]);
        assert_eq!(named("GET", "/2.0/search"), ["user", "search", "search-minute", "search-enterprise"]);
        assert_eq!(named("POST", "/2.0/Sign_Requests/"), ["user", "sign-send"]);
        assert_eq!(named("POST", "/2.0/sign_requests/a/resend"), ["user", "sign-send"]);
        assert_eq!(named("POST", "/2.0/sign_requests/a/cancel"), ["user"]);
        assert_eq!(named("GET", "/2.0/sign_requests/a"), ["user", "sign-get"]);
        assert_eq!(named("POST", "/2.0/metadata_queries/execute_read"), ["user", "metadata-query"]);
        assert_eq!(named("DELETE", "/2.0/storage_policy_assignments/a"), ["user", "storage-policy"]);
    }
}
