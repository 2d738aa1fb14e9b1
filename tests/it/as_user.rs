//! Users whom an app lists by login: Box is asked for their ids, and requests reach it with the id.

use std::time::Duration;

use boxgate::sandbox::{Fault, Options, Sandbox};
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use crate::harness::{Bench, json as body_of, refusal, until};

const ME: &str = "/2.0/users/me";
/// How every lookup begins.
const LOOKUP: &str = "/2.0/users?filter_term=";
const ANN: &str = "[[app]]\nname = \"a\"\nas_user = [\"11446498\", \"ann@corp.com\"]\n";

/// A Box that lists another login with the same beginning before Ann's.
fn people() -> Options {
    let user = |id: &str, login: &str| (id.to_owned(), login.to_owned());
    let users = vec![user("22", "ann@corp.com.evil"), user("21", "Ann@Corp.com"), user("23", "ann@corp.co")];
    Options { users, ..Options::default() }
}

impl Bench {
    /// With a sandbox that answers the first lookups with these.
    async fn with_lookups(answers: Vec<Fault>, more: &str) -> Self {
        let sandbox = Sandbox::start(people()).await.unwrap();
        sandbox.script(LOOKUP, answers);
        Self::before(sandbox, more).await
    }

    /// Status and, of an error, the code of a request that names this user.
    async fn as_user(&self, user: &str) -> (u16, String) {
        let answer = self.client.get(self.url(ME)).header("as-user", user).send().await.unwrap();
        match answer.status().as_u16() {
            200 => (200, String::new()),
            _ => refusal(answer).await,
        }
    }

    /// As whom Box was asked to act last.
    fn acted_as(&self) -> String {
        self.sandbox.last_seen().unwrap().headers["as-user"].to_str().unwrap().to_owned()
    }

    fn lookups(&self) -> usize {
        self.sandbox.seen().iter().filter(|seen| seen.target.starts_with(LOOKUP)).count()
    }

    /// What `/status.json` says of the first login of the first app.
    async fn login(&self) -> Value {
        let status: Value = serde_json::from_str(&self.admin("/status.json").await.1).unwrap();
        status["apps"][0]["as_user_logins"][0].clone()
    }

    /// The time until Box is asked again about this login.
    async fn seconds_left(&self) -> i64 {
        let status: Value = serde_json::from_str(&self.admin("/status.json").await.1).unwrap();
        let second = |time: &Value| time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        second(&status["apps"][0]["as_user_logins"][0]["next_attempt"]) - second(&status["now"])
    }

    /// Waits until the lookup has this state, with a reason unless it is found.
    async fn until_login(&self, state: &str) -> Value {
        until(|| async {
            let login = self.login().await;
            login["state"] == state && (state == "found" || !login["reason"].is_null())
        })
        .await;
        self.login().await
    }
}

fn not_allowed() -> (u16, String) {
    (403, "as_user_not_allowed".to_owned())
}

fn unavailable() -> (u16, String) {
    (503, "token_unavailable".to_owned())
}

