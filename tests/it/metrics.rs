//! Metrics that tell causes apart: a Box that is down, credentials that it refuses, scopes that the app lacks, pauses that
//! Box asks for, and what the gateway itself refuses.

use boxgate::sandbox::{Failure, Fault, Options, Role, Sandbox, TokenAnswer};

use crate::harness::{Bench, until};

const ME: &str = "/2.0/users/me";
const SEARCH: &str = "/2.0/search?query=a";

/// Waits until this line has this value: a request is counted once its record is dropped.
async fn becomes(bench: &Bench, line: &str, value: f64) {
    until(|| async { bench.metric(line).await == value }).await;
}

fn up(url: &str) -> String {
    let rest = url.trim_start_matches("https://");
    format!("boxgate_upstream_up{{host=\"{}\"}}", rest.split('/').next().unwrap())
}

fn errors(code: &str) -> String {
    format!("boxgate_errors_total{{code=\"{code}\"}}")
}

/// Both are answered with 502, and only one of them is an outage of a host.
#[tokio::test]
async fn a_dead_box_and_refused_credentials_do_not_look_alike() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let (api, upload) = (up(&bench.sandbox.api_url()), up(&bench.sandbox.upload_url()));
    assert_eq!((bench.metric(&api).await, bench.metric(&upload).await), (1.0, 1.0));
    bench.sandbox.go_down(Role::Api).await;
    assert_eq!(bench.get(ME).await.status(), 502);
    becomes(&bench, &errors("upstream_unreachable"), 1.0).await;
    assert_eq!((bench.metric(&api).await, bench.metric(&upload).await), (0.0, 1.0));
    bench.sandbox.come_up(Role::Api).unwrap();
    until(|| async { bench.get(ME).await.status() == 200 }).await;
    assert_eq!(bench.metric(&api).await, 1.0);

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", "no")));
    let refused = Bench::before(sandbox, "").await;
    assert_eq!(refused.get(ME).await.status(), 502);
    becomes(&refused, &errors("credentials_refused"), 1.0).await;
    assert_eq!(refused.metric(&errors("upstream_unreachable")).await, 0.0);
    // The token endpoint is at the API's host, as at Box.
    assert!(refused.sandbox.token_url().starts_with(&refused.sandbox.api_url()));
    assert_eq!(refused.metric(&up(&refused.sandbox.api_url())).await, 1.0);
}

#[tokio::test]
async fn a_token_endpoint_without_tokens_is_not_up() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.token_always(Some(TokenAnswer::Status(500)));
    let bench = Bench::before(sandbox, "").await;
    let token = up(&bench.sandbox.token_url());
    becomes(&bench, &token, 0.0).await;
    bench.sandbox.token_always(None);
    until(|| async {
        bench.clock.advance(std::time::Duration::from_secs(60));
        bench.metric(&token).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn each_error_of_the_gateway_is_counted_under_its_code_and_none_of_boxs() {
    let bench = Bench::with("[[app]]\nname = \"a\"\ndeny = [\"DELETE /**\"]\n").await;
    bench.until_ready().await;
    let (_, before) = bench.admin("/metrics").await;
    let codes = before.lines().filter(|line| line.starts_with("boxgate_errors_total{")).count();
    assert!(codes > 20, "every code has a series from the beginning");
    assert_eq!(bench.get("/nowhere").await.status(), 404);
    assert_eq!(bench.get("/2.0/files/404404").await.status(), 404);
    for _ in 0..2 {
        let deleted = bench.client.delete(bench.url("/2.0/files/1")).send().await.unwrap();
        assert_eq!(deleted.status(), 403);
    }
    becomes(&bench, &errors("operation_not_allowed"), 2.0).await;
    becomes(&bench, &errors("not_found"), 1.0).await;
    let (_, after) = bench.admin("/metrics").await;
    let total: f64 = after
        .lines()
        .filter_map(|line| {
            line.strip_prefix("boxgate_errors_total{")?.split_once("} ")?.1.parse::<f64>().ok()
        })
        .sum();
    assert_eq!(total, 3.0);
}

#[tokio::test]
async fn a_pause_is_counted_once_for_the_identity_and_class_that_it_holds_up() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let pauses = |class: &str| format!("boxgate_pauses_total{{identity=\"service\",class=\"{class}\"}}");
    let (_, text) = bench.admin("/metrics").await;
    assert!(["general", "upload", "search", "download"].iter().all(|class| text.contains(&pauses(class))));
    bench.sandbox.script("/2.0/search", vec![Fault::RateLimited { retry_after: 200 }]);
    assert_eq!(bench.get(SEARCH).await.status(), 429);
    // Box is not asked, and asks for nothing.
    assert_eq!(bench.get(SEARCH).await.status(), 429);
    assert_eq!((bench.metric(&pauses("search")).await, bench.metric(&pauses("general")).await), (1.0, 0.0));
}

#[tokio::test]
async fn latencies_by_class_leave_those_by_app_as_they_are() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.get(SEARCH).await.status(), 200);
    assert_eq!(bench.get("/nowhere").await.status(), 404);
    becomes(&bench, "boxgate_request_duration_seconds_count{app=\"default\"}", 3.0).await;
    for name in ["class_request_duration", "class_upstream_duration"] {
        for (class, count) in [("general", 1.0), ("search", 1.0), ("upload", 0.0)] {
            let line = format!("boxgate_{name}_seconds_count{{class=\"{class}\"}}");
            assert_eq!(bench.metric(&line).await, count, "{line}");
        }
    }
}

