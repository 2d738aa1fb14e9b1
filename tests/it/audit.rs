//! The audit log: which requests have a line, and what it says.

mod documented; // the table of fields
mod refusals; // calls that the gateway refuses

use std::path::Path;

use boxgate::sandbox::{Content, Fault, Options};
use http::{Method, Version};
use serde_json::{Value, json};

use crate::harness::{Bench, json, until};
use crate::tunnels::program::Program;

const ON: &str = "[log]\naudit = \"audit.jsonl\"\n";

/// A gateway with an audit log.
async fn bench(more: &str) -> Bench {
    let bench = Bench::with(&format!("{ON}{more}")).await;
    bench.until_ready().await;
    bench
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("audit.jsonl")).unwrap()
}

/// All lines, once there are so many; a test fails that has more.
async fn lines(bench: &Bench, count: usize) -> Vec<Value> {
    let all = || -> Vec<Value> {
        text(&bench.state).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until(|| async { all().len() >= count }).await;
    let lines = all();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn asked(bench: &Bench, method: Method, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = bench.client.request(method, bench.url(path));
    request.header("content-type", "application/json").body(body.to_string())
}

/// The form of an upload with this name.
fn form(name: &str) -> String {
    let attributes = json!({ "name": name, "parent": { "id": "0" } });
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{attributes}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--b--\r\n"
    )
}

const FORM: &str = "multipart/form-data; boundary=b";

#[tokio::test]
async fn every_kind_of_change_has_a_line_with_what_it_changed_and_reading_has_none() {
    let bench = bench("").await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("abc".into()));
    // None of these changes anything.
    for path in ["/2.0/users/me", "/2.0/folders/0/items", "/2.0/files/404404", "/nowhere"] {
        bench.get(path).await;
    }
    let check = json!({ "name": "b", "parent": { "id": "0" } });
    asked(&bench, Method::OPTIONS, "/2.0/files/content", &check).send().await.unwrap();
    let zip = json!({ "items": [{ "type": "file", "id": file }] });
    let zip = asked(&bench, Method::POST, "/2.0/zip_downloads", &zip).send().await.unwrap();
    assert!(zip.status().is_success());
    let token = bench.client.post(bench.url("/oauth2/token")).send().await.unwrap();
    assert_eq!(token.status(), 200);
    assert_eq!(lines(&bench, 0).await, [] as [Value; 0]);

    let folder = json!({ "name": "new", "parent": { "id": "0" } });
    let folder = json_of(asked(&bench, Method::POST, "/2.0/folders", &folder)).await["id"].clone();
    let upload = bench.client.post(bench.url("/api/2.0/files/content")).body(form("up"));
    let uploaded = json_of(upload.header("content-type", FORM)).await["entries"][0]["id"].clone();
    let path = format!("/2.0/files/{file}");
    json_of(asked(&bench, Method::PUT, &path, &json!({ "name": "c.txt" }))).await;
    let comment = json!({ "item": { "type": "file", "id": file }, "message": "hello" });
    let comment = json_of(asked(&bench, Method::POST, "/2.0/comments", &comment)).await["id"].clone();
    let shared = json!({
        "item": { "type": "file", "id": file }, "role": "viewer", "accessible_by": { "type": "user", "login": "a@example.com" }
    });
    let shared = json_of(asked(&bench, Method::POST, "/2.0/collaborations", &shared)).await["id"].clone();
    let deleted = asked(&bench, Method::DELETE, &path, &json!({})).send().await.unwrap();
    assert_eq!(deleted.status(), 204);

    let lines = lines(&bench, 6).await;
    let said = |line: &Value| {
        json!([
            line["operation"],
            line["group"],
            line["targets"],
            line["status"],
            line["box_status"],
            line["end"]
        ])
    };
    let wanted = [
        json!(["POST /2.0/folders", "write", [folder], 201, 201, "complete"]),
        json!(["POST /2.0/files/content", "upload", [uploaded], 201, 201, "complete"]),
        json!(["PUT /2.0/files/*", "write,share", [file], 200, 200, "complete"]),
        json!(["POST /2.0/comments", "write", [comment], 201, 201, "complete"]),
        json!(["POST /2.0/collaborations", "share", [shared], 201, 201, "complete"]),
        json!(["DELETE /2.0/files/*", "delete", [file], 204, 204, "complete"]),
    ];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert_eq!(said(line), wanted);
        let of_all = json!([line["app"], line["client"], line["identity"], line["as_user"], line["code"]]);
        assert_eq!(of_all, json!(["default", "127.0.0.1", "service", null, null]));
        assert_eq!(line["attempts"], 1);
        assert!(line["request_id"].is_string() && line["box_request_id"].is_string(), "{line}");
    }
}

