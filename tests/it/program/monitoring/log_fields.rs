//! The types of access lines' fields, as docs/deployment/monitoring.md lists them for log shippers, are those of real lines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::super::client::request;
use super::super::harness::{FakeBox, Program};
use super::text;

const PAGE: &str = "docs/deployment/monitoring.md";

/// The rows of the first table of a text whose head begins like this.
fn rows<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let (_, table) = text.split_once(head).unwrap_or_else(|| panic!("no table {head}"));
    table.lines().skip(2).take_while(|line| line.starts_with('|')).collect()
}

/// What stands in backticks.
fn names(row: &str) -> Vec<String> {
    row.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Each field with the words for its type.
fn types() -> BTreeMap<String, String> {
    let page = text(PAGE);
    let mut types = BTreeMap::new();
    for row in rows(&page, "| type | fields |") {
        let kind = row.split('|').nth(1).unwrap().trim();
        for name in names(row) {
            assert_eq!(types.insert(name.clone(), kind.to_owned()), None, "{name} stands there twice");
        }
    }
    types
}

fn assert_has_types(line: &Value) {
    let types = types();
    for (name, value) in line.as_object().unwrap() {
        let kind = types.get(name).unwrap_or_else(|| panic!("{PAGE} has no type of {name}"));
        let fits = match kind.split(',').next().unwrap() {
            "time" => value.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "address" => value.as_str().unwrap().parse::<IpAddr>().is_ok(),
            kind => kind.starts_with("text of ") && value.is_string(),
        };
        assert!(fits, "{name} is {value}, not {kind}");
    }
}

#[test]
fn every_field_of_an_access_line_has_a_type() {
    let observability = text("docs/observability.md");
    let documented: BTreeSet<String> =
        rows(&observability, "| field | meaning |").iter().map(|row| names(row).swap_remove(0)).collect();
    assert_eq!(types().into_keys().collect::<BTreeSet<_>>(), documented);
}

#[test]
fn the_example_of_an_access_line_is_like_a_real_one() {
    let page = text(PAGE);
    let (_, block) = page.split_once("<!-- access line -->\n```json\n").unwrap();
    let example: Value = serde_json::from_str(block.split("\n```").next().unwrap()).unwrap();
    assert_has_types(&example);
    let at = FakeBox::start();
    let more = "[log]\nformat = \"json\"\n[[app]]\nname = \"intranet\"\npath = \"/intranet\"\n";
    let program = Program::start(&at, more).ready();
    let answer = request(&program.callers, "GET", "/intranet/2.0/files/17", "User-Agent: test\r\n");
    assert_eq!(answer.status, 404);
    let real: Value = serde_json::from_str(&program.out.wait_for(&["\"kind\":\"access\""])).unwrap();
    assert_has_types(&real);
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&example), keys(&real));
    for name in ["operation", "status", "answered_by", "box_code", "end"] {
        assert_eq!(example[name], real[name], "{name}");
    }
}
