//! Programs that use the gateway as their proxy: CONNECT, and requests in the tunnel.

mod blind; // tunnels to hosts that are not Box's
mod hostile; // attacks through tunnels
mod explained; // what boxgate explain says of them
mod loops; // the gateway never calls itself
pub mod program; // a caller with Box's hosts built in
mod trust; // which hosts OpenSSL, Go, rustls and Java accept from the CA

use std::sync::Arc;
use std::time::Duration;

use boxgate::sandbox::{Content, Options, Role};
use boxgate::server::shutdown::Stop;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::harness::{Bench, in_time, json, refusal, until};
use crate::tunnels::program::{Program, asked, ca, config, handshake, inside, tunnel};

const ON: &str = "[forward_proxy]";

async fn bench() -> Bench {
    with("").await
}

async fn with(more: &str) -> Bench {
    let bench = Bench::with_boxs_names(Options::default(), "", &format!("{ON}\n{more}")).await;
    bench.until_ready().await;
    bench
}

#[tokio::test]
async fn a_program_calls_box_by_its_own_name_and_needs_no_credential() {
    let bench = bench().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let program = Program::speaking(&bench, "", version).await;
        let answer = program.get("https://api.box.com/2.0/users/me").await;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(json(answer).await["id"], "3550001234");
    }
    let seen = bench.sandbox.seen();
    let calls: Vec<_> = seen.iter().filter(|seen| seen.target == "/2.0/users/me").collect();
    assert_eq!(calls.len(), 2);
    for call in calls {
        let token = call.headers["authorization"].to_str().unwrap();
        assert!(token.starts_with("Bearer ") && !token.contains("mine"), "{token}");
        assert!(call.headers.get("proxy-authorization").is_none());
    }
}

#[tokio::test]
async fn boxs_urls_stay_unchanged_and_work_through_the_tunnel() {
    let bench = bench().await;
    let program = Program::new(&bench, "").await;
    let id = bench.sandbox.add_file("0", "a.txt", Content::Bytes("abc".into()));
    let redirect = program.get(&format!("https://api.box.com/2.0/files/{id}/content")).await;
    assert_eq!(redirect.status(), 302);
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("https://public.boxcloud.com/"), "{location}");
    assert_eq!(program.get(&location).await.text().await.unwrap(), "abc");
    // A URL that is its own credential goes without a token.
    let seen = bench.sandbox.seen();
    let content = seen.iter().find(|seen| seen.role == Role::Download).unwrap();
    assert!(content.headers.get("authorization").is_none());

    let poll = program.request(Method::OPTIONS, "https://api.box.com/2.0/events").send().await.unwrap();
    let url = json(poll).await["entries"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://2.realtime.services.box.net/subscribe?"), "{url}");

    let file = program.get(&format!("https://api.box.com/2.0/files/{id}?fields=expiring_embed_link")).await;
    let link = &json(file).await["expiring_embed_link"];
    assert_eq!(link["token"]["access_token"], "");
}

