use boxgate::sandbox::{Content, Fault, Options, Protocols, Role};
use http::{HeaderName, HeaderValue, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, refusal};

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn an_ambiguous_target_is_refused() {
    let bench = Bench::start().await;
    for target in [
        "/2.0/files/..%2f1",
        "/2.0/files/%2e%2e/x",
        "/2.0/../x",
        "/2.0/files//1",
        "/2.0/files/1%00",
        "/2.0/a%5cb",
        "/2.0/a\\b",
        "//evil.example/2.0/users/me",
        "http://evil.example/2.0/users/me",
        "*",
        "/2.0/%",
    ] {
        let answer = bench.raw(&request(&format!("GET {target}"), "")).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"bad_request\""),
            "{target}: {answer}"
        );
    }
    let own = bench.raw(&request("GET http://localhost/2.0/users/me", "")).await;
    assert!(own.starts_with("HTTP/1.1 200 "), "absolute form to its own authority: {own}");
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn a_query_reaches_box_unchanged_even_if_it_is_empty() {
    let bench = Bench::start().await;
    for (sent, reached) in [
        ("/2.0/users/me?", "/2.0/users/me?"),
        ("/2.0/users/me", "/2.0/users/me"),
        ("/2.0/users/me??a=%2F&", "/2.0/users/me??a=%2F&"),
        ("/2.0/users/me?access_token=x", "/2.0/users/me"),
    ] {
        let answer = bench.raw(&request(&format!("GET {sent}"), "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{sent}: {answer}");
        assert_eq!(bench.sandbox.last_seen().unwrap().target, reached, "{sent}");
    }
}

#[tokio::test]
async fn requests_that_smuggle_or_switch_protocols_are_refused() {
    let bench = Bench::start().await;
    let hosts = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nHost: other\r\nConnection: close\r\n\r\n";
    assert!(bench.raw(hosts).await.starts_with("HTTP/1.1 400 "));
    let none = "GET /2.0/users/me HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert!(bench.raw(none).await.starts_with("HTTP/1.1 400 "));
    assert!(bench.raw(&request("CONNECT localhost:443", "")).await.starts_with("HTTP/1.1 405 "));
    assert!(bench.raw(&request("TRACE /2.0/users/me", "")).await.starts_with("HTTP/1.1 405 "));
    let websocket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n";
    assert!(bench.raw(&request("GET /2.0/users/me", websocket)).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(bench.sandbox.calls(), 0);
    let h2c = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert!(bench.raw(&request("GET /2.0/users/me", h2c)).await.starts_with("HTTP/1.1 200 "));
    assert!(bench.sandbox.last_seen().unwrap().headers.get("upgrade").is_none());
}

#[tokio::test]
async fn a_body_framed_in_two_ways_gets_new_framing_for_box() {
    let bench = Bench::start().await;
    let both = "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
    bench.raw(both).await;
    let seen = bench.sandbox.seen();
    assert_eq!(seen.len(), 1, "what follows the body on a connection that closes is no request");
    assert_eq!((seen[0].headers.get("content-length"), seen[0].body_bytes), (None, 2));
}

#[tokio::test]
async fn the_callers_credentials_never_reach_box_and_boxs_never_reach_the_caller() {
    let bench = Bench::start().await;
    let set = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut fault = Fault::json(&serde_json::json!({"ok": true}));
    for (name, value) in
        [set("set-cookie", "box=1"), set("alt-svc", "h3=\":443\""), set("access-control-allow-origin", "*")]
    {
        fault = fault.with_header(name, value);
    }
    bench.sandbox.script("/2.0/users/me", vec![fault]);
    let answer = bench
        .client
        .get(bench.url("/2.0/users/me?access_token=canary&fields=id"))
        .header("authorization", "Bearer canary")
        .header("cookie", "a=canary")
        .header("x-custom", "1")
        .header("x-forwarded-for", "192.0.2.1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("x-request-id", "mine-1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    for gone in ["set-cookie", "alt-svc", "strict-transport-security", "access-control-allow-origin"] {
        assert!(headers.get(gone).is_none(), "{gone}");
    }
    assert_eq!(headers["x-request-id"], "mine-1");
    assert_eq!(headers["cache-control"], "private, no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-security-policy"], "sandbox; default-src 'none'");
    assert!(headers.get_all("vary").iter().any(|vary| vary == "Origin"));
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(seen.target, "/2.0/users/me?fields=id");
    let shown = format!("{:?}", seen.headers);
    assert!(
        !shown.contains("canary") && !shown.contains("x-custom") && !shown.contains("x-forwarded-for"),
        "{shown}"
    );
    assert_eq!(seen.headers["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert!(bench.metric("boxgate_request_headers_dropped_total").await >= 4.0);
}

/// Each header that the page of routing says Box's clients send, `X-Box-AI-Library` among them.
#[tokio::test]
async fn headers_of_boxs_clients_reach_box_and_pages_may_send_them() {
    let page = include_str!("../../docs/routing.md");
    let (_, list) = page.split_once("\n- `As-User`").unwrap();
    let (list, _) = list.split_once("\n- ").unwrap();
    let mut names: Vec<String> = list.split('`').skip(1).step_by(2).map(str::to_ascii_lowercase).collect();
    names.push("as-user".to_owned());
    assert!(names.len() >= 12 && names.contains(&"x-box-ai-library".to_owned()), "{names:?}");

    let app = "[[app]]\nname = \"page\"\norigins = [\"https://page.example\"]\nas_user = [\"*\"]";
    let bench = Bench::with(app).await;
    // A value that is good for all of them: a managed user's id.
    let user = boxgate::sandbox::MANAGED_USERS[0];
    let request = names
        .iter()
        .fold(bench.client.get(bench.url("/2.0/users/me")), |request, name| request.header(name, user));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let seen = bench.sandbox.last_seen().unwrap();
    let asked = bench.client.request(http::Method::OPTIONS, bench.url("/2.0/users/me"));
    let asked = asked.header("origin", "https://page.example");
    let asked = asked.header("access-control-request-method", "GET").send().await.unwrap();
    let allowed = asked.headers()["access-control-allow-headers"].to_str().unwrap().to_owned();
    for name in &names {
        assert_eq!(seen.headers.get(name).map(HeaderValue::as_bytes), Some(user.as_bytes()), "{name}");
        assert!(allowed.split(", ").any(|one| one == name), "{name}: {allowed}");
    }
}

#[tokio::test]
async fn oauth_paths_are_answered_only_by_the_gateway() {
    let bench = Bench::start().await;
    let post = |path: &str| bench.client.post(bench.url(path)).body("grant_type=x&client_id=y").send();
    let answer = post("/oauth2/token").await.unwrap();
    let token: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(token["token_type"], "bearer");
    // Under `/api` too, where Box's login hosts have them.
    let same = post("/api/oauth2/token").await.unwrap();
    assert_eq!(same.headers()["content-type"], "application/json");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&same.bytes().await.unwrap()).unwrap(), token);
    for path in ["/oauth2/revoke", "/api/oauth2/revoke"] {
        let revoked = post(path).await.unwrap();
        assert_eq!(
            (revoked.status().as_u16(), revoked.text().await.unwrap().as_str()),
            (200, "{}"),
            "{path}"
        );
    }
    for path in ["/oauth2/authorize", "/api/oauth2/authorize", "/api/oauth2/token"] {
        assert_eq!(refusal(bench.get(path).await).await, (403, "operation_not_allowed".into()), "{path}");
    }
    assert_eq!(refusal(bench.get("/favicon.ico").await).await, (404, "not_found".into()));
    assert_eq!(
        (bench.sandbox.calls(), bench.sandbox.token_seen().len()),
        (0, bench.sandbox.token_requests())
    );
}

#[tokio::test]
async fn http_1_and_http_2_are_spoken_on_both_sides() {
    for (protocols, more, version) in [
        (Protocols::Both, "", Version::HTTP_2),
        (Protocols::Http1, "", Version::HTTP_11),
        (Protocols::Http2, "", Version::HTTP_2),
        (Protocols::Both, "[upstream]\nproxy = \"none\"\nhttp2 = false", Version::HTTP_11),
    ] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, more).await;
        let answers = bench.gets("/2.0/users/me", 20).await;
        assert!(answers.iter().all(|answer| answer.status() == 200));
        assert_eq!(bench.sandbox.last_seen().unwrap().version, version);
        let h2c = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        let h2c = h2c.tls_backend_preconfigured(crate::harness::no_tls()).build().unwrap();
        let answer = h2c.get(bench.url("/2.0/users/me")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    }
}

#[tokio::test]
async fn connections_to_box_are_reused() {
    let bench = Bench::of(Options { protocols: Protocols::Http1, ..Options::default() }, "").await;
    bench.until_ready().await;
    let before = bench.sandbox.connections(Role::Api);
    for _ in 0..20 {
        assert_eq!(bench.get("/2.0/users/me").await.bytes().await.unwrap().len(), 470);
    }
    assert!(bench.sandbox.connections(Role::Api) - before <= 2, "one for each worker at most");
}

#[tokio::test]
async fn the_download_host_is_reached_with_a_token_and_ranges_pass_through() {
    let bench = Bench::start().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("0123456789".into()));
    let direct = bench.url(&format!("/api/2.0/files/{file}/content"));
    let answer = bench.client.get(direct).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-range"].clone()),
        (206, HeaderValue::from_static("bytes 2-4/10"))
    );
    assert_eq!(answer.text().await.unwrap(), "234");
    assert_eq!(bench.sandbox.last_seen().unwrap().role, Role::Download);
}

/// A forward proxy that supports only CONNECT, with the targets that were requested.
async fn connect_proxy() -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(caller.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                let credentials = head.to_lowercase().contains("proxy-authorization: basic dtpw\r\n");
                noted.lock().unwrap().push(format!("{target} {credentials}"));
                let mut box_side = tokio::net::TcpStream::connect(&target).await.unwrap();
                caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut box_side).await;
            });
        }
    });
    (address.to_string(), asked)
}

#[tokio::test]
async fn a_forward_proxy_is_used_for_tokens_and_requests() {
    let (proxy, asked) = connect_proxy().await;
    let bench = Bench::with(&format!("[upstream]\nproxy = \"http://u:p@{proxy}\"")).await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let api = bench.sandbox.api_url().replace("https://", "");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, vec![format!("{api} true"); 2], "once for the token, once for the request");
}
