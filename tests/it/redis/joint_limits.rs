//! Limits and pauses of two gateways.

use boxgate::sandbox::{Fault, MANAGED_USERS};

use super::fleet::{Fleet, Gateway, ME};
use super::*;

const REFUSED: &str = "boxgate_limited_total";

async fn two(fleet: &Fleet, more: &str) -> (Gateway, Gateway) {
    let (one, other) = tokio::join!(fleet.gateway(more), fleet.gateway(more));
    one.shares_with(2).await;
    other.shares_with(2).await;
    (one, other)
}

fn field(answer: &reqwest::Response, name: &str) -> String {
    answer.headers().get(name).unwrap().to_str().unwrap().to_owned()
}

/// Refused by this limit, until so many seconds have passed.
async fn refused(answer: reqwest::Response, limit: &str) -> u64 {
    assert_eq!(answer.status(), 429);
    let seconds = field(&answer, "retry-after").parse().unwrap();
    let named = field(&answer, "ratelimit");
    assert!(named.starts_with(&format!("\"{limit}\";")), "{named}");
    let text = answer.text().await.unwrap();
    assert!(text.contains("rate_limit_exceeded"), "{text}");
    seconds
}

#[tokio::test]
async fn calls_at_one_gateway_count_at_the_other() {
    let fleet = Fleet::new().await;
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"user\"\nrate = \"1/min\"\nburst = 2\n";
    let (one, other) = two(&fleet, rule).await;
    assert_eq!(one.get(ME).await.status(), 200);
    assert_eq!(other.get(ME).await.status(), 200);
    for gateway in [&one, &other] {
        let answer = gateway.get(ME).await;
        assert_eq!(answer.status(), 429);
        let after: u64 = field(&answer, "retry-after").parse().unwrap();
        assert!((60 - PATIENCE.as_secs()..=60).contains(&after), "{after}");
        assert_eq!(field(&answer, "ratelimit"), format!("\"joint\";r=0;t={after}"));
        assert_eq!(field(&answer, "ratelimit-policy"), "\"joint\";q=2;w=120");
        assert_eq!(gateway.metric(&format!("{REFUSED}{{limit=\"joint\"}}")).await, 1.0);
        // Another user's count is another one.
        let user = gateway.request(ME).header("As-User", MANAGED_USERS[0]).send().await.unwrap();
        assert_eq!(user.status(), 200);
    }
    assert_eq!(fleet.sandbox.calls(), 4);
}

#[tokio::test]
async fn waiting_requests_pass_in_the_order_of_arrival_at_any_gateway() {
    let fleet = Fleet::new().await;
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"global\"\nrate = \"1/s\"\nwait = \"20s\"\n";
    let (one, other) = two(&fleet, rule).await;
    let mut waiting = JoinSet::new();
    let mut before = String::new();
    for nth in 0..5 {
        let gateway = if nth % 2 == 0 { &one } else { &other };
        let request = gateway.request(&format!("{ME}?nth={nth}"));
        waiting.spawn(async move { request.send().await.unwrap().status() });
        // It has its turn once the count has changed.
        until(|| async { fleet.values("l").await.first().is_some_and(|value| *value != before) }).await;
        before = fleet.values("l").await[0].clone();
    }
    until(|| async {
        one.metric("boxgate_limit_queued{limit=\"joint\"}").await
            + other.metric("boxgate_limit_queued{limit=\"joint\"}").await
            > 0.0
    })
    .await;
    assert!(waiting.join_all().await.iter().all(|status| *status == 200));
    let seen: Vec<String> = fleet.sandbox.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, [0, 1, 2, 3, 4].map(|nth| format!("{ME}?nth={nth}")));
    assert_eq!(one.metric("boxgate_limit_queued{limit=\"joint\"}").await, 0.0);
}

