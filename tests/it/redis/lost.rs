//! Gateways whose Redis is slow, gone, not started yet, or refuses their password.

use boxgate::sandbox::MANAGED_USERS;

use super::fleet::{Fleet, Gateway, ME};
use super::*;

const LOST: &str = "unreachable since";
const BACK: &str = "reachable again after";
const LIMITED: &str = "rate_limit_exceeded";
const REFUSED: &str = "boxgate_limited_total{limit=\"joint\"}";

async fn note(gateway: &Gateway) -> String {
    let (status, text) = gateway.admin("/readyz").await;
    assert_eq!(status, 200, "{text}");
    text
}

/// Ten calls an hour between two, who lose Redis by `lose` and have it again by `find`.
async fn loses_and_finds(fleet: &mut Fleet, lose: impl Fn(&mut Server), find: impl AsyncFn(&mut Server)) {
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"global\"\nrate = \"1/h\"\nburst = 10\n";
    let (one, other) = tokio::join!(fleet.gateway(rule), fleet.gateway(rule));
    one.shares_with(2).await;
    other.shares_with(2).await;
    assert_eq!((note(&one).await, note(&other).await), ("ready\n".to_owned(), "ready\n".to_owned()));
    assert_eq!((one.pass(3, LIMITED).await, other.pass(3, LIMITED).await), (3, 3));
    lose(&mut fleet.redis);
    let operations = one.metric("boxgate_redis_operations_total").await;
    // Each has what is left of its share. One request waits for Redis to answer, and no other does.
    let began = Instant::now();
    assert_eq!((one.pass(30, LIMITED).await, other.pass(30, LIMITED).await), (2, 2));
    assert!(began.elapsed() < BOUND * 50, "{:?}", began.elapsed());
    for gateway in [&one, &other] {
        gateway.line(&[LOST, "at a share of 1/2"]).await;
        assert!(note(gateway).await.contains("Redis has not been usable for"), "{}", note(gateway).await);
        assert_eq!(gateway.metric("boxgate_redis_shared").await, 0.0);
        assert_eq!(gateway.metric("boxgate_redis_losses_total").await, 1.0);
        assert_eq!(gateway.metric(REFUSED).await, 28.0);
    }
    // A beat may have been under way.
    assert!(one.metric("boxgate_redis_operations_total").await <= operations + 2.0);
    assert!(one.metric("boxgate_redis_errors_total").await <= 2.0);
    find(&mut fleet.redis).await;
    for gateway in [&one, &other] {
        gateway.shares_with(2).await;
        assert_eq!(note(gateway).await, "ready\n");
    }
    let shared = one.metric("boxgate_redis_operations_total").await;
    one.pass(1, LIMITED).await;
    assert!(one.metric("boxgate_redis_operations_total").await > shared);
    for gateway in [&one, &other] {
        assert_eq!((gateway.lines(LOST), gateway.lines(BACK)), (1, 1), "once: {}", gateway.text());
    }
}

#[tokio::test]
async fn a_redis_that_hangs() {
    let mut fleet = Fleet::new().await;
    let lose = |redis: &mut Server| redis.signal("STOP");
    loses_and_finds(&mut fleet, lose, async |redis: &mut Server| redis.signal("CONT")).await;
}

#[tokio::test]
async fn a_redis_that_is_killed() {
    let mut fleet = Fleet::new().await;
    let find = async |redis: &mut Server| assert!(redis.launch().await);
    loses_and_finds(&mut fleet, Server::kill, find).await;
}

