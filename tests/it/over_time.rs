//! The page's views "Over time" and "Box calls", as they are without a script: their numbers are those of `/history.json` and
//! `/usage.json`.

use std::time::Duration;

use boxgate::sandbox::Fault;
use serde_json::Value;

use crate::harness::{Bench, until};

const ME: &str = "/2.0/users/me";
const APPS: &str = "[[app]]\nname = \"web\"\npath = \"/w\"\n[[app]]\nname = \"jobs\"\npath = \"/j\"\n";

async fn page(bench: &Bench, query: &str) -> String {
    let (status, html) = bench.admin(&format!("/?{query}")).await;
    assert_eq!(status, 200, "{query}: {html}");
    html
}

async fn json(bench: &Bench, path: &str) -> Value {
    let (status, text) = bench.admin(path).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The element with this id, to the end of the first element of its kind.
fn element<'h>(html: &'h str, id: &str, kind: &str) -> &'h str {
    let start = html.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}: {html}"));
    let rest = &html[start..];
    &rest[..rest.find(&format!("</{kind}>")).unwrap()]
}

/// The rows of the first table after this id: the texts of their cells. Those of small charts are left out.
fn rows(html: &str, id: &str) -> Vec<Vec<String>> {
    let table = element(html, id, "tbody").split("<tbody").nth(1).unwrap();
    let cells = |row: &str| row.replace("<th ", "<td ").split("<td").skip(1).map(text).collect();
    table.split("<tr").skip(1).map(cells).collect()
}

/// What is outside of tags and titles.
fn text(html: &str) -> String {
    let html: String = match html.split_once("<title>") {
        Some((before, rest)) => format!("{before}{}", rest.split_once("</title>").unwrap().1),
        None => html.to_owned(),
    };
    let outside = html.split('>').skip(1).map(|part| part.split('<').next().unwrap());
    outside.collect::<String>().trim().to_owned()
}

/// As tables have it.
fn grouped(number: &Value) -> String {
    let digits = number.as_u64().unwrap().to_string();
    let part = |(nth, digit): (usize, char)| match nth > 0 && (digits.len() - nth).is_multiple_of(3) {
        true => format!(",{digit}"),
        false => digit.to_string(),
    };
    digits.chars().enumerate().map(part).collect()
}

/// Whether this text is that number of milliseconds, as far as it is written.
fn is_latency(text: &str, milliseconds: &Value) -> bool {
    match milliseconds.as_f64() {
        None => text == "–",
        Some(exact) => {
            let written: f64 = text.strip_suffix(" ms").unwrap().replace(',', "").parse().unwrap();
            (written - exact).abs() <= 0.005_1_f64.max(exact * 0.006)
        }
    }
}

/// Waits until so many requests are counted in the last day: a request is counted once its record is dropped.
async fn counted(bench: &Bench, requests: u64) {
    until(|| async {
        let history = json(bench, "/history.json").await;
        let slots = history["slots"].as_array().unwrap();
        slots.iter().map(|slot| slot["requests"].as_u64().unwrap()).sum::<u64>() == requests
    })
    .await;
}

/// Three slots: requests, nothing, and requests with errors.
async fn an_hour(bench: &Bench) {
    bench.until_ready().await;
    for _ in 0..5 {
        assert_eq!(bench.get(&format!("/w{ME}")).await.status(), 200);
    }
    counted(bench, 5).await;
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.get("/w/2.0/files/404404").await.status(), 404);
    bench.sandbox.script(ME, vec![Fault::status(500)]);
    assert_eq!(bench.get(&format!("/j{ME}")).await.status(), 500);
    assert_eq!(bench.get(&format!("/j{ME}")).await.status(), 200);
    assert_eq!(bench.get("/nowhere").await.status(), 404);
    counted(bench, 9).await;
}

