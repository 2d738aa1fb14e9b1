//! What is told of one request.

use std::collections::BTreeSet;
use std::time::Duration;

use boxgate::sandbox::Fault;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::{APPS, ME, ask, request, requests};
use crate::harness::{Bench, in_time, until};

const DOCUMENT: &str = include_str!("../../../docs/observability.md");

fn millis(entry: &Value, field: &str) -> f64 {
    entry[field].as_f64().unwrap_or_else(|| panic!("{field} in {entry:#}"))
}

#[tokio::test]
async fn an_answer_of_box_has_its_way_and_its_times() {
    let more = format!("{APPS}as_user = [\"*\"]\n");
    let bench = Bench::with(&more).await;
    bench.until_ready().await;
    let user = "11446498";
    let asked = bench
        .client
        .get(bench.url(&format!("/b{ME}?fields=name")))
        .header("x-request-id", "mine")
        .header("as-user", user)
        .header("user-agent", "job/1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let length = answer.bytes().await.unwrap().len();
    let entry = request(&bench, "mine").await;
    for (field, value) in [
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("client", "127.0.0.1"),
        ("user_agent", "job/1"),
        ("app", "b"),
        ("identity", "service"),
        ("as_user", user),
        ("method", "GET"),
        ("path", &format!("/b{ME}")),
        ("operation", "GET /2.0/users/me"),
        ("class", "general"),
        ("answered_by", "box"),
        ("end", "complete"),
        ("host", bench.sandbox.api_url().trim_start_matches("https://")),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry:#}");
    }
    assert_eq!(
        (&entry["status"], &entry["attempts"], &entry["bytes_in"]),
        (&200.into(), &1.into(), &0.into())
    );
    assert_eq!(entry["bytes_out"], length);
    assert!(entry["box_request_id"].as_str().unwrap().len() > 8, "{entry:#}");
    let time = entry["time"].as_str().unwrap();
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-11-26T09:00:00.000Z".len(),
        "{time}"
    );
    let parts = millis(&entry, "wait_ms") + millis(&entry, "box_ms") + millis(&entry, "body_ms");
    assert!(millis(&entry, "box_ms") > 0.0 && parts <= millis(&entry, "duration_ms") + 0.005, "{entry:#}");
    for field in ["code", "rule", "box_code", "cause", "limit", "would_refuse"] {
        assert!(entry.get(field).is_none(), "{field} in {entry:#}");
    }
}

#[tokio::test]
async fn a_refusal_names_what_refused_it() {
    let more = "[[limit]]\nname = \"slow\"\nkey = \"global\"\non = [\"search\"]\nrate = \"1/h\"\n\
                [[app]]\nname = \"a\"\npath = \"/a\"\ndeny = [\"GET /2.0/users/**\"]\n";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let denied = ask(&bench, "/a/2.0/users/1", "denied").await;
    assert_eq!((&denied["status"], &denied["rule"]), (&403.into(), &"GET /2.0/users/**".into()));
    assert_eq!((&denied["code"], &denied["attempts"]), (&"operation_not_allowed".into(), &0.into()));
    assert!(denied.get("class").is_none() && denied.get("host").is_none() && denied.get("body_ms").is_none());
    ask(&bench, "/a/2.0/search?query=a", "first").await;
    let limited = ask(&bench, "/a/2.0/search?query=a", "limited").await;
    assert_eq!((&limited["status"], &limited["limit"]), (&429.into(), &"slow".into()));
    assert_eq!((&limited["wait_ms"], &limited["class"]), (&0.0.into(), &"search".into()));
    bench.sandbox.script(ME, vec![Fault::status(500)]);
    let failed = ask(&bench, &format!("/a{}", "/2.0/folders/404404"), "failed").await;
    assert_eq!((&failed["box_code"], &failed["answered_by"]), (&"not_found".into(), &"box".into()));
}

