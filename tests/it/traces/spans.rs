//! Spans: their names, attributes, times and parents.

use std::time::SystemTime;

use boxgate::sandbox::{Content, Fault, Role, TokenAnswer};
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::collector::{Collector, Does, Seen, Trace, value};
use crate::harness::{Bench, in_time, no_tls, until};

const ME: &str = "/2.0/users/me";

async fn started(more: &str) -> (Collector, Bench) {
    let collector = Collector::start(Does::Take).await;
    let bench = Bench::with(&format!("{}{more}", collector.table())).await;
    bench.until_ready().await;
    (collector, bench)
}

/// Sends a request and waits for its trace.
async fn traced(collector: &Collector, bench: &Bench, path: &str) -> (u16, Trace) {
    let answer = bench.get(path).await;
    let (status, id) = (answer.status().as_u16(), answer.headers()["x-request-id"].clone());
    answer.bytes().await.unwrap();
    (status, collector.trace_of(id.to_str().unwrap()).await)
}

/// That it lies within the time of the other, on the same clock.
fn is_within(span: &Seen, parent: &Seen) -> bool {
    let (span, parent) = (&span.0, &parent.0);
    parent.start_time_unix_nano <= span.start_time_unix_nano
        && span.start_time_unix_nano <= span.end_time_unix_nano
        && span.end_time_unix_nano <= parent.end_time_unix_nano
}

#[expect(clippy::disallowed_methods, reason = "what the gateway says is compared with the wall clock")]
fn unix_nanos() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_nanos().try_into().unwrap()
}

#[tokio::test]
async fn a_request_is_a_span_with_its_attempt_below_it() {
    let (collector, bench) = started("").await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("text".into()));
    let before = unix_nanos();
    let (status, trace) = traced(&collector, &bench, &format!("/2.0/files/{file}?fields=id")).await;
    assert_eq!(status, 200);
    let root = &trace.root;
    assert_eq!((&*root.0.name, root.0.kind, root.is_error()), ("GET /2.0/files/*", 2, false));
    for (key, want) in [
        ("http.request.method", "GET"),
        ("http.route", "/2.0/files/*"),
        ("url.path", "/2.0/files/*"),
        ("url.scheme", "http"),
        ("boxgate.app", "default"),
        ("boxgate.identity", "service"),
        ("boxgate.answered_by", "box"),
        ("boxgate.end", "complete"),
    ] {
        assert_eq!(root.text(key), Some(want), "{key}");
    }
    assert_eq!(root.number("http.response.status_code"), Some(200));
    for key in ["error.type", "boxgate.code", "boxgate.limit"] {
        assert_eq!(root.text(key), None, "{key}");
    }
    assert!(before <= root.0.start_time_unix_nano && root.0.end_time_unix_nano <= unix_nanos());
    let [attempt] = trace.attempts()[..] else { panic!("{:#?}", trace.children) };
    assert_eq!((&*attempt.0.name, attempt.parent_id()), ("GET /2.0/files/*", root.id()));
    assert!(is_within(attempt, root) && !attempt.is_error());
    let api = bench.sandbox.api_url();
    let (host, port) = api.strip_prefix("https://").unwrap().rsplit_once(':').unwrap();
    assert_eq!(
        (attempt.text("server.address"), attempt.number("server.port")),
        (Some(host), port.parse().ok())
    );
    assert_eq!(attempt.text("url.full"), Some(&*format!("{api}/2.0/files/*")));
    assert_eq!(attempt.text("url.template"), Some("/2.0/files/*"));
    assert_eq!(attempt.number("http.response.status_code"), Some(200));
    assert_eq!(attempt.number("http.request.resend_count"), None);
    assert!(attempt.text("network.protocol.version").is_some());
    let box_id = bench.sandbox.last_seen().map(|_| attempt.text("boxgate.box_request_id")).unwrap();
    assert!(box_id.is_some_and(|id| !id.is_empty()));
    assert_eq!(trace.children.len(), 1, "it waited for nothing: {:#?}", trace.children);
}

