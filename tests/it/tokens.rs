use std::time::Duration;

use boxgate::sandbox::{Fault, Options, Role, Sandbox, TokenAnswer};

use crate::harness::{Bench, free_port, in_time, refusal, until};

#[tokio::test]
async fn two_hundred_first_requests_share_one_token_call() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, "").await;
    let releasing = async {
        in_time(bench.sandbox.wait_for_token_requests(1)).await;
        until(|| async { bench.metric("boxgate_connections").await >= 200.0 }).await;
        drop(held);
    };
    let (answers, ()) = tokio::join!(bench.gets("/2.0/users/me", 200), releasing);
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(bench.sandbox.token_requests(), 1);
}

#[tokio::test]
async fn a_retired_token_is_replaced_and_the_request_replayed_once() {
    let bench = Bench::start().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let before = bench.sandbox.token_requests();
    bench.sandbox.expire_tokens();
    let answers = bench.gets("/2.0/users/me", 20).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(bench.sandbox.token_requests(), before + 1, "twenty 401s retired one token once");
}

#[tokio::test]
async fn a_path_that_always_answers_401_causes_few_token_requests() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.always_unauthorized("/2.0/users/me");
    let before = bench.sandbox.token_requests();
    for _ in 0..10 {
        assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (502, "upstream_unauthorized".into()));
    }
    assert_eq!(bench.sandbox.token_requests(), before + 3, "three forced renewals in 30 s at most");
    assert_eq!(bench.get("/2.0/folders/0").await.status(), 200, "other paths go on");
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await.0, 502);
    assert_eq!(bench.sandbox.token_requests(), before + 4);
}

#[tokio::test]
async fn a_small_body_is_replayed_after_a_401_and_a_large_one_gets_503() {
    let bench = Bench::start().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    bench.sandbox.expire_tokens();
    let body = r#"{"name":"replayed","parent":{"id":"0"}}"#;
    let answer = bench.client.post(bench.url("/2.0/folders")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    bench.sandbox.expire_tokens();
    let large = vec![b' '; 1 << 20];
    let answer = bench.client.post(bench.url("/2.0/folders")).body(large).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(refusal(answer).await, (503, "token_unavailable".into()));
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
}

#[tokio::test]
async fn the_old_token_is_used_while_the_endpoint_is_down_and_then_503_has_retry_after() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::Status(500)));
    let before = bench.sandbox.token_requests();
    bench.clock.advance(Duration::from_secs(3400));
    in_time(bench.sandbox.wait_for_token_requests(before + 1)).await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200, "renewal failed, the token is still good");
    bench.clock.advance(Duration::from_secs(300));
    until(|| async { bench.get("/2.0/users/me").await.status() == 503 }).await;
    let answer = bench.get("/2.0/users/me").await;
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(refusal(answer).await.1, "token_unavailable");
    let (status, why) = bench.admin("/readyz").await;
    assert!(status == 503 && why.contains("identity service") && why.contains("500"), "{why}");
    bench.sandbox.token_always(None);
    bench.clock.advance(Duration::from_secs(120));
    bench.until_ready().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
}

#[tokio::test]
async fn malformed_and_empty_answers_of_the_endpoint_are_transient() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let body = |status: u16, body: &str| TokenAnswer::Body {
        status,
        body: body.to_owned(),
        content_type: "application/json".to_owned(),
    };
    let answers = vec![
        body(200, ""),
        body(200, "{}"),
        body(200, "<html>"),
        body(302, ""),
        TokenAnswer::Close,
        body(429, ""),
    ];
    let count = answers.len();
    bench.sandbox.token_script(answers);
    let before = bench.sandbox.token_requests();
    bench.clock.advance(Duration::from_secs(3700));
    for nth in 1..=count {
        in_time(bench.sandbox.wait_for_token_requests(before + nth)).await;
        until(|| async { bench.get("/2.0/users/me").await.status() == 503 }).await;
        bench.clock.advance(Duration::from_secs(60));
    }
    bench.until_ready().await;
}

