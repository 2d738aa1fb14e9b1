//! What no span holds: credentials, queries, bodies, ids.

use boxgate::sandbox::Content;

use super::collector::{Collector, Does};
use crate::harness::Bench;

#[tokio::test]
async fn no_span_holds_what_a_request_carries() {
    let collector = Collector::start(Does::Take).await;
    let app = "[[app]]\nname = \"web\"\nkey = \"canary-key-of-the-app\"\nas_user = [\"*\"]\n";
    let bench = Bench::with(&format!("{}{app}", collector.table())).await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "canary-name.txt", Content::Bytes("canary-content".into()));
    let user = bench.sandbox.user_id().to_owned();
    let secret = bench.sandbox.client_secret().to_owned();
    // The token is what Box is sent.
    let with_all = |method: &str, path: &str, nth: u32| {
        bench
            .client
            .request(method.parse().unwrap(), bench.url(path))
            .header("x-request-id", format!("mine-{nth}"))
            .header("x-boxgate-key", "canary-key-of-the-app")
            .header("authorization", "Bearer canary-of-the-caller")
            .header("cookie", "a=canary-cookie")
            .header("as-user", &user)
            .header("user-agent", "canary-agent")
            .header("boxapi", "shared_link=https://app.box.com/s/canary&shared_link_password=canary-password")
            // A live secret, in a field whose value is recorded.
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .header("tracestate", format!("vendor={secret}"))
    };
    let requests = [
        ("GET", format!("/2.0/files/{file}?fields=canary-query")),
        ("GET", format!("/2.0/files/{file}/content?version=canary-query")),
        ("GET", "/2.0/canary-key-of-the-app/x".to_owned()),
        ("GET", format!("/2.0/{secret}")),
        ("GET", "/2.0/zip_downloads/canary-zip-0/content".to_owned()),
        (
            "GET",
            format!(
                "/_box/{}/canary-1/path?sig=canary",
                bench.sandbox.download_url().trim_start_matches("https://")
            ),
        ),
        ("GET", "/canary-app/canary".to_owned()),
        ("POST", "/2.0/folders?canary=1".to_owned()),
        (secret.to_uppercase().as_str(), "/2.0/users/me".to_owned()),
    ]
    .map(|(method, path)| (method.to_owned(), path));
    for (nth, (method, path)) in (0..).zip(&requests) {
        let method = if method.bytes().all(|byte| byte.is_ascii_uppercase()) { method } else { "SECRET" };
        let body = r#"{"name":"canary-body","parent":{"id":"0"}}"#;
        let _ = with_all(method, path, nth).body(body).send().await.unwrap().bytes().await;
    }
    let last = requests.len() - 1;
    collector.trace_of(&format!("mine-{last}")).await;
    let token = bench.sandbox.seen().iter().find_map(|seen| Some(seen.headers.get("authorization")?.clone()));
    let token = token.unwrap().to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    assert!(token.len() > 10 && !token.contains("canary"));
    let spans = collector.taken();
    // One for each request, the token's, and those of attempts.
    assert!(spans.len() > requests.len() + 3, "{}", spans.len());
    for got in collector.requests(1).await {
        let all = format!("{}\n{:?}\n{}", got.line, got.fields, String::from_utf8_lossy(&got.body));
        for never in ["canary", &secret, &token, &file, &user, "Bearer", "127.0.0.1:0"] {
            assert!(!all.contains(never), "{never} in {all}");
        }
    }
}
