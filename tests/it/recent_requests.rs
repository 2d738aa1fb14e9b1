//! `GET /requests.json`: the last requests, what is told of each, and which a query selects.

mod secrets; // what is never in it
mod fields; // what is told of one request
mod view; // the page for people

use serde_json::Value;

use crate::harness::{Bench, until};

const ME: &str = "/2.0/users/me";
const APPS: &str = "[[app]]\nname = \"a\"\npath = \"/a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n";

/// The requests that this query selects.
async fn requests(bench: &Bench, query: &str) -> Vec<Value> {
    let (status, text) = bench.admin(&format!("/requests.json{query}")).await;
    assert_eq!(status, 200, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    document["requests"].as_array().unwrap().clone()
}

/// The request with this id, once it has ended.
async fn request(bench: &Bench, id: &str) -> Value {
    let found = || async { requests(bench, "").await.into_iter().find(|entry| entry["request_id"] == id) };
    until(|| async { found().await.is_some() }).await;
    found().await.unwrap()
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["request_id"].as_str().unwrap()).collect()
}

/// Sends a request with this id on a connection of its own, and waits until it has ended.
async fn ask(bench: &Bench, path: &str, id: &str) -> Value {
    let fresh = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(crate::harness::no_tls())
        .build()
        .unwrap();
    fresh.get(bench.url(path)).header("x-request-id", id).send().await.unwrap().bytes().await.unwrap();
    request(bench, id).await
}

#[tokio::test]
async fn exactly_the_last_are_kept_of_all_workers_and_the_newest_is_first() {
    let bench = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nrequests = 5\n").await;
    bench.until_ready().await;
    assert_eq!(requests(&bench, "").await.len(), 0);
    let mut held = Vec::new();
    let mut sent: Vec<String> = Vec::new();
    for nth in 0..12 {
        // A connection that stays open sends the next one to the other worker.
        if nth % 3 == 0 {
            held.push(bench.connect().await);
        }
        sent.push(format!("r-{nth}"));
        ask(&bench, ME, &sent[nth]).await;
        let wanted: Vec<&str> = sent.iter().rev().take(5).map(String::as_str).collect();
        assert_eq!(ids(&requests(&bench, "").await), wanted);
    }
    assert_eq!(ids(&requests(&bench, "?max=2").await), ["r-11", "r-10"]);
    // A filter looks for no older ones.
    assert_eq!(ids(&requests(&bench, "?status=200&max=100").await).len(), 5);
}

#[tokio::test]
async fn none_are_kept_where_the_number_is_zero() {
    let bench = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nrequests = 0\n").await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    until(|| async { bench.admin("/metrics").await.1.contains("boxgate_requests_total{") }).await;
    assert_eq!(bench.admin("/requests.json").await, (200, "{\"requests\":[]}".to_owned()));
}

#[tokio::test]
async fn each_parameter_selects() {
    let limits = "[[limit]]\nname = \"search\"\nkey = \"global\"\non = [\"search\"]\nrate = \"1/h\"\nburst = 1\n\
                  [[limit]]\nname = \"shadow\"\nkey = \"global\"\non = [\"GET /2.0/files/*\"]\nrate = \"1/h\"\nburst = 1\nenforce = false\n";
    let bench = Bench::with(&format!("{limits}{APPS}")).await;
    bench.until_ready().await;
    for (path, id) in [
        ("/a/2.0/users/me", "me"),
        ("/a/2.0/search?query=1", "search-1"),
        ("/b/2.0/search?query=2", "search-2"),
        ("/b/2.0/files/404404", "file-1"),
        ("/b/2.0/files/404405", "file-2"),
        ("/nowhere", "nowhere"),
    ] {
        ask(&bench, path, id).await;
    }
    let all = requests(&bench, "").await;
    assert_eq!(ids(&all), ["nowhere", "file-2", "file-1", "search-2", "search-1", "me"]);
    let time = |nth: usize| all[nth]["time"].as_str().unwrap();
    let box_request_id = all[1]["box_request_id"].as_str().unwrap();
    for (query, wanted) in [
        ("app=a".to_owned(), &["search-1", "me"][..]),
        ("app=c".to_owned(), &[]),
        ("identity=service&status=200".to_owned(), &["search-1", "me"]),
        ("status=429".to_owned(), &["search-2"]),
        ("status=4xx&app=b".to_owned(), &["file-2", "file-1", "search-2"]),
        ("status=5xx".to_owned(), &[]),
        ("code=rate_limit_exceeded".to_owned(), &["search-2"]),
        ("code=not_found".to_owned(), &["file-2", "file-1"]),
        ("code=no_such_app".to_owned(), &["nowhere"]),
        ("limit=search".to_owned(), &["search-2"]),
        ("limit=shadow".to_owned(), &["file-2"]),
        ("operation=search".to_owned(), &["search-2", "search-1"]),
        ("operation=GET%20/2.0/files/*".to_owned(), &["file-2", "file-1"]),
        ("operation=/2.0/files/*&max=1".to_owned(), &["file-2"]),
        ("operation=POST+/2.0/files/*".to_owned(), &[]),
        ("q=404405".to_owned(), &["file-2"]),
        ("q=FILE-1".to_owned(), &["file-1"]),
        ("q=127.0.0.1&app=a&status=&code=".to_owned(), &["search-1", "me"]),
        (format!("q={box_request_id}"), &["file-2"]),
        // Times are cut to milliseconds, so that no request is missed.
        (format!("since={}&q=nowhere", time(0)), &["nowhere"]),
        (format!("until={}&q=nowhere", time(0)), &[]),
        ("since=2100-01-01T00:00:00Z".to_owned(), &[]),
        ("until=2100-01-01T00:00:00%2B02:00&q=users/me".to_owned(), &["me"]),
    ] {
        let found = requests(&bench, &format!("?{query}")).await;
        assert_eq!(ids(&found), wanted, "{query}");
    }
}

#[tokio::test]
async fn what_is_no_parameter_or_no_value_is_refused_with_what_is_allowed() {
    let bench = Bench::start().await;
    for (query, parts) in [
        ("?status=banana", ["status", "banana", "429"]),
        ("?ap=web", ["ap", "not known", "identity"]),
        ("?since=today", ["since", "today", "RFC 3339"]),
        ("?max=0", ["max", "0", "10000"]),
        ("?app=a&app=b", ["app", "twice", "once"]),
    ] {
        let answer =
            bench.client.get(format!("http://{}/requests.json{query}", bench.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let error: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"bad_request".into()));
        let message = error["message"].as_str().unwrap();
        assert!(parts.iter().all(|part| message.contains(part)), "{query}: {message}");
    }
}
