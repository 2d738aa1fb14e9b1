//! `POST /identities/NAME/renew`: a new token at an operator's request.

use std::time::Duration;

use boxgate::sandbox::{Options, Sandbox, TokenAnswer};
use boxgate::server::shutdown::Stop;
use reqwest::Response;

use crate::harness::{Bench, in_time, json, refusal, until};

const RENEW: &str = "/identities/service/renew";
const ME: &str = "/2.0/users/me";
const OBTAINED: &str = "boxgate_token_refreshes_total{identity=\"service\",outcome=\"obtained\"}";
const FAILED: &str = "boxgate_token_refreshes_total{identity=\"service\",outcome=\"failed\"}";

impl Bench {
    async fn renew(&self) -> Response {
        self.renew_by("POST", RENEW, &[]).await
    }

    async fn renew_by(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.admin));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }
}

async fn ready() -> Bench {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench
}

/// The message of an error with this status and code.
async fn message(answer: Response, status: u16, code: &str) -> String {
    assert_eq!(answer.status(), status);
    let body = json(answer).await;
    assert_eq!(body["code"], code, "{body}");
    body["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_renewal_gets_a_new_token_and_says_when_it_expires() {
    let bench = ready().await;
    let answer = bench.renew().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = json(answer).await;
    assert_eq!(body["result"], "ok");
    let expires: jiff::Timestamp = body["expires"].as_str().unwrap().parse().unwrap();
    assert!(expires > jiff::Timestamp::now() + Duration::from_secs(1800), "{expires}");
    assert_eq!(bench.sandbox.token_requests(), 2);
    assert_eq!(bench.metric(OBTAINED).await, 2.0);
    assert_eq!(bench.get(ME).await.status(), 200);
}

#[tokio::test]
async fn an_identity_is_renewed_once_in_ten_seconds() {
    let bench = ready().await;
    assert_eq!(bench.renew().await.status(), 200);
    let again = bench.renew_by("POST", "/identities/%73ervice/renew", &[]).await;
    assert_eq!(again.headers()["retry-after"], "10");
    assert!(message(again, 429, "rate_limit_exceeded").await.contains("\"service\""));
    bench.clock.advance(Duration::from_secs(9));
    assert_eq!(bench.renew().await.status(), 429);
    assert_eq!(bench.sandbox.token_requests(), 2);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.renew().await.status(), 200);
    assert_eq!(bench.sandbox.token_requests(), 3);
}

#[tokio::test]
async fn a_refused_renewal_says_why_and_keeps_the_token() {
    let bench = ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::Refuse {
        error: "invalid_client".to_owned(),
        description: "The client credentials are invalid".to_owned(),
    }));
    let why = message(bench.renew().await, 502, "credentials_refused").await;
    for words in [
        "invalid_client",
        "The client credentials are invalid",
        "Developer Console",
        "stays valid for another",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!((bench.metric(OBTAINED).await, bench.metric(FAILED).await), (1.0, 1.0));
}

#[tokio::test]
async fn a_renewal_ends_the_pause_after_a_refusal() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.accept_secrets(&["another"]);
    let bench = Bench::before(sandbox, "").await;
    until(|| async { bench.admin("/readyz").await.1.contains("refuses") }).await;
    let secret = bench.sandbox.client_secret().to_owned();
    bench.sandbox.accept_secrets(&[&secret]);
    // The clock stands still: the pause would never end by itself.
    assert_eq!(bench.renew().await.status(), 200);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.admin("/readyz").await.0, 200);
}

#[tokio::test]
async fn while_the_endpoint_fails_a_renewal_keeps_the_token() {
    let bench = ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::Status(500)));
    let answer = bench.renew().await;
    assert_eq!(answer.headers()["retry-after"], "10");
    let why = message(answer, 503, "token_unavailable").await;
    assert!(why.contains("500") && why.contains("stays valid for another"), "{why}");
    assert_eq!(bench.get(ME).await.status(), 200);
}

#[tokio::test]
async fn a_renewal_shares_the_call_that_is_under_way() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, "").await;
    in_time(bench.sandbox.wait_for_token_requests(1)).await;
    let releasing = async {
        // The second one is refused at once, which shows that the first was admitted.
        until(|| async { bench.renew().await.status() == 429 }).await;
        drop(held);
    };
    let (answer, ()) = tokio::join!(bench.renew(), releasing);
    assert_eq!(answer.status(), 200);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.token_requests(), 1);
}

#[tokio::test]
async fn requests_use_the_old_token_until_the_new_one_is_there() {
    let bench = ready().await;
    let held = bench.sandbox.hold_token_replies();
    let meanwhile = async {
        in_time(bench.sandbox.wait_for_token_requests(2)).await;
        assert_eq!(bench.get(ME).await.status(), 200);
        drop(held);
    };
    let (answer, ()) = tokio::join!(bench.renew(), meanwhile);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn what_may_not_renew_causes_no_token_call() {
    let bench = ready().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let answer = bench.renew_by(method, RENEW, &[]).await;
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "POST", "{method}");
    }
    for fields in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-origin")],
    ] {
        let answer = bench.renew_by("POST", RENEW, fields).await;
        assert_eq!(refusal(answer).await, (403, "origin_not_allowed".to_owned()), "{fields:?}");
    }
    let behind = bench.renew_by("POST", RENEW, &[("X-Forwarded-For", "192.0.2.1")]).await;
    assert_eq!(refusal(behind).await, (403, "caller_not_allowed".to_owned()));
    let unknown = bench.renew_by("POST", "/identities/servic%0A/renew", &[]).await;
    let words = message(unknown, 404, "not_found").await;
    assert!(words.contains("\"servic\\n\"") && words.contains("are \"service\""), "{words}");
    assert_eq!(bench.sandbox.token_requests(), 1);
    // None of them counts as a renewal.
    let own = format!("http://{}", bench.admin);
    assert_eq!(bench.renew_by("POST", RENEW, &[("Origin", &own)]).await.status(), 200);
}

#[tokio::test]
async fn an_incomplete_request_does_not_count_as_a_renewal() {
    let bench = ready().await;
    let url = format!("http://{}{RENEW}", bench.admin);
    let too_long = bench.client.post(&url).body(vec![b'x'; 64 * 1024 + 1]).send().await.unwrap();
    assert_eq!(too_long.status(), 400);
    assert_eq!(bench.sandbox.token_requests(), 1);
    assert_eq!(bench.renew().await.status(), 200);
}

#[tokio::test]
async fn a_gateway_that_stops_renews_nothing() {
    let bench = Bench::with("[server]\ndrain_delay = \"600s\"\n").await;
    bench.until_ready().await;
    bench.stop(Stop::Drain);
    until(|| async { bench.admin("/readyz").await.1.contains("draining") }).await;
    assert!(message(bench.renew().await, 503, "token_unavailable").await.contains("stopping"));
    assert_eq!(bench.sandbox.token_requests(), 1);
    bench.stop(Stop::Now);
    bench.stopped().await;
}
