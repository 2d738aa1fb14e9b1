//! Faults happen as requested, and requests can be inspected.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

async fn http1() -> Bench {
    Bench::with(Options { protocols: Protocols::Http1, ..Options::default() }).await
}

#[tokio::test]
async fn held_requests_are_recorded_and_wait() {
    let bench = Bench::start().await;
    let hold = bench.sandbox.hold_replies("/2.0/users");
    let asking = tokio::spawn(bench.request("GET", "/2.0/users/me").send());
    bench.sandbox.wait_for_calls(1).await;
    assert_eq!(bench.get("/2.0/folders/0").await.status(), 200);
    assert_eq!(bench.sandbox.requests_in_flight(), 1);
    assert!(!asking.is_finished());
    drop(hold);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
    bench.sandbox.wait_for_in_flight(0).await;
    assert_eq!((bench.sandbox.calls(), bench.sandbox.cancelled()), (2, 0));
    bench.sandbox.clear_seen();
    assert!(bench.sandbox.seen().is_empty());
}

#[tokio::test]
async fn held_tokens_are_counted_and_wait() {
    let bench = Bench::start().await;
    let hold = bench.sandbox.hold_token_replies();
    let asking = tokio::spawn(bench.client.post(bench.sandbox.token_url()).form(&bench.good_form()).send());
    bench.sandbox.wait_for_token_requests(2).await;
    assert!(!asking.is_finished());
    drop(hold);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
    assert!(bench.sandbox.token_seen()[1].body.starts_with(b"grant_type=client_credentials&"));
}

