//! Box's limits shared by replicas: exact windows on the server's clock, each attempt counted when it is written.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use boxgate::limits::redis::replicas::Stamp;
use reqwest::Method;

use super::fleet::{Fleet, Gateway, ME};
use super::*;

const QUERY: &str = "/2.0/metadata_queries/execute_read";
const POLICY: &str = "/2.0/storage_policy_assignments/user_1";
/// They are what is tested here.
const BOX: &str = "[limits]\nbox_defaults = true\n";
const LOST: &str = "unreachable since";

fn window(name: &str, calls: u32, length: Duration) -> Limit {
    let calls = NonZeroU32::new(calls).unwrap();
    Limit { quota: Quota::Window { calls, length }, ..limit(name, HOUR, 1) }
}

async fn stamp(side: &Side, rule: &Limit) -> Stamp {
    let answer = side.ask(&[rule]).await;
    assert_eq!(answer.verdict, Verdict::Pass { after: Duration::ZERO });
    answer.stamp
}

async fn refused_for(side: &Side, rule: &Limit) -> Duration {
    let answer = side.ask(&[rule]).await;
    let Verdict::Refused { cell: 0, after } = answer.verdict else { panic!("{answer:?}") };
    after
}

#[tokio::test]
async fn replicas_use_nearly_all_allowed_calls_and_no_window_has_more() {
    let server = Server::start().await;
    let (calls, length) = (50, Duration::from_secs(1));
    let rule = window("joint", calls, length);
    let mut asking = JoinSet::new();
    let ends = Instant::now() + length * 5;
    for _ in 0..3 {
        let (side, rule) = (Side::join(&server.url()).await, rule.clone());
        asking.spawn(async move {
            let mut stamps = Vec::new();
            while Instant::now() < ends {
                let answer = side.ask(&[&rule]).await;
                if matches!(answer.verdict, Verdict::Pass { .. }) {
                    stamps.push(answer.stamp.micros());
                }
            }
            stamps
        });
    }
    let mut stamps = asking.join_all().await.concat();
    stamps.sort_unstable();
    let micros = u64::try_from(length.as_micros()).unwrap();
    for (first, from) in stamps.iter().enumerate() {
        let in_window = stamps[first..].iter().take_while(|at| *at - from <= micros).count();
        assert!(in_window <= calls as usize, "{in_window}");
    }
    // Five windows, the last of which may have begun late.
    assert!(stamps.len() * 100 >= calls as usize * 5 * 98, "{}", stamps.len());
}

#[tokio::test]
async fn a_request_that_a_window_refuses_is_charged_to_no_other_limit_and_vice_versa() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let (wide, narrow, bucket) = (window("wide", 3, HOUR), window("narrow", 1, HOUR), limit("a", HOUR, 2));
    assert!(side.passes(&[&bucket, &wide, &narrow]).await);
    for _ in 0..5 {
        let refused = side.ask(&[&bucket, &wide, &narrow]).await;
        assert!(matches!(refused.verdict, Verdict::Refused { cell: 2, .. }), "{refused:?}");
    }
    assert_eq!(side.ask(&[&bucket, &wide]).await.tightest.unwrap().remaining, 0, "two of two in the bucket");
    let refused = side.ask(&[&bucket, &wide]).await;
    assert!(matches!(refused.verdict, Verdict::Refused { cell: 0, .. }), "{refused:?}");
    let left = side.ask(&[&wide]).await.tightest.unwrap();
    assert_eq!((left.cell, left.remaining), (0, 0), "the third of three in the wide window");
    assert!(!side.passes(&[&wide]).await);
}

