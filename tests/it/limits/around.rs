use boxgate::server::shutdown::Stop;
use http::Method;

use super::{ALONE, ME, ONE_IN_AN_HOUR, TURN, limit, named, queued, slow_line, until_queued};
use crate::harness::{Bench, in_time, until};

const PAGE: &str = "https://page.example";

#[tokio::test]
async fn requests_that_the_gateway_answers_are_not_counted_and_a_page_can_read_the_429() {
    let app =
        format!("[[app]]\nname = \"a\"\npath = \"/a\"\norigins = [{PAGE:?}]\ndeny = [\"DELETE /2.0/**\"]\n");
    let bench = Bench::with(&format!("{ALONE}{app}{}", limit("one", "global", ONE_IN_AN_HOUR))).await;
    let url = |path: &str| bench.url(&format!("/a{path}"));
    for _ in 0..3 {
        let preflight = bench.client.request(Method::OPTIONS, url(ME)).header("origin", PAGE);
        let preflight = preflight.header("access-control-request-method", "GET").send().await.unwrap();
        assert_eq!(preflight.status(), 204);
        for (method, path, origin, status) in [
            (Method::POST, "/oauth2/token", None, 200),
            (Method::POST, "/oauth2/revoke", None, 200),
            (Method::GET, "/oauth2/authorize", None, 403),
            (Method::GET, "/favicon.ico", None, 404),
            (Method::GET, "/2.0/a//b", None, 400),
            (Method::GET, ME, Some("https://evil.example"), 403),
            (Method::DELETE, "/2.0/files/1", Some(PAGE), 403),
        ] {
            let mut request = bench.client.request(method, url(path));
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            assert_eq!(request.send().await.unwrap().status(), status, "{path}");
        }
        assert_eq!(bench.get(ME).await.status(), 404, "no app");
    }
    let get = || bench.client.get(url(ME)).header("origin", PAGE).send();
    assert_eq!(get().await.unwrap().status(), 200);
    let refused = get().await.unwrap();
    assert_eq!(named(&refused), "one");
    assert_eq!(refused.headers()["access-control-allow-origin"], PAGE);
    let exposed = refused.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{exposed}");
    }
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn a_drain_lets_waiting_requests_have_their_turn() {
    let bench = Bench::with(&slow_line()).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let waiting = tokio::spawn(bench.client.get(bench.url(ME)).send());
    until_queued(&bench, "line", 1).await;
    bench.stop(Stop::Drain);
    until(|| async { bench.admin("/readyz").await.1.contains("draining") }).await;
    bench.clock.advance(TURN);
    assert_eq!(in_time(waiting).await.unwrap().unwrap().status(), 200);
    bench.stopped().await;
}

#[tokio::test]
async fn at_the_end_of_a_drain_waiting_requests_are_dropped() {
    let server = "[server]\ndrain_timeout = \"200ms\"\n";
    let bench = Bench::with(&(slow_line() + server)).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let waiting = tokio::spawn(bench.client.get(bench.url(ME)).send());
    until_queued(&bench, "line", 1).await;
    assert_eq!(queued(&bench, "line").await, 1.0);
    bench.stop(Stop::Drain);
    // However it ended, Box received nothing.
    let _ = in_time(waiting).await.unwrap();
    assert_eq!(bench.sandbox.calls(), 1);
    bench.stopped().await;
}
