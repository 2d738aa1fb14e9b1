//! The operators' page in all its views, at several widths, light and dark, in good and in bad states: nothing that axe-core
//! finds, nothing in the console, no sideways scroll, and no growth over an hour of updates.
//!
//! With `BOXGATE_PICTURES=FOLDER` each view is written there as a PNG.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use boxgate::sandbox::{Fault, Options, Sandbox, TokenAnswer};
use serde_json::{Value, json};

use super::chromium::Page;
use crate::harness::{Bench, until};

/// `tests/run` installs it.
const AXE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/node/node_modules/axe-core/axe.min.js");
const VIEWS: [&str; 5] = ["now", "requests", "history", "usage", "configuration"];
const WIDTHS: [u32; 3] = [360, 1280, 1920];

/// What axe-core finds, one text for each kind. Everything that it can check is on, "best practices" too.
const CHECK: &str = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.map((violation) =>
    violation.id + ': ' + violation.help + ': ' + violation.nodes.map((node) => node.target + ' ' + node.html).join(' | ')))";

/// Presses `r` this many times, each time after the page of the last one is shown.
const REFRESH: &str = "async (times) => {
    const fetch = globalThis.fetch;
    let answered;
    globalThis.fetch = async (...question) => {
        const answer = await fetch(...question);
        answer.clone().text().then(() => setTimeout(answered));
        return answer;
    };
    for (let time = 0; time < times; time += 1) {
        const shown = new Promise((resolve) => { answered = resolve; });
        document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'r', bubbles: true, cancelable: true }));
        await shown;
    }
    globalThis.fetch = fetch;
    return times;
}";

async fn open() -> Page {
    let page = Page::open().await;
    for domain in ["Network", "Runtime", "Log"] {
        page.tell(&format!("{domain}.enable"), json!({})).await;
    }
    page
}

