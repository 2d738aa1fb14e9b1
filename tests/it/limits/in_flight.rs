use boxgate::sandbox::{Content, Options};

use super::{ALONE, ME, named, refused, retry_after};
use crate::harness::{Bench, in_time, refusal, until};

const ONE: &str = "[[app]]\nname = \"a\"\nmax_in_flight = 1\n[[app]]\nname = \"b\"\npath = \"/b\"\n";

#[tokio::test]
async fn an_app_has_so_many_requests_in_flight_and_no_more() {
    let bench = Bench::with(ONE).await;
    bench.until_ready().await;
    let held = bench.sandbox.hold_replies(ME);
    let first = tokio::spawn(bench.client.get(bench.url(ME)).send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    for _ in 0..3 {
        let answer = bench.get("/2.0/folders/0").await;
        assert_eq!(retry_after(answer.headers()), 1);
        assert_eq!(refusal(answer).await, (503, "overloaded".into()));
    }
    assert_eq!(bench.get("/b/2.0/folders/0").await.status(), 200);
    assert_eq!(refused(&bench, "max-in-flight").await, 3.0);
    drop(held);
    assert_eq!(in_time(first).await.unwrap().unwrap().bytes().await.unwrap().len(), 470);
    // The last byte of the response was received: the slot is free.
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.sandbox.calls(), 3);
}

#[tokio::test]
async fn a_slot_is_taken_until_the_last_byte_of_the_response() {
    for path in ["/api/2.0/files/FILE/content", "/2.0/files/FILE/content"] {
        let bench = Bench::of(Options::default(), ONE).await;
        let file = bench.sandbox.add_file("0", "z", Content::Zeros(32 << 20));
        let path = path.replace("FILE", &file);
        let mut answer = bench.get(&path).await;
        let mut length = answer.chunk().await.unwrap().unwrap().len();
        assert_eq!(refusal(bench.get(ME).await).await, (503, "overloaded".into()));
        while let Some(chunk) = answer.chunk().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, 32 << 20);
        assert_eq!(bench.get(ME).await.status(), 200);
        // A caller that leaves halfway.
        let mut answer = bench.get(&path).await;
        answer.chunk().await.unwrap().unwrap();
        assert_eq!(refusal(bench.get(ME).await).await.0, 503);
        drop(answer);
        until(|| async { bench.get(ME).await.status() == 200 }).await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_response_frees_its_slot() {
    let bench = Bench::with(ONE).await;
    bench.until_ready().await;
    let _held = bench.sandbox.hold_replies("/2.0/folders/");
    let leaving = tokio::spawn(bench.client.get(bench.url("/2.0/folders/0")).send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    assert_eq!(refusal(bench.get(ME).await).await.0, 503);
    leaving.abort();
    until(|| async { bench.get(ME).await.status() == 200 }).await;
}

#[tokio::test]
async fn refused_requests_take_no_slot() {
    let limit = super::limit("one", "global", super::ONE_IN_AN_HOUR);
    let bench = Bench::with(&format!("{ALONE}{ONE}{limit}")).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    for _ in 0..3 {
        assert_eq!(named(&bench.get(ME).await), "one");
    }
    // Requests refused as overloaded are not counted against limits.
    let limit = super::limit("two", "global", "rate = \"1/h\"\nburst = 2\n");
    let bench = Bench::with(&format!("{ALONE}{ONE}{limit}")).await;
    bench.until_ready().await;
    let held = bench.sandbox.hold_replies(ME);
    let first = tokio::spawn(bench.client.get(bench.url(ME)).send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    for _ in 0..3 {
        assert_eq!(bench.get(ME).await.status(), 503);
    }
    drop(held);
    in_time(first).await.unwrap().unwrap().bytes().await.unwrap();
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(named(&bench.get(ME).await), "two");
}

#[tokio::test]
async fn five_zips_at_once() {
    for (more, most) in [("", 5), (ALONE, 8)] {
        let bench = Bench::with(more).await;
        bench.until_ready().await;
        let held = bench.sandbox.hold_replies("/2.0/zip_downloads/");
        let path = |nth: usize| format!("/2.0/zip_downloads/zip{nth}/content");
        let mut under_way = Vec::new();
        for nth in 0..most {
            under_way.push(tokio::spawn(bench.client.get(bench.url(&path(nth))).send()));
            in_time(bench.sandbox.wait_for_calls(nth + 1)).await;
        }
        if most == 5 {
            let answer = bench.get(&path(most)).await;
            assert_eq!((named(&answer).as_str(), retry_after(answer.headers())), ("box-zip-user", 5));
            assert_eq!(refused(&bench, "box-zip-user").await, 1.0);
            // Other operations go on.
            assert_eq!(bench.get(ME).await.status(), 200);
        }
        drop(held);
        for answer in under_way {
            // The sandbox knows no such zip.
            assert_eq!(in_time(answer).await.unwrap().unwrap().status(), 404);
        }
        assert_eq!(bench.get(&path(most)).await.status(), 404);
    }
}