#[tokio::test]
async fn a_large_body_goes_both_ways() {
    let bench = bench().await;
    let program = Program::new(&bench, "").await;
    let content: Vec<u8> = (0..40_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let attributes = json!({ "name": "large", "parent": { "id": "0" } }).to_string();
    let form = [
        b"--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n",
        attributes.as_bytes(),
        b"\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"large\"\r\n\r\n",
        &content,
        b"\r\n--b--\r\n",
    ];
    let upload = program.post("https://upload.box.com/api/2.0/files/content").body(form.concat());
    let made = upload.header("content-type", "multipart/form-data; boundary=b").send().await.unwrap();
    assert_eq!(made.status(), 201);
    let id = json(made).await["entries"][0]["id"].as_str().unwrap().to_owned();
    let redirect = program.get(&format!("https://api.box.com/2.0/files/{id}/content")).await;
    let back = program.get(redirect.headers()["location"].to_str().unwrap()).await.bytes().await.unwrap();
    assert!(back == content);
}

#[tokio::test]
async fn tokens_that_programs_ask_for_are_placeholders_and_logins_are_refused() {
    let bench = bench().await;
    let program = Program::new(&bench, "").await;
    for at in [
        "api.box.com/oauth2",
        "account.box.com/api/oauth2",
        "app.box.com/api/oauth2",
        "www.box.com/api/oauth2",
    ] {
        let token = program.post(format!("https://{at}/token")).body("grant_type=x").send().await.unwrap();
        assert_eq!(json(token).await["access_token"], "boxgate-placeholder-not-a-token", "{at}");
        let revoked = program.post(format!("https://{at}/revoke")).send().await.unwrap();
        assert_eq!(revoked.status(), 200, "{at}");
        let login = program.get(&format!("https://{at}/authorize?response_type=code")).await;
        assert_eq!(refusal(login).await, (403, "operation_not_allowed".to_owned()), "{at}");
    }
    let placeholder = program.request(Method::GET, "https://api.box.com/2.0/users/me");
    let placeholder = placeholder.bearer_auth("boxgate-placeholder-not-a-token").send().await.unwrap();
    assert_eq!(placeholder.status(), 200);
    assert!(bench.sandbox.seen().iter().all(|seen| !seen.target.contains("oauth2")));
}

#[tokio::test]
async fn a_stream_of_http_2_becomes_a_tunnel_too() {
    let bench = bench().await;
    let connection = bench.connect().await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, driver) = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(connection)).await.unwrap();
    tokio::spawn(driver);
    let connect = |to: &str| Request::connect(to).body(Empty::new()).unwrap();
    let mut opened = Vec::new();
    for _ in 0..2 {
        let answer = in_time(sender.send_request(connect("api.box.com:443"))).await.unwrap();
        assert_eq!(answer.status(), 200);
        let stream = in_time(hyper::upgrade::on(answer)).await.unwrap();
        opened.push(inside(&bench, TokioIo::new(stream), "api.box.com", b"http/1.1").await.unwrap());
    }
    for tls in opened {
        let (head, body) =
            asked(tls, "GET /2.0/users/me HTTP/1.1\r\nHost: api.box.com\r\nConnection: close\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(body.contains("3550001234"), "{body}");
    }
    let refused = in_time(sender.send_request(connect("example.com:443"))).await.unwrap();
    assert_eq!(refused.status(), 403);
    let words = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&words).contains("tunnel_not_allowed"));
    // The connection goes on.
    let answer = in_time(sender.send_request(connect("upload.box.com:443"))).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Some programs send it before they have read the answer to CONNECT.
#[tokio::test]
async fn a_hello_that_comes_early_is_not_lost() {
    let bench = bench().await;
    let (mut client, hello) = handshake(&bench, "api.box.com").await;
    let request = b"CONNECT api.box.com:443 HTTP/1.1\r\nHost: api.box.com:443\r\n\r\n";
    let socket = tunnel::with(&bench, &[&request[..], &hello].concat()).await;
    let (head, socket) = tunnel::head(socket).await;
    assert!(head.starts_with("HTTP/1.1 200 Connection established\r\n"), "{head}");
    client.complete(socket).await;
}