#[tokio::test]
async fn token_answers_follow_the_script() {
    let bench = Bench::start().await;
    let body = |status| TokenAnswer::Body {
        status,
        body: "<html>".to_owned(),
        content_type: "text/html".to_owned(),
    };
    let refusal = TokenAnswer::refuse("invalid_grant", "Grant credentials are invalid");
    bench.sandbox.token_script(vec![refusal, TokenAnswer::Status(503), body(200), TokenAnswer::Close]);
    bench.sandbox.token_always(Some(TokenAnswer::Status(500)));
    let ask = || bench.client.post(bench.sandbox.token_url()).form(&bench.good_form()).send();
    assert_eq!(json(ask().await.unwrap()).await["error"], "invalid_grant");
    assert_eq!(ask().await.unwrap().status(), 503);
    assert_eq!(ask().await.unwrap().text().await.unwrap(), "<html>");
    assert!(ask().await.is_err());
    assert_eq!(ask().await.unwrap().status(), 500);
    bench.sandbox.token_always(None);
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[tokio::test]
async fn answers_to_token_exchanges_have_a_script_of_their_own() {
    let bench = Bench::start().await;
    let refusal = TokenAnswer::refuse("invalid_resource", "The target resource is invalid.");
    bench.sandbox.exchange_script(vec![refusal, TokenAnswer::Normal]);
    bench.sandbox.exchange_always(Some(TokenAnswer::Status(500)));
    let ask = async |form: Vec<(&'static str, String)>| bench.ask_for_token(&form).await.status().as_u16();
    let exchange = || bench.exchange_form("base_explorer", None);
    assert_eq!((ask(bench.good_form()).await, ask(exchange()).await), (200, 400));
    assert_eq!((ask(exchange()).await, ask(exchange()).await), (200, 500));
    // A script for all token requests is for exchanges too, once their own has ended.
    bench.sandbox.exchange_always(None);
    bench.sandbox.token_script(vec![TokenAnswer::Status(503)]);
    assert_eq!((ask(exchange()).await, ask(exchange()).await, ask(bench.good_form()).await), (503, 200, 200));
    bench.sandbox.exchange_always(Some(TokenAnswer::Status(500)));
    bench.sandbox.clear_faults();
    assert_eq!(ask(exchange()).await, 200);

    let failing = Options { failures: vec![Failure::Exchange], ..Options::default() };
    let bench = Bench::with(failing).await;
    let refused = json(bench.ask_for_token(&bench.exchange_form("base_explorer", None)).await).await;
    assert_eq!(refused["error"], "invalid_resource");
}

#[tokio::test]
async fn a_seen_request_tells_which_token_it_carried() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Narrow");
    let resource = format!("https://api.box.com/2.0/folders/{folder}");
    let child = bench.downscoped("base_explorer item_download", Some(&resource)).await;
    let seen = async |token: &str| {
        let asked = bench.client.get(bench.sandbox.api_url() + "/2.0/users/me").bearer_auth(token);
        asked.send().await.unwrap();
        bench.sandbox.last_seen().unwrap().token
    };
    assert_eq!(seen(&bench.token).await, Some(SeenToken { is_live: true, downscoped: None }));
    let downscoped = Some(Downscoped {
        scopes: vec!["base_explorer".to_owned(), "item_download".to_owned()],
        resource: Some(format!("folders/{folder}")),
    });
    assert_eq!(seen(&child).await, Some(SeenToken { is_live: true, downscoped: downscoped.clone() }));
    assert_eq!(seen("invented").await, None);
    bench.sandbox.expire_tokens();
    assert_eq!(seen(&child).await, Some(SeenToken { is_live: false, downscoped }));
}

#[tokio::test]
async fn scripted_answers_come_in_order_and_only_for_their_prefix() {
    let bench = Bench::start().await;
    let raw = Fault::RawBody {
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/x"))]),
        pieces: vec!["a".into(), "b".into()],
    };
    let unavailable =
        Fault::status(503).with_header(http::header::RETRY_AFTER, HeaderValue::from_static("9"));
    bench.sandbox.script("/2.0/users", vec![unavailable, Fault::RateLimited { retry_after: 3 }, raw]);
    assert_eq!(bench.get("/2.0/folders/0").await.status(), 200);
    let first = bench.get("/2.0/users/me").await;
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].as_bytes()), (503, &b"9"[..]));
    assert_eq!(json(first).await["code"], "unavailable");
    let second = bench.get("/2.0/users/me").await;
    assert_eq!((second.status().as_u16(), second.headers()["retry-after"].as_bytes()), (429, &b"3"[..]));
    let third = bench.get("/2.0/users/me").await;
    assert_eq!((third.content_length(), third.headers()["content-type"].as_bytes()), (None, &b"text/x"[..]));
    assert_eq!(third.text().await.unwrap(), "ab");
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    bench.sandbox.always_unauthorized("/2.0/users");
    assert_eq!(bench.get("/2.0/users/me").await.status(), 401);
    bench.sandbox.clear_faults();
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
}

