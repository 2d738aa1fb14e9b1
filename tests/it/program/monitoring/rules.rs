//! The rules: promtool accepts them, each alert has tests and an entry in the runbook, and what they read exists.

use std::path::Path;
use std::process::Command;

use super::super::harness::{FakeBox, Folder, Program, until};
use super::page::{anchor, entries};
use super::prometheus::promtool;
use super::{RULES, alerts, assert_metrics_exist, text};

const TESTS: &str = "deploy/prometheus/boxgate.tests.yml";

/// Runs promtool in the folder of the rules.
fn is_well(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let output = promtool(&folder, arguments, "");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}\n{out}{err}");
}

#[test]
fn prometheus_accepts_the_rules_and_the_example_of_its_configuration() {
    is_well(&["check", "rules", "--lint=all", "--lint-fatal", "boxgate.rules.yml"]);
    is_well(&["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]);
}

#[test]
fn each_alert_fires_for_what_it_is_for_and_not_just_below() {
    is_well(&["test", "rules", "boxgate.tests.yml"]);
}

/// In a copy of the folder, since one of them changes the rules.
#[test]
fn the_commands_of_the_page_about_monitoring_do_what_it_says() {
    let folder = Folder::new();
    for name in ["boxgate.rules.yml", "prometheus.yml"] {
        folder.write(name, &text(&format!("deploy/prometheus/{name}")));
    }
    let page = text("docs/deployment/monitoring.md");
    let blocks = page.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    // The test above runs that one.
    let blocks: Vec<_> = blocks.filter(|block| *block != "promtool test rules boxgate.tests.yml").collect();
    assert_eq!(blocks.len(), 2, "{blocks:#?}");
    for block in blocks {
        let output = Command::new("sh").args(["-euc", block]).current_dir(&*folder).output().unwrap();
        assert!(output.status.success(), "{block}\n{output:?}");
    }
    let changed = std::fs::read_to_string(folder.join("boxgate.rules.yml")).unwrap();
    let links =
        changed.matches("runbook_url: https://git.example.com/boxgate/blob/main/docs/deployment/runbook.md#");
    assert_eq!(links.count(), alerts().len());
}

/// The tests of promtool are complete: every alert has the three cases, and only one of them fires.
#[test]
fn each_alert_has_tests() {
    let tests = text(TESTS);
    let blocks: Vec<&str> = tests.split("\n  - name: ").skip(1).collect();
    for (alert, _) in alerts() {
        let mine: Vec<_> = blocks.iter().filter(|block| block.lines().next() == Some(&*alert)).collect();
        assert!(!mine.is_empty(), "{TESTS} has no test of {alert}");
        for part in [
            "job=\"boxgate-broken\"",
            "job=\"boxgate-below\"",
            "job=\"boxgate-healthy\"",
            "exp_samples: [{ labels: '{job=\"boxgate-broken\"}'",
        ] {
            assert!(mine.iter().any(|block| block.contains(part)), "the tests of {alert} lack {part}");
        }
        let query = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
        assert!(mine.iter().all(|block| block.contains(&query)), "{alert} is not what its tests ask for");
    }
}

#[test]
fn each_alert_says_what_is_wrong_with_values_and_what_to_do() {
    let all = alerts();
    assert!(all.len() > 20, "{all:?}");
    for (alert, rule) in &all {
        let field = |name: &str| {
            let line = rule.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("{alert} has no {name}")).to_owned()
        };
        assert!(field("description").contains("{{ "), "the description of {alert} has no value");
        assert!(field("summary").len() < 120 && field("action").len() > 20, "{alert}");
        let link = format!("docs/deployment/runbook.md#{}", anchor(alert));
        assert_eq!(field("runbook_url"), link, "{alert}");
        assert!(["{ severity: critical }", "{ severity: warning }"].contains(&&*field("labels")), "{alert}");
    }
}

#[test]
fn each_alert_has_an_entry_of_the_runbook_and_each_entry_an_alert() {
    let mut wanted: Vec<String> = alerts().into_iter().map(|(alert, _)| alert).collect();
    let mut entries: Vec<String> = entries().into_iter().map(|entry| entry.alert).collect();
    wanted.sort();
    entries.sort();
    assert_eq!(entries, wanted);
}

#[test]
fn alerts_that_documents_name_exist() {
    let known: Vec<String> = alerts().into_iter().map(|(alert, _)| alert).collect();
    for path in ["docs/deployment/monitoring.md", "docs/deployment/runbook.md"] {
        let page = text(path);
        let named =
            page.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("Boxgate"));
        let unknown: Vec<_> = named.filter(|word| !known.iter().any(|alert| alert == word)).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}, which is no alert");
    }
}

#[test]
fn rules_and_runbook_name_metrics_that_exist() {
    for path in [RULES, TESTS, "docs/deployment/runbook.md", "docs/deployment/monitoring.md"] {
        assert_metrics_exist(path, &text(path));
    }
}

/// With all that has metrics of its own.
#[test]
fn promtool_finds_no_fault_in_the_metrics_of_a_gateway() {
    let at = FakeBox::start();
    let more = "[forward_proxy]\n[[limit]]\nname = \"one\"\nkey = \"global\"\nrate = \"100/s\"\n\
                [[budget]]\nname = \"two\"\nkey = \"global\"\ncalls = 1000\n\
                [state]\nredis = \"redis://127.0.0.1:1\"\n";
    let program = Program::start(&at, more).ready();
    assert_eq!(program.get("/2.0/users/me").status, 200);
    until("the request is counted", || program.admin("/metrics").body.contains("boxgate_requests_total{"));
    let answer = program.admin("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let output = promtool(&program.folder, &["check", "metrics"], &answer.body);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