#[tokio::test]
async fn absolute_form_and_a_host_of_box_are_read_in_the_same_way() {
    let bench = Bench::with_boxs_names(
        Options::default(),
        "",
        "[listen]\naddress = \"127.0.0.1:0\"\nhosts = [\"api.box.com\"]\nworkers = 1\n[forward_proxy]",
    )
    .await;
    bench.until_ready().await;
    let id = bench.sandbox.add_file("0", "a.txt", Content::Bytes("abc".into()));
    for (target, host) in [
        (format!("http://api.box.com/2.0/files/{id}/content"), "api.box.com"),
        (format!("http://api.box.com:80/2.0/files/{id}/content"), "api.box.com:80"),
        (format!("/2.0/files/{id}/content"), "api.box.com"),
        (format!("/2.0/files/{id}/content"), "api.box.com:8080"),
    ] {
        let answer =
            bench.raw(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 302"), "{target} {host} {answer}");
        assert!(answer.contains("location: https://public.boxcloud.com/"), "{answer}");
    }
    let other = "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
    let answer = bench.raw(other).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("tunnel_not_allowed"), "{answer}");
    assert!(answer.contains("plain http://"), "{answer}");
    // The gateway's own name in absolute form works as before.
    let own = format!(
        "GET http://{0}/2.0/users/me HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n",
        bench.address
    );
    assert!(bench.raw(&own).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_app_is_named_by_the_user_of_the_proxy() {
    let bench = with(
        r#"
[[app]]
name = "reading"
path = "/reading"
hosts = ["reading.internal"]
deny = ["POST /**"]
[[app]]
name = "keyed"
path = "/keyed"
key = "s3cret:with:colons"
[[app]]
name = "elsewhere"
path = "/elsewhere"
sources = ["10.0.0.0/8"]
"#,
    )
    .await;
    let me = "https://api.box.com/2.0/users/me";
    for user in ["reading", "reading:anything", "keyed:s3cret:with:colons"] {
        assert_eq!(Program::new(&bench, user).await.get(me).await.status(), 200, "{user}");
    }
    let denied = Program::new(&bench, "reading").await.post("https://api.box.com/2.0/folders").send().await;
    assert_eq!(refusal(denied.unwrap()).await, (403, "operation_not_allowed".to_owned()));
    // Without a name the path is /, which no app here serves.
    let unnamed = Program::new(&bench, "").await.get(me).await;
    assert_eq!(refusal(unnamed).await, (404, "no_such_app".to_owned()));
    for (user, status, words) in [
        ("nobody", "407", "No app has the name"),
        ("keyed", "407", "not the key of this app"),
        ("keyed:s3cret", "407", "not the key of this app"),
        ("elsewhere", "403", "Neither your address nor"),
    ] {
        let head = tunnel::refused(&bench, "api.box.com:443", &tunnel::basic(user)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && head.contains(words), "{user} {head}");
        assert_eq!(head.contains("proxy-authenticate: Basic realm=\"boxgate\""), status == "407", "{head}");
    }
}

#[tokio::test]
async fn where_every_app_asks_for_a_key_a_tunnel_needs_one() {
    let bench = with("[[app]]\nname = \"keyed\"\nkey = [\"new\", \"old\"]").await;
    let head = tunnel::refused(&bench, "api.box.com:443", "").await;
    assert!(head.starts_with("HTTP/1.1 407 Every app needs a key"), "{head}");
    for key in ["new", "old"] {
        let program = Program::new(&bench, &format!("keyed:{key}")).await;
        assert_eq!(program.get("https://api.box.com/2.0/users/me").await.status(), 200);
    }
}

#[tokio::test]
async fn without_a_forward_proxy_connect_is_refused() {
    let bench = Bench::start().await;
    let head = tunnel::refused(&bench, "api.box.com:443", "").await;
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("[forward_proxy]"), "{head}");
    let ca = bench.get("/.well-known/boxgate/ca.pem").await;
    assert_eq!(refusal(ca).await, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn every_refusal_of_a_tunnel_says_why_in_its_status_line_and_ends_the_connection() {
    let bench = bench().await;
    for (target, more, want) in [
        (
            "example.com:443",
            "",
            "403 This gateway does not connect to example.com:443: it is not a host of Box and not listed",
        ),
        ("api.box.com:80", "", "403 This gateway does not connect to api.box.com:80"),
        ("acme.app.box.com:443", "", "403 This gateway does not connect"),
        ("169.254.169.254:80", "", "403 This gateway does not connect"),
        ("api.box.com", "", "400 The target of CONNECT must be HOST:PORT."),
        ("api.box.com:443", "Content-Length: 5\r\n", "400 A CONNECT has no body"),
        ("api.box.com:443", "Transfer-Encoding: chunked\r\n", "400 A CONNECT has no body"),
        ("api.box.com:443", "Proxy-Authorization: Basic !\r\n", "407 Proxy-Authorization must be Basic"),
        ("api.box.com:443", "Proxy-Authorization: Bearer x\r\n", "407 Proxy-Authorization must be Basic"),
        (
            "api.box.com:443",
            "Proxy-Authorization: Basic ZGVmYXVsdDo=\r\nProxy-Authorization: Basic ZGVmYXVsdDo=\r\n",
            "407 The request has more than one Proxy-Authorization",
        ),
        ("api.box.com:443", "Via: 1.1 boxgate\r\n", "508 The gateway would call itself"),
    ] {
        let head = tunnel::refused(&bench, target, more).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {want}")), "{target} {more} {head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
    }
}

#[tokio::test]
async fn tunnels_are_counted_and_no_request_of_theirs_is_lost_by_a_drain() {
    let bench = bench().await;
    let hold = bench.sandbox.hold_replies("/2.0/users/me");
    let tls = tunnel::to(&bench, "api.box.com").await;
    let asking = tokio::spawn(asked(tls, "GET /2.0/users/me HTTP/1.1\r\nHost: api.box.com\r\n\r\n"));
    let idle = tunnel::to(&bench, "api.box.com").await;
    let silent = tunnel::open(&bench, "api.box.com:443", "").await;
    until(|| async { bench.sandbox.seen().iter().any(|seen| seen.target == "/2.0/users/me") }).await;
    assert_eq!(bench.metric("boxgate_tunnels_total{to=\"box\"}").await as u64, 3);
    bench.stop(Stop::Drain);
    // What has nothing under way ends soon, a tunnel without a handshake too.
    in_time(tunnel::ended(idle)).await;
    in_time(tunnel::ended(silent)).await;
    drop(hold);
    let (head, body) = in_time(asking).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("3550001234"), "{head} {body}");
    bench.stopped().await;
}

/// It has two seconds from its beginning, which a busy machine may take for something else: then it is tried again.
#[tokio::test]
async fn a_tunnel_that_has_just_been_granted_is_served_while_the_gateway_drains() {
    let mut said = Vec::new();
    for _ in 0..5 {
        let bench = bench().await;
        let config = config(&ca(&bench).await, b"http/1.1");
        let connector = TlsConnector::from(Arc::new(config));
        let kept = tunnel::with(&bench, b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (_, kept) = tunnel::head(kept).await;
        let granted = tunnel::open(&bench, "api.box.com:443", "").await;
        bench.stop(Stop::Drain);
        // Connections are told to end together: so was the tunnel.
        in_time(tunnel::ended(kept)).await;
        let shaken = in_time(connector.connect("api.box.com".try_into().unwrap(), granted)).await;
        let head = match shaken {
            Ok(tls) => asked(tls, "GET /2.0/users/me HTTP/1.1\r\nHost: api.box.com\r\n\r\n").await.0,
            Err(error) => error.to_string(),
        };
        if head.starts_with("HTTP/1.1 200") {
            assert!(head.contains("connection: close"), "{head}");
            return bench.stopped().await;
        }
        said.push(head);
    }
    panic!("{said:?}");
}

#[tokio::test]
async fn a_tunnel_without_a_handshake_or_a_request_ends_in_time() {
    let bench = with("[server]\nheader_timeout = \"1s\"\nkeepalive_timeout = \"1s\"").await;
    in_time(tunnel::ended(tunnel::open(&bench, "api.box.com:443", "").await)).await;
    in_time(tunnel::ended(tunnel::to(&bench, "api.box.com").await)).await;
    until(|| async { bench.metric("boxgate_connections").await == 0.0 }).await;
    assert_eq!(bench.metric("boxgate_tunnel_handshakes_failed_total").await as u64, 1);
}

#[tokio::test]
async fn tunnels_in_one_connection_count_among_callers_connections() {
    let bench = with("[listen]\naddress = \"127.0.0.1:0\"\nworkers = 2\nmax_connections = 3").await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, driver) =
        builder.handshake::<_, Empty<Bytes>>(TokioIo::new(bench.connect().await)).await.unwrap();
    tokio::spawn(driver);
    let connect = || Request::connect("api.box.com:443").body(Empty::new()).unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        let answer = in_time(sender.send_request(connect())).await.unwrap();
        assert_eq!(answer.status(), 200);
        open.push(hyper::upgrade::on(answer).await.unwrap());
    }
    assert_eq!(in_time(sender.send_request(connect())).await.unwrap().status(), 503);
    open.pop();
    until(|| async {
        let answer = sender.clone().send_request(connect()).await.unwrap();
        answer.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_replicas_leaf_is_signed_by_the_shared_ca() {
    let first = bench().await;
    let ca = first.state.join("state/forward-proxy-ca.pem");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&ca).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let table = format!("[forward_proxy]\nca = {{ cert = {ca:?}, key = {{ file = {ca:?} }} }}");
    let second = Bench::with_boxs_names(Options::default(), "", &table).await;
    second.until_ready().await;
    let pem = |bench: &Bench| bench.client.get(bench.url("/.well-known/boxgate/ca.pem")).send();
    let of_first = pem(&first).await.unwrap().text().await.unwrap();
    assert_eq!(of_first, pem(&second).await.unwrap().text().await.unwrap());
    assert!(!of_first.contains("PRIVATE"));
    let program = Program::trusting(&second, "", &of_first, Version::HTTP_11);
    assert_eq!(program.get("https://api.box.com/2.0/users/me").await.status(), 200);
}

/// The clock is advanced by weeks, as if the gateway had run that long.
#[tokio::test]
async fn a_leaf_is_renewed_before_it_expires() {
    let bench = bench().await;
    let first = program::leaf(&bench, "api.box.com").await;
    assert_eq!(first, program::leaf(&bench, "api.box.com").await);
    bench.clock.advance(Duration::from_secs(20 * 24 * 60 * 60));
    assert_ne!(first, program::leaf(&bench, "api.box.com").await);
}

#[tokio::test]
async fn requests_in_a_tunnel_are_checked_like_any_other() {
    let bench = with(
        r#"
[[app]]
name = "default"
deny = ["DELETE /**"]
origins = ["https://page.example"]
as_user = ["11446498", "berta@sandbox.example"]
require_header = "X-Mine"
[[limit]]
name = "few"
key = "app"
on = ["search"]
rate = "1/h"
"#,
    )
    .await;
    let program = Program::new(&bench, "").await;
    let ask = |method: Method, path: &str| {
        program.request(method, &format!("https://api.box.com{path}")).header("x-mine", "1")
    };
    // Box was asked for the id through the same proxy as for the rest.
    until(|| async { bench.admin("/status.json").await.1.contains("\"found\"") }).await;
    let berta = ask(Method::GET, "/2.0/users/me").header("as-user", "berta@sandbox.example");
    assert_eq!(berta.send().await.unwrap().status(), 200);
    assert_eq!(bench.sandbox.last_seen().unwrap().headers["as-user"], "11446499");
    let refused = async |request: reqwest::RequestBuilder| refusal(request.send().await.unwrap()).await.1;
    assert_eq!(refused(ask(Method::DELETE, "/2.0/folders/1")).await, "operation_not_allowed");
    assert_eq!(
        refused(ask(Method::GET, "/2.0/users/me").header("as-user", "5")).await,
        "as_user_not_allowed"
    );
    assert_eq!(
        refused(program.request(Method::GET, "https://api.box.com/2.0/users/me")).await,
        "caller_not_allowed"
    );
    let page = ask(Method::GET, "/2.0/users/me").header("origin", "https://evil.example");
    assert_eq!(refused(page).await, "origin_not_allowed");
    let own = ask(Method::GET, "/2.0/users/me").header("origin", "https://api.box.com");
    assert_eq!(refused(own).await, "origin_not_allowed");
    let site = ask(Method::GET, "/2.0/users/me").header("sec-fetch-site", "same-origin");
    assert_eq!(refused(site).await, "origin_not_allowed");
    let allowed =
        ask(Method::GET, "/2.0/users/me").header("origin", "https://page.example").send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://page.example");
    assert_eq!(ask(Method::GET, "/2.0/search?query=a").send().await.unwrap().status(), 200);
    assert_eq!(refused(ask(Method::GET, "/2.0/search?query=a")).await, "rate_limit_exceeded");
    assert_eq!(refused(ask(Method::GET, "/2.0/a%2fb")).await, "bad_request");
}
