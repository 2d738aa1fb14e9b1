use std::time::Duration;

use boxgate::sandbox::{CLIENT_ID, CLIENT_SECRET, Fault, MANAGED_USERS, USER_ID};
use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::{ALONE, FOLDER, ME, limit, named, refused, retry_after, until_queued};
use crate::harness::{Bench, in_time, refusal};

const SEARCH: &str = "/2.0/search?query=a";

async fn bench(more: &str) -> Bench {
    Bench::with(&format!(
        "{ALONE}[identity.other]\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n\
         user_id = {USER_ID:?}\n\
         [[app]]\nname = \"a\"\nidentity = \"service\"\nas_user = [\"*\"]\n\
         [[app]]\nname = \"c\"\nidentity = \"other\"\npath = \"/c\"\n{more}"
    ))
    .await
}

fn unavailable(retry_after: &'static str) -> Fault {
    Fault::status(503).with_header(RETRY_AFTER, HeaderValue::from_static(retry_after))
}

#[tokio::test]
async fn boxs_429_stops_one_users_class_and_nobody_else() {
    let bench = bench("").await;
    bench.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 200 }]);
    let answer = bench.get(ME).await;
    assert_eq!((answer.status().as_u16(), retry_after(answer.headers())), (429, 200));
    assert!(!answer.headers().contains_key("proxy-status"), "this is Box's own");
    let calls = bench.sandbox.calls();
    for path in [ME, FOLDER] {
        let answer = bench.get(path).await;
        assert_eq!(named(&answer), "box-pause", "{path}");
        let after = retry_after(answer.headers());
        assert!((100..=200).contains(&after), "{after}");
        assert_eq!(refusal(answer).await, (429, "rate_limit_exceeded".into()));
    }
    assert_eq!(bench.sandbox.calls(), calls);
    assert_eq!(refused(&bench, "box-pause").await, 2.0);
    assert_eq!(bench.metric("boxgate_pauses").await, 1.0);
    // Another class, another user, another identity.
    assert_eq!(bench.get(SEARCH).await.status(), 200);
    let as_user = bench.client.get(bench.url(ME)).header("as-user", MANAGED_USERS[0]);
    assert_eq!(as_user.send().await.unwrap().status(), 200);
    assert_eq!(bench.get(&format!("/c{ME}")).await.status(), 200);
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.calls(), calls + 4);
}

#[tokio::test]
async fn a_429_of_an_operation_with_a_limit_of_its_own_stops_that_alone() {
    let bench = bench("").await;
    let zips = "/2.0/zip_downloads";
    bench.sandbox.script(zips, vec![Fault::RateLimited { retry_after: 200 }]);
    let post = || bench.client.post(bench.url(zips)).body("{}").send();
    let first = post().await.unwrap();
    assert!(first.status() == 429 && !first.headers().contains_key("proxy-status"));
    assert_eq!(named(&post().await.unwrap()), "box-pause");
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.get(&format!("{zips}/a/status")).await.status(), 404);
}

#[tokio::test]
async fn a_503_stops_its_operation_alone() {
    let bench = bench("").await;
    bench.sandbox.script(FOLDER, vec![unavailable("200")]);
    assert_eq!(bench.get(FOLDER).await.status(), 503);
    assert_eq!(named(&bench.get(FOLDER).await), "box-pause");
    assert_eq!(named(&bench.get("/2.0/folders/1234").await), "box-pause", "the same operation");
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.get("/2.0/folders/0/items").await.status(), 200);
    let as_user = bench.client.get(bench.url(FOLDER)).header("as-user", MANAGED_USERS[0]);
    assert_eq!(as_user.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn responses_that_ask_for_no_pause_cause_none() {
    let bench = bench("").await;
    for value in ["Fri, 31 Dec 2010 23:59:59 GMT", "soon", "-1", "1.5", ""] {
        bench.sandbox.script(ME, vec![unavailable(value)]);
        assert_eq!(bench.get(ME).await.status(), 503, "{value}");
        assert_eq!(bench.get(ME).await.status(), 200, "{value}");
    }
    bench.sandbox.script(ME, vec![Fault::status(503), Fault::status(429), Fault::status(500)]);
    for status in [503, 429, 500, 200] {
        let answer = bench.get(ME).await;
        assert_eq!(answer.status(), status);
    }
    assert_eq!(bench.metric("boxgate_pauses").await, 0.0);
}

#[tokio::test]
async fn no_pause_is_longer_than_max_pause() {
    let bench = Bench::with(&format!("{ALONE}[upstream]\nproxy = \"none\"\nmax_pause = \"90s\"")).await;
    let days = ["86400", "99999999999999999999", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"];
    for asked_for in days {
        let value = HeaderValue::from_static(asked_for);
        bench.sandbox.script(ME, vec![Fault::status(429).with_header(RETRY_AFTER, value)]);
        assert_eq!(bench.get(ME).await.status(), 429);
        let answer = bench.get(ME).await;
        assert_eq!(named(&answer), "box-pause", "{asked_for}");
        let after = retry_after(answer.headers());
        assert!((1..=90).contains(&after), "{after}");
        // The pause, and the time in which requests come back at a growing pace.
        bench.clock.advance(Duration::from_secs(after + 15));
        assert_eq!(bench.get(ME).await.status(), 200, "{asked_for}");
    }
}

#[tokio::test]
async fn after_a_pause_requests_are_sent_at_a_growing_pace() {
    let bench = bench("").await;
    bench.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 200 }]);
    assert_eq!(bench.get(ME).await.status(), 429);
    bench.clock.advance(Duration::from_secs(200));
    let answers = bench.gets(ME, 60).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!((4..60).contains(&passed), "{passed}");
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        assert_eq!(named(answer), "box-pause");
        assert!(retry_after(answer.headers()) <= 10);
    }
    assert_eq!(bench.sandbox.calls(), 1 + passed);
    bench.clock.advance(Duration::from_secs(15));
    assert!(bench.gets(ME, 60).await.iter().all(|answer| answer.status() == 200));
    assert_eq!(bench.metric("boxgate_pauses").await, 0.0);
}

#[tokio::test]
async fn requests_wait_for_the_end_of_a_short_pause() {
    let wait = limit("wide", "global", "rate = \"1000/s\"\nwait = \"30s\"\n");
    let bench = bench(&wait).await;
    bench.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 9 }]);
    assert_eq!(bench.get(ME).await.status(), 429);
    let waiting = tokio::spawn(bench.client.get(bench.url(ME)).send());
    until_queued(&bench, "box-pause", 1).await;
    // A caller that leaves no longer waits.
    let leaving = tokio::spawn(bench.client.get(bench.url(ME)).send());
    until_queued(&bench, "box-pause", 2).await;
    leaving.abort();
    until_queued(&bench, "box-pause", 1).await;
    assert_eq!(bench.sandbox.calls(), 1);
    bench.clock.advance(Duration::from_secs(9));
    assert_eq!(in_time(waiting).await.unwrap().unwrap().status(), 200);
    assert_eq!(bench.sandbox.calls(), 2);
}

/// A request may still have to wait for its limit after the pause, and SDKs give up after 60 s.
#[tokio::test]
async fn requests_do_not_wait_for_a_longer_pause() {
    let wait = limit("wide", "global", "rate = \"1000/s\"\nwait = \"30s\"\n");
    let bench = bench(&wait).await;
    bench.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 28 }]);
    assert_eq!(bench.get(ME).await.status(), 429);
    assert_eq!(named(&bench.get(ME).await), "box-pause");
}
