//! Box's own limits, with a clock set by the test: no window has more calls than allowed, each attempt is counted when
//! it is written, and nearly all allowed calls can be used.

use std::time::Duration;

use boxgate::sandbox::{Content, Options, Protocols, Role, Sandbox};
use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::{ALONE, ME, named, refused, retry_after};
use crate::harness::{Bench, until};

const HOUR: Duration = Duration::from_secs(3600);
/// Two in a day: the seconds that a busy machine takes do not matter.
const POLICY: &str = "/2.0/storage_policy_assignments/user_1";

/// Sends this many requests, some concurrently; returns how many passed, and the limits that refused the others.
async fn passed_and_names(bench: &Bench, path: &str, count: usize) -> (usize, Vec<String>) {
    let mut passed = 0;
    let mut names = Vec::new();
    for _ in 0..count.div_ceil(50) {
        for answer in bench.gets(path, count.min(50)).await {
            match answer.status() {
                StatusCode::TOO_MANY_REQUESTS => names.push(named(&answer)),
                _ => passed += 1,
            }
        }
    }
    names.sort();
    names.dedup();
    (passed, names)
}

async fn delete(bench: &Bench) -> reqwest::Response {
    bench.client.delete(bench.url(POLICY)).send().await.unwrap()
}

/// How many deletions have reached Box.
fn deletions(bench: &Bench) -> usize {
    bench.sandbox.seen().iter().filter(|seen| seen.method == Method::DELETE).count()
}

/// Callers that are under way.
type Waiting = tokio::task::JoinSet<StatusCode>;

/// Two requests that wait for a token: of three concurrent ones, the refusal of the third shows that two were admitted.
async fn two_that_wait(bench: &Bench) -> Waiting {
    let mut waiting = Waiting::new();
    for _ in 0..3 {
        let request = bench.client.delete(bench.url(POLICY));
        waiting.spawn(async move { request.send().await.unwrap().status() });
    }
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), 429);
    waiting
}

#[tokio::test]
async fn a_user_may_make_1000_calls_at_once_and_no_more_in_that_minute() {
    let bench = Bench::of(Options { remembered: 4096, ..Options::default() }, "").await;
    let began = bench.clock.mono();
    let (passed, names) = passed_and_names(&bench, ME, 1050).await;
    if bench.clock.mono() - began < Duration::from_secs(60) {
        assert_eq!((passed, names.as_slice()), (1000, ["box-user".to_owned()].as_slice()));
        let answer = bench.get(ME).await;
        assert_eq!(answer.headers()["ratelimit-policy"], "\"box-user\";q=1000;w=60");
        assert!(retry_after(answer.headers()) <= 61);
    }
    assert_eq!(bench.sandbox.calls(), passed);
    bench.clock.advance(Duration::from_secs(61));
    assert_eq!(bench.get(ME).await.status(), 200);
}

#[tokio::test]
async fn searches_have_limits_of_their_own() {
    let bench = Bench::start().await;
    let began = bench.clock.mono();
    let (passed, names) = passed_and_names(&bench, "/2.0/search?query=a", 40).await;
    let windows = 1 + (bench.clock.mono() - began).as_secs() as usize;
    assert!(passed >= 6 && passed <= 6 * windows, "{passed} in {windows}");
    assert!(names.iter().all(|name| name.starts_with("box-search")), "{names:?}");
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.calls(), passed + 1);
}

#[tokio::test]
async fn without_boxs_limits_all_requests_pass() {
    let bench = Bench::with(ALONE).await;
    assert_eq!(passed_and_names(&bench, "/2.0/search?query=a", 50).await, (50, vec![]));
}

