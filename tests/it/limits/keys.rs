use std::time::Duration;

use boxgate::sandbox::{CLIENT_ID, CLIENT_SECRET, MANAGED_USERS, USER_ID};
use http::Method;

use super::{ALONE, FOLDER, ME, ONE_IN_AN_HOUR, limit, named, refused, retry_after};
use crate::harness::{Bench, json};

/// Three apps, the third with an identity of its own, behind a trusted proxy.
fn three_apps() -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [identity.other]\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\nuser_id = {USER_ID:?}\n\
         [[app]]\nname = \"a\"\nidentity = \"service\"\nas_user = [\"*\"]\n\
         [[app]]\nname = \"b\"\nidentity = \"service\"\npath = \"/b\"\nas_user = [\"*\"]\n\
         [[app]]\nname = \"c\"\nidentity = \"other\"\npath = \"/c\"\n{ALONE}"
    )
}

/// The path of an app, a user for `As-User` and an address for `X-Forwarded-For`, both empty for none.
type Caller = (&'static str, &'static str, &'static str);

#[tokio::test]
async fn each_key_has_a_count_of_its_own() {
    let [one, two] = MANAGED_USERS;
    let cases: [(&str, Vec<(Caller, u16)>); 5] = [
        (
            "client",
            vec![
                (("", "", "192.0.2.1"), 200),
                (("", one, "192.0.2.1"), 429),
                (("/c", "", "192.0.2.1"), 429),
                (("", "", "::ffff:192.0.2.1"), 429),
                (("", "", "192.0.2.2"), 200),
                (("", "", "2001:db8::1"), 200),
                (("", "", "2001:db8::ffff:1:2:3"), 429),
                (("", "", "2001:db8:0:1::1"), 200),
                // The last untrusted address counts, whatever the caller wrote before it.
                (("", "", "203.0.113.9, 192.0.2.2"), 429),
                (("", "", ""), 200),
            ],
        ),
        (
            "app",
            vec![
                (("", "", ""), 200),
                (("", one, "192.0.2.1"), 429),
                (("/b", "", ""), 200),
                (("/c", "", ""), 200),
                (("/c", "", "192.0.2.1"), 429),
            ],
        ),
        (
            "user",
            vec![
                (("", one, ""), 200),
                (("/b", one, "192.0.2.1"), 429),
                (("", two, ""), 200),
                (("", "", ""), 200),
                (("/b", "", ""), 429),
                (("/c", "", ""), 200),
                // The same user by another way.
                (("", USER_ID, ""), 429),
            ],
        ),
        ("identity", vec![(("", "", ""), 200), (("/b", one, "192.0.2.1"), 429), (("/c", "", ""), 200)]),
        ("global", vec![(("", "", ""), 200), (("/b", one, "192.0.2.1"), 429), (("/c", "", ""), 429)]),
    ];
    for (key, requests) in cases {
        let bench = Bench::with(&(three_apps() + &limit("one", key, ONE_IN_AN_HOUR))).await;
        let mut passed = 0;
        for ((app, user, client), status) in requests {
            let mut get = bench.client.get(bench.url(&format!("{app}{ME}")));
            for (name, value) in [("as-user", user), ("x-forwarded-for", client)] {
                if !value.is_empty() {
                    get = get.header(name, value);
                }
            }
            let answer = get.send().await.unwrap();
            assert_eq!(answer.status(), status, "{key}: {app} {user} {client}");
            if status == 200 {
                passed += 1;
            } else {
                assert_eq!(named(&answer), "one");
            }
        }
        assert_eq!(bench.sandbox.calls(), passed, "{key}");
    }
}

#[tokio::test]
async fn an_address_that_no_trusted_proxy_names_is_ignored() {
    let bench = Bench::with(&format!("{ALONE}{}", limit("one", "client", ONE_IN_AN_HOUR))).await;
    for (client, status) in [("192.0.2.1", 200), ("192.0.2.2", 429)] {
        let get = bench.client.get(bench.url(ME)).header("x-forwarded-for", client);
        assert_eq!(get.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn classes_and_patterns_hold_in_every_spelling() {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "search",
            &[
                "GET /2.0/search?query=a",
                "GET /2.0/Search",
                "HEAD /2.0/search/",
                "GET /2.0/%73earch",
                "GET /2.0/search;a=b",
            ],
            &["GET /2.0/users/me", "POST /2.0/folders"],
        ),
        (
            "upload",
            &[
                "POST /2.0/files/content",
                "POST /api/2.0/files/content",
                "POST /2.0/files/1/content",
                "POST /2.0/FILES/content/",
            ],
            &[
                "GET /2.0/files/1/content",
                "OPTIONS /2.0/files/content",
                "POST /2.0/files/upload_sessions/A/commit",
            ],
        ),
        (
            "download",
            &[
                "GET /2.0/files/1/content",
                "HEAD /2.0/files/2/content",
                "GET /api/2.0/files/1/content",
                "GET /2.0/zip_downloads/a/content",
            ],
            &["POST /2.0/files/1/content", "GET /2.0/files/1"],
        ),
        (
            "general",
            &["GET /2.0/users/me", "DELETE /2.0/files/1"],
            &["GET /2.0/search", "GET /2.0/files/1/content"],
        ),
        (
            "POST /2.0/sign_requests/*/resend",
            &[
                "POST /2.0/sign_requests/a/resend",
                "POST /2.0/Sign_Requests/b/RESEND",
                "POST /2.0/sign_requests/c/resend/",
                "POST /2.0/sign_requests/d/%72esend",
            ],
            &[
                "GET /2.0/sign_requests/a/resend",
                "POST /2.0/sign_requests",
                "POST /2.0/sign_requests/a/cancel",
            ],
        ),
    ];
    for (on, limited, free) in cases {
        let more = format!("on = [{on:?}]\n{ONE_IN_AN_HOUR}");
        let bench = Bench::with(&format!("{ALONE}{}", limit("one", "global", &more))).await;
        let send = async |written: &str| {
            let (method, path) = written.split_once(' ').unwrap();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            bench.client.request(method, bench.url(path)).send().await.unwrap()
        };
        for (nth, written) in limited.iter().enumerate() {
            let answer = send(written).await;
            match nth {
                0 => assert_ne!(answer.status(), 429, "{on}: {written}"),
                _ => assert_eq!(named(&answer), "one", "{on}: {written}"),
            }
        }
        for written in free {
            assert_ne!(send(written).await.status(), 429, "{on}: {written}");
        }
    }
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_is_not_counted_against_another_or_a_budget() {
    let narrow = format!("on = [\"GET {ME}\"]\n{ONE_IN_AN_HOUR}");
    let bench = Bench::with(&format!(
        "{ALONE}{}{}[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 1000\n",
        limit("wide", "global", "rate = \"1/h\"\nburst = 3\n"),
        limit("narrow", "global", &narrow),
    ))
    .await;
    assert_eq!(bench.get(ME).await.status(), 200);
    for _ in 0..5 {
        assert_eq!(named(&bench.get(ME).await), "narrow");
    }
    for _ in 0..2 {
        assert_eq!(bench.get(FOLDER).await.status(), 200);
    }
    assert_eq!(named(&bench.get(FOLDER).await), "wide");
    assert_eq!(named(&bench.get(ME).await), "wide", "of two that say no, the first");
    assert_eq!((refused(&bench, "narrow").await, refused(&bench, "wide").await), (5.0, 2.0));
    assert_eq!(bench.sandbox.calls(), 3);
    let used = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";
    assert_eq!(bench.metric(used).await, 3.0);
}

#[tokio::test]
async fn a_request_that_a_budget_or_a_rule_refuses_is_not_counted_against_a_limit() {
    let bench = Bench::with(&format!(
        "{ALONE}[[app]]\nname = \"a\"\ndeny = [\"DELETE /2.0/**\"]\n\
         [[app]]\nname = \"b\"\npath = \"/b\"\nrequire_header = \"X-Mine\"\n\
         [[app]]\nname = \"c\"\npath = \"/c\"\n{}\
         [[budget]]\nname = \"of-app\"\nkey = \"app\"\ncalls = 1\n",
        limit("two", "global", "rate = \"1/h\"\nburst = 2\n"),
    ))
    .await;
    let b = || bench.client.get(bench.url(&format!("/b{ME}")));
    assert_eq!(bench.get(ME).await.status(), 200);
    for _ in 0..5 {
        let spent = bench.get(ME).await;
        assert_eq!(
            (spent.status().as_u16(), json(spent).await["code"].as_str()),
            (403, Some("budget_spent"))
        );
        assert_eq!(bench.client.delete(bench.url("/2.0/files/1")).send().await.unwrap().status(), 403);
        assert_eq!(b().send().await.unwrap().status(), 403);
        assert_eq!(
            bench.client.get(bench.url(ME)).header("as-user", "1").send().await.unwrap().status(),
            403
        );
    }
    assert_eq!(b().header("x-mine", "1").send().await.unwrap().status(), 200);
    assert_eq!(named(&bench.get(&format!("/c{ME}")).await), "two");
    assert_eq!(bench.sandbox.calls(), 2);
}

#[tokio::test]
async fn a_refusal_says_in_whole_seconds_when_it_passes() {
    let bench = Bench::with(&format!("{ALONE}{}", limit("hourly", "global", "rate = \"2/h\"\n"))).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let answer = bench.get(ME).await;
    assert_eq!(named(&answer), "hourly");
    let after = retry_after(answer.headers());
    // Some seconds may have passed already.
    assert!((1700..=1800).contains(&after), "{after}");
    assert_eq!(answer.headers()["ratelimit"], format!("\"hourly\";r=0;t={after}"));
    assert_eq!(answer.headers()["ratelimit-policy"], "\"hourly\";q=1;w=1800");
    let body = json(answer).await;
    assert_eq!((body["status"].as_u64(), body["code"].as_str()), (Some(429), Some("rate_limit_exceeded")));
    assert!(body["message"].as_str().unwrap().contains("hourly"), "{body}");
    // Not long before, but then.
    bench.clock.advance(Duration::from_secs(after - 100));
    let again = bench.get(ME).await;
    assert_eq!(named(&again), "hourly");
    let left = retry_after(again.headers());
    assert!((1..=100).contains(&left), "{left}");
    bench.clock.advance(Duration::from_secs(left));
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.calls(), 2);
}

#[tokio::test]
async fn a_limit_that_is_not_enforced_only_counts() {
    let watching = format!("{ONE_IN_AN_HOUR}enforce = false\n");
    let real = "rate = \"1/h\"\nburst = 4\n";
    let bench = Bench::with(&format!(
        "{ALONE}{}{}",
        limit("watching", "global", &watching),
        limit("real", "global", real)
    ))
    .await;
    for _ in 0..4 {
        assert_eq!(bench.get(ME).await.status(), 200);
    }
    assert_eq!(named(&bench.get(ME).await), "real");
    assert_eq!(bench.metric("boxgate_would_limit_total{limit=\"watching\"}").await, 3.0);
    assert_eq!((refused(&bench, "watching").await, refused(&bench, "real").await), (0.0, 1.0));
    assert_eq!(bench.sandbox.calls(), 4);
}

/// `Connection: As-User` would remove the header on the way to Box, but the count would still be that user's.
#[tokio::test]
async fn a_hop_by_hop_as_user_is_refused() {
    let app = "[[app]]\nname = \"a\"\nas_user = [\"*\"]\n";
    let bench = Bench::with(&format!("{ALONE}{app}{}", limit("each", "user", ONE_IN_AN_HOUR))).await;
    for user in 1..4 {
        let head = format!(
            "GET {ME} HTTP/1.1\r\nHost: localhost\r\nAs-User: {user}\r\nConnection: close, as-USER\r\n\r\n"
        );
        let answer = bench.raw(&head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
}

/// As-User has no effect on a pre-signed URL, so an invented user must not give it a count of its own.
#[tokio::test]
async fn a_presigned_url_is_counted_for_the_identity() {
    let limit = "[[limit]]\nname = \"each\"\nkey = \"user\"\nrate = \"1/h\"\n";
    let bench = Bench::with(&format!("{limit}[[app]]\nname = \"a\"\nas_user = [\"*\"]")).await;
    let host = bench.sandbox.download_url().replace("https://", "");
    for (user, status) in [("1", 404), ("2", 429)] {
        let get = bench.client.get(bench.url(&format!("/_box/{host}/d/1/none/download")));
        assert_eq!(get.header("as-user", user).send().await.unwrap().status(), status, "{user}");
    }
}
