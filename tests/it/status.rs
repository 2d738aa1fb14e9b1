//! `GET /status.json` and `GET /history.json`: what they say in good and in bad states.

mod documented; // the fields that the documents list

use std::time::Duration;

use boxgate::sandbox::{Fault, Options, Role, Sandbox, TokenAnswer};
use boxgate::server::shutdown::Stop;
use serde_json::Value;

use crate::harness::{Bench, in_time, until};

const ME: &str = "/2.0/users/me";
const SEARCH: &str = "/2.0/search?query=a";
const APPS: &str = "[[app]]\nname = \"a\"\npath = \"/a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n";

async fn status(bench: &Bench) -> Value {
    let (status, text) = bench.admin("/status.json").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The slots of the last day.
async fn slots(bench: &Bench, query: &str) -> Vec<Value> {
    let (status, text) = bench.admin(&format!("/history.json{query}")).await;
    assert_eq!(status, 200, "{text}");
    let history: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(history["slot_seconds"], 300);
    history["slots"].as_array().unwrap().clone()
}

/// The entry of a list whose field has this value.
fn entry<'s>(list: &'s Value, field: &str, value: &str) -> &'s Value {
    let entries = list.as_array().unwrap();
    entries.iter().find(|entry| entry[field] == value).unwrap_or_else(|| panic!("no {value}: {list:#}"))
}

fn app<'s>(status: &'s Value, name: &str) -> &'s Value {
    entry(&status["apps"], "name", name)
}

/// Polls until the document fulfils this: a request is counted once its record is dropped.
async fn becomes(bench: &Bench, holds: impl Fn(&Value) -> bool) -> Value {
    until(|| async { holds(&status(bench).await) }).await;
    status(bench).await
}

