//! A budget of two gateways.

use std::sync::Arc;

use boxgate::sandbox::Role;
use tokio::io::AsyncWriteExt;

use super::fleet::{Fleet, ME};
use super::{Server, until};
use crate::harness::Bench;
use crate::raw::raw_box::RawBox;
use crate::raw::reading_box::ReadingBox;

const TEN: &str = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 10\n";
const HUNDRED: &str = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 100\n";
const SPENT: &str = "budget_spent";
const USED: &str = r#"boxgate_budget_used_calls{budget="plan",key="global",value=""}"#;

#[tokio::test]
async fn a_budget_of_ten_calls_is_exact_for_both_gateways_whatever_restarts() {
    let mut fleet = Fleet::new().await;
    let (one, mut other) = tokio::join!(fleet.gateway(TEN), fleet.gateway(TEN));
    for _ in 0..5 {
        assert_eq!((one.pass(1, SPENT).await, other.pass(1, SPENT).await), (1, 1));
    }
    assert_eq!((one.pass(1, SPENT).await, other.pass(1, SPENT).await), (0, 0));
    assert_eq!((one.metric(USED).await, other.metric(USED).await), (10.0, 10.0));
    // Redis has forgotten everything.
    fleet.redis.kill();
    one.goes_alone().await;
    other.goes_alone().await;
    assert!(fleet.redis.launch().await);
    one.shares_with(2).await;
    assert_eq!((one.pass(1, SPENT).await, other.pass(1, SPENT).await), (0, 0));
    // So has a replica: killed long after its last call, and again after Redis was emptied.
    other.stop().await;
    let mut other = other.again().await;
    assert_eq!(other.pass(1, SPENT).await, 0);
    other.stop().await;
    fleet.redis.run(&["FLUSHALL"]).await;
    let other = other.again().await;
    assert_eq!(other.pass(1, SPENT).await, 0);
    assert_eq!(other.metric(USED).await, 10.0);
    assert_eq!(fleet.sandbox.calls(), 10);
}

#[tokio::test]
async fn locally_counted_calls_are_added_when_redis_is_back() {
    let fleet = Fleet::new().await;
    let (one, other) = tokio::join!(fleet.gateway(HUNDRED), fleet.gateway(HUNDRED));
    assert_eq!((one.pass(3, SPENT).await, other.pass(3, SPENT).await), (3, 3));
    fleet.redis.signal("STOP");
    assert_eq!((one.pass(4, SPENT).await, other.pass(2, SPENT).await), (4, 2));
    fleet.redis.signal("CONT");
    one.shares_with(2).await;
    other.shares_with(2).await;
    for _ in 0..2 {
        assert_eq!((one.pass(1, SPENT).await, other.pass(1, SPENT).await), (1, 1));
    }
    assert_eq!(fleet.sandbox.calls(), 16);
    // The two questions that were under way may have been carried out all the same.
    let count = other.metric(USED).await;
    assert!((16.0..=18.0).contains(&count), "{count}");
    assert_eq!(fleet.values("b").await, [count.to_string()]);
}

#[tokio::test]
async fn calls_to_an_unreachable_box_are_not_charged() {
    let fleet = Fleet::new().await;
    let gateway = fleet.gateway(TEN).await;
    assert_eq!(gateway.pass(2, SPENT).await, 2);
    fleet.sandbox.go_down(Role::Api).await;
    assert_eq!(gateway.get(ME).await.status(), 502);
    let used = gateway.metric(USED).await;
    for _ in 0..6 {
        assert_eq!(gateway.get(ME).await.status(), 502);
    }
    assert_eq!(gateway.metric(USED).await, used);
    fleet.sandbox.come_up(Role::Api).unwrap();
    // The first request may have been written to a connection whose end was not known yet; that is a call.
    let passed = gateway.pass(9, SPENT).await;
    assert!([7, 8].contains(&passed), "{passed}");
    assert_eq!(fleet.values("b").await, ["10"]);
}

/// Box accepts connections but does no handshake, and callers give up: the calls that Redis has counted for them pay
/// for later ones.
#[tokio::test]
async fn requests_whose_callers_leave_before_they_are_sent_are_not_charged() {
    let redis = Server::start().await;
    let at = Arc::new(RawBox::start(true).await);
    let folder = std::env::temp_dir().join(format!("boxgate-it-{:016x}", fastrand::u64(..)));
    let more = format!(
        "{TEN}[state]\ndir = {folder:?}\nredis = {:?}\n[upstream]\nproxy = \"none\"\nconnect_timeout = \"10m\"\n",
        redis.url()
    );
    let bench = Bench::before_raw(&at, &more).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut socket = bench.connect().await;
        socket.write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        waiting.push(socket);
    }
    until(|| async { bench.metric(USED).await == 10.0 }).await;
    assert_eq!(bench.get(ME).await.status(), 403);
    drop(waiting);
    until(|| async { bench.metric("boxgate_connections").await <= 1.0 }).await;
    let _serving = ReadingBox::serve(at);
    for _ in 0..10 {
        assert_eq!(bench.get(ME).await.status(), 200);
    }
    assert_eq!(bench.get(ME).await.status(), 403);
    let _ = std::fs::remove_dir_all(folder);
}
