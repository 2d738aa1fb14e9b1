//! Box's own limits, kept to here so that nobody runs into Box's 429.
//!
//! The figures are in `docs/box-api.md#limits-and-429`. Box does not say how it counts, so each holds in every window of
//! its length, wherever that begins and both its ends included: what may be made at once plus what is added during a
//! window is not more than the published figure (`docs/decisions/gcra-and-windows.md`).

use std::num::NonZeroU32;
use std::time::Duration;

use super::limit::{Key, Limit, Selector};
use crate::routing::operation::Pattern;
use crate::routing::operation_class::Class;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A limit that Box publishes.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// How it is kept to.
    pub limit: Limit,
    /// At most so many calls …
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the limit against it"))]
    pub calls: u32,
    /// … in each window of this length.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the limit against it"))]
    pub window: Duration,
}

/// All of them; a request may wait so long for its turn.
pub(crate) fn limits(wait: Duration) -> Vec<Limit> {
    published(wait).into_iter().map(|published| published.limit).collect()
}

/// All of them, with the figures that Box publishes.
pub(crate) fn published(wait: Duration) -> Vec<Published> {
    let sent = ["POST /2.0/sign_requests", "POST /2.0/sign_requests/*/resend"];
    let of = |name, key, on, calls, window, burst| publish(name, key, on, (calls, window), burst, wait);
    vec![
        of("box-user", Key::User, vec![], 1000, MINUTE, 400),
        of("box-upload", Key::User, vec![Selector::Class(Class::Upload)], 240, MINUTE, 100),
        // The limit by the minute holds the lasting pace, so this one may be generous at once.
        of("box-search", Key::User, vec![Selector::Class(Class::Search)], 6, SECOND, 4),
        of("box-search-minute", Key::User, vec![Selector::Class(Class::Search)], 60, MINUTE, 10),
        of("box-search-enterprise", Key::Enterprise, vec![Selector::Class(Class::Search)], 12, SECOND, 3),
        of("box-sign-send", Key::User, patterns(&sent), 100, MINUTE, 20),
        of("box-sign-get", Key::User, patterns(&["GET /2.0/sign_requests/*"]), 1000, MINUTE, 100),
        of(
            "box-metadata-query",
            Key::Enterprise,
            patterns(&["POST /2.0/metadata_queries/execute_read"]),
            10,
            SECOND,
            3,
        ),
        of(
            "box-storage-policy",
            Key::User,
            patterns(&["DELETE /2.0/storage_policy_assignments/*"]),
            2,
            DAY,
            2,
        ),
    ]
}

/// `burst` calls at once; the rest of the published figure is spread over the window.
fn publish(
    name: &str,
    key: Key,
    on: Vec<Selector>,
    (calls, window): (u32, Duration),
    burst: u32,
    wait: Duration,
) -> Published {
    // The shortest interval that fits at most `calls - burst` times into a window: more than the window divided by
    // one more, or the window's two ends would see one call too many.
    let added = u64::from(calls.saturating_sub(burst));
    let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let interval = window_nanos / (added + 1) + 1;
    let limit = Limit {
        name: name.into(),
        key,
        on,
        interval: Duration::from_nanos(interval),
        burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        wait,
        enforce: true,
    };
    Published { limit, calls, window }
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
    fn burst_and_refill_together_stay_within_the_figure_and_use_it() {
        for Published { limit, calls, window } in published(Duration::ZERO) {
            let refill = u32::try_from(window.as_nanos() / limit.interval.as_nanos()).unwrap();
            assert_eq!(limit.burst.get() + refill, calls, "{}", limit.name);
        }
    }

    #[test]
    fn each_is_about_its_operations() {
        let named = |method: &str, path: &str| -> Vec<String> {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let operation = Operation { method: &method, path };
            let class = Class::of(operation);
            limits(Duration::ZERO)
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
