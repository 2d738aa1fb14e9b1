//! What `boxgate audit verify` says of files.

use super::*;
use crate::program::harness::Lines;

/// A log with five lines.
fn five() -> (Folder, Vec<String>) {
    let at = FakeBox::start();
    let mut program = start(&at);
    deletes(&program, 1..=5);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines = text(&program.folder.join(FILE)).lines().map(|line| format!("{line}\n")).collect();
    let folder = Folder::new();
    folder.write(FILE, &text(&program.folder.join(FILE)));
    (folder, lines)
}

/// The numbers of the lines with a problem.
fn broken_at(folder: &Folder, lines: &[String]) -> Vec<u64> {
    folder.write("changed.jsonl", &lines.concat());
    let (status, found) = verified(folder, &["changed.jsonl"]);
    let problems: Vec<u64> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["line"].as_u64().unwrap())
        .collect();
    assert_eq!(status, i32::from(!problems.is_empty()), "{found}");
    assert_eq!(found["whole"], problems.is_empty());
    problems
}

fn with(lines: &[String], change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut lines = lines.to_vec();
    change(&mut lines);
    lines
}

#[test]
fn each_way_of_tampering_is_named_with_its_line() {
    let (folder, lines) = five();
    assert_eq!(broken_at(&folder, &lines), [] as [u64; 0]);
    let edited = with(&lines, |lines| lines[2] = lines[2].replace("\"status\":404", "\"status\":204"));
    assert_eq!(broken_at(&folder, &edited), [3]);
    assert_eq!(broken_at(&folder, &with(&lines, |lines| drop(lines.remove(2)))), [3]);
    assert_eq!(broken_at(&folder, &with(&lines, |lines| lines.insert(2, lines[0].clone()))), [3, 4]);
    assert_eq!(broken_at(&folder, &with(&lines, |lines| lines.insert(2, "{}\n".to_owned()))), [3]);
    assert_eq!(broken_at(&folder, &with(&lines, |lines| lines.swap(1, 2))), [2, 3, 4]);
    let halved = with(&lines, |lines| {
        let half = lines[4].len() / 2;
        lines[4].truncate(half);
    });
    assert_eq!(broken_at(&folder, &halved), [5]);
}

#[test]
fn a_cut_tail_shows_only_against_a_noted_hash_and_the_output_says_so() {
    let (folder, lines) = five();
    let (_, found) = verified(&folder, &[FILE]);
    let noted = found["last_hash"].as_str().unwrap().to_owned();
    assert!(lines[4].contains(&noted));
    folder.write("cut.jsonl", &lines[..4].concat());
    let output = boxgate(&folder, &["audit", "verify", "cut.jsonl"]);
    assert_eq!(output.status.code(), Some(0));
    let said = words(&output);
    assert!(
        said.contains("The chain is whole.") && said.contains("only against a last hash noted"),
        "{said}"
    );
    let (status, found) = verified(&folder, &["--last", &noted, "cut.jsonl"]);
    assert_eq!((status, &found["noted_found"], &found["whole"]), (1, &false.into(), &false.into()));
    folder.write("cut.jsonl", "");
    let said = words(&boxgate(&folder, &["audit", "verify", "cut.jsonl"]));
    assert!(said.contains("no line") && !said.contains("is whole"), "{said}");
    let output = boxgate(&folder, &["audit", "verify", "--last", &noted, FILE]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let (status, found) = verified(&folder, &["--last", &noted, FILE]);
    assert_eq!((status, &found["lines_since_noted"]), (0, &0.into()));
}

#[test]
fn it_says_what_the_chain_has_in_words_and_as_json() {
    let (folder, lines) = five();
    let (status, found) = verified(&folder, &[FILE]);
    let values = values(&lines.concat());
    assert_eq!(status, 0);
    assert_eq!((&found["lines"], &found["lost"]), (&5.into(), &0.into()));
    assert_eq!((&found["first_time"], &found["last_time"]), (&values[0]["time"], &values[4]["time"]));
    assert_eq!(found["first_previous"], "0".repeat(64));
    assert_eq!(found["last_hash"], values[4]["hash"]);
    let said = words(&boxgate(&folder, &["audit", "verify", FILE]));
    for part in
        ["lines           5\n", values[4]["hash"].as_str().unwrap(), values[0]["time"].as_str().unwrap()]
    {
        assert!(said.contains(part), "{said}");
    }
    // With the tools of any machine, as the document has it.
    let script = "head -1 audit.jsonl | sed 's/,\"hash\".*//' | tr -d '\\n' | sha256sum";
    let sum = command("sh", &folder).args(["-c", script]).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(sum.split(' ').next().unwrap(), values[0]["hash"]);
}

#[test]
fn standard_input_is_read_and_what_cannot_be_read_is_1() {
    let (folder, lines) = five();
    folder.write("first.jsonl", &lines[..2].concat());
    let script = format!("tail -n +3 {FILE} | {BOXGATE} audit verify first.jsonl -");
    let output = command("sh", &folder).args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    for (arguments, status, part) in [
        (&["missing.jsonl"][..], 1, "missing.jsonl cannot be read: No such file"),
        (&["."], 1, "cannot be read: Is a directory"),
        (&["--last", "abc", FILE], 2, "64 hexadecimal digits"),
        (&[], 2, "FILE"),
    ] {
        let output = boxgate(&folder, &[&["audit", "verify"], arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(words(&output).contains(part), "{arguments:?}: {}", words(&output));
    }
    assert_eq!(boxgate(&folder, &["audit"]).status.code(), Some(2));
}

/// The name of a file, and what is in it, may be of others' making.
#[test]
fn control_characters_do_not_reach_a_terminal() {
    let folder = Folder::new();
    folder.write("a\u{1b}[31m.jsonl", "{\"time\":\"\u{1b}[31m\"}\n");
    let output = boxgate(&folder, &["audit", "verify", "a\u{1b}[31m.jsonl"]);
    let shown = Lines::of(std::io::Cursor::new([output.stdout, output.stderr].concat()));
    shown.wait_for_end();
    assert!(!shown.text().contains('\u{1b}'), "{:?}", shown.text());
    assert_eq!(output.status.code(), Some(1));
}