#[tokio::test]
async fn connections_break_before_the_head_or_within_the_body() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::with(Options { protocols, ..Options::default() }).await;
        let id = bench.sandbox.add_file("0", "f", Content::Zeros(1000));
        bench
            .sandbox
            .script("/2.0/", vec![Fault::CloseBeforeHead, Fault::CloseBeforeHead, Fault::CloseBeforeHead]);
        assert!(bench.request("POST", "/2.0/folders").body("{}").send().await.is_err());
        bench.sandbox.clear_faults();
        bench.sandbox.script("/api/", vec![Fault::BreakBodyAfter(300)]);
        let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
        let mut answer = bench.get(&url).await;
        assert_eq!(answer.content_length(), Some(1000));
        let mut got = 0;
        let end = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => got += chunk.len(),
                other => break other,
            }
        };
        assert!(end.is_err());
        assert_eq!(got, 300);
        bench.sandbox.wait_for_in_flight(0).await;
        assert_eq!(bench.sandbox.cancelled(), 0);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::with(Options { protocols, ..Options::default() }).await;
        let _hold = bench.sandbox.hold_replies("/2.0/users");
        let asking = tokio::spawn(bench.request("GET", "/2.0/users/me").send());
        bench.sandbox.wait_for_calls(1).await;
        asking.abort();
        timeout(SOON, bench.sandbox.wait_for_cancelled(1)).await.expect("noticed while held");

        bench.sandbox.script("/2.0/folders", vec![Fault::Hang]);
        let asking = tokio::spawn(bench.request("POST", "/2.0/folders").body("{}").send());
        bench.sandbox.wait_for_calls(2).await;
        asking.abort();
        timeout(SOON, bench.sandbox.wait_for_cancelled(2)).await.expect("noticed while hanging");

        let id = bench.sandbox.add_file("0", "f", Content::Zeros(1 << 30));
        let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
        let mut answer = bench.get(&url).await;
        answer.chunk().await.unwrap();
        drop(answer);
        timeout(SOON, bench.sandbox.wait_for_cancelled(3)).await.expect("noticed within the body");
    }
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_unread() {
    let bench = http1().await;
    bench.sandbox.script("/2.0/", vec![Fault::EarlyAnswer { status: StatusCode::PAYLOAD_TOO_LARGE }]);
    let mut stream = bench.raw(Role::Api).await;
    let head_sent = bench.head("POST /2.0/folders", "Content-Length: 1000000\r\n");
    stream.write_all(head_sent.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(bench.sandbox.last_seen().unwrap().body_bytes, 0);
}

#[tokio::test]
async fn an_expectation_is_met_refused_or_kept_waiting() {
    let bench = http1().await;
    let body = r#"{"name":"x","parent":{"id":"0"}}"#;
    let expecting = bench.head(
        "POST /2.0/folders",
        &format!("Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n", body.len()),
    );
    bench.sandbox.script("/2.0/", vec![Fault::RefuseExpectation]);
    let mut stream = bench.raw(Role::Api).await;
    stream.write_all(expecting.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 403 "));

    let hold = bench.sandbox.hold_replies("/2.0/");
    let mut stream = bench.raw(Role::Api).await;
    stream.write_all(expecting.as_bytes()).await.unwrap();
    bench.sandbox.wait_for_calls(2).await;
    let mut byte = [0];
    timeout(Duration::from_millis(100), stream.read(&mut byte))
        .await
        .expect_err("nothing is said while held");
    drop(hold);
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 100 "));
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 201 "));

    // Without a valid token there is no `100 Continue`.
    bench.sandbox.expire_tokens();
    let mut stream = bench.raw(Role::Api).await;
    stream.write_all(expecting.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn trailers_follow_a_body_without_length() {
    let bench = http1().await;
    bench.sandbox.script("/2.0/", vec![Fault::Trailers]);
    let mut stream = bench.raw(Role::Api).await;
    let asking = bench.head("GET /2.0/users/me", "TE: trailers\r\nConnection: close\r\n");
    stream.write_all(asking.as_bytes()).await.unwrap();
    let (text, _) = rest(&mut stream).await;
    let lower = text.to_lowercase();
    assert!(lower.contains("transfer-encoding: chunked") && lower.contains("trailer: x-checksum"), "{text}");
    assert!(lower.ends_with("0\r\nx-checksum: sandbox\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_host_goes_down_and_comes_up_at_the_same_port() {
    let bench = Bench::start().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let mut idle = bench.raw(Role::Api).await;
    bench.sandbox.go_down(Role::Api).await;
    let _ = timeout(SOON, rest(&mut idle)).await.expect("the connection was closed");
    assert!(bench.request("GET", "/2.0/users/me").send().await.is_err());
    bench.sandbox.come_up(Role::Api).unwrap();
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    assert_eq!((bench.sandbox.connections(Role::Api), bench.sandbox.connections(Role::Upload)), (3, 0));
}

#[tokio::test]
async fn a_dropped_sandbox_closes_everything() {
    let bench = Bench::start().await;
    let mut idle = bench.raw(Role::Download).await;
    let port = *bench.sandbox.ports.of(Role::Download);
    drop(bench);
    let _ = timeout(SOON, rest(&mut idle)).await.expect("the connection was closed");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
