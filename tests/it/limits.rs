//! Limits, waiting, pauses and requests in flight, over real sockets. The tests set the clock; rates are so slow that
//! delays of a busy machine do not matter.

mod keys; // keys of counts, and the content of refusals
mod boxs; // Box's own limits
mod waiting; // waiting for a turn
mod bodies; // uploads that wait, and callers that leave
mod pauses; // after a 429 or 503 of Box
mod in_flight; // requests in flight
mod around; // uncounted requests, CORS, draining

use http::HeaderMap;
use reqwest::Response;

use crate::harness::{Bench, until};

const ME: &str = "/2.0/users/me";
const FOLDER: &str = "/2.0/folders/0";
/// Turns Box's own limits off, so that only the test's limits apply.
const ALONE: &str = "[limits]\nbox_defaults = false\n";
const ONE_IN_AN_HOUR: &str = "rate = \"1/h\"\n";

/// A `[[limit]]`.
fn limit(name: &str, key: &str, more: &str) -> String {
    format!("[[limit]]\nname = {name:?}\nkey = {key:?}\n{more}")
}

/// One request each 12 s; two more wait, and have 6 s to spare.
fn slow_line() -> String {
    format!("{ALONE}{}", limit("line", "global", "rate = \"5/min\"\nburst = 1\nwait = \"30s\"\n"))
}

/// The time between two turns of [`slow_line`].
const TURN: std::time::Duration = std::time::Duration::from_secs(12);

async fn queued(bench: &Bench, limit: &str) -> f64 {
    bench.metric(&format!("boxgate_limit_queued{{limit={limit:?}}}")).await
}

async fn until_queued(bench: &Bench, limit: &str, count: usize) {
    until(|| async { queued(bench, limit).await == count as f64 }).await;
}

async fn refused(bench: &Bench, limit: &str) -> f64 {
    bench.metric(&format!("boxgate_limited_total{{limit={limit:?}}}")).await
}

/// Seconds of `Retry-After`.
fn retry_after(headers: &HeaderMap) -> u64 {
    headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// The name of the limit that refused: the same in both fields.
fn named(answer: &Response) -> String {
    assert_eq!(answer.status(), 429);
    let name = |field: &str| answer.headers()[field].to_str().unwrap().split('"').nth(1).unwrap().to_owned();
    assert_eq!(name("ratelimit"), name("ratelimit-policy"));
    assert_eq!(answer.headers()["proxy-status"], "boxgate; error=http_request_denied");
    name("ratelimit")
}

/// What Box saw, by target.
fn targets(bench: &Bench) -> Vec<String> {
    bench.sandbox.seen().into_iter().map(|seen| seen.target).collect()
}