fn seconds(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    assert_eq!(text.len(), "2026-11-26T09:00:00Z".len(), "{text}");
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn host(url: &str) -> &str {
    url.trim_start_matches("https://").split('/').next().unwrap()
}

#[tokio::test]
async fn a_gateway_that_works_tells_so() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    let now = status(&bench).await;
    assert_eq!((&now["ready"], &now["draining"]), (&true.into(), &false.into()));
    assert_eq!((&now["reasons"], &now["notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(now["version"], env!("CARGO_PKG_VERSION"));
    assert!((0..60).contains(&(seconds(&now["now"]) - seconds(&now["started"]))), "{now:#}");
    assert!(now["config"]["reload"].is_null() && now["config"]["in_use_since"] == now["started"]);
    let identity = entry(&now["identities"], "name", "service");
    assert_eq!((&identity["state"], &identity["reason"]), (&"valid".into(), &Value::Null));
    assert_eq!(identity["subject"], format!("enterprise {}", bench.sandbox.enterprise_id()));
    assert_eq!((&identity["obtained"], &identity["failed"]), (&1.into(), &0.into()));
    let left = identity["expires_in_seconds"].as_i64().unwrap();
    assert!(((seconds(&identity["expires"]) - seconds(&now["now"])) - left).abs() <= 1, "{identity:#}");
    assert!(seconds(&identity["renewed"]) - seconds(&now["started"]) < 60);
    assert_eq!(now["connections"]["refused"], 0);
    assert!(now["connections"]["max"].as_u64().unwrap() > 0);
    assert!(now["tunnels"].is_null() && now["redis"].is_null());
    assert_eq!(now["pauses"], Value::Array(vec![]));
}

#[tokio::test]
async fn requests_of_the_last_five_minutes_equal_the_metrics_and_slide() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    for _ in 0..3 {
        assert_eq!(bench.get(&format!("/a{ME}")).await.status(), 200);
    }
    assert_eq!(bench.get("/b/2.0/files/404404").await.status(), 404);
    bench.sandbox.script(ME, vec![Fault::status(500)]);
    assert_eq!(bench.get(&format!("/b{ME}")).await.status(), 500);
    assert_eq!(bench.get("/nowhere").await.status(), 404);
    let now = becomes(&bench, |now| now["requests"]["requests"] == 6).await;
    let (_, metrics) = bench.admin("/metrics").await;
    for (name, requests) in [("a", 3), ("b", 2), ("", 1)] {
        let start = format!("boxgate_requests_total{{app=\"{name}\",");
        let lines = metrics.lines().filter(|line| line.starts_with(&start));
        let counted: u64 = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        let of_it = match name {
            "" => &now["requests_of_no_app"],
            name => &app(&now, name)["last_5_minutes"],
        };
        assert_eq!((counted, &of_it["requests"]), (requests, &requests.into()), "{name}");
        assert!(
            of_it["p50_ms"].as_f64().unwrap() > 0.0 && of_it["p95_ms"].as_f64() >= of_it["p50_ms"].as_f64()
        );
    }
    let b = &app(&now, "b")["last_5_minutes"];
    assert_eq!((&b["status_4xx"], &b["status_5xx"], &b["status_429"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(
        (&app(&now, "a")["calls_this_month"], &app(&now, "b")["calls_this_month"]),
        (&3.into(), &2.into())
    );
    let api = entry(&now["box"], "host", host(&bench.sandbox.api_url()));
    assert_eq!(api["last_5_minutes"]["requests"], 5);
    assert!(api["last_5_minutes"]["p95_ms"].as_f64().unwrap() > 0.0);

    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.get(&format!("/a{ME}")).await.status(), 200);
    becomes(&bench, |now| now["requests"]["requests"] == 7).await;
    bench.clock.advance(Duration::from_secs(150));
    let later = becomes(&bench, |now| now["requests"]["requests"] == 1).await;
    assert_eq!(app(&later, "a")["last_5_minutes"]["requests"], 1);
    assert!(app(&later, "b")["last_5_minutes"]["p50_ms"].is_null());
    assert_eq!(app(&later, "b")["calls_this_month"], 2);
}

#[tokio::test]
async fn the_day_has_slots_of_five_minutes() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    assert!(slots(&bench, "").await.is_empty());
    assert_eq!(bench.get(&format!("/a{ME}")).await.status(), 200);
    becomes(&bench, |now| now["requests"]["requests"] == 1).await;
    // Far enough for another slot, whatever the time is.
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.get(&format!("/b{ME}")).await.status(), 200);
    assert_eq!(bench.get(&format!("/a{ME}")).await.status(), 200);
    becomes(&bench, |now| now["requests"]["requests"] == 2).await;
    let (all, of_a, of_b) =
        (slots(&bench, "").await, slots(&bench, "?app=a").await, slots(&bench, "?app=b").await);
    let requests =
        |slots: &[Value]| slots.iter().map(|slot| slot["requests"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((requests(&all), requests(&of_a), requests(&of_b)), (vec![1, 2], vec![1, 1], vec![1]));
    let begins: Vec<i64> = all.iter().map(|slot| seconds(&slot["begins"])).collect();
    assert!(begins.iter().all(|begins| begins % 300 == 0) && [600, 900].contains(&(begins[1] - begins[0])));
    let api = bench.sandbox.api_url();
    let of_host = slots(&bench, &format!("?host={}", host(&api))).await;
    assert_eq!(requests(&of_host), [1, 2]);
    assert!(slots(&bench, "?app=").await.is_empty());
    bench.clock.advance(Duration::from_secs(86_400));
    assert!(slots(&bench, "").await.is_empty() && slots(&bench, "?app=a").await.is_empty());
}

#[tokio::test]
async fn unknown_names_and_parameters_of_the_history_are_errors_in_boxs_shape() {
    let bench = Bench::with(APPS).await;
    for (query, status, code, words) in [
        ("?app=c", 404, "not_found", "app=\"c\""),
        ("?app=%20", 404, "not_found", "/status.json lists the apps"),
        ("?host=evil.example", 404, "not_found", "host=\"evil.example\""),
        ("?apps=a", 400, "bad_request", "\"apps\" is not known here; allowed: app and host"),
        ("?app=a&host=b", 400, "bad_request", "\"host\" is one too many"),
        ("?app=a&app=a", 400, "bad_request", "\"app\" is one too many"),
    ] {
        let at = format!("http://{}/history.json{query}", bench.admin);
        let answer = bench.client.get(at).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json", "{query}");
        assert_eq!(answer.status(), status, "{query}");
        let error: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!((&error["type"], &error["status"]), (&"error".into(), &status.into()), "{query}: {error}");
        assert_eq!(error["code"], code, "{query}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{query}: {error}");
        assert!(error["help_url"].as_str().unwrap().ends_with(&format!("/errors/{code}")), "{error}");
    }
    // What is quoted is bounded.
    let (_, text) = bench.admin(&format!("/history.json?app={}", "x".repeat(5000))).await;
    assert!(text.len() < 600, "{text}");
}

#[tokio::test]
async fn a_refused_identity_says_why() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", "The client credentials are invalid")));
    let bench = Bench::before(sandbox, "").await;
    in_time(bench.sandbox.wait_for_token_requests(1)).await;
    let first = status(&bench).await;
    let identity = &first["identities"][0];
    assert_eq!((&identity["state"], &identity["expires"]), (&"waiting".into(), &Value::Null));
    assert_eq!(
        (&first["ready"], &first["reasons"][0]),
        (&false.into(), &"identity service: the first token is being obtained".into())
    );
    drop(held);
    let refused = becomes(&bench, |now| now["identities"][0]["state"] == "refused").await;
    let identity = &refused["identities"][0];
    let reason = "Box refuses the credentials: invalid_client (The client credentials are invalid)";
    assert_eq!((&identity["reason"], &identity["failed"]), (&reason.into(), &1.into()));
    assert!(
        (1..=10).contains(&(seconds(&identity["next_attempt"]) - seconds(&refused["now"]))),
        "{identity:#}"
    );
    assert_eq!(refused["reasons"], Value::Array(vec![format!("identity service: {reason}").into()]));
    assert_eq!(bench.admin("/readyz").await, (503, format!("identity service: {reason}\n")));
    // Refused credentials are no outage of a host.
    assert!(refused["box"].as_array().unwrap().iter().all(|host| host["up"] == true), "{refused:#}");
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_told_while_the_token_is_valid_and_after() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.set_token_lifetime(Duration::from_secs(1000));
    let bench = Bench::before(sandbox, "").await;
    bench.until_ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::Status(500)));
    bench.clock.advance(Duration::from_secs(800));
    let now = becomes(&bench, |now| !now["identities"][0]["reason"].is_null()).await;
    assert_eq!((&now["identities"][0]["state"], &now["ready"]), (&"valid".into(), &true.into()));
    bench.clock.advance(Duration::from_secs(300));
    let now = becomes(&bench, |now| now["identities"][0]["state"] == "unavailable").await;
    assert!(now["reasons"][0].as_str().unwrap().starts_with("identity service: no valid token: "), "{now:#}");
    let endpoint = entry(&now["box"], "host", host(&bench.sandbox.token_url()));
    assert_eq!(endpoint["up"], false);
    assert!(endpoint["reason"].as_str().unwrap().starts_with("gives no token ("), "{endpoint:#}");
}

#[tokio::test]
async fn a_host_of_box_that_is_down_says_since_when_and_why() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.go_down(Role::Api).await;
    assert_eq!(bench.get(ME).await.status(), 502);
    let (api, upload) = (bench.sandbox.api_url(), bench.sandbox.upload_url());
    let now = becomes(&bench, |now| now["requests"]["status_5xx"] == 1).await;
    let down = entry(&now["box"], "host", host(&api));
    assert_eq!(down["up"], false);
    assert!(down["reason"].as_str().unwrap().starts_with("unreachable ("), "{down:#}");
    assert!((0..60).contains(&(seconds(&now["now"]) - seconds(&down["since"]))), "{now:#}");
    assert_eq!(down["last_5_minutes"], serde_json::json!({"requests": 0, "p50_ms": null, "p95_ms": null}));
    assert_eq!(entry(&now["box"], "host", host(&upload))["up"], true);
    bench.sandbox.come_up(Role::Api).unwrap();
    until(|| async { bench.get(ME).await.status() == 200 }).await;
    let up = becomes(&bench, |now| entry(&now["box"], "host", host(&api))["up"] == true).await;
    assert!(entry(&up["box"], "host", host(&api))["since"].is_null());
}

