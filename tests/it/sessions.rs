//! Uploads in parts, and the long poll: through the rewritten URLs of Box's responses.

use std::time::Duration;

use boxgate::sandbox::{Content, Options, Role};
use boxgate::server::shutdown::Stop;
use serde_json::{Value, json as value};
use tokio::task::JoinSet;

use crate::harness::{Bench, in_time, json, until};

fn sha1(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let mut base64 = String::new();
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in digest.as_ref().chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let shown = digit <= group.len();
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            base64.write_char(if shown { DIGITS[index] as char } else { '=' }).unwrap();
        }
    }
    format!("sha={base64}")
}

#[tokio::test]
async fn parts_go_four_at_a_time_to_the_host_that_the_session_named() {
    let options = Options { part_size: 1 << 20, smallest_session: 1 << 20, ..Options::default() };
    let bench = Bench::with_boxs_names(options, "", "").await;
    let content: Vec<u8> = (0..5_500_000_u32).map(|n| (n % 253) as u8).collect();
    let asked = value!({"folder_id":"0","file_size":content.len(),"file_name":"large.bin"}).to_string();
    let session =
        bench.client.post(bench.url("/2.0/files/upload_sessions")).body(asked).send().await.unwrap();
    assert_eq!(session.status(), 201);
    let session: Value = json(session).await;
    let endpoint = |name: &str| session["session_endpoints"][name].as_str().unwrap().to_owned();
    for name in ["upload_part", "commit", "abort", "list_parts", "status", "log_event"] {
        assert!(
            endpoint(name).starts_with(&bench.url("/_box/upload.app.box.com/api/2.0/files/upload_sessions/")),
            "{name}"
        );
    }
    let mut waiting: Vec<(usize, Vec<u8>)> = content
        .chunks(1 << 20)
        .enumerate()
        .map(|(number, part)| (number << 20, part.to_vec()))
        .rev()
        .collect();
    let mut sending = JoinSet::new();
    let mut parts = Vec::new();
    loop {
        while sending.len() < 4
            && let Some((offset, part)) = waiting.pop()
        {
            let range = format!("bytes {offset}-{}/{}", offset + part.len() - 1, content.len());
            let put = bench.client.put(endpoint("upload_part")).header("content-range", range);
            let put = put.header("digest", sha1(&part)).header("content-type", "application/octet-stream");
            sending.spawn(async move { json(put.body(part).send().await.unwrap()).await });
        }
        let Some(sent) = sending.join_next().await else { break };
        parts.push(sent.unwrap()["part"].clone());
    }
    let listed: Value = json(bench.client.get(endpoint("list_parts")).send().await.unwrap()).await;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 6);
    let status: Value = json(bench.client.get(endpoint("status")).send().await.unwrap()).await;
    assert_eq!(
        (&status["num_parts_processed"], &status["session_endpoints"]),
        (&value!(6), &session["session_endpoints"])
    );
    parts.sort_by_key(|part| part["offset"].as_u64());
    bench.sandbox.hold_commits(1);
    let commit = || {
        let commit = bench.client.post(endpoint("commit")).header("digest", sha1(&content));
        commit.body(value!({ "parts": parts }).to_string()).send()
    };
    let pending = commit().await.unwrap();
    assert_eq!(
        (pending.status().as_u16(), pending.headers()["retry-after"].as_bytes()),
        (202, b"1".as_slice())
    );
    let done = commit().await.unwrap();
    assert_eq!(done.status(), 201);
    let file: Value = json(done).await;
    let id = file["entries"][0]["id"].as_str().unwrap();
    assert!(bench.get(&format!("/2.0/files/{id}/content")).await.bytes().await.unwrap() == content);
    let seen = bench.sandbox.seen();
    assert_eq!(seen.iter().filter(|seen| seen.authority == "upload.app.box.com").count(), 6 + 2 + 2);
    assert_eq!(seen.iter().filter(|seen| seen.authority == "upload.box.com").count(), 1);
    assert!(
        seen.iter()
            .filter(|seen| seen.role == Role::Upload)
            .all(|seen| seen.headers.contains_key("authorization"))
    );
}

/// The URL that `OPTIONS /events` gives. On a busy machine it may take longer than a test's `response_timeout`.
async fn realtime(bench: &Bench) -> String {
    in_time(async {
        loop {
            let request = bench.client.request(http::Method::OPTIONS, bench.url("/2.0/events"));
            let answer = json(request.send().await.unwrap()).await;
            if let Some(url) = answer["entries"][0]["url"].as_str() {
                return url.to_owned();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_long_poll_waits_for_an_event_and_shows_no_token() {
    for bench in [
        // Both would end an ordinary request.
        Bench::with("[upstream]\nproxy = \"none\"\nresponse_timeout = \"300ms\"\nbody_timeout = \"300ms\"")
            .await,
        Bench::with_boxs_names(
            Options::default(),
            "response_timeout = \"300ms\"\nbody_timeout = \"300ms\"",
            "",
        )
        .await,
    ] {
        let url = realtime(&bench).await;
        assert!(url.starts_with(&bench.url("/_box/")), "{url}");
        bench.sandbox.clear_seen();
        let polling = tokio::spawn(bench.client.get(&url).header("authorization", "Bearer caller").send());
        in_time(bench.sandbox.wait_for_in_flight(1)).await;
        // Waits longer than the timeouts, since there is no event for something that does not happen.
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(bench.sandbox.requests_in_flight(), 1);
        bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
        let answer = in_time(polling).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(json(answer).await["message"], "new_change");
        assert!(!bench.sandbox.last_seen().unwrap().headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_long_polls() {
    let bench = Bench::start().await;
    let url = realtime(&bench).await;
    let polling = tokio::spawn(bench.client.get(&url).send());
    in_time(bench.sandbox.wait_for_in_flight(1)).await;
    bench.stop(Stop::Drain);
    let answer = in_time(polling).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), json(answer).await["message"].clone()), (200, value!("reconnect")));
    bench.stopped().await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_long_poll() {
    let bench = Bench::start().await;
    let url = realtime(&bench).await;
    let polling = tokio::spawn(bench.client.get(&url).send());
    in_time(bench.sandbox.wait_for_in_flight(1)).await;
    polling.abort();
    until(|| async { bench.sandbox.requests_in_flight() == 0 }).await;
}
