//! URLs and tokens in Box's answers: URLs that need a token are rewritten to the gateway, live tokens are blanked, and
//! everything else stays byte for byte.

use boxgate::sandbox::{Content, Fault, Options};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::harness::{Bench, json, refusal};

/// A body of Box's, in pieces, with these header fields.
fn answer(fields: &[(&'static str, &'static str)], pieces: Vec<Bytes>) -> Vec<Fault> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in fields {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    vec![Fault::RawBody { headers, pieces }]
}

fn whole(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

async fn bench() -> Bench {
    Bench::with_boxs_names(
        Options::default(),
        "",
        "[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\npath = \"/b/c\"",
    )
    .await
}

/// What the caller gets where Box answers `text`, which may hold `BASE`.
async fn through(bench: &Bench, method: &str, path: &str, text: &str) -> String {
    bench.sandbox.script("/", answer(&[], whole(text)));
    let method = http::Method::from_bytes(method.as_bytes()).unwrap();
    let answer = bench.client.request(method, bench.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

const REPRESENTATIONS: &str = r#""representations":{"entries":[{"info":{"url":"https://api.box.com/2.0/internal_files/1/versions/2/representations/jpg"},"content":{"url_template":"https:\/\/dl.boxcloud.com\/api\/2.0\/internal_files\/1\/content\/{+asset_path}?w=1"}}]}"#;
const REWRITTEN: &str = r#""representations":{"entries":[{"info":{"url":"BASE/_box/api.box.com/2.0/internal_files/1/versions/2/representations/jpg"},"content":{"url_template":"BASE/_box/dl.boxcloud.com/api/2.0/internal_files/1/content/{+asset_path}?w=1"}}]}"#;

#[tokio::test]
async fn urls_are_rewritten_by_operation_and_place() {
    let bench = bench().await;
    let file = |inner: &str| {
        format!(
            r#"{{"type":"file",{inner},"download_url":"https://public.boxcloud.com/d/1/x","authenticated_download_url":"https://dl.boxcloud.com/api/2.0/files/1/content"}}"#
        )
    };
    let rewritten = |inner: &str| {
        format!(
            r#"{{"type":"file",{inner},"download_url":"BASE/_box/public.boxcloud.com/d/1/x","authenticated_download_url":"BASE/_box/dl.boxcloud.com/api/2.0/files/1/content"}}"#
        )
    };
    let (one, one_rewritten) = (file(REPRESENTATIONS), rewritten(REWRITTEN));
    let (list, list_rewritten) = (
        format!(r#"{{"total_count":1,"entries":[{one},{one}]}}"#),
        format!(r#"{{"total_count":1,"entries":[{one_rewritten},{one_rewritten}]}}"#),
    );
    for (method, path) in [
        ("GET", "/2.0/files/1?fields=representations"),
        ("PUT", "/2.0/files/1"),
        ("POST", "/2.0/files/1/copy"),
        ("GET", "/2.0/shared_items"),
        ("GET", "/b/c/2.0/files/1"),
    ] {
        let base = bench.url(if path.starts_with("/b/") { "/b/c" } else { "" });
        assert_eq!(through(&bench, method, path, &one).await, one_rewritten.replace("BASE", &base), "{path}");
    }
    for (method, path) in [
        ("POST", "/2.0/files/content"),
        ("POST", "/api/2.0/files/1/content"),
        ("POST", "/2.0/files/upload_sessions/A/commit"),
        ("POST", "/_box/upload.app.box.com/api/2.0/files/upload_sessions/A/commit"),
        ("GET", "/2.0/folders/0/items"),
        ("GET", "/2.0/folders/trash/items"),
        ("GET", "/2.0/collections/1/items"),
        ("GET", "/2.0/search?query=a"),
        ("POST", "/2.0/metadata_queries/execute_read"),
    ] {
        assert_eq!(
            through(&bench, method, path, &list).await,
            list_rewritten.replace("BASE", &bench.url("")),
            "{path}"
        );
    }
    for (method, path, from, to) in [
        (
            "POST",
            "/2.0/zip_downloads",
            r#"{"download_url":"https://dl.boxcloud.com/2.0/zip_downloads/L=/content","status_url":"https://api.box.com/2.0/zip_downloads/L=/status"}"#,
            r#"{"download_url":"BASE/_box/dl.boxcloud.com/2.0/zip_downloads/L=/content","status_url":"BASE/_box/api.box.com/2.0/zip_downloads/L=/status"}"#,
        ),
        (
            "OPTIONS",
            "/2.0/events",
            r#"{"entries":[{"type":"realtime_server","url":"http://2.realtime.services.box.net/subscribe?channel=c&stream_type=all","ttl":"10"}]}"#,
            r#"{"entries":[{"type":"realtime_server","url":"BASE/_box/2.realtime.services.box.net/subscribe?channel=c&stream_type=all","ttl":"10"}]}"#,
        ),
        (
            "OPTIONS",
            "/2.0/files/1/content",
            r#"{"upload_url":"https://upload-las.app.box.com/api/2.0/files/content?upload_session_id=1234","upload_token":"live"}"#,
            r#"{"upload_url":"BASE/_box/upload-las.app.box.com/api/2.0/files/content?upload_session_id=1234","upload_token":""}"#,
        ),
        (
            "POST",
            "/2.0/files/upload_sessions",
            r#"{"id":"A","session_endpoints":{"upload_part":"https://upload.app.box.com/api/2.0/files/upload_sessions/A","log_event":"https://upload.app.box.com/api/2.0/files/upload_sessions/A/log"}}"#,
            r#"{"id":"A","session_endpoints":{"upload_part":"BASE/_box/upload.app.box.com/api/2.0/files/upload_sessions/A","log_event":"BASE/_box/upload.app.box.com/api/2.0/files/upload_sessions/A/log"}}"#,
        ),
        (
            "GET",
            "/_box/api.box.com/2.0/internal_files/1/versions/2/representations/jpg",
            r#"{"info":{"url":"https://api.box.com/2.0/internal_files/1"}}"#,
            r#"{"info":{"url":"BASE/_box/api.box.com/2.0/internal_files/1"}}"#,
        ),
    ] {
        assert_eq!(through(&bench, method, path, from).await, to.replace("BASE", &bench.url("")), "{path}");
    }
}

/// Box's own Uploader continues with the existing session.
#[tokio::test]
async fn the_session_in_a_409_is_rewritten_too() {
    let bench = bench().await;
    let session = |at: &str| {
        format!(
            r#"{{"type":"error","status":409,"code":"session_conflict","context_info":{{"session":{{"id":"F9","session_endpoints":{{"upload_part":"{at}upload.app.box.com/api/2.0/files/upload_sessions/F9"}}}}}}}}"#
        )
    };
    for path in ["/api/2.0/files/upload_sessions", "/api/2.0/files/1/upload_sessions"] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let conflict =
            Fault::Status { status: StatusCode::CONFLICT, headers, body: session("https://").into() };
        bench.sandbox.script("/", vec![conflict]);
        let answer = bench.client.post(bench.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.text().await.unwrap(), session(&bench.url("/_box/")), "{path}");
    }
}

#[tokio::test]
async fn links_for_people_and_users_own_data_stay_byte_for_byte() {
    let bench = bench().await;
    let text = r#"{ "type":"file", "description":"see https://dl.boxcloud.com/api/2.0/files/1/content", "n":1e400, "n":0.10,
"shared_link":{"url":"https://app.box.com/s/x","download_url":"https://app.box.com/shared/static/x","vanity_url":"https://acme.app.box.com/v/x"},
"expiring_embed_link":{"url":"https://app.box.com/preview/expiring_embed/x"}, "url":"https://api.box.com/2.0/files/1",
"metadata":{"enterprise_1":{"t":{"download_url":"https://dl.boxcloud.com/x","representations":"https:\/\/api.box.com\/"}}},
"download_url":"https://evil.example/x", "authenticated_download_url":null, "created_by":{"login":"caf\u00e9@x","avatar_url":"https://www.box.com/api/avatar/large/1"},
"entries":[{"type":"web_link","url":"https://api.box.com/2.0/files/2"},"https://api.box.com/2.0/files/3",17]}"#;
    for (method, path) in [
        ("GET", "/2.0/files/1"),
        ("GET", "/2.0/folders/0/items"),
        ("POST", "/2.0/metadata_queries/execute_read"),
    ] {
        assert_eq!(through(&bench, method, path, text).await, text);
    }
    let other = format!(r#"{{{REPRESENTATIONS},"expiring_embed_link":{{"access_token":"x"}}}}"#);
    for path in [
        "/2.0/web_links/1",
        "/2.0/users/me",
        "/2.0/files/1/metadata/enterprise_1/t",
        "/2.0/webhooks/1",
        "/2.0/events",
    ] {
        assert_eq!(through(&bench, "GET", path, &other).await, other, "{path}");
    }
}

#[tokio::test]
async fn live_tokens_are_blanked_in_every_spelling_and_even_without_rewriting() {
    let from = r#"{"expiring_embed_link":{"url":"https://app.box.com/e","access_token":"LIVE","token":{"access_token":"LIVE","refresh_token":"LIVE","expires_in":5}},"entries":[{"expiring_embed_link":{"token":{"access_token":"LIVE"}}}],"download_url":"https://dl.boxcloud.com/x"}"#;
    let to = r#"{"expiring_embed_link":{"url":"https://app.box.com/e","access_token":"","token":{"access_token":"","refresh_token":"","expires_in":5}},"entries":[{"expiring_embed_link":{"token":{"access_token":""}}}],"download_url":"https://dl.boxcloud.com/x"}"#;
    let bench = Bench::with_boxs_names(Options::default(), "rewrite_urls = false", "").await;
    for path in [
        "/2.0/files/1",
        "/2.0/FILES/1",
        "/2.0/f%69les/1",
        "/2.0/files/1/",
        "/2.0/files;a=b/1",
        "/api/2.0/files/1",
    ] {
        assert_eq!(through(&bench, "GET", path, from).await, to, "{path}");
    }
    // No part of it can be asked for that would hide what it is a part of.
    let get = bench
        .client
        .get(bench.url("/2.0/files/1"))
        .header("range", "bytes=30-")
        .header("accept-encoding", "gzip");
    bench.sandbox.script("/2.0/files/1", answer(&[], whole(from)));
    assert_eq!(get.send().await.unwrap().text().await.unwrap(), to);
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(
        (seen.headers.get("range"), seen.headers["accept-encoding"].as_bytes()),
        (None, b"identity".as_slice())
    );
    for fields in [[("content-encoding", "gzip")]] {
        bench.sandbox.script("/2.0/files/1", answer(&fields, whole(from)));
        assert_eq!(
            refusal(bench.get("/2.0/files/1").await).await,
            (502, "upstream_protocol_error".to_owned())
        );
    }
}

#[tokio::test]
async fn lengths_and_validators_stay_correct() {
    let bench = bench().await;
    let fields = [("etag", "\"3\""), ("digest", "sha=x"), ("content-md5", "y")];
    let text = r#"{"type":"file","id":"1"}"#;
    bench.sandbox.script("/2.0/files/1", answer(&fields, whole(text)));
    let unchanged = bench.get("/2.0/files/1").await;
    assert_eq!(unchanged.headers()["etag"], "\"3\"");
    assert!(unchanged.headers().contains_key("digest"));
    assert_eq!(unchanged.headers()["content-length"].to_str().unwrap(), text.len().to_string());

    let text = r#"{"download_url":"https://dl.boxcloud.com/x"}"#;
    bench.sandbox.script("/2.0/files/1", answer(&fields, whole(text)));
    let changed = bench.get("/2.0/files/1").await;
    assert_eq!(changed.headers()["etag"], "W/\"3\"");
    assert!(!changed.headers().contains_key("digest") && !changed.headers().contains_key("content-md5"));
    let length: usize = changed.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(changed.text().await.unwrap().len(), length);

    // A response that is not edited passes compressed and with all its fields.
    bench.sandbox.script(
        "/2.0/users/me",
        answer(
            &[("etag", "\"3\""), ("content-encoding", "gzip"), ("digest", "sha=x")],
            whole("\x1f\u{0}zip"),
        ),
    );
    let other =
        bench.client.get(bench.url("/2.0/users/me")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(
        (other.headers()["content-encoding"].as_bytes(), other.headers()["etag"].as_bytes()),
        (b"gzip".as_slice(), b"\"3\"".as_slice())
    );
    assert_eq!(other.bytes().await.unwrap(), "\x1f\u{0}zip");
    assert_eq!(bench.sandbox.last_seen().unwrap().headers["accept-encoding"], "gzip");
}

#[tokio::test]
async fn responses_of_any_size_are_rewritten_while_streaming() {
    let bench = bench().await;
    let entry = format!(r#"{{"type":"file","name":"{}",{REPRESENTATIONS}}}"#, "n".repeat(2000));
    let text = format!(r#"{{"entries":[{}],"total":1}}"#, vec![entry; 3000].join(","));
    // Split at every position.
    let pieces = text.as_bytes().chunks(1013).map(Bytes::copy_from_slice).collect();
    bench.sandbox.script("/2.0/folders/0/items", answer(&[("etag", "\"3\"")], pieces));
    let answer = bench.get("/2.0/folders/0/items").await;
    assert!(answer.headers().get("content-length").is_none());
    assert_eq!(answer.headers()["etag"], "W/\"3\"");
    let want = text.replace(REPRESENTATIONS, &REWRITTEN.replace("BASE", &bench.url("")));
    assert!(answer.text().await.unwrap() == want);
}

#[tokio::test]
async fn an_edited_response_that_breaks_off_does_not_end_cleanly() {
    let bench = Bench::start().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    bench.sandbox.script("/2.0/files/", vec![Fault::BreakBodyAfter(20)]);
    let answer = bench.get(&format!("/2.0/files/{file}")).await;
    assert_eq!(refusal(answer).await, (502, "upstream_protocol_error".to_owned()));
    for number in 0..2000 {
        bench.sandbox.add_file("0", &format!("file number {number}"), Content::Bytes("a".into()));
    }
    bench.sandbox.script("/2.0/folders/", vec![Fault::BreakBodyAfter(400_000)]);
    let answer = bench.get("/2.0/folders/0/items?limit=1000&fields=name,path_collection,created_by,modified_by,parent,owned_by").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn the_base_is_what_the_caller_used() {
    let bench = Bench::with_boxs_names(
        Options::default(),
        "",
        "[listen]\naddress = \"127.0.0.1:0\"\nhosts = [\"Gate.internal\"]\ntrusted_proxies = [\"127.0.0.0/8\"]",
    )
    .await;
    let text = r#"{"download_url":"https://dl.boxcloud.com/x"}"#;
    for (host, scheme, base) in [
        ("gate.INTERNAL:8443", "https", "https://gate.INTERNAL:8443"),
        ("gate.internal", "http", "http://gate.internal"),
        ("localhost:1", "HTTPS", "https://localhost:1"),
    ] {
        bench.sandbox.script("/2.0/files/1", answer(&[], whole(text)));
        let said = bench
            .raw(&format!("GET /2.0/files/1 HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: {scheme}\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(said.ends_with(&format!(r#"{{"download_url":"{base}/_box/dl.boxcloud.com/x"}}"#)), "{said}");
    }
}

#[tokio::test]
async fn all_urls_in_the_sandboxs_responses_work_through_the_gateway() {
    for bench in [Bench::start().await, bench().await] {
        let file = bench.sandbox.add_file("0", "a.png", Content::Bytes("0123456789".into()));
        let path = format!(
            "/2.0/files/{file}?fields=representations,download_url,authenticated_download_url,expiring_embed_link"
        );
        let info: Value = json(bench.get(&path).await).await;
        let base = bench.url("/_box/");
        let follow = async |url: &Value, part: &str| {
            let url = url.as_str().unwrap().replace("{+asset_path}", part);
            assert!(url.starts_with(&base), "{url}");
            let answer = bench.client.get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer
        };
        let representation = &info["representations"]["entries"][0];
        let told: Value = json(follow(&representation["info"]["url"], "").await).await;
        assert_eq!(told["content"]["url_template"], representation["content"]["url_template"]);
        follow(&representation["content"]["url_template"], "").await;
        for url in ["download_url", "authenticated_download_url"] {
            assert_eq!(follow(&info[url], "").await.text().await.unwrap(), "0123456789");
        }
        assert_eq!(info["expiring_embed_link"]["token"]["access_token"], "");
        assert_eq!(info["expiring_embed_link"]["access_token"], "");
        let zip =
            serde_json::json!({"items":[{"type":"file","id":file}],"download_file_name":"a"}).to_string();
        let zip = bench.client.post(bench.url("/2.0/zip_downloads")).body(zip).send().await.unwrap();
        assert_eq!(zip.status(), 202);
        let zip: Value = json(zip).await;
        assert!(follow(&zip["download_url"], "").await.bytes().await.unwrap().starts_with(b"PK"));
        assert!(!bench.sandbox.last_seen().unwrap().headers.contains_key("authorization"));
        assert_eq!(json(follow(&zip["status_url"], "").await).await["state"], "succeeded");
    }
}