#[tokio::test]
async fn a_gateway_starts_and_serves_without_its_redis_and_finds_it_later() {
    let mut fleet = Fleet::new().await;
    fleet.redis.kill();
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"global\"\nrate = \"1/h\"\nburst = 10\n";
    let gateway = fleet.gateway(rule).await;
    assert_eq!(gateway.pass(12, LIMITED).await, 10);
    assert!(note(&gateway).await.contains("refused"), "{}", note(&gateway).await);
    assert!(fleet.redis.launch().await);
    gateway.shares_with(1).await;
    assert_eq!((gateway.lines(LOST), gateway.lines(BACK)), (1, 1));
    assert_eq!(gateway.get(ME).await.status(), 200);
    assert_eq!(fleet.values("l").await.len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_never_shown() {
    let fleet = Fleet::on(Server::with(&["--requirepass", "correct-horse"]).await).await;
    let port = fleet.redis.port;
    let gateway = fleet.gateway_at(&format!("redis://:hunter2-battery@127.0.0.1:{port}"), "").await;
    assert_eq!(gateway.get(ME).await.status(), 200);
    // Redis was reached, and an operator must act.
    let line = gateway.line(&["answers with errors since"]).await;
    let why = "the server says that user or password is wrong; check user and password in [state] redis";
    assert!(line.contains(&format!("Redis at 127.0.0.1:{port} ")) && line.contains(why), "{line}");
    assert!(note(&gateway).await.contains(why));
    let (_, metrics) = gateway.admin("/metrics").await;
    for text in [gateway.text(), note(&gateway).await, metrics] {
        assert!(!text.contains("hunter2") && !text.contains("battery"), "{text}");
    }
    let right = fleet.gateway_at(&format!("redis://:correct-horse@127.0.0.1:{port}"), "").await;
    right.shares_with(1).await;
    assert!(!right.text().contains("correct-horse"));
}

#[tokio::test]
async fn redis_holds_no_token_path_user_or_address() {
    let fleet = Fleet::new().await;
    let more = "[[limit]]\nname = \"by-client\"\nkey = \"client\"\nrate = \"1/min\"\nburst = 100\n\n\
                [[limit]]\nname = \"by-user\"\nkey = \"user\"\nrate = \"1/min\"\nburst = 100\n\n\
                [[limit]]\nname = \"by-path\"\nkey = \"identity\"\non = [\"GET /2.0/files/*\"]\nrate = \"1/h\"\n\n\
                [[budget]]\nname = \"by-app\"\nkey = \"app\"\ncalls = 100\n";
    let gateway = fleet.gateway(more).await;
    fleet
        .sandbox
        .script("/2.0/files/5550123", vec![boxgate::sandbox::Fault::RateLimited { retry_after: 60 }]);
    for path in ["/2.0/files/5550123?fields=distinctive", "/2.0/folders/5550124/items", ME] {
        let request = gateway.request(path).header("As-User", MANAGED_USERS[0]);
        request.header("X-Forwarded-For", "203.0.113.77").send().await.unwrap();
    }
    until(|| async { !fleet.values("p").await.is_empty() && fleet.values("l").await.len() == 3 }).await;
    let mut everything = String::new();
    let mut other = fleet.redis.other().await;
    for key in fleet.redis.keys("*").await {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut other).await.unwrap();
        let mut dump = redis::cmd(if kind == "zset" { "ZRANGE" } else { "GET" });
        dump.arg(&key);
        if kind == "zset" {
            dump.arg(0).arg(-1);
        }
        let value: redis::Value = dump.query_async(&mut other).await.unwrap();
        everything.push_str(&format!("{key} {value:?}\n"));
    }
    assert!(everything.contains("by-client") && everything.contains("by-app"), "{everything}");
    let seen = fleet.sandbox.seen();
    let bearer = seen.iter().find_map(|seen| seen.headers.get("authorization")?.to_str().ok()).unwrap();
    let token = bearer.strip_prefix("Bearer ").unwrap();
    let secrets = [token, fleet.sandbox.client_secret(), fleet.sandbox.client_id()];
    let callers = [MANAGED_USERS[0], "203.0.113", "5550123", "5550124", "distinctive", "folders", "files"];
    for word in secrets.iter().chain(&callers) {
        assert!(!everything.contains(word), "{word}: {everything}");
    }
}
