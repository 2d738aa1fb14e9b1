//! What operators watch a gateway with, in a real Prometheus that scrapes real gateways: the rules and the dashboard in
//! `deploy/`, and the runbook.

mod prometheus; // a server, and promtool
mod rules; // alerts and their tests
mod dashboard; // queries of the dashboard
mod page; // entries of the runbook and their blocks
mod log_fields; // types of access lines' fields
mod faults; // faults that are made, with nothing but the runbook

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A file of the repository.
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

const RULES: &str = "deploy/prometheus/boxgate.rules.yml";

/// The name of each alert with its rule, in the order of the file.
fn alerts() -> Vec<(String, String)> {
    let rules = text(RULES);
    let of = |rule: &str| (rule.lines().next().unwrap().trim().to_owned(), rule.to_owned());
    rules.split("- alert: ").skip(1).map(of).collect()
}

/// Asks for some seconds; whether it came to hold. For tests that say more than that it did not.
fn comes_to_hold(mut holds: impl FnMut() -> bool) -> bool {
    (0..60).any(|_| {
        let held = holds();
        if !held {
            thread::sleep(Duration::from_millis(250));
        }
        held
    })
}

/// The names of metrics that a text has in it, as they are documented: those of a histogram without its endings. Names with a
/// colon are of recording rules.
fn metrics(text: &str) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names = text.split(|c: char| !is_of_name(c)).filter(|word| word.starts_with("boxgate_"));
    let mut names: Vec<String> = names
        .map(|name| {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            of_histogram.unwrap_or(name).to_owned()
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The metrics of docs/observability.md, which another test holds together with those of a gateway.
fn documented_metrics() -> Vec<String> {
    let page = text("docs/observability.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `boxgate_"));
    let names: Vec<_> = rows.map(|row| format!("boxgate_{}", row.split('`').next().unwrap())).collect();
    assert!(names.len() > 40, "{names:?}");
    names
}

/// Every metric that a text names exists.
fn assert_metrics_exist(what: &str, text: &str) {
    let known = documented_metrics();
    for name in metrics(text) {
        assert!(known.contains(&name), "{what} names {name}, which is no metric of a gateway");
    }
}