#[tokio::test]
async fn a_listed_login_reaches_box_as_its_id() {
    let bench = Bench::of(people(), ANN).await;
    let login = bench.until_login("found").await;
    let found = json!({ "login": "ann@corp.com", "state": "found", "id": "21", "reason": null, "next_attempt": null });
    assert_eq!(login, found);
    for user in ["ann@corp.com", "ANN@Corp.COM", "21"] {
        assert_eq!(bench.as_user(user).await, (200, String::new()), "{user}");
        assert_eq!(bench.acted_as(), "21", "{user}");
    }
    assert_eq!(bench.as_user("11446498").await.0, 200);
    assert_eq!(bench.acted_as(), "11446498");
    let calls = bench.sandbox.calls();
    for user in [
        "22",
        "ann@corp.com.evil",
        "ann@corp.co",
        "aaron@sandbox.example",
        "ann",
        "ann@corp.com,21",
        "*",
        "@",
        "",
    ] {
        assert_eq!(bench.as_user(user).await, not_allowed(), "{user:?}");
    }
    let twice = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nAs-User: ann@corp.com\r\nAs-User: 21\r\nConnection: close\r\n\r\n";
    assert!(bench.raw(twice).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(bench.sandbox.calls(), calls);
    let any = Bench::of(people(), "[[app]]\nname = \"a\"\nas_user = [\"*\"]\n").await;
    assert_eq!(any.as_user("ann@corp.com").await, not_allowed(), "\"*\" takes ids alone");
    assert_eq!(any.sandbox.calls(), 0);
}

#[tokio::test]
async fn a_hundred_requests_of_two_apps_cause_one_lookup_and_each_is_counted() {
    let apps = format!("{ANN}[[app]]\nname = \"b\"\npath = \"/b\"\nas_user = [\"ANN@corp.com\"]\n");
    let bench = Bench::of(people(), &apps).await;
    bench.until_login("found").await;
    let count = |app: &str| format!("boxgate_as_user_requests_total{{app=\"{app}\"}}");
    let (_, text) = bench.admin("/metrics").await;
    assert!(["a", "b"].iter().all(|app| text.contains(&format!("{} 0\n", count(app)))), "{text}");
    for number in 0..100 {
        let path = if number % 2 == 0 { ME } else { "/b/2.0/users/me" };
        let request = bench.client.get(bench.url(path)).header("as-user", "ann@corp.com");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.as_user("5").await, not_allowed());
    assert_eq!(bench.lookups(), 1);
    let counted = (bench.metric(&count("a")).await, bench.metric(&count("b")).await);
    assert_eq!(counted, (50.0, 50.0), "neither the one without As-User nor the refused one");
    // Box counts the lookup, which is of no app.
    let (_, usage) = bench.admin("/usage.json?by=app,identity,class").await;
    let usage: Value = serde_json::from_str(&usage).unwrap();
    let of_lookups = |row: &&Value| row["class"] == "lookup";
    let rows: Vec<&Value> = usage["rows"].as_array().unwrap().iter().filter(of_lookups).collect();
    assert_eq!(rows.len(), 1, "{usage:#}");
    let row = (&rows[0]["app"], &rows[0]["identity"], &rows[0]["calls"]);
    assert_eq!(row, (&json!(""), &json!("service"), &json!(1)), "{usage:#}");
}

#[tokio::test]
async fn a_login_and_its_id_have_one_count() {
    let limit = "[[limit]]\nname = \"few\"\nkey = \"user\"\nrate = \"2/h\"\nburst = 2\n";
    let bench = Bench::of(people(), &format!("{limit}{ANN}")).await;
    bench.until_login("found").await;
    assert_eq!(bench.as_user("ann@corp.com").await.0, 200);
    assert_eq!(bench.as_user("21").await.0, 200);
    assert_eq!(bench.as_user("Ann@corp.com").await, (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(bench.as_user("11446498").await.0, 200);
}

#[tokio::test]
async fn while_box_has_not_answered_only_requests_that_need_the_id_are_refused() {
    let sandbox = Sandbox::start(people()).await.unwrap();
    let held = sandbox.hold_replies(LOOKUP);
    let bench = Bench::before(sandbox, ANN).await;
    bench.sandbox.wait_for_calls(1).await;
    let request = bench.client.get(bench.url(ME)).header("as-user", "ann@corp.com");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    let body = body_of(answer).await;
    assert_eq!((&body["status"], &body["code"]), (&json!(503), &json!("token_unavailable")));
    assert!(body["message"].as_str().unwrap().contains("login in as_user"), "{body}");
    // It may be Ann's.
    assert_eq!(bench.as_user("21").await, unavailable());
    assert_eq!(bench.as_user("bob@corp.com").await, not_allowed());
    assert_eq!(bench.sandbox.calls(), 1, "no request asks Box itself");
    assert_eq!(bench.as_user("11446498").await.0, 200);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.admin("/readyz").await, (200, "ready\n".to_owned()));
    drop(held);
    bench.until_login("found").await;
    assert_eq!(bench.as_user("ann@corp.com").await.0, 200);
    assert_eq!(bench.as_user("22").await, not_allowed());
}

#[tokio::test]
async fn a_login_that_box_does_not_know_is_refused_told_and_asked_for_seldom() {
    let nobody = || Fault::json(&json!({ "total_count": 0, "entries": [], "limit": 100, "offset": 0 }));
    let bench = Bench::with_lookups(vec![nobody(), nobody()], ANN).await;
    let login = bench.until_login("unknown").await;
    assert!(login["reason"].as_str().unwrap().contains("Box knows no"), "{login}");
    assert!(!login["next_attempt"].is_null() && login["id"].is_null(), "{login}");
    let request = bench.client.get(bench.url(ME)).header("as-user", "ann@corp.com");
    let body = body_of(request.send().await.unwrap()).await;
    assert_eq!((&body["status"], &body["code"]), (&json!(403), &json!("as_user_not_allowed")));
    assert!(body["message"].as_str().unwrap().contains("Box knows no user"), "{body}");
    assert_eq!(bench.as_user("21").await, not_allowed());
    let (status, ready) = bench.admin("/readyz").await;
    assert_eq!(status, 200);
    let note = "as_user of app a: 1 of 1 logins name no user that Box knows";
    assert!(ready.contains(note) && !ready.contains("ann@"), "{ready}");
    let (_, page) = bench.admin("/").await;
    assert!(page.contains("as_user ann@corp.com: unknown; Box knows no"), "{page}");
    bench.clock.advance(Duration::from_secs(599));
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.lookups(), 1);
    bench.clock.advance(Duration::from_secs(14 * 60 - 599));
    until(|| async { bench.lookups() == 2 }).await;
    // The answer is there once the next attempt is as far away as the second pause is long.
    until(|| async {
        let left = bench.seconds_left().await;
        (21 * 60 - 1..=28 * 60).contains(&left)
    })
    .await;
    bench.clock.advance(Duration::from_secs(28 * 60));
    bench.until_login("found").await;
    assert_eq!(bench.lookups(), 3);
    assert_eq!(bench.as_user("ann@corp.com").await.0, 200);
    assert!(!bench.admin("/readyz").await.1.contains("as_user"));
    assert!(bench.admin("/").await.1.contains("ann@corp.com: user 21"));
}

#[tokio::test]
async fn a_login_of_several_users_names_none_of_them() {
    let user = |id: &str| json!({ "type": "user", "id": id, "login": "ann@corp.com" });
    let two = Fault::json(&json!({ "total_count": 2, "entries": [user("21"), user("24")] }));
    let bench = Bench::with_lookups(vec![two], ANN).await;
    let login = bench.until_login("unknown").await;
    assert!(login["reason"].as_str().unwrap().contains("2 users"), "{login}");
    for user in ["ann@corp.com", "21", "24"] {
        assert_eq!(bench.as_user(user).await, not_allowed(), "{user}");
    }
}

#[tokio::test]
async fn a_missing_scope_is_named_and_asked_about_again() {
    let missing = HeaderValue::from_static("Bearer realm=\"Service\", error=\"insufficient_scope\"");
    let refused = Fault::status(403).with_header(WWW_AUTHENTICATE, missing);
    let bench = Bench::with_lookups(vec![refused], ANN).await;
    let login = bench.until_login("refused").await;
    assert!(
        login["reason"].as_str().unwrap().contains("403 insufficient_scope to GET /2.0/users"),
        "{login}"
    );
    assert_eq!(bench.as_user("ann@corp.com").await, unavailable());
    assert_eq!(bench.as_user("21").await, not_allowed(), "Box will not say whose it is");
    assert!(bench.admin("/readyz").await.1.contains("1 of 1 logins cannot be looked up"));
    bench.clock.advance(Duration::from_secs(10));
    bench.until_login("found").await;
    assert_eq!(bench.as_user("ann@corp.com").await.0, 200);
}

#[tokio::test]
async fn a_lookup_that_fails_is_tried_again_after_pauses_that_grow() {
    let not_json = Fault::RawBody { headers: http::HeaderMap::new(), pieces: vec!["<html>".into()] };
    let failures =
        vec![Fault::status(500), Fault::CloseBeforeHead, not_json, Fault::RateLimited { retry_after: 50 }];
    let (count, pauses) = (failures.len(), [1, 2, 4, 50]);
    let bench = Bench::with_lookups(failures, ANN).await;
    for (number, pause) in pauses.into_iter().enumerate() {
        until(|| async { bench.lookups() == number + 1 && !bench.login().await["reason"].is_null() }).await;
        // Until it pauses, the time that it waits for is in the past.
        until(|| async {
            let request = bench.client.get(bench.url(ME)).header("as-user", "ann@corp.com");
            let left = request.send().await.unwrap().headers()["retry-after"].to_str().unwrap().parse();
            let left: u64 = left.unwrap();
            left <= pause && left * 4 >= pause * 3
        })
        .await;
        bench.clock.advance(Duration::from_secs(pause));
    }
    bench.until_login("found").await;
    assert_eq!(bench.lookups(), count + 1);
}

#[tokio::test]
async fn a_lookup_with_a_token_that_box_revoked_gets_a_fresh_one() {
    let bench = Bench::with_lookups(vec![Fault::status(401)], ANN).await;
    bench.until_login("found").await;
    assert_eq!((bench.lookups(), bench.sandbox.token_requests()), (2, 2));
}

#[tokio::test]
async fn a_lookup_waits_for_the_identitys_token() {
    let sandbox = Sandbox::start(people()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, ANN).await;
    bench.sandbox.wait_for_token_requests(1).await;
    assert_eq!(bench.as_user("ann@corp.com").await, unavailable());
    assert_eq!(bench.sandbox.calls(), 0);
    drop(held);
    bench.until_login("found").await;
    assert_eq!((bench.lookups(), bench.sandbox.token_requests()), (1, 1));
}

/// Box lists managed users and app users alone.
#[tokio::test]
async fn the_service_account_is_no_user_to_act_as() {
    let app = "[[app]]\nname = \"a\"\nas_user = [\"AutomationUser_1234567_aBcDeF1234@boxdevedition.com\"]\n";
    let bench = Bench::of(people(), app).await;
    bench.until_login("unknown").await;
}