/// If these were counted, there would be more than 1000 calls.
#[tokio::test]
async fn requests_of_presigned_urls_are_not_counted_as_calls() {
    let bench = Bench::start().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    let path = format!("/2.0/files/{file}/content");
    let asked = bench.client.get(bench.url(&path)).header("x-boxgate-redirect", "pass").send().await.unwrap();
    let location = asked.headers()["location"].to_str().unwrap().to_owned();
    let presigned = location.replace("https://", "/_box/");
    assert_eq!(passed_and_names(&bench, &presigned, 700).await, (700, vec![]));
    // Each of these is one call and one fetch.
    assert_eq!(passed_and_names(&bench, &path, 600).await, (600, vec![]));
}

/// Requests that wait for a token are sent when it arrives, a day after they were admitted.
#[tokio::test]
async fn requests_that_wait_for_a_token_do_not_bunch_when_it_comes() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, "").await;
    let waiting = two_that_wait(&bench).await;
    bench.clock.advance(HOUR * 25);
    let answer = delete(&bench).await;
    assert_eq!(named(&answer), "box-storage-policy");
    assert!(retry_after(answer.headers()) >= 24 * 3600, "if they are written now");
    drop(held);
    waiting.join_all().await;
    assert_eq!(deletions(&bench), 2);
    // They count from the time at which they were written.
    bench.clock.advance(HOUR * 23);
    assert_eq!(named(&delete(&bench).await), "box-storage-policy");
    assert_eq!(deletions(&bench), 2);
    bench.clock.advance(HOUR * 2);
    delete(&bench).await;
    assert_eq!(deletions(&bench), 3);
}

#[tokio::test]
async fn a_request_whose_caller_leaves_before_it_is_sent_is_not_counted() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, "").await;
    two_that_wait(&bench).await.shutdown().await;
    // Once the gateway has seen that the callers are gone.
    until(|| async {
        let (_, text) = bench.admin("/metrics").await;
        text.lines().any(|line| line.contains("method=\"DELETE\",status=\"499\"") && line.ends_with(" 2"))
    })
    .await;
    drop(held);
    bench.until_ready().await;
    for nth in 1..=2 {
        assert_ne!(delete(&bench).await.status(), 429);
        assert_eq!(deletions(&bench), nth);
    }
    assert_eq!(delete(&bench).await.status(), 429);
}

#[tokio::test]
async fn a_request_that_no_connection_carries_is_not_counted() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.go_down(Role::Api).await;
    for _ in 0..3 {
        assert_eq!(delete(&bench).await.status(), 502);
    }
    bench.sandbox.come_up(Role::Api).unwrap();
    for _ in 0..2 {
        assert_ne!(delete(&bench).await.status(), 429);
    }
    assert_eq!(named(&delete(&bench).await), "box-storage-policy");
    assert_eq!(deletions(&bench), 2);
}

async fn over_http1() -> Bench {
    let bench = Bench::of(Options { protocols: Protocols::Http1, ..Options::default() }, "").await;
    bench.until_ready().await;
    bench
}

/// A request with only trailers is written completely with its head, and its body is not polled again.
#[tokio::test]
async fn a_request_with_only_trailers_is_counted() {
    let bench = over_http1().await;
    let began = bench.clock.mono();
    let request = "GET /2.0/search?query=a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTrailer: Digest\r\n\
                   Transfer-Encoding: chunked\r\n\r\n0\r\nDigest: a\r\n\r\n";
    let mut passed = 0;
    for nth in 0..70 {
        let answer = bench.raw(request).await;
        passed += usize::from(answer.starts_with("HTTP/1.1 200 "));
        if nth % 6 == 5 {
            bench.clock.advance(Duration::from_secs(2));
        }
    }
    if bench.clock.mono() - began < Duration::from_secs(60) {
        assert_eq!(passed, 60);
    }
    assert_eq!(bench.sandbox.calls(), passed);
}