#[tokio::test]
async fn a_pause_and_its_429s_are_told() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    bench.sandbox.script("/2.0/search", vec![Fault::RateLimited { retry_after: 200 }]);
    for _ in 0..2 {
        assert_eq!(bench.get(&format!("/a{SEARCH}")).await.status(), 429);
    }
    let now = becomes(&bench, |now| app(now, "a")["last_5_minutes"]["status_429"] == 2).await;
    assert_eq!(app(&now, "a")["last_5_minutes"]["status_4xx"], 2);
    let pause = &now["pauses"][0];
    assert_eq!((&pause["identity"], &pause["class"]), (&"service".into(), &"search".into()));
    assert!(pause["as_user"].is_null() && pause["operation"].is_null(), "{pause:#}");
    let left = pause["seconds_left"].as_i64().unwrap();
    assert!((100..=200).contains(&left), "{left}");
    assert!(((seconds(&pause["until"]) - seconds(&now["now"])) - left).abs() <= 1);
    assert_eq!(now["pauses_in_force"], 1);
    assert_eq!(entry(&now["limits"], "name", "box-pause")["limited"], 1);
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(status(&bench).await["pauses"], Value::Array(vec![]));
}

#[tokio::test]
async fn a_full_limit_tells_who_waits_and_who_was_refused() {
    let line = "[limits]\nbox_defaults = false\n[[limit]]\nname = \"line\"\nkey = \"client\"\n\
                rate = \"5/min\"\nburst = 1\nwait = \"30s\"\n\
                [[limit]]\nname = \"apps\"\nkey = \"app\"\nrate = \"1000/min\"\nenforce = false\n";
    let bench = Bench::with(&format!("{line}{APPS}")).await;
    assert_eq!(bench.get(&format!("/a{ME}")).await.status(), 200);
    let mut waiting = Vec::new();
    for (nth, app) in ["a", "b"].into_iter().enumerate() {
        waiting.push(tokio::spawn(bench.client.get(bench.url(&format!("/{app}{ME}"))).send()));
        becomes(&bench, |now| entry(&now["limits"], "name", "line")["waiting"] == nth + 1).await;
    }
    assert_eq!(bench.get(&format!("/b{ME}")).await.status(), 429);
    let now = becomes(&bench, |now| app(now, "b")["last_5_minutes"]["status_429"] == 1).await;
    let line = entry(&now["limits"], "name", "line");
    let full = serde_json::json!([{"key": "127.0.0.1", "used": 1.0, "waiting": 2}]);
    assert_eq!((&line["fullest"], &line["limited"]), (&full, &1.into()));
    assert_eq!((&line["rate"], &line["key"], &line["burst"]), (&"5/min".into(), &"client".into(), &1.into()));
    assert_eq!((&line["enforced"], &line["share"]), (&true.into(), &1.into()));
    assert_eq!(entry(&now["limits"], "name", "apps")["enforced"], false);
    let mut waits: Vec<String> = now["waiting"].as_array().unwrap().iter().map(Value::to_string).collect();
    waits.sort();
    let of = |app| serde_json::json!({"limit": "line", "app": app, "requests": 1}).to_string();
    assert_eq!(waits, [of("a"), of("b")]);
    assert_eq!((&app(&now, "a")["in_flight"], &app(&now, "b")["in_flight"]), (&1.into(), &1.into()));
    for calls in 2..=3 {
        bench.clock.advance(Duration::from_secs(12));
        in_time(bench.sandbox.wait_for_calls(calls)).await;
    }
    for answer in waiting {
        assert_eq!(in_time(answer).await.unwrap().unwrap().status(), 200);
    }
    let now = becomes(&bench, |now| app(now, "a")["in_flight"] == 0 && app(now, "b")["in_flight"] == 0).await;
    assert_eq!(now["waiting"], Value::Array(vec![]));
    assert_eq!(entry(&now["limits"], "name", "line")["waiting"], 0);
}