/// A refusal is known without a single request, and while the token before it is still valid.
#[tokio::test]
async fn refused_credentials_show_before_the_token_ends_and_until_box_accepts_them() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let refused = "boxgate_credentials_refused{identity=\"service\"}";
    assert_eq!((bench.metric(refused).await, bench.metric("boxgate_ready").await), (0.0, 1.0));
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", "no")));
    bench.clock.advance(std::time::Duration::from_secs(56 * 60));
    becomes(&bench, refused, 1.0).await;
    assert_eq!(bench.metric("boxgate_ready").await, 1.0, "the token is valid for four more minutes");
    bench.clock.advance(std::time::Duration::from_secs(5 * 60));
    becomes(&bench, "boxgate_ready", 0.0).await;
    assert_eq!(bench.metric(refused).await, 1.0);
    bench.sandbox.token_always(None);
    until(|| async {
        bench.clock.advance(std::time::Duration::from_secs(10 * 60));
        bench.metric(refused).await == 0.0
    })
    .await;
    becomes(&bench, "boxgate_ready", 1.0).await;
}

#[tokio::test]
async fn a_missing_scope_is_counted_for_the_app_and_a_missing_permission_is_not() {
    let options = Options { failures: vec![Failure::Scope], ..Options::default() };
    let apps = "[[app]]\nname = \"a\"\npath = \"/a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n";
    let bench = Bench::of(options, apps).await;
    bench.until_ready().await;
    let of = |app: &str| format!("boxgate_scope_refusals_total{{app=\"{app}\"}}");
    let (_, text) = bench.admin("/metrics").await;
    assert!(["a", "b"].iter().all(|app| text.contains(&format!("{} 0\n", of(app)))), "both from 0: {text}");
    let delete = || bench.client.delete(bench.url("/a/2.0/files/1")).send();
    assert_eq!(delete().await.unwrap().status(), 403);
    becomes(&bench, &of("a"), 1.0).await;
    // Newer operations say so in the body.
    let in_body = r#"{"type":"error","status":403,"code":"insufficient_scope","message":"no"}"#;
    let of_body = |body: &'static str| Fault::Status {
        status: http::StatusCode::FORBIDDEN,
        headers: http::HeaderMap::new(),
        body: body.into(),
    };
    let denied = r#"{"type":"error","status":403,"code":"access_denied_insufficient_permissions"}"#;
    let prefix = "/2.0/folders/0";
    bench.sandbox.script(prefix, vec![of_body(in_body), of_body(denied)]);
    for _ in 0..2 {
        assert_eq!(bench.get("/a/2.0/folders/0").await.status(), 403);
    }
    becomes(
        &bench,
        "boxgate_requests_total{app=\"a\",method=\"GET\",status=\"403\",answered_by=\"box\"}",
        2.0,
    )
    .await;
    assert_eq!((bench.metric(&of("a")).await, bench.metric(&of("b")).await), (2.0, 0.0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_tells_its_start_memory_time_and_descriptors() {
    let before = jiff::Timestamp::now().as_second() as f64;
    let bench = Bench::start().await;
    bench.until_ready().await;
    let of = |name: &str| format!("boxgate_process_{name}");
    // The clock of the bench differs from the system's by no more than the time that its start takes.
    let started = bench.metric(&of("start_time_seconds")).await;
    assert!(started + 60.0 > before, "{started} {before}");
    let (open, most) = (bench.metric(&of("open_fds")).await, bench.metric(&of("max_fds")).await);
    assert!(3.0 < open && open <= most, "{open} of {most}");
    assert!(bench.metric(&of("resident_memory_bytes")).await > 1e6);
    let cpu = bench.metric(&of("cpu_seconds_total")).await;
    // This process runs many tests; a request that is answered adds time in the end.
    until(|| async { bench.metric(&of("cpu_seconds_total")).await > cpu }).await;
}