/// Over HTTP/2 the end of a body may come after the last bytes of its length.
#[tokio::test]
async fn a_request_with_trailers_after_a_body_of_known_length_is_counted() {
    let bench = over_http1().await;
    let (client, connection) = h2::client::handshake(bench.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    for nth in 1..=3 {
        let request = http::Request::delete(bench.url(POLICY)).header("content-length", "2");
        let request = request.header("trailer", "digest").body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"{}"), false).unwrap();
        body.send_trailers([("digest".parse().unwrap(), "a".parse().unwrap())].into_iter().collect())
            .unwrap();
        let status = answer.await.unwrap().status();
        assert_eq!(status == 429, nth == 3, "{nth}: {status}");
    }
    assert_eq!(deletions(&bench), 2);
    connection.abort();
}

#[tokio::test]
async fn a_repeat_after_a_401_is_counted_too() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.always_unauthorized(POLICY);
    // Both calls of the day, with two tokens.
    assert_eq!(delete(&bench).await.status(), 502);
    assert_eq!(deletions(&bench), 2);
    assert_eq!(named(&delete(&bench).await), "box-storage-policy");
    assert_eq!(deletions(&bench), 2);
    bench.clock.advance(HOUR * 25);
    bench.until_ready().await;
    bench.sandbox.clear_faults();
    assert_ne!(delete(&bench).await.status(), 429);
    // One is left, so there is none for a second attempt.
    bench.sandbox.always_unauthorized(POLICY);
    let answer = delete(&bench).await;
    assert_eq!(named(&answer), "box-storage-policy");
    assert!(retry_after(answer.headers()) > 23 * 3600);
    assert_eq!(deletions(&bench), 4);
    assert_eq!(refused(&bench, "box-storage-policy").await, 2.0);
}

#[tokio::test]
async fn a_request_that_another_limit_or_a_budget_refuses_is_not_counted_in_a_window() {
    let bench = Bench::with(
        "[[limit]]\nname = \"own\"\nkey = \"client\"\non = [\"DELETE /2.0/**\"]\nrate = \"1/h\"\n\n\
         [[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 2\nper = \"day\"\n",
    )
    .await;
    // At the beginning of a day: the budget's must not end within the next two hours.
    let now = jiff::Timestamp::try_from(bench.clock.wall()).unwrap().as_second();
    bench.clock.advance(Duration::from_secs((86_400 - now % 86_400).unsigned_abs()));
    delete(&bench).await;
    for _ in 0..3 {
        assert_eq!(named(&delete(&bench).await), "own");
    }
    bench.clock.advance(HOUR);
    delete(&bench).await;
    bench.clock.advance(HOUR);
    assert_eq!(delete(&bench).await.status(), 403, "the budget");
    assert_eq!(deletions(&bench), 2);
    bench.clock.advance(HOUR * 23 + Duration::from_secs(60));
    // A day after the first one, so one more is left in the window.
    assert_ne!(delete(&bench).await.status(), 429);
}

/// Callers call continuously for three minutes, in steps of the clock.
#[tokio::test]
async fn nearly_all_allowed_calls_can_be_used_and_no_window_has_more() {
    const CALLS: usize = 100;
    let minute = Duration::from_secs(60);
    let bench = Bench::of(Options { remembered: 4096, ..Options::default() }, "").await;
    bench.until_ready().await;
    let began = bench.clock.mono();
    // When each was sent at the earliest and the latest.
    let mut made = Vec::new();
    while bench.clock.mono() - began < minute * 3 {
        loop {
            let from = bench.clock.mono();
            let request = bench.client.post(bench.url("/2.0/sign_requests")).body("{}");
            let answer = request.send().await.unwrap();
            if answer.status() == 429 {
                assert_eq!(named(&answer), "box-sign-send");
                break;
            }
            made.push((from, bench.clock.mono()));
        }
        bench.clock.advance(Duration::from_millis(100));
    }
    assert!(made.len() * 100 >= CALLS * 3 * 98, "{}", made.len());
    for (from, _) in &made {
        let in_window = made.iter().filter(|(at, until)| at >= from && *until <= *from + minute).count();
        assert!(in_window <= CALLS, "{in_window}");
    }
}