/// A proxy between the gateway and Box may answer 400 or 401.
#[tokio::test]
async fn answers_that_are_not_oauth_errors_are_transient_and_not_quoted() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let body = |status: u16, body: &str, content_type: &str| TokenAnswer::Body {
        status,
        body: body.to_owned(),
        content_type: content_type.to_owned(),
    };
    let html = "<html><title>invalid_client SECRET</title></html>";
    let json = "application/json";
    let cases = [
        (body(400, html, "text/html"), ["400", "HTML"]),
        (body(401, html, "text/html; charset=utf-8"), ["401", "HTML"]),
        (body(400, r#"{"message":"SECRET"}"#, json), ["400", "without an error code"]),
        (body(401, r#"{"error":"SECRET"}"#, json), ["401", "unknown error code"]),
        (body(400, "", json), ["400", "empty"]),
        (body(401, "", "text/html"), ["401", "empty"]),
    ];
    let before = bench.sandbox.token_requests();
    bench.sandbox.token_script(cases.iter().map(|(answer, _)| answer.clone()).collect());
    bench.clock.advance(Duration::from_secs(3700));
    for (nth, (_, words)) in (1..).zip(&cases) {
        in_time(bench.sandbox.wait_for_token_requests(before + nth)).await;
        until_failed(&bench, nth).await;
        assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (503, "token_unavailable".into()));
        let (status, why) = bench.admin("/readyz").await;
        assert!(status == 503 && words.iter().all(|word| why.contains(word)), "{words:?} in {why}");
        assert!(why.contains("a proxy on the way to Box") && !why.contains("SECRET"), "{why}");
        bench.clock.advance(Duration::from_secs(60));
    }
    bench.until_ready().await;
}

#[tokio::test]
async fn every_known_oauth_error_is_a_refusal_of_the_identity() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let codes = [
        (400, "invalid_request"),
        (401, "invalid_client"),
        (400, "invalid_client"),
        (400, "invalid_grant"),
        (400, "unauthorized_client"),
        (400, "unsupported_grant_type"),
        (400, "invalid_scope"),
        (400, "insufficient_scope"),
        (401, "invalid_token"),
    ];
    let answer = |(status, code): (u16, &str)| TokenAnswer::Body {
        status,
        body: format!(r#"{{"error":"{code}","error_description":"In words"}}"#),
        content_type: "application/json".to_owned(),
    };
    let before = bench.sandbox.token_requests();
    bench.sandbox.token_script(codes.map(answer).into());
    bench.clock.advance(Duration::from_secs(3700));
    for (nth, (_, code)) in (1..).zip(codes) {
        in_time(bench.sandbox.wait_for_token_requests(before + nth)).await;
        until_failed(&bench, nth).await;
        assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (502, "credentials_refused".into()));
        let (_, why) = bench.admin("/readyz").await;
        assert!(why.contains(&format!("Box refuses the credentials: {code} (In words)")), "{why}");
        bench.clock.advance(Duration::from_secs(600));
    }
    bench.until_ready().await;
}

/// Waits until this many requests to the token endpoint have failed.
async fn until_failed(bench: &Bench, count: usize) {
    let failed = r#"boxgate_token_refreshes_total{identity="service",outcome="failed"}"#;
    until(|| async { bench.metric(failed).await as usize == count }).await;
}

#[tokio::test]
async fn a_refusal_is_remembered_and_ends_by_itself() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_grant", "Grant credentials are invalid")));
    let before = bench.sandbox.token_requests();
    bench.clock.advance(Duration::from_secs(3700));
    in_time(bench.sandbox.wait_for_token_requests(before + 1)).await;
    until(|| async { bench.get("/2.0/users/me").await.status() == 502 }).await;
    for _ in 0..20 {
        assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (502, "credentials_refused".into()));
    }
    assert_eq!(bench.sandbox.token_requests(), before + 1, "from memory");
    bench.sandbox.token_always(None);
    bench.clock.advance(Duration::from_secs(600));
    bench.until_ready().await;
}

#[tokio::test]
async fn a_token_is_renewed_in_the_background_before_it_expires() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let before = bench.sandbox.token_requests();
    bench.clock.advance(Duration::from_secs(3301));
    in_time(bench.sandbox.wait_for_token_requests(before + 1)).await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
}

#[tokio::test]
async fn an_unreachable_box_at_the_start_is_reported_and_recovered_from() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.go_down(Role::Api).await;
    let bench = Bench::before(sandbox, "").await;
    until(|| async { bench.admin("/readyz").await.1.contains("cannot be reached") }).await;
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (503, "token_unavailable".into()));
    bench.sandbox.come_up(Role::Api).unwrap();
    bench.clock.advance(Duration::from_secs(60));
    bench.until_ready().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_was_never_carried_is_repeated_and_a_broken_post_is_not() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.script("/2.0/users/me", vec![Fault::CloseBeforeHead]);
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200, "a GET is sent again");
    let before = bench.sandbox.calls();
    bench.sandbox.script("/2.0/folders", vec![Fault::CloseBeforeHead]);
    let body = r#"{"name":"once","parent":{"id":"0"}}"#;
    let answer = bench.client.post(bench.url("/2.0/folders")).body(body).send().await.unwrap();
    assert_eq!(refusal(answer).await, (502, "upstream_protocol_error".into()));
    assert_eq!(bench.sandbox.calls(), before + 1, "a POST that may have been carried is not");
    bench.sandbox.go_down(Role::Api).await;
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (502, "upstream_unreachable".into()));
}

/// Operators must be able to tell an outage of Box from one of their own proxy.
#[tokio::test]
async fn a_proxy_on_the_way_to_the_token_endpoint_that_is_down_is_named() {
    let proxy = format!("127.0.0.1:{}", free_port());
    let bench = Bench::with(&format!("[upstream]\nproxy = \"http://user:pass-word@{proxy}\"")).await;
    let named = format!("cannot be reached through the proxy {proxy}: ");
    until(|| async { bench.admin("/readyz").await.1.contains(&named) }).await;
    let answer = bench.get("/2.0/users/me").await;
    assert_eq!(refusal(answer).await, (503, "token_unavailable".to_owned()));
    assert!(!bench.admin("/status.json").await.1.contains("pass-word"));
}
