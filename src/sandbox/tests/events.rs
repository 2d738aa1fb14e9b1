//! Events and the long poll.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::sandbox::api::events;

#[tokio::test]
async fn the_stream_has_all_events() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    let now = json(bench.get("/2.0/events?stream_position=now").await).await;
    assert_eq!((&now["chunk_size"], &now["entries"]), (&json!(0), &json!([])));
    let id = bench.sandbox.add_file("0", "a.txt", Content::Zeros(1));
    let file = format!("/2.0/files/{id}");
    bench.send("PUT", &file, json!({ "name": "b.txt" })).await;
    bench.send("PUT", &file, json!({ "description": "no event" })).await;
    bench.send("POST", &format!("{file}/copy"), json!({ "parent": { "id": folder } })).await;
    bench.request("DELETE", &file).send().await.unwrap();

    let mut position = now["next_stream_position"].clone();
    let (mut kinds, mut names) = (Vec::new(), Vec::new());
    loop {
        let url = format!("/2.0/events?stream_position={position}&limit=2");
        let chunk = json(bench.get(&url).await).await;
        for event in chunk["entries"].as_array().unwrap() {
            kinds.push(event["event_type"].as_str().unwrap().to_owned());
            names.push(event["source"]["name"].as_str().unwrap().to_owned());
        }
        position = chunk["next_stream_position"].clone();
        if chunk["chunk_size"] == 0 {
            break;
        }
    }
    assert_eq!(kinds, ["ITEM_UPLOAD", "ITEM_RENAME", "ITEM_COPY", "ITEM_TRASH"]);
    assert_eq!(names, ["a.txt", "b.txt", "b.txt", "b.txt"]);
    let all = json(bench.get("/2.0/events?stream_position=0").await).await;
    assert_eq!((&all["chunk_size"], &all["entries"][0]["event_type"]), (&json!(5), &json!("ITEM_CREATE")));
    assert_eq!(bench.get("/2.0/events?stream_position=x").await.status(), 400);
}

#[tokio::test]
async fn the_long_poll_waits_for_news_without_a_token() {
    let bench = Bench::start().await;
    let server = json(bench.send("OPTIONS", "/2.0/events", json!({})).await).await;
    let server = &server["entries"][0];
    assert_eq!((&server["type"], &server["retry_timeout"]), (&json!("realtime_server"), &json!(610)));
    let url = server["url"].as_str().unwrap();
    let calls = bench.sandbox.calls();
    let waiting = tokio::spawn(bench.client.get(url).send());
    bench.sandbox.wait_for_calls(calls + 1).await;
    assert!(!waiting.is_finished());
    bench.sandbox.add_folder("0", "News");
    let news = json(waiting.await.unwrap().unwrap()).await;
    assert_eq!(news, json!({ "version": 1, "message": "new_change" }));
    assert!(!bench.sandbox.last_seen().unwrap().headers.contains_key("authorization"));

    let mut stream = bench.raw(Role::Download).await;
    bench.sandbox.add_folder("0", "More");
    let path = url.strip_prefix(&bench.sandbox.download_url()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let (text, _) = rest(&mut stream).await;
    assert!(text.ends_with(r#"{"message":"new_change","version":1}"#), "{text}");

    let unknown = format!("{}/subscribe?channel=x&stream_type=all", bench.sandbox.download_url());
    assert_eq!(bench.client.get(&unknown).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_long_poll_ends_after_its_time() {
    let bench = Bench::start().await;
    let server = json(bench.send("OPTIONS", "/2.0/events", json!({})).await).await;
    let (_, query) = server["entries"][0]["url"].as_str().unwrap().split_once('?').unwrap();
    let answer = events::subscribe(&bench.sandbox.state, query, Duration::ZERO).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"message":"reconnect","version":1}"#);
}
