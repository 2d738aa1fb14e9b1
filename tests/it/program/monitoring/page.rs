//! The runbook as a test reads it. A comment in the line above a block is its mark:
//!
//! - `<!-- confirms: FAULT, … -->`: a block of `sh` that is run while the gateway has each of these faults;
//! - `<!-- shows -->`: what the block before it prints: each line is a pattern in which `…` stands for any text, and some line
//!   of the output has it;
//! - `<!-- logs: FAULT, … -->`: patterns of lines of the log;
//! - `<!-- runs -->`: as in every document.

use std::collections::BTreeSet;
use std::process::Command;

use super::super::harness::{Folder, boxgate};
use super::text;

const PAGE: &str = "docs/deployment/runbook.md";

/// An entry: the section of an alert.
pub(super) struct Entry {
    pub(super) alert: String,
    /// What is to be done to confirm a fault, in this order.
    pub(super) steps: Vec<Step>,
}

/// A marked block for some faults.
pub(super) struct Step {
    pub(super) faults: Vec<String>,
    /// A command, or nothing: patterns of the log.
    pub(super) command: Option<String>,
    /// Patterns that lines of the output, or of the log, have.
    pub(super) shows: Vec<String>,
}

/// The part of a link behind `#` that leads to this heading.
pub(super) fn anchor(heading: &str) -> String {
    heading.to_ascii_lowercase().replace(' ', "-")
}

/// The sections of alerts.
pub(super) fn entries() -> Vec<Entry> {
    let page = text(PAGE);
    let sections = page.split("\n### ").skip(1);
    let of = |section: &str| {
        let (alert, body) = section.split_once('\n').unwrap();
        // A section ends with the next one of a higher level, too.
        let body = body.split("\n## ").next().unwrap();
        Entry { alert: alert.to_owned(), steps: steps(alert, body) }
    };
    sections.map(of).collect()
}

fn steps(alert: &str, body: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (mark, block) in marked(body) {
        let lines = || block.lines().map(str::to_owned).collect();
        let faults = |names: &str| names.split(", ").map(str::to_owned).collect();
        match mark.split_once(": ") {
            Some(("confirms", names)) => {
                steps.push(Step { faults: faults(names), command: Some(block), shows: Vec::new() });
            }
            Some(("logs", names)) => {
                steps.push(Step { faults: faults(names), command: None, shows: lines() });
            }
            _ if mark == "shows" => steps.last_mut().unwrap().shows = lines(),
            _ => assert_eq!(mark, "runs", "{alert}"),
        }
    }
    assert!(steps.iter().all(|step| !step.shows.is_empty()), "{alert}: a command without what it shows");
    steps
}

/// Each mark with the text of its block.
fn marked(body: &str) -> Vec<(String, String)> {
    let marks = body.split("<!-- ").skip(1);
    let of = |part: &str| {
        let (mark, rest) = part.split_once(" -->\n```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        (mark.to_owned(), rest.split("\n```").next().unwrap().to_owned())
    };
    marks.map(of).collect()
}

/// Whether a line of this text has the pattern in it.
pub(super) fn has(text: &str, pattern: &str) -> bool {
    let line_has = |line: &str| {
        let mut rest = line;
        pattern.split('…').all(|part| match rest.split_once(part) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    };
    text.lines().any(line_has)
}

/// Every block of commands is run by a test, or belongs to another program.
#[test]
fn commands_of_the_runbook_are_run_or_are_of_service_managers() {
    let page = text(PAGE);
    let mut before = "";
    for line in page.lines() {
        if line == "```sh" && !before.starts_with("<!-- ") {
            let (_, block) = page.split_once(&format!("{before}\n```sh\n")).unwrap();
            for command in block.split("\n```").next().unwrap().lines() {
                let program = command.split(' ').next().unwrap();
                assert!(
                    ["journalctl", "docker", "kubectl"].contains(&program),
                    "not run by a test: {command}"
                );
            }
        }
        before = line;
    }
}

/// Also those that stand within sentences.
#[test]
fn commands_of_boxgate_that_the_runbook_names_exist() {
    let help = boxgate(&Folder::new(), &["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(known.contains("status"), "{help}");
    let page = text(PAGE);
    let codes = page.split('`').skip(1).step_by(2).chain(page.lines());
    let mut named = 0;
    for command in codes.filter_map(|code| code.strip_prefix("boxgate ")) {
        let word = command.split(' ').next().unwrap();
        assert!(known.contains(word), "boxgate {command}");
        named += 1;
    }
    assert!(named > 20, "{named}");
}

#[test]
fn the_codes_that_the_runbook_explains_exist() {
    let folder = Folder::new();
    let page = text(PAGE);
    let codes: BTreeSet<&str> = page
        .split("errors.md#")
        .skip(1)
        .chain(page.split("boxgate explain ").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap())
        .filter(|code| !code.is_empty())
        .collect();
    assert!(codes.len() > 5, "{codes:?}");
    for code in codes {
        let status = Command::new(env!("CARGO_BIN_EXE_boxgate"))
            .args(["explain", code])
            .current_dir(&*folder)
            .output();
        assert!(status.unwrap().status.success(), "boxgate explain {code}");
    }
}

#[test]
fn patterns_are_found_within_a_line_and_in_order() {
    assert!(has("a\nservice  refused  invalid_client: no", "service …refused …invalid_client"));
    assert!(!has("service refused", "refused…service"));
    assert!(!has("service\nrefused", "service…refused"));
}