#[tokio::test]
async fn tables_of_the_charts_have_the_numbers_of_the_history() {
    let bench = Bench::with(APPS).await;
    an_hour(&bench).await;
    for (query, path) in [
        ("", "/history.json"),
        ("&range=day", "/history.json"),
        ("&app=web", "/history.json?app=web"),
        ("&range=day&app=jobs", "/history.json?app=jobs"),
        ("&app=(none)", "/history.json?app="),
    ] {
        let html = page(&bench, &format!("view=history{query}")).await;
        let history = json(&bench, path).await;
        let slots = history["slots"].as_array().unwrap();
        let requests = rows(&html, "c-requests-numbers");
        let latencies = rows(&html, "c-latency-numbers");
        // A slot without requests has zeros, and one from before the start has no row.
        assert!((3..=4).contains(&requests.len()), "{query}: {requests:?}");
        let with_requests: Vec<&Vec<String>> = requests.iter().filter(|row| row[1..] != ["0"; 5]).collect();
        assert_eq!((with_requests.len(), latencies.len()), (slots.len(), slots.len()), "{query}: {html}");
        for ((row, latency), slot) in with_requests.into_iter().zip(&latencies).zip(slots) {
            let count = |name: &str| slot[name].as_u64().unwrap();
            let errors = count("status_4xx") + count("status_5xx") + count("caller_left");
            let want = [
                count("requests") - errors,
                count("status_4xx") - count("status_429"),
                count("status_429"),
                count("status_5xx"),
                count("caller_left"),
            ];
            assert_eq!(row[1..], want.map(|count| count.to_string()), "{query}: {slot}");
            let begins = &slot["begins"].as_str().unwrap()[11..16];
            for row in [row, latency] {
                let time = row[0].split(" (").next().unwrap();
                assert!(time.ends_with(begins), "{query}: {row:?} {slot}");
            }
            for (nth, percentile) in [(1, "p50_ms"), (2, "p95_ms")] {
                assert!(is_latency(&latency[nth], &slot[percentile]), "{query}: {latency:?} {slot}");
            }
        }
        assert!(requests.last().unwrap()[0].ends_with(" (so far)"), "{requests:?}");
    }
    let host = bench.sandbox.api_url().trim_start_matches("https://").split('/').next().unwrap().to_owned();
    let html = page(&bench, &format!("view=history&host={}", host.replace(':', "%3A"))).await;
    let answers: u64 =
        rows(&html, "c-requests-numbers").iter().map(|row| row[1].parse::<u64>().unwrap()).sum();
    assert_eq!(answers, 8, "all but the one that went nowhere");
    assert!(!html.contains("id=\"c-errors\""), "answers of a host are not counted by status");
}

#[tokio::test]
async fn apps_and_hosts_are_beside_each_other_and_sorted_by_the_chosen_column() {
    let bench = Bench::with(APPS).await;
    an_hour(&bench).await;
    let names = |html: &str, id: &str| -> Vec<String> {
        rows(html, id).into_iter().map(|row| row.into_iter().next().unwrap()).collect()
    };
    let html = page(&bench, "view=history&sort=requests").await;
    assert_eq!(names(&html, "s-apps"), ["web", "jobs", "no app"]);
    let apps = rows(&html, "s-apps");
    assert_eq!(apps[0][4..9], ["6", "1", "0", "0", "0"]);
    assert_eq!(apps[1][4..9], ["2", "0", "0", "1", "0"]);
    assert_eq!(apps[2][4..9], ["1", "1", "0", "0", "0"]);
    let head = &html[html.find("id=\"s-apps\"").unwrap()..];
    assert!(
        head.contains("aria-sort=\"descending\"><a href=\"/?view=history&amp;sort=requests\">Requests"),
        "{head}"
    );
    assert_eq!(names(&page(&bench, "view=history&sort=name").await, "s-apps"), ["no app", "jobs", "web"]);
    assert_eq!(names(&page(&bench, "view=history&sort=5xx").await, "s-apps")[0], "jobs");
    // By default the slowest one is first.
    let html = page(&bench, "view=history").await;
    let p95: Vec<f64> = rows(&html, "s-apps")
        .iter()
        .map(|row| row[1].strip_suffix(" ms").unwrap().replace(',', "").parse().unwrap())
        .collect();
    assert!(p95.is_sorted_by(|one, other| one >= other), "{p95:?}");
    assert_eq!(rows(&html, "s-hosts").len(), 1);
    assert_eq!(rows(&html, "s-hosts")[0][4], "8");
    // A link leads to the app's own charts, and keeps what else was chosen.
    let html = page(&bench, "view=history&range=day&sort=name").await;
    assert!(
        html.contains("<a href=\"/?view=history&amp;app=web&amp;range=day&amp;sort=name\">web</a>"),
        "{html}"
    );
    assert!(
        html.contains("<a href=\"/?view=history&amp;app=%28none%29&amp;range=day&amp;sort=name\">no app</a>"),
        "{html}"
    );
    let of_app = page(&bench, "view=history&app=web").await;
    assert!(
        of_app.contains("<h2>App web</h2>") && of_app.contains("href=\"/history.json?app=web\""),
        "{of_app}"
    );
}