#[tokio::test]
async fn requests_in_flight_count_until_the_last_byte() {
    let bench = Bench::with("[[app]]\nname = \"a\"\nmax_in_flight = 4\n").await;
    bench.until_ready().await;
    let held = bench.sandbox.hold_replies(ME);
    let asking: Vec<_> = (0..3).map(|_| tokio::spawn(bench.client.get(bench.url(ME)).send())).collect();
    in_time(bench.sandbox.wait_for_in_flight(3)).await;
    let now = status(&bench).await;
    assert_eq!(app(&now, "a")["in_flight"], 3);
    let full = serde_json::json!([{"key": "a", "used": 0.75, "waiting": 0}]);
    assert_eq!(entry(&now["limits"], "name", "max-in-flight")["fullest"], full);
    assert!(now["connections"]["open"].as_u64().unwrap() >= 3);
    drop(held);
    for answer in asking {
        assert!(!in_time(answer).await.unwrap().unwrap().bytes().await.unwrap().is_empty());
    }
    becomes(&bench, |now| app(now, "a")["in_flight"] == 0).await;
}

#[tokio::test]
async fn a_budget_that_is_half_spent_tells_its_figures() {
    let budget =
        "[[budget]]\nname = \"plan\"\nkey = \"app\"\nper = \"day\"\ncalls = 4\nwhen_spent = \"warn\"\n";
    let bench = Bench::with(&format!("{budget}{APPS}")).await;
    for _ in 0..2 {
        assert_eq!(bench.get(&format!("/b{ME}")).await.status(), 200);
    }
    let now = status(&bench).await;
    let of_b = entry(&now["budgets"], "value", "b");
    let ends = &of_b["ends"];
    assert_eq!(seconds(ends) % 86_400, 0);
    let want = serde_json::json!({
        "name": "plan", "key": "app", "value": "b", "per": "day", "calls": 4, "used": 2,
        "forecast": of_b["forecast"], "refused": 0, "ends": ends, "when_spent": "warn", "enforced": true,
    });
    assert_eq!(of_b, &want);
    assert_eq!(entry(&now["budgets"], "value", "a")["used"], 0);
    assert_eq!(now["month"].as_str().unwrap(), &now["now"].as_str().unwrap()[.."2026-11".len()]);
    assert!(seconds(&now["counting_since"]) >= seconds(&now["started"]) - 60);
}