#[tokio::test]
async fn a_call_counts_from_the_time_at_which_it_is_written_and_not_at_all_where_it_is_not() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = window("one", 1, HOUR);
    let cells = [Cell { limit: &rule, key: "10.0.0.7" }];
    let first = stamp(&side, &rule).await;
    let after = refused_for(&side, &rule).await;
    assert!(close(after, HOUR + Duration::from_millis(251)), "{after:?}");
    // It was reserved half an hour ago, and is written now.
    let key = server.key("w").await;
    let earlier = (first.micros() - 1_800_000_000).to_string();
    server.run(&["LSET", &key, "0", &earlier]).await;
    assert!(refused_for(&side, &rule).await <= HOUR / 2 + Duration::from_millis(251));
    let second = side.replicas.restamp(&cells, Stamp::of(first.micros() - 1_800_000_000)).await.unwrap();
    assert!(second.micros() >= first.micros());
    assert!(close(refused_for(&side, &rule).await, HOUR + Duration::from_millis(251)));
    // A stamp that a window has lost counts again once it is written.
    server.run(&["DEL", &key]).await;
    let third = side.replicas.restamp(&cells, second).await.unwrap();
    refused_for(&side, &rule).await;
    side.replicas.give_back(&cells, third).await.unwrap();
    assert!(side.passes(&[&rule]).await);
}

#[tokio::test]
async fn a_window_expires_and_a_value_of_another_program_causes_no_error_and_no_block() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = window("planted", 2, Duration::from_secs(60));
    stamp(&side, &rule).await;
    let key = server.key("w").await;
    assert!(key.starts_with("{boxgate:}w:planted:") && !key.contains("10.0.0.7"), "{key}");
    let life: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut server.other().await).await.unwrap();
    assert!(life > 0 && life <= 60_252, "{life}");
    for line in [["SET", &key, "1"], ["SADD", &key, "1"], ["RPUSH", &key, "abc"], ["RPUSH", &key, "nan"]] {
        server.run(&["DEL", &key]).await;
        server.run(&line).await;
        assert_eq!(side.ask(&[&rule]).await.tightest.unwrap().remaining, 1, "{line:?}");
    }
    // A clock that was set back, or a lie: for no longer than if it were true of now.
    for planted in ["inf", "9e300", "99999999999999999", "0x7fffffffffffff"] {
        server.run(&["DEL", &key]).await;
        server.run(&["RPUSH", &key, planted, planted, planted, planted, planted]).await;
        let after = refused_for(&side, &rule).await;
        assert!(close(after, Duration::from_millis(60_251)), "{planted}: {after:?}");
    }
    let cells = [Cell { limit: &rule, key: "10.0.0.7" }];
    // A call that was stamped again after the clock was set back stands behind those from before.
    server.run(&["DEL", &key]).await;
    server.run(&["RPUSH", &key, "99999999999999999", "99999999999999999"]).await;
    side.replicas.restamp(&cells, Stamp::of(99_999_999_999_999_999)).await.unwrap();
    let after = refused_for(&side, &rule).await;
    assert!(close(after, Duration::from_millis(60_251)), "{after:?}");
    let first: u64 =
        redis::cmd("LINDEX").arg(&key).arg(0).query_async(&mut server.other().await).await.unwrap();
    assert!(first < 99_999_999_999_999_999, "all count from now");
    server.run(&["DEL", &key]).await;
    server.run(&["SET", &key, "1"]).await;
    side.replicas.restamp(&cells, Stamp::of(5)).await.unwrap();
    assert_eq!(side.ask(&[&rule]).await.tightest.unwrap().remaining, 0);
    assert_eq!(side.replicas.snapshot().errors, 0);
}

/// Calls that wait for a token meanwhile are written after Redis is back, and nobody else may have their places.
#[tokio::test]
async fn reservations_are_counted_again_if_redis_comes_back_without_them() {
    let mut fleet = Fleet::new().await;
    let gateway = fleet.gateway(BOX).await;
    gateway.shares_with(1).await;
    let held = fleet.sandbox.hold_token_replies();
    fleet.sandbox.expire_tokens();
    let mut waiting = JoinSet::new();
    let retires = gateway.request(ME);
    waiting.spawn(async move { retires.send().await.unwrap().status() });
    fleet.sandbox.wait_for_calls(1).await;
    for _ in 0..3 {
        let query = fleet.client.post(gateway.url(QUERY)).body("{}");
        waiting.spawn(async move { query.send().await.unwrap().status() });
    }
    async fn reserved(fleet: &Fleet) -> usize {
        let keys = fleet.redis.keys("*}w:box-metadata-query:*").await;
        let Some(key) = keys.first() else { return 0 };
        redis::cmd("LLEN").arg(key).query_async(&mut fleet.redis.other().await).await.unwrap()
    }
    until(|| async { reserved(&fleet).await == 3 }).await;
    fleet.redis.kill();
    gateway.goes_alone().await;
    assert!(fleet.redis.launch().await);
    gateway.shares_with(1).await;
    until(|| async { reserved(&fleet).await == 3 }).await;
    drop(held);
    assert!(waiting.join_all().await.iter().all(|status| *status != 429));
}