async fn json_of(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    json(answer).await
}

#[tokio::test]
async fn a_request_that_is_sent_several_times_has_one_line() {
    let bench = bench("").await;
    let delete = async |id: &str| {
        asked(&bench, Method::DELETE, &format!("/2.0/files/{id}"), &json!({})).send().await.unwrap();
    };
    bench.sandbox.expire_tokens();
    // A 401, and the same with a fresh token.
    delete("1").await;
    bench.sandbox.always_unauthorized("/2.0/files/2");
    delete("2").await;
    bench.sandbox.script("/2.0/files/3", vec![Fault::CloseBeforeHead]);
    delete("3").await;
    let said = |line: &Value| {
        json!([line["targets"][0], line["attempts"], line["status"], line["code"], line["box_status"]])
    };
    let lines = lines(&bench, 3).await;
    assert_eq!(said(&lines[0]), json!(["1", 2, 404, null, 404]));
    assert_eq!(said(&lines[1]), json!(["2", 2, 502, "upstream_unauthorized", 401]));
    assert_eq!(
        json!([lines[2]["attempts"], lines[2]["status"], lines[2]["box_status"]]),
        json!([1, 502, null])
    );
}

#[tokio::test]
async fn as_user_and_boxs_errors_are_shown_and_no_secret_is() {
    let key = "canary-key-of-the-app-with-a-length";
    let bench = bench(&format!("[[app]]\nname = \"a\"\nkey = \"{key}\"\nas_user = [\"*\"]\n")).await;
    let answer =
        asked(&bench, Method::DELETE, "/2.0/files/404404?canary-query=1", &json!({ "canary": "body" }))
            .header("X-Boxgate-Key", key)
            .header("As-User", "11446498")
            .header("X-Request-Id", "it-is-mine");
    assert_eq!(answer.send().await.unwrap().status(), 404);
    // Somebody puts the key where ids are.
    let wrong = asked(&bench, Method::DELETE, &format!("/2.0/files/{key}"), &json!({}));
    assert_eq!(wrong.header("X-Boxgate-Key", "canary-that-is-wrong").send().await.unwrap().status(), 403);
    let lines = lines(&bench, 2).await;
    let line = &lines[0];
    assert_eq!(line["as_user"], "11446498");
    assert_eq!(line["box_code"], "not_found");
    assert_eq!(line["request_id"], "it-is-mine");
    let text = text(&bench.state);
    assert!(!text.contains("canary") && !text.contains("Bearer"), "{text}");
    for seen in bench.sandbox.seen() {
        let token = seen.headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
        assert!(!text.contains(&token));
    }
}

#[tokio::test]
async fn requests_over_http2_and_in_a_tunnel_have_lines_and_the_tunnel_has_none() {
    let more = format!("[forward_proxy]\n{ON}");
    let bench = Bench::with_boxs_names(Options::default(), "", &more).await;
    bench.until_ready().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let program = Program::speaking(&bench, "", version).await;
        let upload = program.request(Method::POST, "https://upload.box.com/api/2.0/files/content");
        let upload = upload.header("content-type", FORM).body(form(if version == Version::HTTP_2 {
            "two"
        } else {
            "one"
        }));
        let id = json_of(upload).await["entries"][0]["id"].clone();
        let path = format!("https://api.box.com/2.0/files/{}", id.as_str().unwrap());
        assert_eq!(program.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    }
    let lines = lines(&bench, 4).await;
    for pair in lines.chunks(2) {
        assert_eq!(pair[0]["operation"], "POST /2.0/files/content");
        assert_eq!(pair[1]["operation"], "DELETE /2.0/files/*");
        assert_eq!(pair[0]["targets"], pair[1]["targets"]);
        assert_eq!(pair[0]["targets"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_told_with_what_box_had_answered_until_then() {
    let bench = bench("").await;
    let hold = bench.sandbox.hold_replies("/2.0/files/17");
    let request = asked(&bench, Method::DELETE, "/2.0/files/17", &json!({}));
    let leaving = tokio::spawn(request.send());
    bench.sandbox.wait_for_in_flight(1).await;
    leaving.abort();
    let line = lines(&bench, 1).await.remove(0);
    assert_eq!(
        json!([line["end"], line["status"], line["box_status"], line["attempts"]]),
        json!(["caller_left", null, null, 1])
    );
    assert_eq!(line["targets"], json!(["17"]));
    drop(hold);
}
