//! Downscoped identities: only a token with fewer rights is ever sent to Box, whatever happens at the token endpoint.

use std::time::Duration;

use boxgate::sandbox::{Content, Downscoped, Fault, Options, Sandbox, Seen, TokenAnswer};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::harness::{Bench, in_time, json, refusal, until};

mod reach; // what Box says that a token reaches
mod secrets; // both tokens in answers

const ME: &str = "/2.0/users/me";
const SCOPES: [&str; 2] = ["base_explorer", "item_upload"];
const RESOURCE_UNSEEN: (&str, &str) = ("invalid_resource", "The target resource is invalid.");

/// A bench whose identity is downscoped to a folder.
struct Narrow {
    bench: Bench,
    folder: String,
}

impl Narrow {
    async fn start() -> Self {
        let started = Self::with(|_| {}).await;
        started.bench.until_ready().await;
        started
    }

    /// `prepare`: the sandbox, before the gateway asks for its first token.
    async fn with(prepare: impl FnOnce(&Sandbox)) -> Self {
        Self::knowing(|sandbox, _| prepare(sandbox)).await
    }

    /// The same; `prepare` learns the folder, too.
    async fn knowing(prepare: impl FnOnce(&Sandbox, &str)) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let folder = sandbox.add_folder("0", "Reports");
        prepare(&sandbox, &folder);
        let downscope = format!(
            "downscope = {{ scopes = {SCOPES:?}, resource = \"{}/2.0/folders/{folder}\" }}\n",
            sandbox.api_url()
        );
        Self { bench: Bench::before(sandbox, &downscope).await, folder }
    }

    fn path(&self) -> String {
        format!("/2.0/folders/{}", self.folder)
    }

    /// Fails unless each request that Box saw had the downscoped token; returns how many there were.
    fn all_narrow(&self) -> usize {
        let seen = self.bench.sandbox.seen();
        let want = Downscoped {
            scopes: SCOPES.map(str::to_owned).to_vec(),
            resource: Some(format!("folders/{}", self.folder)),
        };
        for Seen { token, target, .. } in &seen {
            let token = token.as_ref().unwrap_or_else(|| panic!("{target} without a token of this Box"));
            assert_eq!(token.downscoped.as_ref(), Some(&want), "{target}");
        }
        seen.len()
    }

    async fn exchanges(&self, outcome: &str) -> f64 {
        let line = format!("boxgate_token_exchanges_total{{identity=\"service\",outcome=\"{outcome}\"}}");
        self.bench.metric(&line).await
    }

    async fn renew(&self) -> (u16, Value) {
        let url = format!("http://{}/identities/service/renew", self.bench.admin);
        let answer = self.bench.client.post(url).send().await.unwrap();
        (answer.status().as_u16(), json(answer).await)
    }

    async fn identity(&self) -> Value {
        let (_, text) = self.bench.admin("/status.json").await;
        serde_json::from_str::<Value>(&text).unwrap()["identities"][0].clone()
    }
}

/// The fields of a form that the token endpoint has got.
fn form(seen: &Seen) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

fn body(status: u16, text: &str, content_type: &str) -> TokenAnswer {
    TokenAnswer::Body { status, body: text.to_owned(), content_type: content_type.to_owned() }
}

#[tokio::test]
async fn only_the_downscoped_token_is_ever_sent_to_box() {
    let narrow = Narrow::start().await;
    let Narrow { bench, folder } = &narrow;
    let file = bench.sandbox.add_file(folder, "a.txt", Content::Bytes("text".into()));
    for target in
        [narrow.path(), format!("{}/items", narrow.path()), ME.to_owned(), format!("/2.0/files/{file}")]
    {
        assert_eq!(bench.get(&target).await.status(), 200, "{target}");
    }
    let attributes = format!(r#"{{"name":"b.txt","parent":{{"id":"{folder}"}}}}"#);
    let part = |name: &str, text: &str| {
        format!("--part\r\nContent-Disposition: form-data; name={name}\r\n\r\n{text}\r\n")
    };
    let upload = part("attributes", &attributes) + &part("file; filename=b.txt", "text") + "--part--\r\n";
    let request = bench.client.post(bench.url("/2.0/files/content")).body(upload);
    let request = request.header("content-type", "multipart/form-data; boundary=part");
    let uploaded = request.send().await.unwrap();
    assert_eq!(uploaded.status(), 201);
    assert_eq!(narrow.all_narrow(), 5);

    let calls = bench.sandbox.token_seen();
    let [credentials, exchange] = &calls[..] else { panic!("{calls:#?}") };
    let parent = form(exchange).into_iter().find(|(key, _)| key == "subject_token").unwrap().1;
    let want = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &parent),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "base_explorer item_upload"),
        ("resource", &format!("{}{}", bench.sandbox.api_url(), narrow.path())),
    ];
    assert_eq!(form(exchange), want.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(exchange.target, credentials.target);
    assert!(form(credentials).iter().any(|(key, _)| key == "client_secret"));
    assert!(exchange.headers.get("authorization").is_none());
    assert_eq!((narrow.exchanges("exchanged").await, narrow.exchanges("failed").await), (1.0, 0.0));
}