#[tokio::test]
async fn a_gateway_that_drains_is_not_ready_and_says_so() {
    let bench = Bench::with("[server]\ndrain_delay = \"600s\"\n").await;
    bench.until_ready().await;
    bench.stop(Stop::Drain);
    let now = becomes(&bench, |now| now["draining"] == true).await;
    assert_eq!((&now["ready"], &now["reasons"]), (&false.into(), &serde_json::json!(["draining"])));
    bench.stop(Stop::Now);
    bench.stopped().await;
}

#[tokio::test]
async fn no_secret_and_no_token_is_ever_in_it() {
    const SECRET: &str = "canary/client+secret-7c1f";
    let sandbox =
        Sandbox::start(Options { client_secret: SECRET.to_owned(), ..Options::default() }).await.unwrap();
    let bench = Bench::before(sandbox, "").await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let token = bench.sandbox.last_seen().unwrap().headers["authorization"].to_str().unwrap().to_owned();
    let token = token.strip_prefix("Bearer ").unwrap().to_owned();
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", &format!("{SECRET} and {token}"))));
    bench.sandbox.expire_tokens();
    assert_eq!(bench.get(ME).await.status(), 502);
    let (_, text) = bench.admin("/status.json").await;
    assert!(text.contains("[secret] and [secret]"), "{text}");
    assert!(!text.contains(SECRET) && !text.contains(&token), "{text}");
    let (_, text) = bench.admin(&format!("/history.json?app={}", SECRET.replace('+', "%2B"))).await;
    assert!(text.contains("[secret]") && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn it_is_guarded_like_the_other_paths() {
    let bench = Bench::start().await;
    let at = |path: &str| format!("http://{}{path}", bench.admin);
    for path in ["/status.json", "/history.json"] {
        let answer = bench.client.get(at(path)).send().await.unwrap();
        let fields = answer.headers();
        assert_eq!(
            (&fields["content-type"], &fields["cache-control"]),
            (&"application/json".parse().unwrap(), &"private, no-store".parse().unwrap())
        );
        assert_eq!(fields["x-content-type-options"], "nosniff");
        let head = bench.client.head(at(path)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
        let posted = bench.client.post(at(path)).send().await.unwrap();
        assert_eq!(posted.status(), 405);
        let rebound = bench.client.get(at(path)).header("host", "evil.example").send().await.unwrap();
        assert_eq!(rebound.status(), 421);
    }
    let (status, text) = bench.admin("/nothing").await;
    assert!(status == 404 && text.contains("/status.json") && text.contains("/history.json"), "{text}");
    let elsewhere = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nsources = [\"192.0.2.0/24\"]\n").await;
    assert_eq!(elsewhere.admin("/status.json").await.0, 403);
}

#[tokio::test]
async fn a_thousand_apps_are_all_there() {
    let apps: String =
        (0..1000).map(|nth| format!("[[app]]\nname = \"a{nth}\"\npath = \"/a{nth}\"\n")).collect();
    let bench = Bench::with(&apps).await;
    bench.until_ready().await;
    for nth in [0, 500, 999] {
        assert_eq!(bench.get(&format!("/a{nth}{ME}")).await.status(), 200);
    }
    let now = becomes(&bench, |now| now["requests"]["requests"] == 3).await;
    let busy = now["apps"].as_array().unwrap().iter().filter(|app| app["last_5_minutes"]["requests"] == 1);
    assert_eq!((now["apps"].as_array().unwrap().len(), busy.count()), (1000, 3));
}
