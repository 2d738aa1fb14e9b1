//! Budgets: calls are counted when they are sent to Box, and refused when a budget is spent.

use std::time::Duration;

use boxgate::sandbox::{Content, Fault, Options, Sandbox};
use boxgate::server::shutdown::Stop;

use crate::harness::{Bench, refusal};

const ME: &str = "/2.0/users/me";
const TWO: &str = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 2\n";
const USED: &str = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";
const REFUSED: &str = "boxgate_budget_refused_total{budget=\"plan\",key=\"global\",value=\"\"}";

#[tokio::test]
async fn a_spent_budget_refuses_until_the_month_turns() {
    let bench = Bench::with(TWO).await;
    for _ in 0..2 {
        assert_eq!(bench.get(ME).await.status(), 200);
    }
    for _ in 0..3 {
        assert_eq!(refusal(bench.get(ME).await).await, (403, "budget_spent".to_owned()));
    }
    assert_eq!(bench.sandbox.calls(), 2);
    assert_eq!((bench.metric(USED).await, bench.metric(REFUSED).await), (2.0, 3.0));
    assert!(
        bench.metric("boxgate_budget_forecast_calls{budget=\"plan\",key=\"global\",value=\"\"}").await >= 2.0
    );
    // Requests that the gateway answers itself are not counted.
    assert_eq!(bench.client.post(bench.url("/oauth2/token")).send().await.unwrap().status(), 200);
    bench.clock.advance(Duration::from_secs(32 * 24 * 3600));
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.metric(USED).await, 1.0);
}

#[tokio::test]
async fn every_attempt_is_counted_and_nothing_else_is() {
    let bench = Bench::with(&TWO.replace("calls = 2", "calls = 1000")).await;
    bench.sandbox.script(ME, vec![Fault::CloseBeforeHead]);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.metric(USED).await, 2.0, "a retry is a call");
    bench.sandbox.expire_tokens();
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.metric(USED).await, 4.0, "so is a replay");
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("a".into()));
    assert_eq!(bench.get(&format!("/2.0/files/{file}/content")).await.status(), 200);
    assert_eq!(bench.metric(USED).await, 5.0, "what a download host serves is none");
    assert_eq!(bench.get(&format!("/api/2.0/files/{file}/content")).await.status(), 200);
    assert_eq!(bench.metric(USED).await, 5.0);
    bench.sandbox.go_down(boxgate::sandbox::Role::Api).await;
    assert_eq!(refusal(bench.get(ME).await).await.0, 502);
    assert_eq!(bench.metric(USED).await, 5.0, "nor is what no connection carried");
    let (_, text) = bench.admin("/metrics").await;
    let spent: Vec<&str> = text.lines().filter(|line| line.starts_with("boxgate_box_calls{")).collect();
    assert_eq!(spent.len(), 3, "{spent:#?}");
    let general = |line: &&str| line.ends_with("app=\"default\",identity=\"service\",class=\"general\"} 4");
    assert!(spent.iter().any(general), "{spent:#?}");
    // The first token, and the one after the 401.
    assert_eq!(bench.sandbox.token_requests(), 2);
    let token = |line: &&str| line.ends_with("app=\"\",identity=\"service\",class=\"token\"} 2");
    assert!(spent.iter().any(token), "{spent:#?}");
}

#[tokio::test]
async fn a_budget_may_only_warn_or_only_count() {
    for (more, refused) in [("when_spent = \"warn\"", 0.0), ("enforce = false", 3.0)] {
        let bench = Bench::with(&format!("{TWO}{more}\n")).await;
        for _ in 0..5 {
            assert_eq!(bench.get(ME).await.status(), 200, "{more}");
        }
        assert_eq!((bench.metric(USED).await, bench.metric(REFUSED).await), (5.0, refused), "{more}");
    }
}