/// What Box says of the exchange decides what callers get; Box's API sees nothing of the token with all rights.
#[tokio::test]
async fn after_a_failed_exchange_box_sees_no_request() {
    let html = "<html><title>invalid_resource CANARY</title></html>";
    let oauth = r#"{"error":"invalid_token","error_description":"Not today"}"#;
    let (unseen, in_words) = RESOURCE_UNSEEN;
    let json = "application/json";
    let refused: (u16, &str) = (502, "credentials_refused");
    let unavailable: (u16, &str) = (503, "token_unavailable");
    let cases = [
        (
            TokenAnswer::refuse(unseen, in_words),
            refused,
            "Box refuses to downscope the token: invalid_resource",
        ),
        (
            TokenAnswer::refuse("invalid_scope", ""),
            refused,
            "Box refuses to downscope the token: invalid_scope",
        ),
        (TokenAnswer::refuse("insufficient_scope", ""), refused, "insufficient_scope"),
        (TokenAnswer::refuse("invalid_grant", ""), refused, "invalid_grant"),
        (TokenAnswer::refuse("of_a_firewall", ""), unavailable, "unknown error code"),
        (body(400, html, "text/html"), unavailable, "HTML"),
        (body(401, oauth, json), unavailable, "401 Unauthorized (invalid_token: Not today)"),
        (body(401, "", json), unavailable, "401"),
        (TokenAnswer::Status(429), unavailable, "429"),
        (TokenAnswer::Status(500), unavailable, "500"),
        (body(200, "{}", json), unavailable, "without the JSON of a token"),
        (TokenAnswer::Close, unavailable, "did not answer"),
    ];
    for (answer, want, reason) in cases {
        let words = format!("{answer:?}");
        let narrow = Narrow::with(|sandbox| sandbox.exchange_always(Some(answer))).await;
        let answers = narrow.bench.gets(&narrow.path(), 5).await;
        for answer in answers {
            assert_eq!(refusal(answer).await, (want.0, want.1.to_owned()), "{words}");
        }
        let (status, why) = narrow.bench.admin("/readyz").await;
        assert_eq!(status, 503, "{words}");
        assert!(why.contains(reason) && !why.contains("CANARY"), "{reason}\n{why}");
        assert_eq!(why.contains("(at the token exchange for downscope)"), want == unavailable, "{why}");
        assert_eq!(narrow.bench.sandbox.calls(), 0, "{words}");
        let host = narrow.bench.sandbox.api_url().replace("https://", "");
        let up = narrow.bench.metric(&format!("boxgate_upstream_up{{host=\"{host}\"}}")).await;
        assert_eq!(up, 1.0, "the endpoint has just given a token");
        assert!(narrow.exchanges("failed").await >= 1.0 && narrow.exchanges("exchanged").await == 0.0);
    }
}

#[tokio::test]
async fn an_exchange_that_is_not_answered_keeps_requests_from_box() {
    let narrow = Narrow::with(|sandbox| sandbox.exchange_always(Some(TokenAnswer::Hang))).await;
    in_time(narrow.bench.sandbox.wait_for_token_requests(2)).await;
    let answer = in_time(narrow.bench.get(ME)).await;
    assert_eq!(refusal(answer).await, (503, "token_unavailable".to_owned()));
    assert!(narrow.bench.admin("/readyz").await.1.contains("did not answer in time"));
    assert_eq!(narrow.bench.sandbox.calls(), 0);
}

