use std::time::Duration;

use super::{ALONE, ME, TURN, limit, named, queued, refused, retry_after, slow_line, targets, until_queued};
use crate::harness::{Bench, in_time};

#[tokio::test]
async fn waiting_requests_pass_in_the_order_of_arrival_at_the_limits_pace() {
    let bench = Bench::with(&slow_line()).await;
    let path = |nth: usize| format!("{ME}?nth={nth}");
    assert_eq!(bench.get(&path(0)).await.status(), 200);
    let mut waiting = Vec::new();
    for nth in 1..=2 {
        waiting.push(tokio::spawn(bench.client.get(bench.url(&path(nth))).send()));
        until_queued(&bench, "line", nth).await;
    }
    // A third one would pass too late, and is refused at once.
    let answer = bench.get(&path(3)).await;
    assert_eq!(named(&answer), "line");
    let after = retry_after(answer.headers());
    assert!((25..=36).contains(&after), "{after}");
    assert_eq!(targets(&bench), [path(0)]);
    for nth in 1..=2 {
        bench.clock.advance(TURN);
        in_time(bench.sandbox.wait_for_calls(nth + 1)).await;
        assert_eq!(bench.sandbox.last_seen().unwrap().target, path(nth));
        assert_eq!(queued(&bench, "line").await, (2 - nth) as f64);
    }
    for answer in waiting {
        assert_eq!(in_time(answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!((bench.sandbox.calls(), refused(&bench, "line").await), (3, 1.0));
}

#[tokio::test]
async fn a_limit_without_wait_refuses_at_once_even_where_another_would_wait() {
    let strict = "on = [\"search\"]\nrate = \"1/h\"\n";
    let bench = Bench::with(&(slow_line() + &limit("strict", "global", strict))).await;
    let search = "/2.0/search?query=a";
    assert_eq!(bench.get(search).await.status(), 200);
    assert_eq!(named(&bench.get(search).await), "strict");
    assert_eq!(queued(&bench, "line").await, 0.0);
}

#[tokio::test]
async fn apps_that_share_a_limit_take_turns() {
    let line = limit("line", "global", "rate = \"20/min\"\nburst = 1\nwait = \"30s\"\n");
    let apps = "[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n";
    let bench = Bench::with(&format!("{ALONE}{apps}{line}")).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let mut waiting = Vec::new();
    for nth in 1..=6 {
        waiting.push(tokio::spawn(bench.client.get(bench.url(&format!("{ME}?a={nth}"))).send()));
        until_queued(&bench, "line", nth).await;
    }
    waiting.push(tokio::spawn(bench.client.get(bench.url(&format!("/b{ME}?b"))).send()));
    until_queued(&bench, "line", 7).await;
    let before = bench.sandbox.calls();
    for calls in before + 1..=before + 7 {
        bench.clock.advance(Duration::from_secs(3));
        in_time(bench.sandbox.wait_for_calls(calls)).await;
    }
    for answer in waiting {
        assert_eq!(in_time(answer).await.unwrap().unwrap().status(), 200);
    }
    let targets = targets(&bench);
    let place = targets.iter().position(|target| target.ends_with("?b")).unwrap();
    assert!(place <= before + 1, "{targets:?}");
    let of_a: Vec<_> = targets.iter().filter(|target| target.contains("?a=")).cloned().collect();
    assert_eq!(of_a, (1..=6).map(|nth| format!("{ME}?a={nth}")).collect::<Vec<_>>());
}