#[tokio::test]
async fn what_a_query_of_a_view_cannot_mean_is_told_and_the_rest_is_shown() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    for (query, words) in [
        ("view=history&app=%3Cscript%3E", "app=&quot;&lt;script&gt;&quot;: no app has this name"),
        ("view=history&host=evil.example", "this host is not in [box]"),
        ("view=history&app=web&app=jobs", "Choose one app or one host"),
        ("view=history&range=week", "range=&quot;week&quot; is not known here; allowed: hour and day."),
        ("view=history&sort=p42", "sort=&quot;p42&quot; is not known here"),
        ("view=usage&month=2026", "month=&quot;2026&quot; cannot be shown; allowed: a month as YYYY-MM"),
        ("view=usage&by=user", "by=&quot;user&quot; cannot be shown; allowed: app, identity or class."),
    ] {
        let html = page(&bench, query).await;
        let problem = html.split("role=\"alert\">").nth(1).unwrap_or_else(|| panic!("{query}: {html}"));
        assert!(problem.contains(words), "{query}: {problem}");
        assert!(html.contains("class=\"chart\"") && !html.contains("<script>"), "{query}: {html}");
    }
    // A form sends empty values for what was not chosen.
    for query in ["view=history&app=&host=&range=&sort=", "view=usage&month=&by="] {
        assert!(!page(&bench, query).await.contains("role=\"alert\""), "{query}");
    }
}

#[tokio::test]
async fn nothing_yet_is_said_in_words() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    let html = page(&bench, "view=history").await;
    assert!(html.contains("There were no requests in this time.") && html.contains("not counted"), "{html}");
    assert!(!html.contains("NaN") && !html.contains("inf "), "{html}");
}

#[tokio::test]
async fn calls_of_the_month_equal_usage_json_to_the_call() {
    let bench = Bench::with(APPS).await;
    an_hour(&bench).await;
    for by in ["app", "identity", "class"] {
        let html = page(&bench, &format!("view=usage&by={by}")).await;
        let usage = json(&bench, &format!("/usage.json?by={by}")).await;
        let mut want: Vec<(String, String)> = usage["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let name = row[by].as_str().unwrap();
                let name = if name.is_empty() { "requests for tokens (no app)" } else { name };
                (name.to_owned(), grouped(&row["calls"]))
            })
            .collect();
        want.push(("total".to_owned(), grouped(&usage["calls"])));
        let mut found: Vec<(String, String)> =
            rows(&html, "s-spenders").iter().map(|row| (row[0].clone(), row[2].clone())).collect();
        assert_eq!(found.last().unwrap().0, "total");
        want.sort();
        found.sort();
        assert_eq!(found, want, "{by}");
        // By day, too: the day may have changed since.
        let by_day: u64 = rows(&html, "c-calls-numbers")
            .iter()
            .flat_map(|row| &row[1..])
            .map(|calls| calls.replace(',', "").parse::<u64>().unwrap_or(0))
            .sum();
        assert_eq!(by_day, usage["calls"].as_u64().unwrap(), "{by}");
        // The links lead to the same calls.
        let month = usage["month"].as_str().unwrap();
        let link = format!("/usage.csv?month={month}&by={by},day");
        assert!(html.contains(&format!("href=\"{}\"", link.replace('&', "&amp;"))), "{html}");
        let (status, csv) = bench.admin(&link).await;
        let calls = csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap());
        assert_eq!((status, calls.sum::<u64>()), (200, usage["calls"].as_u64().unwrap()));
    }
}

