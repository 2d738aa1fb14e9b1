//! Processes that were killed, and those that share a file.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Starts the program again in its folder.
fn again(program: Program) -> Program {
    // The folder goes with the program.
    let folder = Folder::new();
    for name in ["proxy.toml", "ca.pem", "secret", FILE] {
        fs::copy(program.folder.join(name), folder.join(name)).unwrap();
    }
    drop(program);
    let run = command(BOXGATE, &folder);
    Program::spawn(folder, run).ready()
}

#[test]
fn the_file_is_its_owners_alone_and_a_start_continues_the_chain() {
    let at = FakeBox::start();
    let mut program = start(&at);
    let mode = fs::metadata(program.folder.join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    deletes(&program, 1..=2);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let program = again(program);
    deletes(&program, 3..=3);
    until_written(&program, 1);
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!((status, &found["lines"]), (0, &3.into()), "{found}");
    assert_eq!(targets(&values(&text(&program.folder.join(FILE)))), [1, 2, 3]);
}

#[test]
fn after_a_kill_the_next_start_continues_behind_what_was_written() {
    let at = FakeBox::start();
    let program = start(&at);
    let callers = program.callers.clone();
    let calling = std::thread::spawn(move || {
        let head = "DELETE /2.0/files/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // Until nobody answers any more.
        while let Ok(mut stream) = TcpStream::connect(&callers) {
            let mut answer = Vec::new();
            if stream.write_all(head.as_bytes()).is_err() || stream.read_to_end(&mut answer).is_err() {
                break;
            }
        }
    });
    until("some are written", || program.metric(WRITTEN) >= 50);
    program.signal("-KILL");
    calling.join().unwrap();
    let program = again(program);
    deletes(&program, 2..=2);
    until_written(&program, 1);
    let (status, found) = verified(&program.folder, &[FILE]);
    assert!(status == 0 && found["lines"].as_u64() >= Some(51), "{found}");
    assert_eq!(targets(&values(&text(&program.folder.join(FILE)))).last(), Some(&2));
}

/// What a kill in the middle of a write, or a loss of power, leaves behind.
#[test]
fn a_line_that_was_cut_off_is_told_by_the_next_start_and_named_by_verify() {
    let at = FakeBox::start();
    let program = start(&at);
    deletes(&program, 1..=3);
    until_written(&program, 3);
    program.signal("-KILL");
    let file = program.folder.join(FILE);
    let whole = text(&file);
    let cut = whole.len() - 100;
    fs::write(&file, &whole[..cut]).unwrap();
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!((status, &found["problems"][0]["line"]), (1, &3.into()), "{found}");
    let program = again(program);
    program.err.wait_for(&["WARN", "[log] audit", "is cut off after"]);
    deletes(&program, 4..=4);
    until_written(&program, 1);
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!(status, 0, "{found}");
    assert_eq!((&found["lines"], &found["lost"]), (&4.into(), &1.into()));
    assert_eq!(found["notes"][0]["line"], 3);
    assert_eq!(program.metric(LOST), 1);
    // Without its line feed alone, the line is whole.
    let program = {
        program.signal("-KILL");
        let file = program.folder.join(FILE);
        let whole = text(&file);
        fs::write(&file, whole.trim_end()).unwrap();
        again(program)
    };
    deletes(&program, 5..=5);
    until_written(&program, 1);
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!((status, &found["lines"], &found["lost"]), (0, &5.into(), &1.into()), "{found}");
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_gateway_from_starting_and_check_says_so() {
    let at = FakeBox::start();
    let folder = Folder::new();
    for (path, starts, checks) in [
        (
            "missing/audit.jsonl",
            "No such file or directory (os error 2); name a file in a folder",
            "the folder",
        ),
        (".", "Is a directory (os error 21); name a file in a folder", "is a folder"),
        ("proxy.toml", "no audit line", "no audit line"),
    ] {
        let more = format!("[log]\naudit = {path:?}\n");
        let (status, said) = runs_to_its_end(&at, &folder, &more);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("[log] audit: ") && said.contains(path) && said.contains(starts), "{said}");
        let checked = boxgate(&folder, &["check", "--offline"]);
        let said = words(&checked);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains("audit log") && said.contains(checks), "{said}");
    }
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", ON);
    let checked = words(&boxgate(&folder, &["check", "--offline"]));
    assert!(checked.contains("audit.jsonl, made at the start"), "{checked}");
    assert!(!folder.join(FILE).exists());
}

#[test]
fn a_second_gateway_with_the_same_file_does_not_start() {
    let at = FakeBox::start();
    let program = start(&at);
    let (status, said) = runs_to_its_end(&at, &program.folder, ON);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("another process writes to it"), "{said}");
    deletes(&program, 1..=1);
    until_written(&program, 1);
}

#[test]
fn a_start_waits_for_a_process_that_ends() {
    let at = FakeBox::start();
    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", ON);
    let held = OpenOptions::new().create(true).append(true).open(folder.join(FILE)).unwrap();
    held.lock().unwrap();
    let run = command(BOXGATE, &folder);
    // It listens before it opens the file.
    let program = Program::spawn(folder, run);
    let file = program.folder.join(FILE);
    let is_open = || {
        let open = fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap();
        open.filter_map(Result::ok).any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file))
    };
    until("it waits for the file", is_open);
    drop(held);
    let program = program.ready();
    deletes(&program, 1..=1);
    until_written(&program, 1);
}
