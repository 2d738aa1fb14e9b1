//! `/usage.json` and `/usage.csv`: the calls that Box got, by app, identity, class and day.

use std::time::Duration;

use boxgate::sandbox::{Fault, Options, Sandbox};
use boxgate::server::shutdown::Stop;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use crate::harness::{Bench, refusal, until};

const ME: &str = "/2.0/users/me";
const TWO_APPS: &str = "[[app]]\nname = \"a\"\n[[app]]\nname = \"-b\"\npath = \"/b\"\n";

async fn usage(bench: &Bench, query: &str) -> Value {
    let (status, text) = bench.admin(&format!("/usage.json{query}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The rows as `values:calls`, with the values of these columns.
fn rows(usage: &Value, columns: &[&str]) -> Vec<String> {
    let row = |row: &Value| {
        let values: Vec<&str> =
            columns.iter().map(|column| row[*column].as_str().unwrap_or("null")).collect();
        format!("{}:{}", values.join("|"), row["calls"])
    };
    usage["rows"].as_array().unwrap().iter().map(row).collect()
}

/// Requests that the sandbox got, for the API and for tokens.
fn got(bench: &Bench) -> u64 {
    (bench.sandbox.calls() + bench.sandbox.token_requests()) as u64
}

/// Advances the clock to this hour of a day of the next month.
fn advance_to(bench: &Bench, day: i64, hour: i64) {
    let now = Timestamp::try_from(bench.clock.wall()).unwrap();
    let today = Offset::UTC.to_datetime(now).date();
    let next = today.last_of_month().tomorrow().unwrap();
    let midnight = now.as_second() - now.as_second() % 86_400;
    let at = midnight + today.duration_until(next).as_secs() + (day - 1) * 86_400 + hour * 3600;
    bench.clock.advance(Duration::from_secs((at - now.as_second()).unsigned_abs()));
}

async fn call(bench: &Bench, path: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(bench.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn usage_is_what_box_got_and_what_the_metrics_say() {
    let bench = Bench::with(TWO_APPS).await;
    bench.until_ready().await;
    call(&bench, ME, 3).await;
    call(&bench, "/b/2.0/search?query=a", 2).await;
    // A retry is a call; what the gateway answers by itself is none.
    bench.sandbox.script(ME, vec![Fault::CloseBeforeHead]);
    call(&bench, &format!("/b{ME}"), 1).await;
    assert_eq!(bench.get("/favicon.ico").await.status(), 404);
    let all = usage(&bench, "").await;
    assert_eq!(
        rows(&all, &["app", "identity", "class"]),
        ["|service|token:1", "-b|service|general:2", "-b|service|search:2", "a|service|general:3"]
    );
    assert_eq!((&all["calls"], &all["by"]), (&json!(got(&bench)), &json!(["app", "identity", "class"])));
    assert_eq!(
        (&all["in_memory"], &all["replicas"], &all["replicas_reason"]),
        (&json!(false), &json!("this process only"), &json!("[state] redis is not set"))
    );
    let month = all["month"].as_str().unwrap();
    assert_eq!(all["months"], json!([month]));
    assert!(all["since"].as_str().unwrap().parse::<Timestamp>().is_ok());

    let (_, text) = bench.admin("/metrics").await;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("boxgate_box_calls{")).collect();
    let as_metrics: Vec<String> = all["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "boxgate_box_calls{{month=\"{month}\",app={},identity={},class={}}} {}",
                row["app"], row["identity"], row["class"], row["calls"]
            )
        })
        .collect();
    assert_eq!(lines, as_metrics);

    let by_class = usage(&bench, "?by=class%2Capp").await;
    assert_eq!(
        rows(&by_class, &["class", "app"]),
        ["general|-b:2", "general|a:3", "search|-b:2", "token|:1"]
    );
    let answer =
        bench.client.get(format!("http://{}/usage.csv?by=class,app", bench.admin)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(
        answer.headers()["content-disposition"],
        format!("attachment; filename=\"boxgate-calls-{month}.csv\"")
    );
    assert_eq!(
        answer.text().await.unwrap(),
        format!(
            "month,class,app,calls\r\n{month},general,'-b,2\r\n{month},general,a,3\r\n{month},search,'-b,2\r\n{month},token,,1\r\n"
        ),
        "a name that a spreadsheet would take for a formula is text"
    );
}

#[tokio::test]
async fn days_and_months_begin_at_midnight_of_utc() {
    let bench = Bench::with("[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 1000\n").await;
    bench.until_ready().await;
    advance_to(&bench, 10, 12);
    call(&bench, ME, 1).await;
    bench.clock.advance(Duration::from_secs(24 * 3600));
    call(&bench, ME, 2).await;
    let this = usage(&bench, "?by=app,day").await;
    let month = this["month"].as_str().unwrap().to_owned();
    let days = |app: &str, days: &[(u32, u32)]| -> Vec<String> {
        days.iter().map(|(day, calls)| format!("{app}|{month}-{day:02}:{calls}")).collect()
    };
    let of_app = |usage: &Value| -> Vec<String> {
        rows(usage, &["app", "day"]).into_iter().filter(|row| row.starts_with("default|")).collect()
    };
    assert_eq!(of_app(&this), days("default", &[(10, 1), (11, 2)]));
    advance_to(&bench, 1, 1);
    call(&bench, ME, 3).await;
    let next = usage(&bench, "?by=app").await;
    assert_ne!(next["month"], month.as_str());
    assert!(rows(&next, &["app"]).contains(&"default:3".to_owned()), "{next}");
    let before = usage(&bench, &format!("?by=app,day&month={month}")).await;
    assert_eq!(of_app(&before), days("default", &[(10, 1), (11, 2)]), "it has not changed");
    // Every call is in exactly one month, requests for tokens included; a renewal may be under way.
    until(|| async {
        let before_asking = got(&bench);
        let mut all = 0;
        for month in usage(&bench, "").await["months"].as_array().unwrap() {
            let month = usage(&bench, &format!("?month={}", month.as_str().unwrap())).await;
            all += month["calls"].as_u64().unwrap();
        }
        all == before_asking && got(&bench) == before_asking
    })
    .await;
    let used = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";
    assert_eq!(bench.metric(used).await, 3.0, "a budget of the month counts its days");
}

#[tokio::test]
async fn a_month_that_was_not_counted_is_empty_says_why_and_names_those_with_calls() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    call(&bench, ME, 1).await;
    let empty = usage(&bench, "?month=2001-02&by=day").await;
    assert_eq!(
        (&empty["month"], &empty["calls"], &empty["rows"]),
        (&json!("2001-02"), &json!(0), &json!([]))
    );
    assert_eq!(empty["months"].as_array().unwrap().len(), 1);
    assert!(empty["uncounted"].as_str().unwrap().starts_with("counting began after it, on "), "{empty}");
    let to_come = usage(&bench, "?month=2999-01").await;
    assert_eq!((&to_come["uncounted"], &to_come["calls"]), (&json!("it has not begun"), &json!(0)));
    let this = usage(&bench, "").await;
    assert_eq!(this["uncounted"], Value::Null);
    assert_eq!(bench.admin("/usage.csv?month=2001-02").await.1, "month,app,identity,class,calls\r\n");
}

#[tokio::test]
async fn a_query_that_cannot_be_used_is_refused_with_its_parameter_and_what_is_allowed() {
    let bench = Bench::start().await;
    for (query, parts) in [
        ("month=2026-13", ["month", "\"2026-13\"", "YYYY-MM"]),
        ("month=2026-11-25", ["month", "\"2026-11-25\"", "YYYY-MM"]),
        ("by=user", ["by", "\"user\"", "app, identity, class and day"]),
        ("by=", ["by", "\"\"", "app, identity, class and day"]),
        ("by=app,app", ["by", "\"app,app\"", "each once"]),
        ("from=2026-11", ["\"from\"", "month", "by"]),
        ("by=app&by=day", ["by", "twice", "once"]),
    ] {
        for path in ["/usage.json", "/usage.csv"] {
            let answer =
                bench.client.get(format!("http://{}{path}?{query}", bench.admin)).send().await.unwrap();
            let error = answer.status().as_u16();
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            assert_eq!((error, &body["type"], &body["code"]), (400, &json!("error"), &json!("bad_request")));
            let message = body["message"].as_str().unwrap();
            assert!(parts.iter().all(|part| message.contains(part)), "{path}?{query}: {message}");
        }
    }
}

#[tokio::test]
async fn usage_is_behind_the_guards_of_the_admin_listener() {
    let bench = Bench::start().await;
    for path in ["/usage.json", "/usage.csv"] {
        let url = format!("http://{}{path}", bench.admin);
        let posted = bench.client.post(&url).send().await.unwrap();
        assert_eq!(refusal(posted).await, (405, "method_not_allowed".to_owned()));
        let rebound = bench.client.get(&url).header("host", "evil.example").send().await.unwrap();
        assert_eq!(refusal(rebound).await, (421, "host_not_allowed".to_owned()));
        let answer = bench.client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(bench.client.head(&url).send().await.unwrap().status(), 200);
    }
    let closed = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nsources = [\"10.0.0.0/8\"]\n").await;
    assert_eq!(closed.admin("/usage.json").await.0, 403);
}

#[tokio::test]
async fn apps_that_were_renamed_or_removed_keep_their_calls_over_a_restart() {
    let folder = std::env::temp_dir().join(format!("boxgate-it-{}-usage", std::process::id()));
    let state = format!("[state]\ndir = {folder:?}\n");
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let bench = Bench::before(sandbox, &format!("{TWO_APPS}{state}")).await;
    call(&bench, ME, 1).await;
    call(&bench, &format!("/b{ME}"), 2).await;
    bench.stop(Stop::Drain);
    bench.stopped().await;
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let bench = Bench::before(sandbox, &format!("[[app]]\nname = \"c\"\n{state}")).await;
    call(&bench, ME, 4).await;
    let usage = usage(&bench, "?by=app").await;
    assert_eq!(rows(&usage, &["app"])[1..], ["-b:2", "a:1", "c:4"], "the first are requests for tokens");
    bench.stop(Stop::Drain);
    bench.stopped().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
