use http::Method;

use crate::harness::{Bench, refusal};

async fn with_header(bench: &Bench, name: &str, value: &str, path: &str) -> (u16, String) {
    let answer = bench.client.get(bench.url(path)).header(name, value).send().await.unwrap();
    match answer.status().as_u16() {
        200 => (200, String::new()),
        _ => refusal(answer).await,
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_before_box_is_touched() {
    let bench = Bench::with("[listen]\naddress = \"127.0.0.1:0\"\nhosts = [\"gate.internal\"]").await;
    for host in ["evil.example", "gate.internal.evil.example", "127.0.0.1.evil.example"] {
        let (status, code) = with_header(&bench, "host", host, "/2.0/users/me").await;
        assert_eq!((status, code.as_str()), (421, "host_not_allowed"), "{host}");
    }
    for host in ["gate.internal", "GATE.internal:8080", "localhost", "127.0.0.1:1", "[::1]"] {
        assert_eq!(with_header(&bench, "host", host, "/2.0/users/me").await.0, 200, "{host}");
    }
    // The kernel connects these to loopback, but browsers treat them as remote hosts.
    for host in ["0.0.0.0:80", "[::]", "[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]"] {
        let (status, code) = with_header(&bench, "host", host, "/2.0/users/me").await;
        assert_eq!((status, code.as_str()), (421, "host_not_allowed"), "{host}");
    }
    for host in ["evil.example", "0.0.0.0", "[::]:1", "[::ffff:127.0.0.1]"] {
        let answer = bench.client.get(format!("http://{}/metrics", bench.admin)).header("host", host);
        assert_eq!(answer.send().await.unwrap().status(), 421, "{host}");
    }
    assert_eq!(bench.sandbox.calls(), 5);
}

#[tokio::test]
async fn sources_are_checked_for_the_listener_and_for_apps() {
    let bench = Bench::with("[listen]\naddress = \"127.0.0.1:0\"\nsources = [\"10.0.0.0/8\"]").await;
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (403, "source_not_allowed".into()));

    let apps = r#"
[listen]
address = "127.0.0.1:0"
trusted_proxies = ["loopback"]

[[app]]
name = "far"
path = "/far"
sources = ["203.0.113.0/24"]

[[app]]
name = "near"
path = "/near"
"#;
    let bench = Bench::with(apps).await;
    assert_eq!(refusal(bench.get("/far/2.0/users/me").await).await, (403, "source_not_allowed".into()));
    let forwarded = |value: &'static str| with_header(&bench, "x-forwarded-for", value, "/far/2.0/users/me");
    assert_eq!(forwarded("203.0.113.9").await.0, 200);
    assert_eq!(forwarded("203.0.113.9, 198.51.100.1").await.0, 403, "the last untrusted hop is the client");
    assert_eq!(bench.get("/near/2.0/users/me").await.status(), 200);
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (404, "no_such_app".into()));
    assert_eq!(bench.sandbox.last_seen().unwrap().target, "/2.0/users/me", "the app's path is taken off");
}

