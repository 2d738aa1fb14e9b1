//! Uploads in parts.

use serde_json::json;

use super::*;
use crate::sandbox::model::content::Sha1;

fn small() -> Options {
    Options { part_size: 4, smallest_session: 6, ..Options::default() }
}

fn digest(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(bytes);
    format!("sha={}", hash.finish_base64())
}

impl Bench {
    async fn begin(&self, name: &str, size: u64) -> Value {
        let url = self.sandbox.upload_url() + "/api/2.0/files/upload_sessions";
        let body = json!({ "folder_id": "0", "file_name": name, "file_size": size });
        json(self.send("POST", &url, body).await).await
    }

    async fn put(&self, session: &Value, range: &str, bytes: &'static [u8]) -> Response {
        let url = session["session_endpoints"]["upload_part"].as_str().unwrap();
        let request = self.request("PUT", url).header("content-range", range).header("digest", digest(bytes));
        request.body(bytes).send().await.unwrap()
    }

    async fn commit(&self, session: &Value, whole: &[u8], parts: &[Value]) -> Response {
        let url = session["session_endpoints"]["commit"].as_str().unwrap();
        let body = json!({ "parts": parts, "attributes": { "description": "in parts" } }).to_string();
        self.request("POST", url).header("digest", digest(whole)).body(body).send().await.unwrap()
    }
}

#[tokio::test]
async fn parts_in_any_order_make_a_file() {
    let bench = Bench::with(small()).await;
    let session = bench.begin("a.txt", 10).await;
    assert_eq!((&session["part_size"], &session["total_parts"]), (&json!(4), &json!(3)));
    let mut parts = Vec::new();
    for (range, bytes) in [("bytes 8-9/10", &b"89"[..]), ("bytes 0-3/10", b"0123"), ("bytes 4-7/10", b"4567")]
    {
        let part = json(bench.put(&session, range, bytes).await).await;
        assert_eq!(part["part"]["size"], bytes.len());
        parts.push(part["part"].clone());
    }
    let listed = session["session_endpoints"]["list_parts"].as_str().unwrap();
    let page = json(bench.get(&format!("{listed}?limit=1&offset=1")).await).await;
    assert_eq!((&page["total_count"], &page["entries"][0]), (&json!(3), &parts[2]));
    let status = json(bench.get(session["session_endpoints"]["status"].as_str().unwrap()).await).await;
    assert_eq!(status["num_parts_processed"], 3);
    let log = session["session_endpoints"]["log_event"].as_str().unwrap();
    assert_eq!(bench.send("POST", log, json!({})).await.status(), 200);

    bench.sandbox.hold_commits(1);
    let later = bench.commit(&session, b"0123456789", &parts).await;
    assert_eq!((later.status().as_u16(), later.headers()["retry-after"].as_bytes()), (202, &b"1"[..]));
    assert!(later.bytes().await.unwrap().is_empty());
    let made = bench.commit(&session, b"0123456789", &parts).await;
    assert_eq!(made.status(), 201);
    let file = json(made).await["entries"][0].clone();
    assert_eq!(file["sha1"], "87acec17cd9dcd20a716cc2cf67417b71c8a7016");
    assert_eq!(file["description"], "in parts");
    let id = file["id"].as_str().unwrap();
    let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
    assert_eq!(bench.get(&url).await.text().await.unwrap(), "0123456789");
    assert_eq!(bench.commit(&session, b"0123456789", &parts).await.status(), 410);
}