/// A Box, or something that poses as it, that gives back the very token must not be taken at its word.
#[tokio::test]
async fn an_exchange_that_gives_back_the_token_is_no_exchange() {
    let token = body(200, r#"{"access_token":"the-very-same-token","expires_in":3600}"#, "application/json");
    let narrow = Narrow::with(|sandbox| sandbox.token_always(Some(token))).await;
    assert_eq!(refusal(narrow.bench.get(ME).await).await, (503, "token_unavailable".to_owned()));
    let (_, why) = narrow.bench.admin("/readyz").await;
    assert!(why.contains("the very token that was to be narrowed"), "{why}");
    assert_eq!(narrow.bench.sandbox.calls(), 0);
}

#[tokio::test]
async fn a_refused_exchange_is_remembered_and_ends_by_itself() {
    let (error, description) = RESOURCE_UNSEEN;
    let refuse = TokenAnswer::refuse(error, description);
    let narrow = Narrow::with(|sandbox| sandbox.exchange_always(Some(refuse))).await;
    let Narrow { bench, .. } = &narrow;
    until(|| async { bench.get(ME).await.status() == 502 }).await;
    for _ in 0..20 {
        let body = json(bench.get(ME).await).await;
        assert_eq!(body["code"], "credentials_refused");
        for part in ["(downscope)", "boxgate check", "Nothing is wrong with this request"] {
            assert!(body["message"].as_str().unwrap().contains(part), "{part}: {body}");
        }
    }
    assert_eq!(bench.sandbox.token_requests(), 2, "from memory");
    assert_eq!(bench.metric("boxgate_credentials_refused{identity=\"service\"}").await, 1.0);
    let identity = narrow.identity().await;
    assert_eq!(identity["state"], "refused");
    let (status, said) = narrow.renew().await;
    assert_eq!((status, &said["code"]), (502, &Value::from("credentials_refused")));
    let said = said["message"].as_str().unwrap();
    for part in [
        "Box refuses to downscope the token: invalid_resource",
        "invite the service account",
        "There is no valid token",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    bench.sandbox.exchange_always(None);
    bench.clock.advance(Duration::from_secs(1200));
    bench.until_ready().await;
    assert_eq!(bench.get(&narrow.path()).await.status(), 200);
    narrow.all_narrow();
    assert_eq!(bench.metric("boxgate_credentials_refused{identity=\"service\"}").await, 0.0);
}

#[tokio::test]
async fn both_tokens_are_renewed_together_in_time() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    assert_eq!(bench.sandbox.token_requests(), 2);
    bench.clock.advance(Duration::from_secs(3301));
    until(|| async { narrow.exchanges("exchanged").await == 2.0 }).await;
    let calls = bench.sandbox.token_seen();
    let grants: Vec<String> = calls.iter().map(|seen| form(seen)[0].1.clone()).collect();
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(grants, ["client_credentials", exchange, "client_credentials", exchange]);
    assert_ne!(form(&calls[1])[1], form(&calls[3])[1], "the second exchange is of a fresh token");
    assert_eq!(bench.get(ME).await.status(), 200);
    let (status, said) = narrow.renew().await;
    assert_eq!((status, &said["result"]), (200, &Value::from("ok")));
    assert_eq!((bench.sandbox.token_requests(), narrow.exchanges("exchanged").await), (6, 3.0));
    let renewals = "boxgate_token_refreshes_total{identity=\"service\",outcome=\"obtained\"}";
    assert_eq!(bench.metric(renewals).await, 3.0, "two calls are one renewal");
    assert_eq!(bench.get(ME).await.status(), 200);
    narrow.all_narrow();
}

#[tokio::test]
async fn a_401_of_box_retires_the_downscoped_token_and_both_are_got_anew() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    assert_eq!(bench.get(ME).await.status(), 200);
    bench.sandbox.expire_tokens();
    let answers = bench.gets(ME, 20).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(bench.sandbox.token_requests(), 4);
    narrow.all_narrow();
    // A fresh token that does not help either is bounded as ever.
    bench.sandbox.always_unauthorized(ME);
    for _ in 0..10 {
        assert_eq!(refusal(bench.get(ME).await).await, (502, "upstream_unauthorized".into()));
    }
    assert_eq!(bench.sandbox.token_requests(), 4 + 2 * 3);
    narrow.all_narrow();
}