#[tokio::test]
async fn rules_apply_to_operations_in_every_spelling_of_the_url() {
    let bench = Bench::with(
        "[[app]]\nname = \"a\"\nallow = [\"GET /2.0/**\", \"POST /2.0/files/content\"]\ndeny = [\"GET /2.0/users\"]",
    )
    .await;
    let refused = (403, "operation_not_allowed".to_owned());
    for path in
        ["/2.0/users", "/2.0/Users", "/2.0/users/", "/2.0/users;a=b", "/2.0/u%73ers", "/api/2.0/users"]
    {
        assert_eq!(refusal(bench.get(path).await).await, refused, "{path}");
    }
    assert_eq!(refusal(bench.client.delete(bench.url("/2.0/files/1")).send().await.unwrap()).await, refused);
    let answer = bench.client.head(bench.url("/2.0/users/me")).send().await.unwrap();
    assert_ne!(answer.status(), 403, "GET covers HEAD; what Box says to it is Box's");
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn named_groups_of_operations_are_rules() {
    let bench = Bench::with(
        "[[app]]\nname = \"a\"\nallow = [\"read\", \"upload\"]\ndeny = [\"admin\", \"GET /2.0/search\"]",
    )
    .await;
    for (method, path, allowed) in [
        (Method::GET, "/2.0/folders/0", true),
        (Method::HEAD, "/2.0/folders/0/items", true),
        (Method::POST, "/2.0/files/content", true),
        (Method::POST, "/api/2.0/files/content", true),
        (Method::GET, "/2.0/files/1/content", false),
        (Method::POST, "/2.0/folders", false),
        (Method::DELETE, "/2.0/files/1", false),
        (Method::GET, "/2.0/webhooks", false),
        (Method::GET, "/2.0/search", false),
        (Method::GET, "/2.0/unheard_of", false),
        (Method::POST, "/2.0/files/Content", false),
    ] {
        bench.sandbox.clear_seen();
        let answer = bench.client.request(method.clone(), bench.url(path)).send().await.unwrap();
        let reached = bench.sandbox.last_seen().is_some();
        assert_eq!(reached, allowed, "{method} {path}: {}", answer.status());
        if !allowed {
            assert_eq!(answer.status(), 403, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_refusal_of_a_login_does_not_blame_the_apps_rules() {
    let bench = Bench::start().await;
    for path in ["/oauth2/authorize", "/oauth2/token"] {
        let body = crate::harness::json(bench.get(path).await).await;
        assert_eq!(body["code"], "operation_not_allowed");
        let message = body["message"].as_str().unwrap();
        assert!(message.starts_with("Logins of people do not go through"), "{path}: {message}");
        assert!(!message.contains("deny"), "{path}: {message}");
    }
}

#[tokio::test]
async fn an_unlisted_web_page_is_refused() {
    let bench = Bench::start().await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let refused = with_header(&bench, name, value, "/2.0/users/me").await;
        assert_eq!(refused, (403, "origin_not_allowed".into()), "{name}: {value}");
    }
    assert_eq!(with_header(&bench, "sec-fetch-site", "none", "/2.0/users/me").await.0, 200);
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn as_user_names_only_whom_the_app_may_name() {
    let bench = Bench::with("[[app]]\nname = \"a\"\nas_user = [\"11446498\"]").await;
    assert_eq!(with_header(&bench, "as-user", "11446498", "/2.0/users/me").await.0, 200);
    assert_eq!(bench.sandbox.last_seen().unwrap().headers["as-user"], "11446498");
    let refused = (403, "as_user_not_allowed".to_owned());
    assert_eq!(with_header(&bench, "as-user", "11446499", "/2.0/users/me").await, refused);
    let twice = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nAs-User: 11446498\r\nAs-User: 1\r\nConnection: close\r\n\r\n";
    assert!(bench.raw(twice).await.starts_with("HTTP/1.1 400 "));
    let any = Bench::with("[[app]]\nname = \"a\"\nas_user = [\"*\"]").await;
    with_header(&any, "as-user", "12345678901234567890", "/2.0/users/me").await;
    assert_eq!(any.sandbox.last_seen().unwrap().headers["as-user"], "12345678901234567890");
    for user in
        ["", "0", "011446498", " ", "+1", "1.0", "1e3", "1, 2", "123456789012345678901", "a@b.example"]
    {
        assert_eq!(with_header(&any, "as-user", user, "/2.0/users/me").await, refused, "{user:?}");
    }
    let wide =
        "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nAs-User: \u{ff11}\r\nConnection: close\r\n\r\n";
    assert!(any.raw(wide).await.starts_with("HTTP/1.1 403 "), "digits of other scripts");
    assert_eq!(any.sandbox.calls(), 1);
    let none = Bench::start().await;
    assert_eq!(with_header(&none, "as-user", "11446498", "/2.0/users/me").await, refused);
    assert_eq!(none.sandbox.calls(), 0);
}

#[tokio::test]
async fn an_empty_segment_does_not_evade_a_rule() {
    let bench = crate::harness::Bench::with(
        "[[app]]\nname = \"a\"\nallow = [\"* /2.0/users/*\", \"* /2.0/folders/**\"]\ndeny = [\"DELETE /2.0/folders/*\"]\n",
    )
    .await;
    for (method, path, status) in [
        ("DELETE", "/2.0/folders/0/;a=b", 400),
        ("DELETE", "/2.0/folders/0/%3Ba", 400),
        ("DELETE", "/2.0/;a/folders/0", 400),
        ("GET", "/2.0/users/", 403),
    ] {
        let answer = bench
            .raw(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
}

#[tokio::test]
async fn a_disabled_app_says_so_and_no_other_app_answers_instead() {
    let apps = r#"
[[app]]
name = "root"

[[app]]
name = "off"
path = "/off"
enabled = false
origins = ["https://page.example"]
"#;
    let bench = Bench::with(apps).await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let disabled = (503, "app_disabled".to_owned());
    for path in ["/off/2.0/users/me", "/off/oauth2/token", "/off/nothing"] {
        assert_eq!(refusal(bench.get(path).await).await, disabled, "{path}");
    }
    let page = |request: reqwest::RequestBuilder| request.header("origin", "https://page.example").send();
    let answer = page(bench.client.get(bench.url("/off/2.0/users/me"))).await.unwrap();
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://page.example",
        "the page may read the refusal"
    );
    let asked = bench.client.request(reqwest::Method::OPTIONS, bench.url("/off/2.0/users/me"));
    let preflight = page(asked.header("access-control-request-method", "GET")).await.unwrap();
    assert_eq!(preflight.status(), 204, "else a browser shows a page nothing at all");
    assert_eq!(bench.sandbox.calls(), 1);
}