#[tokio::test]
async fn parts_that_do_not_fit_a_session_are_refused() {
    let bench = Bench::with(small()).await;
    assert_eq!(bench.begin("a.txt", 5).await["code"], "file_size_too_small");
    bench.sandbox.add_file("0", "taken", Content::Zeros(1));
    assert_eq!(bench.begin("taken", 10).await["code"], "item_name_in_use");
    let session = bench.begin("a.txt", 6).await;
    let url = session["session_endpoints"]["upload_part"].as_str().unwrap();
    for (range, bytes, status) in [
        ("bytes 0-2/6", &b"012"[..], 416),
        ("bytes 2-5/6", b"2345", 416),
        ("bytes 0-3/7", b"0123", 416),
        ("bytes 0-3/6", b"012", 400),
        ("bytes 0-3/6", b"0123", 200),
        ("bytes 0-3/6", b"0123", 409),
    ] {
        assert_eq!(bench.put(&session, range, bytes).await.status(), status, "{range}");
    }
    let again = bench.put(&session, "bytes 0-3/6", b"0123").await;
    assert_eq!(json(again).await["code"], "range_overlaps_existing_part");
    let wrong = bench.request("PUT", url).header("content-range", "bytes 4-5/6").header("digest", "sha=x");
    assert_eq!(json(wrong.body("45").send().await.unwrap()).await["code"], "digest_mismatch");

    let first = json(bench.get(&format!("{url}/parts")).await).await["entries"].as_array().unwrap().clone();
    let early = bench.commit(&session, b"012345", &first).await;
    assert_eq!((early.status().as_u16(), &json(early).await["code"]), (400, &json!("parts_mismatch")));
    let last = json(bench.put(&session, "bytes 4-5/6", b"45").await).await["part"].clone();
    let unlisted = bench.commit(&session, b"012345", &first).await;
    assert_eq!(json(unlisted).await["code"], "parts_mismatch");
    let parts = [first[0].clone(), last];
    let wrong = bench.commit(&session, b"other", &parts).await;
    assert_eq!(wrong.status(), 400);
    let wrong = json(wrong).await;
    let message = "File digest was incorrect. Actual: /fi8WBRTb2YBKIThRqiIekRwmlY= Expected: ";
    assert_eq!(wrong["code"], "digest_mismatch");
    assert!(wrong["message"].as_str().unwrap().starts_with(message), "{wrong}");

    let other = bench.request("GET", url).header("as-user", "11446498").send().await.unwrap();
    assert_eq!(other.status(), 403);
    assert_eq!(bench.request("DELETE", url).send().await.unwrap().status(), 204);
    let gone = bench.commit(&session, b"012345", &parts).await;
    assert_eq!((gone.status().as_u16(), &json(gone).await["code"]), (410, &json!("session_expired")));
    let unknown = bench.sandbox.upload_url() + "/api/2.0/files/upload_sessions/FEED";
    assert_eq!(bench.get(&unknown).await.status(), 404);
    assert_eq!(bench.request("PATCH", &unknown).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_new_version_needs_the_current_etag() {
    let bench = Bench::with(small()).await;
    let id = bench.sandbox.add_file("0", "a.txt", Content::Zeros(1));
    let url = format!("{}/api/2.0/files/{id}/upload_sessions", bench.sandbox.upload_url());
    let session = json(bench.send("POST", &url, json!({ "file_size": 6, "file_name": "b.txt" })).await).await;
    let mut parts = Vec::new();
    for (range, bytes) in [("bytes 0-3/6", &b"0123"[..]), ("bytes 4-5/6", b"45")] {
        parts.push(json(bench.put(&session, range, bytes).await).await["part"].clone());
    }
    let commit = |etag: &str| {
        let request = bench.request("POST", session["session_endpoints"]["commit"].as_str().unwrap());
        let request = request.header("digest", digest(b"012345")).header("if-match", etag);
        request.body(json!({ "parts": parts }).to_string())
    };
    assert_eq!(commit("7").send().await.unwrap().status(), 412);
    let made = json(commit("0").send().await.unwrap()).await;
    assert_eq!((&made["entries"][0]["id"], &made["entries"][0]["name"]), (&json!(id), &json!("b.txt")));
}

#[tokio::test]
async fn a_session_is_served_by_the_host_that_it_names_and_the_usual_one() {
    let bench = Bench::with(Options { names: Names::Box, ..small() }).await;
    let session = bench.begin("a.txt", 10).await;
    let named = session["session_endpoints"]["status"].as_str().unwrap();
    let path = named.strip_prefix("https://upload.app.box.com").unwrap();
    assert_eq!(bench.get(&(bench.sandbox.upload_url() + path)).await.status(), 404);
    let tls = trusting(&bench.sandbox, &[b"http/1.1"]);
    let proxy = reqwest::Proxy::all(bench.sandbox.proxy_url()).unwrap();
    let client = Client::builder().tls_backend_preconfigured(tls).proxy(proxy).build().unwrap();
    let bench = Bench { client, ..bench };
    assert_eq!(bench.get(named).await.status(), 200);
    assert_eq!(bench.get(&format!("https://upload.box.com{path}")).await.status(), 200);
    assert_eq!(bench.get(&format!("https://upload-las.app.box.com{path}")).await.status(), 404);
}
