//! Disks that are full, slow or fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::*;

#[test]
fn a_full_disk_delays_no_request_and_lost_lines_are_counted_and_told_once() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[log]\naudit = \"/dev/full\"\n").ready();
    for count in 1..=5 {
        assert_eq!(delete(&program, count).status, 404);
        until("the line is counted", || program.metric(LOST) == count);
    }
    assert_eq!(program.metric(WRITTEN), 0);
    let ready = program.admin("/readyz");
    assert_eq!(ready.status, 200, "it is ready all the same");
    let note = "the audit log /dev/full cannot be written (No space left on device (os error 28)); lines lost until now: 5";
    assert!(ready.body.contains(note), "{}", ready.body);
    let status: Value = serde_json::from_str(&program.admin("/status.json").body).unwrap();
    assert_eq!((&status["audit"]["lost"], &status["audit"]["reason"]), (&5.into(), &note.into()));
    let page = program.admin("/").body;
    assert!(page.contains("Audit log") && page.contains("/dev/full"), "{page}");
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.err.wait_for(&[
        "ERROR",
        "audit log /dev/full cannot be written since",
        "No space left on device",
    ]);
    assert_eq!(program.err.text().matches("audit log /dev/full cannot be written since").count(), 1);
}

/// A gateway whose audit log is on a disk of a few pages, in a mount namespace of its own, so that it goes with the process; and the
/// disk's folder as the gateway sees it. `before`: done before it starts.
fn on_a_small_disk(at: &FakeBox, before: &str) -> (Program, PathBuf) {
    let folder = Folder::new();
    fs::create_dir(folder.join("small")).unwrap();
    write_file(&folder, at, "address = \"127.0.0.1:0\"", "[log]\naudit = \"small/audit.jsonl\"\n");
    let mut shell = command("unshare", &folder);
    let script = format!(
        "mount -t tmpfs -o size=32k small small && head -c 24576 /dev/zero > small/other && {before} && exec \"$0\" run"
    );
    shell.args(["--mount", "sh", "-c", &script, BOXGATE]);
    let program = Program::spawn(folder, shell).ready();
    let seen = format!("/proc/{}/root{}", program.id(), program.folder.join("small").display());
    (program, PathBuf::from(seen))
}

/// Fills the disk, calls `full`, makes room, and returns what `boxgate audit verify` says once writing works again.
fn filled_and_freed((program, seen): &(Program, PathBuf), full: impl FnOnce(&str)) -> Value {
    let mut sent = 0;
    until("it is full", || {
        sent += 1;
        assert_eq!(delete(program, sent).status, 404);
        program.metric(LOST) > 0
    });
    full(&text(&seen.join(FILE)));
    fs::remove_file(seen.join("other")).unwrap();
    program.err.wait_for(&["INFO", "is written again after", "lines lost: "]);
    until("the note is gone", || !program.admin("/readyz").body.contains("audit"));
    sent += 1;
    deletes(program, [sent]);
    until("every line is written or lost", || program.metric(WRITTEN) + program.metric(LOST) == sent);
    fs::copy(seen.join(FILE), program.folder.join(FILE)).unwrap();
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!((status, &found["lost"]), (0, &program.metric(LOST).into()), "{found}");
    assert_eq!(found["lines"], program.metric(WRITTEN) + 1, "with the one that tells of lost ones");
    found
}

#[test]
fn a_disk_that_was_full_gets_whole_lines_and_one_that_says_how_many_are_lost() {
    let at = FakeBox::start();
    let on_disk = on_a_small_disk(&at, "true");
    let found = filled_and_freed(&on_disk, |full| {
        assert!(full.ends_with("}\n"), "only whole lines are left: {full}");
        assert_eq!(values(full).len() as u64, on_disk.0.metric(WRITTEN));
    });
    assert_eq!(found["notes"], Value::Array(Vec::new()));
}

/// An administrator may forbid that, with `chattr +a`.
#[test]
fn where_a_part_of_a_line_cannot_be_taken_back_the_next_line_tells_of_it() {
    let at = FakeBox::start();
    let on_disk = on_a_small_disk(&at, "touch small/audit.jsonl && chattr +a small/audit.jsonl");
    let mut whole = 0;
    let found = filled_and_freed(&on_disk, |full| {
        assert!(!full.ends_with('\n'), "{full}");
        whole = full.matches('\n').count();
    });
    assert_eq!(found["notes"][0]["line"], whole + 1, "{found}");
}

/// Nobody reads this pipe: it takes what fits into it, and then nothing.
#[test]
fn a_file_that_takes_nothing_more_delays_neither_requests_nor_the_end() {
    let at = FakeBox::start();
    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());
    let more = "[log]\naudit = \"pipe\"\n[[app]]\nname = \"a\"\ndeny = [\"delete\"]\n";
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", more);
    let run = command(BOXGATE, &folder);
    let mut program = Program::spawn(folder, run).ready();
    let mut sent = 0;
    // A pipe holds 64 KiB, and a line has some 500 bytes.
    until("it is full", || {
        for _ in 0..50 {
            sent += 1;
            assert_eq!(delete(&program, sent).status, 403);
        }
        program.metric(WRITTEN) + 50 < sent
    });
    assert_eq!(program.get("/2.0/users/me").status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.err.wait_for(&["WARN", "[log] audit", "accepts no lines"]);
}
