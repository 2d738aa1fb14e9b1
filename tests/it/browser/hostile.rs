//! Attempts of a page that is not listed, on every kind of listener: none may reach Box.

use std::time::Duration;

use boxgate::sandbox::Content;
use serde_json::{Value, json};

use super::chromium::{Browser, Page};
use super::site::{PAGE, Site};
use crate::harness::{Bench, PATIENCE};

const ATTEMPTS: &str = include_str!("hostile.js");

/// What is only in Box.
const CONTENT: &str = "canary-content";

/// Of `hosts` in the listeners that have a name.
const NAMED: &str = "[listen]\naddress = \"0.0.0.0:0\"\nhosts = [\"gate.internal\"]\nworkers = 1";

/// How the page gets its origin.
#[derive(Clone, Copy)]
enum From {
    /// Served by its own server, under this name.
    Site(&'static str),
    /// At the gateway's own address, by a name that was re-pointed to it (DNS rebinding).
    Gateway,
}

#[tokio::test]
async fn a_page_of_another_port_has_no_effect_at_a_gateway_on_loopback() {
    let bench = Bench::start().await;
    let gate = bench.url("");
    Table::from_site(&bench, gate, "127.0.0.1").run().await;
}

#[tokio::test]
async fn a_page_of_another_site_has_no_effect_at_a_gateway_on_loopback() {
    let bench = Bench::start().await;
    let gate = bench.url("").replace("127.0.0.1", "localhost");
    Table::from_site(&bench, gate, "evil.example").run().await;
}

#[tokio::test]
async fn a_page_has_no_effect_at_a_gateway_with_tls() {
    let browser = Browser::shared();
    let file = |name| browser.folder().join(name).display().to_string();
    let tls = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}",
        file("tls.crt"),
        file("tls.key")
    );
    let bench = Bench::with(&tls).await;
    let gate = bench.address.replace("127.0.0.1", "localhost");
    Table::from_site(&bench, gate, "127.0.0.1").run().await;
}

/// Browsers send no Fetch Metadata there.
#[tokio::test]
async fn a_page_has_no_effect_at_a_gateway_with_a_name_and_no_tls() {
    let bench = Bench::with(NAMED).await;
    let gate = format!("http://gate.internal:{}", port(&bench));
    Table::from_site(&bench, gate, "evil.example").run().await;
}

/// Browsers judge a URL by its name, not by what that resolves to.
#[tokio::test]
async fn a_page_has_no_effect_at_a_gateway_on_loopback_that_has_a_name() {
    let bench = Bench::with(&NAMED.replace("0.0.0.0", "127.0.0.1")).await;
    let gate = format!("http://gate.internal:{}", port(&bench));
    Table::from_site(&bench, gate, "evil.example").run().await;
}

#[tokio::test]
async fn a_page_has_no_effect_by_addresses_that_the_kernel_connects_to_loopback() {
    for host in ["0.0.0.0", "[::ffff:127.0.0.1]"] {
        let bench = Bench::start().await;
        let gate = format!("http://{host}:{}", port(&bench));
        Table::from_site(&bench, gate, "evil.example").run().await;
    }
}

#[tokio::test]
async fn a_page_whose_name_was_re_pointed_to_the_gateway_has_no_effect() {
    let bench = Bench::with(NAMED).await;
    let gate = format!("http://evil.example:{}", port(&bench));
    Table { bench: &bench, gate, from: From::Gateway }.run().await;
}

fn port(bench: &Bench) -> &str {
    bench.address.rsplit(':').next().unwrap()
}

pub(super) struct Table<'a> {
    bench: &'a Bench,
    gate: String,
    from: From,
}

impl<'a> Table<'a> {
    pub(super) fn from_site(bench: &'a Bench, gate: String, host: &'static str) -> Self {
        Self { bench, gate, from: From::Site(host) }
    }

    /// Every attempt, one after the other.
    pub(super) async fn run(self) {
        let Self { bench, gate, from } = self;
        let sandbox = &bench.sandbox;
        let file = sandbox.add_file("0", "canary.png", Content::Bytes(CONTENT.into()));
        bench.until_ready().await;
        let tokens = sandbox.token_requests();
        let site = Site::start().await;
        let mut page = Page::open().await;
        page.downloads_to(None).await;
        let home = match from {
            From::Site(host) => site.origin(host) + "/",
            From::Gateway => format!("{gate}/a-page"),
        };
        if matches!(from, From::Gateway) {
            let patterns = json!({ "patterns": [{ "urlPattern": home }] });
            page.tell("Fetch.enable", patterns).await;
        }
        let given = json!({ "gate": gate, "site": site.origin("evil.example"), "file": file });
        arrive(&mut page, &home, from).await;
        let names = page.run("Object.keys(attempts)").await;
        let names: Vec<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for name in names {
            arrive(&mut page, &home, from).await;
            let before = requests(bench).await;
            let attempt = format!("Promise.resolve(attempts[{}]({given}))", json!(name));
            let read = page.try_run(&attempt).await.unwrap_or_default();
            // The attempt reached the gateway: neither the browser nor a mistake in the attempt stopped it.
            let asked = async {
                while requests(bench).await == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let asked = tokio::time::timeout(PATIENCE, asked).await;
            assert!(asked.is_ok(), "{name}: the gateway has not been asked");
            let nothing = match from {
                From::Site(_) => read.is_null(),
                From::Gateway => read.is_null() || read == "" || is_refusal(&read),
            };
            assert!(nothing, "{name}: the page read {read}");
            assert_eq!(sandbox.calls(), 0, "{name}: Box saw {:?}", sandbox.seen());
            assert_eq!(sandbox.token_requests(), tokens, "{name}: a token was asked for");
        }
    }
}

/// Opens the hostile page anew, with the table in it.
async fn arrive(page: &mut Page, home: &str, from: From) {
    match from {
        From::Site(_) => page.go(home).await,
        From::Gateway => page.go_to_made(home, PAGE).await,
    }
    // An attempt may have opened a tab in front, and hidden tabs are not rendered.
    page.tell("Page.bringToFront", json!({})).await;
    page.run(ATTEMPTS).await;
}

/// Where the page is of the gateway's own origin it can read what the gateway itself says, which must be a refusal.
fn is_refusal(read: &Value) -> bool {
    let read: Value = serde_json::from_str(read.as_str().unwrap_or_default()).unwrap_or_default();
    read["code"] == "host_not_allowed"
}

/// How many requests the gateway has answered.
async fn requests(bench: &Bench) -> u64 {
    let (_, text) = bench.admin("/metrics").await;
    let counts = text.lines().filter(|line| line.starts_with("boxgate_requests_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
