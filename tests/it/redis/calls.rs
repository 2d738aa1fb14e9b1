//! `/usage.json` of gateways that share a Redis: the calls of all of them.

use serde_json::Value;

use super::fleet::{Fleet, Gateway, ME};
use super::*;

async fn usage(gateway: &Gateway, query: &str) -> Value {
    let (status, text) = gateway.admin(&format!("/usage.json?{query}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// What `/usage.csv` says of the calls of other replicas.
async fn said_with_csv(gateway: &Gateway) -> Option<String> {
    gateway.admin_field("/usage.csv", "x-boxgate-replicas").await
}

/// Requests that the sandbox got, for the API and for tokens.
fn got(fleet: &Fleet) -> u64 {
    (fleet.sandbox.calls() + fleet.sandbox.token_requests()) as u64
}

/// Waits until this gateway says that all replicas have made the calls that Box got.
async fn knows_all(fleet: &Fleet, gateway: &Gateway) {
    let mut last = Value::Null;
    let knowing = async {
        loop {
            last = usage(gateway, "by=app,day").await;
            if (last["replicas"].as_str(), last["calls"].as_u64()) == (Some("all"), Some(got(fleet))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let knows = tokio::time::timeout(PATIENCE, knowing).await;
    assert!(knows.is_ok(), "Box got {}, and the gateway says {last}", got(fleet));
}

async fn call(gateway: &Gateway, times: usize) {
    assert_eq!(gateway.pass(times, "").await, times);
}

/// The calls of the app, by the gateway's own metric.
async fn own(gateway: &Gateway) -> u64 {
    let (_, text) = gateway.admin("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("boxgate_box_calls{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn every_replica_says_the_calls_of_all() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.gateway("").await, fleet.gateway("").await);
    call(&one, 3).await;
    call(&other, 2).await;
    for gateway in [&one, &other] {
        knows_all(&fleet, gateway).await;
    }
    let classes = usage(&one, "by=app,class").await;
    let row = |app: &str, class: &str, calls: u64| -> Value {
        serde_json::json!({"app": app, "class": class, "calls": calls})
    };
    assert_eq!(classes["rows"], serde_json::json!([row("", "token", 2), row("intranet", "general", 5)]));
    assert_eq!(classes["replicas_reason"], Value::Null);
    let (_, page) = one.admin("/?view=usage").await;
    let total = page.split("class=\"total\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    assert!(total.contains("<td class=\"n\">7</td>"), "{total}");
    assert!(page.contains("<p>of all replicas, as Redis has them;"), "{page}");
    assert_eq!((own(&one).await, own(&other).await), (4, 3), "metrics are each replica's own");
    // What another program writes changes nothing.
    for junk in ["", "a/b", "x/intranet/service/general/more", "x/in\u{1b}tranet/service/general"] {
        let key = fleet.redis.keys("*}c:*").await.pop().unwrap();
        fleet.redis.run(&["HSET", &key, junk, "1000"]).await;
        fleet.redis.run(&["HSET", &key, "x/intranet/service/general", "many"]).await;
    }
    fleet.redis.run(&["ZADD", "{boxgate:}calls", "1", "month/never", "2", "replica/x", "3", "y"]).await;
    call(&other, 1).await;
    knows_all(&fleet, &one).await;
    let months = usage(&one, "").await["months"].clone();
    assert_eq!(months.as_array().unwrap().len(), 1, "{months}");
}

#[tokio::test]
async fn calls_are_counted_once_over_restarts_and_losses_of_redis() {
    let mut fleet = Fleet::new().await;
    let (one, mut other) = (fleet.gateway("").await, fleet.gateway("").await);
    call(&one, 3).await;
    call(&other, 2).await;
    knows_all(&fleet, &one).await;
    other.stop().await;
    knows_all(&fleet, &one).await;
    let other = other.again().await;
    knows_all(&fleet, &other).await;
    call(&other, 4).await;
    knows_all(&fleet, &one).await;
    assert_eq!(said_with_csv(&one).await, None);
    // Redis is away, and comes back with nothing in it.
    fleet.redis.kill();
    one.goes_alone().await;
    other.goes_alone().await;
    call(&one, 5).await;
    let alone = usage(&one, "").await;
    assert_eq!(
        (&alone["replicas"], alone["calls"].as_u64()),
        (&"this process only".into(), Some(own(&one).await))
    );
    let why = alone["replicas_reason"].as_str().unwrap();
    assert!(why.starts_with("Redis has not been usable for "), "{why}");
    let (_, page) = one.admin("/?view=usage").await;
    let words = "<p>of this process only, not of all replicas: Redis has not been usable for ";
    assert!(page.contains(words), "{page}");
    let said = said_with_csv(&one).await.unwrap();
    assert!(said.starts_with("this process only; Redis has not been usable for "), "{said}");
    assert!(fleet.redis.launch().await, "it gets its port back");
    knows_all(&fleet, &other).await;
    knows_all(&fleet, &one).await;
    // Redis loses its data, and no connection.
    fleet.redis.run(&["FLUSHALL"]).await;
    call(&one, 1).await;
    knows_all(&fleet, &other).await;
    knows_all(&fleet, &one).await;
}

#[tokio::test]
async fn without_the_rights_for_it_a_replica_says_its_own_calls_and_limits_stay_shared() {
    let fleet = Fleet::new().await;
    let rights = "on >PASSWORD resetkeys ~{boxgate:}* resetchannels -@all +eval +evalsha +time +mget +set +type \
                  +del +zadd +zrem +zremrangebyscore +zcard +pexpire +hello +auth +select";
    let words: Vec<&str> = rights.split(' ').collect();
    fleet.redis.run(&[&["ACL", "SETUSER", "boxgate"], &words[..]].concat()).await;
    let url = fleet.redis.url().replace("redis://", "redis://boxgate:PASSWORD@");
    let gateway = fleet.gateway_at(&url, "").await;
    gateway.shares_with(1).await;
    assert_eq!(gateway.get(ME).await.status(), 200);
    gateway.line(&["does not take this replica's counts", "/usage.json"]).await;
    let alone = usage(&gateway, "").await;
    assert_eq!((&alone["replicas"], alone["calls"].as_u64()), (&"this process only".into(), Some(2)));
    let why = alone["replicas_reason"].as_str().unwrap();
    assert!(why.contains("permissions") && !why.contains("PASSWORD"), "{why}");
    assert_eq!(gateway.metric("boxgate_redis_shared").await, 1.0);
    assert_eq!(gateway.metric("boxgate_redis_losses_total").await, 0.0);
}