#[tokio::test]
async fn a_month_that_was_not_counted_is_not_shown_as_zero() {
    let bench = Bench::with(APPS).await;
    an_hour(&bench).await;
    for (month, why) in [("2001-02", "counting began after it, on "), ("2999-01", "it has not begun.")] {
        let html = page(&bench, &format!("view=usage&month={month}")).await;
        assert!(html.contains(&format!("Unknown, not zero: {why}")), "{html}");
        assert!(!html.contains("class=\"chart\"") && !html.contains("id=\"s-spenders\""), "{html}");
    }
    let html = page(&bench, "view=usage").await;
    assert!(html.contains("are unknown: counting began then."), "{html}");
    // All thirteen months can be chosen, and the one before by a link.
    let months = element(&html, "usage-month", "select").matches("<option").count();
    assert!((13..=14).contains(&months), "{months}: {html}");
    let before = html.split("the month before").next().unwrap().rsplit("href=\"").next().unwrap();
    let before = before.split('"').next().unwrap().replace("&amp;", "&");
    assert!(page(&bench, before.trim_start_matches("/?")).await.contains("Unknown, not zero"), "{before}");
}

#[tokio::test]
async fn many_apps_are_a_bounded_table_with_a_link_to_all() {
    let apps: String =
        (0..60).map(|nth| format!("[[app]]\nname = \"a{nth:02}\"\npath = \"/a{nth}\"\n")).collect();
    let bench = Bench::with(&apps).await;
    bench.until_ready().await;
    for nth in 0..60 {
        assert_eq!(bench.get(&format!("/a{nth}{ME}")).await.status(), 200);
    }
    counted(&bench, 60).await;
    for (view, id) in [("history", "s-apps"), ("usage", "s-spenders")] {
        let some = page(&bench, &format!("view={view}")).await;
        // Of the calls there is a total, and a row for requests for tokens.
        let (few, all) = if view == "usage" { (51, 62) } else { (50, 60) };
        assert_eq!(rows(&some, id).len(), few, "{view}");
        let link =
            some.split(">show all<").next().unwrap().rsplit("href=\"").next().unwrap().replace("&amp;", "&");
        let link = link.trim_end_matches('"').trim_start_matches("/?").to_owned();
        assert_eq!(rows(&page(&bench, &link).await, id).len(), all, "{link}");
    }
    let html = page(&bench, "view=usage").await;
    assert!(html.contains("55 others"), "six have a colour of their own: {html}");
    // The plan and the forecast.
    let now = page(&bench, "view=now").await;
    assert!(now.contains("id=\"s-month\"") && now.contains("by its end at this rate"), "{now}");
}

#[tokio::test]
async fn the_budget_of_the_month_says_where_it_is_heading() {
    let plan = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 10\nper = \"month\"\nwhen_spent = \"warn\"\n[[budget]]\nname = \"daily\"\nkey = \"global\"\ncalls = 10\nper = \"day\"\n";
    let bench = Bench::with(plan).await;
    bench.until_ready().await;
    for _ in 0..3 {
        assert_eq!(bench.get(ME).await.status(), 200);
    }
    let html = page(&bench, "view=usage").await;
    let status = json(&bench, "/status.json").await;
    let plan = status["budgets"].as_array().unwrap().iter().find(|budget| budget["name"] == "plan").unwrap();
    let row = &rows(&html, "s-month-budgets")[0];
    assert_eq!(row[..3], ["plan", "all", "3"]);
    assert_eq!((&row[3], plan["calls"].as_u64()), (&"10".to_owned(), Some(10)));
    // Both are of this moment, so the later one may be a call off.
    let forecast: u64 = row[4].replace(',', "").parse().unwrap();
    assert!(forecast.abs_diff(plan["forecast"].as_u64().unwrap()) <= 1, "{row:?} {plan}");
    assert_eq!(rows(&html, "s-month-budgets").len(), 1, "that of a day is on the view Now");
}