#[tokio::test]
async fn an_earlier_downscoped_token_is_used_while_exchanges_fail() {
    for answer in [TokenAnswer::Status(500), TokenAnswer::refuse("invalid_scope", "No")] {
        let narrow = Narrow::start().await;
        let Narrow { bench, .. } = &narrow;
        bench.sandbox.exchange_always(Some(answer));
        bench.clock.advance(Duration::from_secs(3400));
        until(|| async { narrow.exchanges("failed").await >= 1.0 }).await;
        assert_eq!(bench.get(ME).await.status(), 200, "the earlier one is still good");
        assert_eq!(narrow.identity().await["state"], "valid");
        assert_eq!(narrow.all_narrow(), 1);
        bench.clock.advance(Duration::from_secs(400));
        until(|| async { narrow.identity().await["state"] != "valid" }).await;
        let status = bench.get(ME).await.status();
        assert!([502, 503].contains(&status.as_u16()), "{status}");
        assert_eq!(bench.sandbox.calls(), 1, "it has ended, and nothing takes its place");
    }
}

/// Box does not say whether a token outlives the one that it was exchanged for.
#[tokio::test]
async fn a_downscoped_token_ends_with_the_first_of_both() {
    let token = |text: &str, seconds: u64| {
        body(200, &format!(r#"{{"access_token":"{text}","expires_in":{seconds}}}"#), "application/json")
    };
    for (parent, child) in [(900, 3600), (3600, 900)] {
        let narrow = Narrow::with(|sandbox| {
            sandbox.token_script(vec![token("a-parent-of-a-test", parent)]);
            sandbox.exchange_script(vec![token("a-child-of-a-test", child)]);
        })
        .await;
        narrow.bench.until_ready().await;
        let left = narrow.bench.metric("boxgate_token_expires_in_seconds{identity=\"service\"}").await;
        assert!(left <= 900.0 && left > 800.0, "{left}");
    }
}

#[tokio::test]
async fn what_box_refuses_to_a_downscoped_token_reaches_the_caller() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    let outside = format!("/2.0/folders/{}", bench.sandbox.add_folder("0", "Elsewhere"));
    let answer = bench.get(&outside).await;
    assert_eq!(answer.status(), 403);
    assert!(answer.headers().get("proxy-status").is_none(), "it is Box's own");
    assert_eq!(json(answer).await["code"], "access_denied_insufficient_permissions");
    let make = |parent: &str| {
        let body = format!(r#"{{"name":"new","parent":{{"id":"{parent}"}}}}"#);
        bench.client.post(bench.url("/2.0/folders")).body(body).send()
    };
    assert_eq!(make("0").await.unwrap().status(), 403);
    assert_eq!(make(&narrow.folder).await.unwrap().status(), 201);
    // Inside, but for a scope that it lacks.
    let answer = bench.client.delete(bench.url(&narrow.path())).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().contains("insufficient_scope"));
    assert_eq!(bench.get(&narrow.path()).await.status(), 200);
    narrow.all_narrow();
}

#[tokio::test]
async fn operators_see_what_a_token_is_downscoped_to() {
    let narrow = Narrow::start().await;
    let want = format!("base_explorer, item_upload on folder {}", narrow.folder);
    assert_eq!(narrow.identity().await["downscope"], want);
    let (status, page) = narrow.bench.admin("/").await;
    assert!(status == 200 && page.contains(&format!("downscoped to {want}")));
    let plain = Bench::start().await;
    let (_, text) = plain.admin("/status.json").await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["identities"][0]["downscope"], Value::Null);
    assert!(!plain.admin("/metrics").await.1.contains("token_exchanges_total{"), "no exchanges, no series");
}

/// A caller that exchanges a token of its own gets the placeholder, as for any grant.
#[tokio::test]
async fn callers_get_no_token_by_an_exchange_of_their_own() {
    let narrow = Narrow::start().await;
    let form =
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=x&scope=item_preview";
    let url = narrow.bench.url("/oauth2/token");
    let request = narrow.bench.client.post(url).header("content-type", "application/x-www-form-urlencoded");
    let said = json(request.body(Bytes::from(form)).send().await.unwrap()).await;
    assert_eq!(said["access_token"], "boxgate-placeholder-not-a-token");
    assert_eq!(narrow.bench.sandbox.token_requests(), 2);
}

/// An error of Box that has this text in its body.
fn echo(text: &str) -> Fault {
    let said = serde_json::json!({ "type": "error", "status": 403, "code": "x", "message": text });
    let Fault::Status { headers, body, .. } = Fault::json(&said) else { panic!("it has a status") };
    Fault::Status { status: StatusCode::FORBIDDEN, headers, body }
}