#[tokio::test]
async fn what_is_sent_says_which_process_sent_it() {
    let (collector, bench) = started("").await;
    traced(&collector, &bench, ME).await;
    let got = &collector.requests(1).await[0];
    assert_eq!(got.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(got.fields["content-type"], "application/x-protobuf");
    assert!(got.fields["user-agent"].starts_with("boxgate/") && !got.fields.contains_key("authorization"));
    let resource = &got.message.resource_spans[0];
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    let text = |key| match value(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!((&*text("service.name"), &*text("service.version")), ("boxgate", env!("CARGO_PKG_VERSION")));
    assert_eq!(text("service.instance.id").len(), 36);
    assert_eq!(resource.scope_spans[0].scope.as_ref().unwrap().name, "boxgate");
}

#[tokio::test]
async fn a_token_call_is_a_trace_of_its_own_and_a_request_shows_that_it_waited() {
    let collector = Collector::start(Does::Take).await;
    let sandbox = boxgate::sandbox::Sandbox::start(boxgate::sandbox::Options::default()).await.unwrap();
    let held = sandbox.hold_token_replies();
    let bench = Bench::before(sandbox, &collector.table()).await;
    let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(no_tls());
    let client = client.http2_prior_knowledge().build().unwrap();
    let get = |path, id| client.get(bench.url(path)).header("x-request-id", id).send();
    // The connection is there before the two requests, which are streams of it in this order.
    assert_eq!(get("/favicon.ico", "mine-0").await.unwrap().status(), 404);
    let (answer, ()) = tokio::join!(get(ME, "mine-1"), async {
        // Needs no token. When it is answered, the one before waits for its.
        assert_eq!(get("/favicon.ico", "mine-2").await.unwrap().status(), 404);
        in_time(bench.sandbox.wait_for_token_requests(1)).await;
        drop(held);
    });
    assert_eq!(answer.unwrap().status(), 200);
    let trace = collector.trace_of("mine-1").await;
    let waits: Vec<_> = trace.children.iter().filter(|span| span.0.kind == 1).collect();
    let [wait] = waits[..] else { panic!("{:#?}", trace.children) };
    assert_eq!((&*wait.0.name, wait.parent_id()), ("wait for a token", trace.root.id()));
    assert!(is_within(wait, &trace.root));
    assert!(wait.0.end_time_unix_nano <= trace.attempts()[0].0.start_time_unix_nano);

    let is_call = |span: &Seen| span.0.name == "POST /oauth2/token";
    let spans = collector.until(|spans| spans.iter().any(is_call)).await;
    let call = spans.iter().find(|span| is_call(span)).unwrap();
    assert_ne!(call.trace_id(), trace.root.trace_id());
    assert_eq!((call.parent_id(), call.0.kind), (String::new(), 3));
    assert_eq!(call.text("url.full"), Some(&*bench.sandbox.token_url()));
    assert_eq!(call.text("boxgate.identity"), Some("service"));
    assert_eq!(call.text("boxgate.grant_type"), Some("client_credentials"));
    assert_eq!((call.number("http.response.status_code"), call.text("error.type")), (Some(200), None));
    let to_box = &bench.sandbox.token_seen()[0].headers["traceparent"];
    assert_eq!(to_box, &format!("00-{}-{}-01", call.trace_id(), call.id()));
}

#[tokio::test]
async fn a_token_exchange_is_a_call_of_its_own() {
    let collector = Collector::start(Does::Take).await;
    let sandbox = boxgate::sandbox::Sandbox::start(boxgate::sandbox::Options::default()).await.unwrap();
    sandbox.exchange_script(vec![TokenAnswer::refuse("invalid_scope", "canary")]);
    let more = format!("downscope = {{ scopes = [\"base_explorer\"] }}\n{}", collector.table());
    let bench = Bench::before(sandbox, &more).await;
    let is_call = |span: &&Seen| span.0.name == "POST /oauth2/token";
    let spans = collector.until(|spans| spans.iter().filter(is_call).count() >= 2).await;
    let calls: Vec<_> = spans.iter().filter(is_call).collect();
    let said = calls.iter().map(|call| (call.text("boxgate.grant_type"), call.text("error.type")));
    let want = [(Some("client_credentials"), None), (Some("token_exchange"), Some("invalid_scope"))];
    assert_eq!(said.collect::<Vec<_>>(), want);
    let to_box = bench.sandbox.token_seen();
    for (call, seen) in calls.iter().zip(&to_box) {
        let parent = format!("00-{}-{}-01", call.trace_id(), call.id());
        assert_eq!(seen.headers["traceparent"], parent.as_str());
    }
    assert!(!format!("{:?}", collector.taken()).contains("canary"));
}

#[tokio::test]
async fn a_refused_token_call_says_why() {
    let collector = Collector::start(Does::Take).await;
    let sandbox = boxgate::sandbox::Sandbox::start(boxgate::sandbox::Options::default()).await.unwrap();
    sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", "canary")));
    let bench = Bench::before(sandbox, &collector.table()).await;
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!((status, trace.root.text("error.type")), (502, Some("credentials_refused")));
    assert_eq!(trace.root.text("boxgate.code"), Some("credentials_refused"));
    assert!(trace.root.is_error() && trace.attempts().is_empty());
    let is_call = |span: &Seen| span.0.name == "POST /oauth2/token";
    let spans = collector.until(|spans| spans.iter().any(is_call)).await;
    let call = spans.iter().find(|span| is_call(span)).unwrap();
    assert_eq!(call.text("error.type"), Some("invalid_client"));
    assert!(call.is_error() && call.number("http.response.status_code").is_some());
    assert!(!format!("{:?}", collector.taken()).contains("canary"));
}

#[tokio::test]
async fn a_retry_is_a_second_attempt() {
    let (collector, bench) = started("").await;
    bench.sandbox.script(ME, vec![Fault::CloseBeforeHead]);
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!(status, 200);
    let [first, second] = trace.attempts()[..] else { panic!("{:#?}", trace.children) };
    assert_eq!(first.text("error.type"), Some("upstream_protocol_error"));
    assert!(first.is_error() && first.number("http.response.status_code").is_none());
    assert!(!second.is_error() && second.number("http.response.status_code") == Some(200));
    let resent = |span: &Seen| span.number("http.request.resend_count");
    assert_eq!((resent(first), resent(second)), (None, Some(1)));
    assert!(!trace.root.is_error());
    let seen: Vec<_> = bench.sandbox.seen().iter().map(|seen| seen.headers["traceparent"].clone()).collect();
    let parent = |span: &Seen| format!("00-{}-{}-01", trace.root.trace_id(), span.id());
    assert_eq!(seen, [parent(first), parent(second)], "each attempt is the parent of what Box does");
}

#[tokio::test]
async fn a_request_whose_token_was_retired_has_two_attempts() {
    let (collector, bench) = started("").await;
    bench.sandbox.expire_tokens();
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!(status, 200);
    let statuses: Vec<_> =
        trace.attempts().iter().map(|span| span.number("http.response.status_code")).collect();
    assert_eq!(statuses, [Some(401), Some(200)]);
    assert_eq!(trace.attempts()[0].text("error.type"), Some("401"));
    // The first token, and the one that replaced it.
    let calls = |spans: &[Seen]| spans.iter().filter(|span| span.0.name == "POST /oauth2/token").count();
    collector.until(|spans| calls(spans) == 2).await;
}

#[tokio::test]
async fn a_redirect_that_is_followed_is_an_attempt_without_its_path() {
    let (collector, bench) = started("").await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("text".into()));
    let (status, trace) = traced(&collector, &bench, &format!("/2.0/files/{file}/content")).await;
    assert_eq!((status, &*trace.root.0.name), (200, "GET /2.0/files/*/content"));
    let [first, second] = trace.attempts()[..] else { panic!("{:#?}", trace.children) };
    assert_eq!(first.number("http.response.status_code"), Some(302));
    assert_eq!(first.text("url.full"), Some(&*format!("{}/2.0/files/*/content", bench.sandbox.api_url())));
    assert_eq!((&*second.0.name, second.text("url.template")), ("GET", None));
    assert_eq!(second.text("url.full"), Some(&*format!("{}/*", bench.sandbox.download_url())));
    assert_eq!(second.number("http.request.resend_count"), Some(1));
    let path = bench.sandbox.last_seen().unwrap().target;
    let credential = path.split('/').nth(3).unwrap();
    assert!(credential.len() > 20 && !format!("{:?}", collector.taken()).contains(credential), "{path}");
    assert_eq!(
        bench.sandbox.last_seen().unwrap().headers["traceparent"],
        format!("00-{}-{}-01", trace.root.trace_id(), second.id())
    );
}

#[tokio::test]
async fn an_upload_has_the_path_under_api_of_its_host() {
    let (collector, bench) = started("").await;
    let post = bench.client.post(bench.url("/2.0/files/content")).header("x-request-id", "mine-1").body("x");
    post.send().await.unwrap();
    let trace = collector.trace_of("mine-1").await;
    assert_eq!(trace.root.0.name, "POST /2.0/files/content");
    let want = format!("{}/api/2.0/files/content", bench.sandbox.upload_url());
    assert_eq!(trace.attempts()[0].text("url.full"), Some(&*want));
}

#[tokio::test]
async fn a_request_that_waited_for_a_limit_shows_it() {
    let limit = "[[limit]]\nname = \"slow\"\nkey = \"global\"\nrate = \"1/min\"\nwait = \"30s\"\n";
    let (collector, bench) = started(limit).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    bench.clock.advance(std::time::Duration::from_secs(40));
    let waiting = tokio::spawn(bench.client.get(bench.url(ME)).header("x-request-id", "mine-1").send());
    until(|| async { bench.metric("boxgate_limit_queued{limit=\"slow\"}").await == 1.0 }).await;
    bench.clock.advance(std::time::Duration::from_secs(20));
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    let trace = collector.trace_of("mine-1").await;
    let wait = trace.children.iter().find(|span| span.0.name == "wait for a limit").unwrap();
    assert!(is_within(wait, &trace.root) && wait.parent_id() == trace.root.id());
    assert!(wait.0.end_time_unix_nano <= trace.attempts()[0].0.start_time_unix_nano);
}

#[tokio::test]
async fn refusals_and_errors_say_why() {
    let limit = "[[limit]]\nname = \"once\"\nkey = \"global\"\nrate = \"1/day\"\non = [\"search\"]\n\
                 [[app]]\nname = \"web\"\ndeny = [\"DELETE /2.0/users/*\"]\n";
    let (collector, bench) = started(limit).await;
    let search = "/2.0/search?query=canary";
    assert_eq!(bench.get(search).await.status(), 200);
    let (status, trace) = traced(&collector, &bench, search).await;
    assert_eq!((status, trace.root.text("boxgate.limit")), (429, Some("once")));
    assert_eq!(trace.root.text("boxgate.code"), Some("rate_limit_exceeded"));
    assert_eq!((trace.root.is_error(), trace.attempts().len()), (false, 0), "a 4xx is the caller's");

    let (status, trace) = traced(&collector, &bench, "/favicon.ico").await;
    assert_eq!((status, &*trace.root.0.name, trace.root.text("url.path")), (404, "GET", None));

    let (status, trace) = traced(&collector, &bench, "/2.0/files/4711").await;
    assert_eq!((status, trace.root.text("boxgate.answered_by")), (404, Some("box")));
    assert_eq!((trace.root.is_error(), trace.attempts()[0].is_error()), (false, true));
    assert_eq!(trace.attempts()[0].text("error.type"), Some("404"));

    bench.sandbox.script(ME, vec![Fault::status(503)]);
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!((status, trace.root.text("error.type")), (503, Some("503")));
    assert!(trace.root.is_error() && trace.attempts()[0].is_error());

    let brew = bench.client.request("BREW".parse().unwrap(), bench.url(ME)).header("x-request-id", "mine-1");
    brew.send().await.unwrap();
    let trace = collector.trace_of("mine-1").await;
    assert_eq!(trace.root.text("http.request.method"), Some("_OTHER"));
    assert_eq!(trace.root.text("http.request.method_original"), Some("BREW"));
    assert_eq!(trace.root.0.name, "HTTP /2.0/users/me");

    bench.sandbox.go_down(Role::Api).await;
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!((status, trace.root.text("error.type")), (502, Some("upstream_unreachable")));
    let attempts = trace.attempts();
    assert_eq!(attempts.len(), 3, "one and two retries");
    assert!(attempts.iter().all(|span| span.text("error.type") == Some("upstream_unreachable")));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_attempt() {
    let (collector, bench) = started("").await;
    let _held = bench.sandbox.hold_replies(ME);
    let asked = tokio::spawn(bench.client.get(bench.url(ME)).header("x-request-id", "mine-1").send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    asked.abort();
    let trace = collector.trace_of("mine-1").await;
    assert_eq!(trace.root.text("boxgate.end"), Some("caller_left"));
    assert_eq!((trace.root.number("http.response.status_code"), trace.root.is_error()), (None, false));
    let [attempt] = trace.attempts()[..] else { panic!("{:#?}", trace.children) };
    assert_eq!(attempt.text("error.type"), Some("caller_left"));
    assert_eq!(attempt.0.end_time_unix_nano, trace.root.0.end_time_unix_nano);
}

#[tokio::test]
async fn a_time_limit_ends_the_attempt() {
    let upstream = "[upstream]\nproxy = \"none\"\nresponse_timeout = \"100ms\"\n";
    let (collector, bench) = started(upstream).await;
    bench.sandbox.script(ME, vec![Fault::Hang]);
    let (status, trace) = traced(&collector, &bench, ME).await;
    assert_eq!((status, trace.root.text("error.type")), (504, Some("upstream_timeout")));
    assert_eq!(trace.attempts()[0].text("error.type"), Some("upstream_timeout"));
}
