use boxgate::sandbox::Content;
use reqwest::StatusCode;

use super::{ALONE, ME, named};
use crate::harness::Bench;

/// So many requests, some at once; how many passed, and who refused the others.
async fn passed_and_names(bench: &Bench, path: &str, count: usize) -> (usize, Vec<String>) {
    let mut passed = 0;
    let mut names = Vec::new();
    for _ in 0..count.div_ceil(50) {
        for answer in bench.gets(path, count.min(50)).await {
            match answer.status() {
                StatusCode::TOO_MANY_REQUESTS => names.push(named(&answer)),
                _ => passed += 1,
            }
        }
    }
    names.sort();
    names.dedup();
    (passed, names)
}

#[tokio::test]
async fn a_user_may_make_400_calls_at_once_and_600_more_in_a_minute() {
    let bench = Bench::start().await;
    let began = bench.clock.mono();
    let (passed, names) = passed_and_names(&bench, ME, 600).await;
    let added = (bench.clock.mono() - began).as_secs_f64() * 10.0;
    assert!(passed >= 400 && passed as f64 <= 401.0 + added, "{passed} with {added} added");
    if passed < 600 {
        assert_eq!(names, ["box-user"]);
    }
    assert_eq!(bench.sandbox.calls(), passed);
}

#[tokio::test]
async fn searches_have_limits_of_their_own() {
    let bench = Bench::start().await;
    let began = bench.clock.mono();
    let (passed, names) = passed_and_names(&bench, "/2.0/search?query=a", 40).await;
    // 12 in a second of the enterprise: 3 at once, the rest spread.
    let most = 4.0 + (bench.clock.mono() - began).as_secs_f64() * 10.1;
    assert!(passed >= 3 && passed as f64 <= most, "{passed} of {most}");
    assert!(names.iter().all(|name| name.starts_with("box-search")), "{names:?}");
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.calls(), passed + 1);
}

#[tokio::test]
async fn without_them_all_pass() {
    let bench = Bench::with(ALONE).await;
    assert_eq!(passed_and_names(&bench, "/2.0/search?query=a", 50).await, (50, vec![]));
}

/// Were they counted, more than 400 and what a second adds would be.
#[tokio::test]
async fn what_presigned_urls_give_is_no_call_of_the_api() {
    let bench = Bench::start().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    let path = format!("/2.0/files/{file}/content");
    let asked = bench.client.get(bench.url(&path)).header("x-boxgate-redirect", "pass").send().await.unwrap();
    let location = asked.headers()["location"].to_str().unwrap().to_owned();
    let presigned = location.replace("https://", "/_box/");
    assert_eq!(passed_and_names(&bench, &presigned, 600).await, (600, vec![]));
    // Each of these is one call and one fetch.
    assert_eq!(passed_and_names(&bench, &path, 350).await, (350, vec![]));
}
