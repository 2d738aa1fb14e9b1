//! The file of the audit log, and `boxgate audit verify`, with the real program.

mod crashes; // lines that were cut off, other gateways
mod disks; // full, slow, failing
mod rotation; // files that are moved away meanwhile
mod verify; // is the chain whole?

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::client::{Answer, request};
use super::harness::{FakeBox, Folder, Program, boxgate, command, until, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const ON: &str = "[log]\naudit = \"audit.jsonl\"\n";
const FILE: &str = "audit.jsonl";
const LOST: &str = "boxgate_audit_lines_lost_total";
const WRITTEN: &str = "boxgate_audit_lines_written_total";

fn start(at: &FakeBox) -> Program {
    Program::start(at, ON).ready()
}

/// Asks to delete a file of this id, which does not exist.
fn delete(program: &Program, id: u64) -> Answer {
    request(&program.callers, "DELETE", &format!("/2.0/files/{id}"), "")
}

/// The same for each of these, one after the other.
fn deletes(program: &Program, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        assert_eq!(delete(program, id).status, 404);
    }
}

fn until_written(program: &Program, count: u64) {
    until("the lines are written", || program.metric(WRITTEN) >= count);
    assert_eq!(program.metric(WRITTEN), count);
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

fn values(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the requests of these lines asked to delete.
fn targets(lines: &[Value]) -> Vec<u64> {
    let target = |line: &Value| line["targets"][0].as_str().unwrap().parse().unwrap();
    lines.iter().filter(|line| line.get("targets").is_some()).map(target).collect()
}

/// Its exit status, and the document that it prints.
fn verified(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = boxgate(folder, &[&["audit", "verify", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the program to its end, which comes by itself.
fn runs_to_its_end(at: &FakeBox, folder: &Folder, more: &str) -> (i32, String) {
    write_file(folder, at, "address = \"127.0.0.1:0\"", more);
    let output = command("timeout", folder).args(["60", BOXGATE, "run"]).output().unwrap();
    (output.status.code().unwrap(), words(&output))
}