#[tokio::test]
async fn the_wait_for_a_token_and_for_a_limit_are_told_apart() {
    let more = "[[limit]]\nname = \"slow\"\nkey = \"global\"\nrate = \"6/min\"\nwait = \"30s\"\n";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let asking = |id: &str| {
        let asked = bench.client.get(bench.url(ME)).header("x-request-id", id);
        tokio::spawn(async move { asked.send().await.unwrap().bytes().await.unwrap() })
    };
    // The 401 that retires the token is followed by a wait for the next one, unless that comes before the request looks for it.
    let mut tries = 0;
    let entry = loop {
        tries += 1;
        let held = bench.sandbox.hold_token_replies();
        bench.sandbox.expire_tokens();
        let (id, before) = (format!("token-{tries}"), bench.sandbox.token_requests());
        let first = asking(&id);
        in_time(bench.sandbox.wait_for_token_requests(before + 1)).await;
        drop(held);
        in_time(first).await.unwrap();
        let entry = request(&bench, &id).await;
        assert_eq!((&entry["attempts"], &entry["wait_limit_ms"]), (&2.into(), &0.0.into()), "{entry:#}");
        // The limit has room for the next one.
        bench.clock.advance(Duration::from_secs(10));
        if millis(&entry, "wait_token_ms") > 0.0 {
            break entry;
        }
        assert!(tries < 50, "no request ever waits for a token: {entry:#}");
    };
    assert_eq!(entry["wait_ms"], entry["wait_token_ms"]);
    asking("full").await.unwrap();

    let second = asking("limit");
    until(|| async { bench.metric("boxgate_limit_queued{limit=\"slow\"}").await > 0.0 }).await;
    let third = asking("left");
    until(|| async { bench.metric("boxgate_limit_queued{limit=\"slow\"}").await > 1.0 }).await;
    bench.clock.advance(Duration::from_secs(2));
    third.abort();
    let left = request(&bench, "left").await;
    assert!(millis(&left, "wait_limit_ms") >= 2_000.0, "{left:#}");
    assert_eq!((&left["status"], &left["end"]), (&499.into(), &"caller_left".into()));
    bench.clock.advance(Duration::from_secs(10));
    in_time(second).await.unwrap();
    let entry = request(&bench, "limit").await;
    assert!(millis(&entry, "wait_limit_ms") >= 12_000.0 && entry["wait_token_ms"] == 0.0, "{entry:#}");
    assert_eq!(entry["wait_ms"], entry["wait_limit_ms"]);
}

#[tokio::test]
async fn a_long_path_is_cut_and_its_operation_is_not() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let long = format!("/2.0/files/{}/comments", "7".repeat(2000));
    let entry = ask(&bench, &long, "long").await;
    assert_eq!(entry["path"].as_str().unwrap(), &long[..512]);
    assert_eq!(entry["operation"], "GET /2.0/files/*/comments");
}

/// The names in the first column of the table with this heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let table = DOCUMENT.split(&format!("| {heading} |")).nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_field_and_every_parameter_is_documented() {
    let more = "[[limit]]\nname = \"slow\"\nkey = \"global\"\non = [\"search\"]\nrate = \"1/h\"\n\
                [[limit]]\nname = \"shadow\"\nkey = \"global\"\nrate = \"1/h\"\nburst = 1\nenforce = false\n\
                [[app]]\nname = \"a\"\npath = \"/a\"\nas_user = [\"*\"]\ndeny = [\"GET /2.0/users/1\"]\n";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let broken = Fault::status(502).with_header(HeaderName::from_static("x"), HeaderValue::from_static("y"));
    bench.sandbox.script(ME, vec![broken]);
    for (path, id) in [
        ("/a/2.0/users/1", "1"),
        ("/a/2.0/search", "2"),
        ("/a/2.0/search", "3"),
        ("/a/2.0/files/404404", "4"),
        (&format!("/a{ME}"), "5"),
    ] {
        ask(&bench, path, id).await;
    }
    bench.sandbox.go_down(boxgate::sandbox::Role::Api).await;
    let last =
        bench.client.get(bench.url(&format!("/a{ME}"))).header("x-request-id", "6").header("as-user", "17");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let last = last.header("user-agent", "a").header("traceparent", trace).send().await.unwrap();
    assert_eq!(last.status(), 502);
    request(&bench, "6").await;
    let mut told = BTreeSet::new();
    for entry in requests(&bench, "").await {
        told.extend(entry.as_object().unwrap().keys().cloned());
    }
    let mut documented_fields: BTreeSet<String> =
        documented("field").union(&documented("request field")).cloned().collect();
    documented_fields.remove("kind");
    assert_eq!(told, documented_fields);
    for name in
        documented("request parameter").into_iter().filter(|name| !name.contains(['=', ' ', 'x', '/']))
    {
        assert!(bench.admin(&format!("/requests.json?{name}=")).await.0 == 200, "{name}");
    }
    let (_, text) = bench.admin("/requests.json?nothing=").await;
    let (_, allowed) = text.split_once("allowed: ").unwrap();
    let allowed = allowed.split_once(".\"").unwrap().0.replace(" and ", ", ");
    let rows = DOCUMENT.split("| request parameter |").nth(1).unwrap().lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let named: BTreeSet<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    assert_eq!(allowed.split(", ").collect::<BTreeSet<_>>(), named);
}