async fn two(fleet: &Fleet) -> (Gateway, Gateway) {
    let (one, other) = tokio::join!(fleet.gateway(BOX), fleet.gateway(BOX));
    one.shares_with(2).await;
    other.shares_with(2).await;
    (one, other)
}

async fn delete(fleet: &Fleet, gateway: &Gateway) -> u16 {
    fleet.client.delete(gateway.url(POLICY)).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn attempts_of_two_gateways_count_against_one_limit() {
    let fleet = Fleet::new().await;
    let (one, other) = two(&fleet).await;
    fleet.sandbox.always_unauthorized(POLICY);
    assert_eq!(delete(&fleet, &one).await, 502, "two attempts with two tokens");
    assert_eq!(delete(&fleet, &other).await, 429);
    assert_eq!(delete(&fleet, &one).await, 429);
    assert_eq!(fleet.sandbox.seen().iter().filter(|seen| seen.method == Method::DELETE).count(), 2);
}

/// Requests wait for a token for several windows and are let go at once; all the time, and then, callers ask for more.
#[tokio::test]
async fn two_gateways_whose_requests_waited_for_a_token_do_not_bunch() {
    // Where a machine is so busy that Redis seems lost, windows are rightly not joint, and the run tells nothing.
    for _ in 0..8 {
        if run().await {
            return;
        }
    }
    panic!("Redis was lost in each run");
}

async fn run() -> bool {
    const CALLS: usize = 10;
    const WINDOW: Duration = Duration::from_secs(1);
    let fleet = Fleet::new().await;
    let (one, other) = two(&fleet).await;
    let held = fleet.sandbox.hold_token_replies();
    fleet.sandbox.expire_tokens();
    let mut waiting = JoinSet::new();
    // Their 401s retire the tokens; they are no queries.
    for gateway in [&one, &other] {
        let request = gateway.request(ME);
        waiting.spawn(async move { drop(request.send().await.unwrap()) });
    }
    fleet.sandbox.wait_for_calls(2).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Each that passed: when it was sent at the earliest and the latest.
    let passed = Arc::new(Mutex::new(Vec::new()));
    let refused = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for nth in 0..2 * CALLS {
        let url = [&one, &other][nth % 2].url(QUERY);
        let (client, stop, passed, refused) =
            (fleet.client.clone(), stop.clone(), passed.clone(), refused.clone());
        waiting.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let from = Instant::now();
                let answer = client.post(&url).body("{}").send().await.unwrap();
                if answer.status() == 429 {
                    refused.fetch_add(1, Ordering::Relaxed);
                    // So that a busy machine copes.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                } else {
                    passed.lock().unwrap().push((from, Instant::now()));
                }
            }
        });
    }
    until(|| async { refused.load(Ordering::Relaxed) > 0 }).await;
    let (before, began) = (fleet.sandbox.calls(), Instant::now());
    until(|| async { began.elapsed() > WINDOW * 3 }).await;
    let none_reached_box = fleet.sandbox.calls() == before;
    let released = Instant::now();
    drop(held);
    until(|| async { released.elapsed() > WINDOW * 3 }).await;
    stop.store(true, Ordering::Relaxed);
    waiting.join_all().await;
    if [&one, &other].iter().any(|gateway| gateway.lines(LOST) > 0) {
        return false;
    }
    assert!(none_reached_box);
    let passed: Vec<(Instant, Instant)> =
        passed.lock().unwrap().iter().map(|(from, until)| ((*from).max(released), *until)).collect();
    for (from, _) in &passed {
        let in_window = passed.iter().filter(|(at, until)| at >= from && *until <= *from + WINDOW).count();
        assert!(in_window <= CALLS, "{in_window}");
    }
    // At once, and since.
    assert!(passed.len() > CALLS, "{}", passed.len());
    true
}
