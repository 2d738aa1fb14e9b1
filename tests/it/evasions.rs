//! Attempts to evade rules, limits and budgets by other spellings, which Box might read as the refused operation.

use boxgate::sandbox::Content;

use crate::harness::{Bench, refusal};

async fn ask(bench: &Bench, line: &str) -> String {
    bench
        .raw(&format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
        .await
}

/// `delete` is not DELETE to HTTP, but it may be to a server.
#[tokio::test]
async fn methods_in_other_letters_are_refused() {
    let rules = r#"
[[app]]
name = "a"
deny = ["DELETE /2.0/**"]

[[limit]]
name = "one"
key = "global"
on = ["GET /2.0/users/me"]
rate = "1/h"
"#;
    let bench = Bench::with(rules).await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    for method in
        ["delete", "Delete", "get", "gET", "patch", "GET1", "M-SEARCH", "G_T", "connect", "trace", "!"]
    {
        let answer = ask(&bench, &format!("{method} /2.0/files/{file}?fields=expiring_embed_link")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_request"), "{method}: {answer}");
        let answer = ask(&bench, &format!("{method} /.well-known/boxgate/ca.pem")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{method}: {answer}");
    }
    assert!(ask(&bench, &format!("DELETE /2.0/files/{file}")).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(bench.sandbox.calls(), 0);
}

#[tokio::test]
async fn batches_pass_only_where_a_pattern_names_them() {
    let apps = r#"
[[app]]
name = "all"

[[app]]
name = "named"
path = "/named"
allow = ["* /**", "POST /2.0/batch"]
"#;
    let bench = Bench::with(apps).await;
    let spellings = [
        "/2.0/batch",
        "/2.0/batch/",
        "/2.0/Batch",
        "/2.0/%62atch",
        "/2.0/batch;x",
        "/api/2.0/batch",
        "/2.0/batch?x=1",
        "/2.0/batch/x",
        "/2.0/batch%20",
        "/2.0/%20batch",
        "/2.0/batch.",
        "/2.0/batch.json",
        "/2.0/.batch",
        "/2.0/batch%E2%80%8B",
        "/2.0/batch,x",
    ];
    for path in spellings {
        let answer = ask(&bench, &format!("POST {path}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("POST /2.0/batch"),
            "{path}: {answer}"
        );
    }
    assert_eq!(bench.sandbox.calls(), 0);
    let answer = ask(&bench, "POST /named/2.0/batch").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "Box's own answer: {answer}");
    assert_eq!(bench.sandbox.calls(), 1);
    // Names that only begin with "batch" are other operations.
    for path in ["/2.0/batches", "/2.0/batch_jobs/1", "/2.0/batch-x"] {
        assert!(ask(&bench, &format!("POST {path}")).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
    for path in ["/named/2.0/BATCH", "/named/2.0/batch/", "/named/2.0/batch."] {
        assert!(ask(&bench, &format!("POST {path}")).await.starts_with("HTTP/1.1 403 "), "{path}");
    }
}

#[tokio::test]
async fn no_spelling_of_access_token_reaches_box() {
    let bench = Bench::start().await;
    for name in [
        "access_token",
        "access_token%00",
        "access.token",
        "access%20token",
        "access_token[]",
        "access%255Ftoken",
        "?access_token",
    ] {
        let answer = ask(&bench, &format!("GET /2.0/users/me?a=1&{name}=canary&b=%20")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
        assert_eq!(bench.sandbox.last_seen().unwrap().target, "/2.0/users/me?a=1&b=%20", "{name}");
    }
}

#[tokio::test]
async fn escapes_that_may_end_or_hide_a_part_of_an_api_path_are_refused() {
    let bench = Bench::with("[[app]]\nname = \"a\"\ndeny = [\"GET /2.0/users/me\"]").await;
    let download = bench.sandbox.download_url();
    let download = download.trim_start_matches("https://");
    for path in [
        "/2.0/users%3Fme",
        "/2.0/users/me%3Ffields=id",
        "/2.0/users/me%3f",
        "/2.0/users/me%23x",
        "/2.0/users/m%2565",
        "/api/2.0/files/1%3F/content",
    ] {
        let answer = ask(&bench, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_request"), "{path}: {answer}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
    // A URL that Box has signed may have any spelling.
    let answer = ask(&bench, &format!("GET /_box/{download}/d/1/a%20%231%3F%25/download")).await;
    assert!(!answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(bench.sandbox.last_seen().unwrap().target.contains("a%20%231%3F%25"));
}

/// Reading content is not counted by budgets; any other request to a download host is.
#[tokio::test]
async fn writing_to_a_download_host_is_counted_as_a_call() {
    let plan = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 2\n";
    let bench = Bench::with(plan).await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    let target = format!("/api/2.0/internal_files/{file}/versions/1/representations/text/content/");
    for _ in 0..3 {
        assert_ne!(refusal_code(&bench, "GET", &target).await, "budget_spent");
    }
    for _ in 0..2 {
        assert_ne!(refusal_code(&bench, "DELETE", &target).await, "budget_spent");
    }
    for method in ["DELETE", "POST", "PUT", "OPTIONS"] {
        assert_eq!(refusal_code(&bench, method, &target).await, "budget_spent", "{method}");
    }
    assert_ne!(refusal_code(&bench, "GET", &target).await, "budget_spent");
    assert_eq!(
        bench.metric("boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}").await,
        2.0
    );
}

async fn refusal_code(bench: &Bench, method: &str, path: &str) -> String {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let answer = bench.client.request(method, bench.url(path)).send().await.unwrap();
    match answer.headers().get("proxy-status") {
        Some(_) => refusal(answer).await.1,
        None => String::new(),
    }
}