#[tokio::test]
async fn apps_have_separate_counts_and_a_refused_call_is_charged_to_no_budget() {
    let bench = Bench::with(
        "[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n\
         [[budget]]\nname = \"all\"\nkey = \"global\"\ncalls = 3\n[[budget]]\nname = \"each\"\nkey = \"app\"\ncalls = 2\nper = \"day\"",
    )
    .await;
    let b = format!("/b{ME}");
    for (path, status) in [(ME, 200), (ME, 200), (ME, 403), (b.as_str(), 200), (b.as_str(), 403)] {
        assert_eq!(bench.get(path).await.status(), status, "{path}");
    }
    let used = async |labels: &str| bench.metric(&format!("boxgate_budget_used_calls{{{labels}}}")).await;
    assert_eq!(used("budget=\"all\",key=\"global\",value=\"\"").await, 3.0);
    assert_eq!(used("budget=\"each\",key=\"app\",value=\"a\"").await, 2.0);
    assert_eq!(used("budget=\"each\",key=\"app\",value=\"b\"").await, 1.0);
}

#[tokio::test]
async fn counts_survive_a_restart() {
    let folder = std::env::temp_dir().join(format!("boxgate-it-{}-restart", std::process::id()));
    let more = format!("{TWO}[state]\ndir = {folder:?}");
    let bench = Bench::before(Sandbox::start(Options::default()).await.unwrap(), &more).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    bench.stop(Stop::Drain);
    bench.stopped().await;
    let bench = Bench::before(Sandbox::start(Options::default()).await.unwrap(), &more).await;
    assert_eq!(bench.metric(USED).await, 1.0);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(refusal(bench.get(ME).await).await.1, "budget_spent");
    bench.stop(Stop::Drain);
    bench.stopped().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn only_content_of_download_hosts_is_not_counted() {
    let bench = Bench::with(TWO).await;
    let host = bench.sandbox.download_url().replace("https://", "");
    let path = format!("/_box/{host}/api{ME}");
    for _ in 0..2 {
        assert_ne!(bench.get(&path).await.status(), 403);
    }
    assert_eq!(refusal(bench.get(&path).await).await, (403, "budget_spent".to_owned()));
    assert_eq!(bench.metric(USED).await, 2.0);
}

#[tokio::test]
async fn a_budget_applies_to_some_operations_and_keeps_its_count_over_a_restart() {
    let folder = std::env::temp_dir().join(format!("boxgate-it-{}-on", std::process::id()));
    let more = format!(
        "[[budget]]\nname = \"ai\"\nkey = \"global\"\ncalls = 2\non = [\"POST /2.0/ai/**\"]\n\
         [[budget]]\nname = \"all\"\nkey = \"global\"\ncalls = 1000\n[state]\ndir = {folder:?}"
    );
    let used = async |bench: &Bench, budget: &str| {
        bench
            .metric(&format!("boxgate_budget_used_calls{{budget={budget:?},key=\"global\",value=\"\"}}"))
            .await
    };
    let ask = async |bench: &Bench| {
        let request = bench.client.post(bench.url("/2.0/ai/ask")).header("content-type", "application/json");
        request.body("{}").send().await.unwrap()
    };
    let bench = Bench::before(Sandbox::start(Options::default()).await.unwrap(), &more).await;
    assert_ne!(ask(&bench).await.status(), 403);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!((used(&bench, "ai").await, used(&bench, "all").await), (1.0, 2.0));
    bench.stop(Stop::Drain);
    bench.stopped().await;
    let bench = Bench::before(Sandbox::start(Options::default()).await.unwrap(), &more).await;
    assert_ne!(ask(&bench).await.status(), 403);
    assert_eq!(refusal(ask(&bench).await).await, (403, "budget_spent".to_owned()));
    assert_eq!(bench.get(ME).await.status(), 200, "it is about nothing else");
    assert_eq!((used(&bench, "ai").await, used(&bench, "all").await), (2.0, 4.0));
    bench.stop(Stop::Drain);
    bench.stopped().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