#[tokio::test]
async fn a_pause_that_box_asks_one_gateway_for_holds_at_the_other_for_the_same_user_and_class() {
    let fleet = Fleet::new().await;
    let (one, other) = two(&fleet, "").await;
    fleet.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 3600 }]);
    assert_eq!(one.get(ME).await.status(), 429, "Box's own");
    until(|| async { !fleet.values("p").await.is_empty() }).await;
    let calls = fleet.sandbox.calls();
    for gateway in [&other, &one] {
        let after = refused(gateway.get(ME).await, "box-pause").await;
        assert!((60 - PATIENCE.as_secs()..=60).contains(&after), "max_pause: {after}");
        assert_eq!(gateway.metric(&format!("{REFUSED}{{limit=\"box-pause\"}}")).await, 1.0);
        // Other users and classes are not paused.
        let user = gateway.request(ME).header("As-User", MANAGED_USERS[0]).send().await.unwrap();
        assert_eq!(user.status(), 200);
        assert_eq!(gateway.get("/2.0/search?query=a").await.status(), 200);
    }
    assert_eq!(fleet.sandbox.calls(), calls + 4);
}

/// Box asks one gateway for a long pause, while the other's request is under way, and that one for a short pause.
#[tokio::test]
async fn a_gateway_that_tells_of_a_pause_learns_of_a_longer_one() {
    let fleet = Fleet::new().await;
    let (one, other) = two(&fleet, "").await;
    let root = "/2.0/folders/0";
    fleet.sandbox.script(root, vec![Fault::RateLimited { retry_after: 3600 }]);
    fleet.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 1 }]);
    let held = fleet.sandbox.hold_replies(ME);
    let request = other.request(ME);
    let waiting = tokio::spawn(async move { request.send().await.unwrap().status() });
    until(|| async { fleet.sandbox.calls() == 1 }).await;
    assert_eq!(one.get(root).await.status(), 429);
    until(|| async { !fleet.values("p").await.is_empty() }).await;
    drop(held);
    assert_eq!(waiting.await.unwrap(), 429);
    until(|| async {
        let status: serde_json::Value = serde_json::from_str(&other.admin("/status.json").await.1).unwrap();
        status["pauses"][0]["seconds_left"].as_f64().is_some_and(|left| left > 1.0)
    })
    .await;
}

#[tokio::test]
async fn a_pause_that_another_program_writes_ends_with_max_pause() {
    let fleet = Fleet::new().await;
    let (one, other) = two(&fleet, "").await;
    fleet.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 1 }]);
    assert_eq!(one.get(ME).await.status(), 429);
    until(|| async { !fleet.values("p").await.is_empty() }).await;
    let key = fleet.redis.key("p").await;
    let now = fleet.redis.micros().await;
    fleet.redis.run(&["SET", &key, &format!("{now}:{}", now + 10_000_000_000_000)]).await;
    let after = refused(other.get(ME).await, "box-pause").await;
    assert!((60 - PATIENCE.as_secs()..=60).contains(&after), "{after}");
    // A pause that began longer ago than max_pause has no effect.
    let (from, to) = (now - 61_000_000, now + 10_000_000_000_000);
    fleet.redis.run(&["SET", &key, &format!("{from}:{to}")]).await;
    let third = fleet.gateway("").await;
    assert_eq!(third.get(ME).await.status(), 200);
}

#[tokio::test]
async fn a_request_shortly_before_the_end_of_another_gateways_pause_waits_for_it() {
    let fleet = Fleet::new().await;
    // Whoever may wait for a limit waits as long for a pause.
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"global\"\nrate = \"1000/s\"\nwait = \"20s\"\n";
    let (one, other) = two(&fleet, rule).await;
    fleet.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 60 }]);
    assert_eq!(one.get(ME).await.status(), 429);
    until(|| async { !fleet.values("p").await.is_empty() }).await;
    // Shorter, now that all is set up.
    let key = fleet.redis.key("p").await;
    let now = fleet.redis.micros().await;
    let end = now + 3_000_000;
    fleet.redis.run(&["SET", &key, &format!("{now}:{end}")]).await;
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let request = other.request(ME);
        waiting.spawn(async move { request.send().await.unwrap().status() });
    }
    assert!(waiting.join_all().await.iter().all(|status| *status == 200));
    // Waiting requests are spread: the third of them half a second after the end.
    let late = fleet.redis.micros().await.saturating_sub(end);
    assert!(late >= 490_000, "{late}");
}