/// What the console said, and each request to another host than this one.
async fn complaints(page: &mut Page, bench: &Bench) -> Vec<String> {
    page.run("console.log('that was all'); 0").await;
    let (mut complaints, own) = (Vec::new(), format!("http://{}/", bench.admin));
    loop {
        let event = page.event(|_| true).await;
        let of = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.consoleAPICalled" if of["args"][0]["value"] == "that was all" => return complaints,
            "Log.entryAdded" => complaints.push(of["entry"].to_string()),
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => complaints.push(of.to_string()),
            "Network.requestWillBeSent" => {
                let url = of["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with(&own) && !url.starts_with("data:") {
                    complaints.push(url.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Looks at every view at every width in both colour schemes.
async fn look(bench: &Bench, state: &str) {
    let axe = std::fs::read_to_string(AXE).expect("tests/run installs axe-core");
    let mut page = open().await;
    for view in VIEWS {
        for width in WIDTHS {
            for scheme in ["light", "dark"] {
                let what = format!("{state}, {view}, {width}, {scheme}");
                let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
                page.tell("Emulation.setEmulatedMedia", media).await;
                let size =
                    json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
                page.tell("Emulation.setDeviceMetricsOverride", size).await;
                page.go(&format!("http://{}/?view={view}", bench.admin)).await;
                let scrolls = page.run("document.documentElement.scrollWidth - innerWidth").await;
                assert!(scrolls.as_f64().unwrap() <= 0.0, "{what}: scrolls sideways by {scrolls}");
                page.run(&format!("{axe}; 0")).await;
                let found = page.run(CHECK).await;
                assert_eq!(found, json!([]), "{what}: {found:#}");
                picture(&page, &format!("{state}-{view}-{width}-{scheme}")).await;
            }
        }
    }
    assert_eq!(complaints(&mut page, bench).await, [""; 0], "{state}");
}

async fn picture(page: &Page, name: &str) {
    let Some(folder) = std::env::var_os("BOXGATE_PICTURES") else { return };
    let params = json!({ "format": "png", "captureBeyondViewport": true });
    let data = page.tell("Page.captureScreenshot", params).await["data"].take();
    let png = BASE64.decode(data.as_str().unwrap()).unwrap();
    std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
}

/// Apps, limits and budgets as a company has them.
const COMPANY: &str = r#"
[[app]]
name = "invoices"
path = "/invoices"
[[app]]
name = "reports"
path = "/reports"
deny = ["DELETE /2.0/**"]
[[app]]
name = "search-portal"
path = "/search"
[[limit]]
name = "searches"
key = "app"
on = ["search"]
rate = "1/s"
burst = 3
[[limit]]
name = "everyone"
key = "global"
rate = "500/s"
[[budget]]
name = "the-month"
key = "global"
calls = 800
"#;

/// An hour of requests with all outcomes: slots of five minutes, each with another number.
async fn traffic(bench: &Bench) {
    let mut sent = 0;
    for slot in 0..12_usize {
        for (app, times) in [("invoices", 5 + slot % 4), ("reports", 2 + slot % 5 / 2), ("search", 3)] {
            for path in ["/2.0/users/me", "/2.0/folders/0", "/2.0/files/404404"] {
                bench.gets(&format!("/{app}{path}"), times).await;
                sent += times;
            }
        }
        bench.gets("/search/2.0/search?query=contract", 3 + slot % 2).await;
        sent += 3 + slot % 2;
        if slot == 11 {
            bench.sandbox.script("/2.0/comments", vec![Fault::RateLimited { retry_after: 25 }]);
            bench.sandbox.script("/2.0/collections", vec![Fault::CloseBeforeHead, Fault::CloseBeforeHead]);
            bench.get("/invoices/2.0/comments/1").await.bytes().await.unwrap();
            bench.get("/reports/2.0/collections").await.bytes().await.unwrap();
            bench.client.delete(bench.url("/reports/2.0/files/1")).send().await.unwrap();
            sent += 3;
        }
        // A request is counted once its record is dropped.
        until(async || counted(bench).await == sent).await;
        if slot < 11 {
            bench.clock.advance(Duration::from_secs(300));
        }
    }
}

/// The requests of the last day.
async fn counted(bench: &Bench) -> usize {
    let history: Value = serde_json::from_str(&bench.admin("/history.json").await.1).unwrap();
    let slots = history["slots"].as_array().unwrap().iter();
    slots.map(|slot| slot["requests"].as_u64().unwrap() as usize).sum()
}

#[tokio::test]
async fn no_view_of_an_idle_gateway_has_a_fault() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    look(&bench, "empty").await;
}

#[tokio::test]
async fn no_view_of_a_busy_gateway_has_a_fault() {
    // With Box's own names, as in the picture of the README.
    let bench = Bench::with_boxs_names(Options::default(), "", COMPANY).await;
    bench.until_ready().await;
    traffic(&bench).await;
    look(&bench, "busy").await;
}

#[tokio::test]
async fn no_view_of_a_gateway_without_a_token_has_a_fault() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.token_always(Some(TokenAnswer::refuse(
        "unauthorized_client",
        "This app is not authorized by the enterprise",
    )));
    let bench = Bench::before(sandbox, COMPANY).await;
    until(async || bench.admin("/readyz").await.1.contains("Box refuses")).await;
    bench.gets("/invoices/2.0/users/me", 3).await;
    look(&bench, "broken").await;
}

#[tokio::test]
async fn no_view_of_three_hundred_apps_and_a_thousand_requests_has_a_fault() {
    let app = |number: usize| format!("[[app]]\nname = \"app-{number:03}\"\npath = \"/app-{number:03}\"\n");
    let apps: String = (0..300).map(app).collect();
    let bench = Bench::with(&format!("{apps}[admin]\nrequests = 1000\n")).await;
    bench.until_ready().await;
    for number in 0..1000 {
        bench.get(&format!("/app-{:03}/nothing", number * 7 % 300)).await.bytes().await.unwrap();
    }
    look(&bench, "large").await;
}

#[tokio::test]
async fn an_hour_of_updates_leaves_nothing_behind() {
    let bench = Bench::with(COMPANY).await;
    bench.until_ready().await;
    let mut page = open().await;
    for view in ["now", "requests", "history"] {
        page.go(&format!("http://{}/?view={view}", bench.admin)).await;
        // More than the table shows, so that it has as many rows from here on.
        bench.gets("/invoices/nothing", 300).await;
        refresh(&page, &bench, 100).await;
        let before = kept(&page).await;
        refresh(&page, &bench, 1800).await;
        let after = kept(&page).await;
        assert_eq!(after.listeners, before.listeners, "{view}");
        assert!(after.nodes <= before.nodes + 200, "{view}: {after:?} after {before:?}");
        assert!(after.heap <= before.heap + 1_000_000, "{view}: {after:?} after {before:?}");
    }
    assert_eq!(complaints(&mut page, &bench).await, [""; 0]);
}

/// Updates the page, with a request in between now and then.
async fn refresh(page: &Page, bench: &Bench, times: usize) {
    for _ in 0..times / 20 {
        bench.gets("/invoices/nothing", 1).await;
        page.run(&format!("({REFRESH})(20)")).await;
    }
}

/// What the page holds once garbage is collected.
#[derive(Debug)]
struct Kept {
    heap: u64,
    nodes: u64,
    listeners: u64,
}

async fn kept(page: &Page) -> Kept {
    page.tell("HeapProfiler.collectGarbage", json!({})).await;
    let heap = page.tell("Runtime.getHeapUsage", json!({})).await["usedSize"].as_f64().unwrap() as u64;
    let counters: Value = page.tell("Memory.getDOMCounters", json!({})).await;
    Kept {
        heap,
        nodes: counters["nodes"].as_u64().unwrap(),
        listeners: counters["jsEventListeners"].as_u64().unwrap(),
    }
}
