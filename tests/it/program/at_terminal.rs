//! What a person sees at a terminal: short lines, in colours unless they are not wanted. The terminal is the one that
//! `script` of util-linux makes.

use super::client::request;
use super::harness::{FakeBox, Folder, Program, command, write_file};

const ME: &str = "/2.0/users/me";
const DENY: &str = "[[app]]\nname = \"intranet\"\npath = \"/intranet\"\ndeny = [\"DELETE /**\"]\n";

/// A gateway at a terminal, with these variables.
fn at_terminal(at: &FakeBox, more: &str, variables: &[(&str, &str)]) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, "address = \"127.0.0.1:0\"", &format!("{DENY}{more}"));
    let mut script = command("script", &folder);
    // Without its terminal it would go on, since a hang-up is a reload.
    let run = format!("exec setpriv --pdeathsig KILL {}", env!("CARGO_BIN_EXE_boxgate"));
    script.args(["-qefc", &run, "/dev/null"]).env("TERM", "xterm").envs(variables.iter().copied());
    Program::spawn_at_terminal(folder, script).ready()
}

/// The line of a request that a rule refuses, after one that Box answers.
fn line_of_a_refusal(program: &Program) -> String {
    assert_eq!(request(&program.callers, "GET", &format!("/intranet{ME}"), "").status, 200);
    assert_eq!(request(&program.callers, "DELETE", "/intranet/2.0/files/1", "").status, 403);
    program.out.wait_for(&["/2.0/files/1"])
}

/// `18:27:37`, at the beginning.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_at(8);
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00:00:00", "{line}");
    rest
}

#[test]
fn without_colours_lines_are_short_and_aligned() {
    let at = FakeBox::start();
    let program = at_terminal(&at, "", &[("NO_COLOR", "1")]);
    let refused = line_of_a_refusal(&program);
    assert_eq!(
        without_time(&refused),
        "  403 DELETE /intranet/2.0/files/1                 –  intranet    operation_not_allowed  deny \"DELETE /**\""
    );
    let answered = program.out.wait_for(&["/intranet/2.0/users/me"]);
    assert!(without_time(&answered).starts_with("  200 GET    /intranet/2.0/users/me "), "{answered}");
    assert!(answered.ends_with("ms  intranet") && answered.chars().count() <= 80, "{answered}");
    let listens = program.out.wait_for(&["boxgate listens"]);
    assert!(without_time(&listens).starts_with("  INFO  boxgate listens "), "{listens}");
    assert!(!program.out.text().contains('\u{1b}'), "{:?}", program.out.text());
}

#[test]
fn colours_mark_the_status_and_nothing_that_callers_send_is_obeyed() {
    let at = FakeBox::start();
    let program = at_terminal(&at, "", &[]);
    let refused = line_of_a_refusal(&program);
    assert!(refused.contains("\u{1b}[33m403\u{1b}[0m DELETE /intranet/2.0/files/1 "), "{refused:?}");
    assert!(
        refused.ends_with("\u{1b}[33moperation_not_allowed\u{1b}[0m  \u{1b}[2mdeny \"DELETE /**\"\u{1b}[0m")
    );
    let answered = program.out.wait_for(&["/intranet/2.0/users/me"]);
    assert!(answered.contains("\u{1b}[32m200\u{1b}[0m GET "), "{answered:?}");
    request(&program.callers, "GET", "/intranet/2.0/files/caf\u{e9}\u{202e}", "");
    let hostile = program.out.wait_for(&["/2.0/files/caf"]);
    assert!(!hostile.contains('\u{202e}'), "{hostile:?}");
}

/// A secret stays hidden whatever the form of the line.
#[test]
fn a_secret_is_not_shown_at_a_terminal() {
    let at = FakeBox::start();
    let program = at_terminal(&at, "", &[]);
    let secret = at.client_secret().to_owned();
    request(&program.callers, "GET", &format!("/intranet/2.0/files/{secret}/{}/x", "1".repeat(60)), "");
    // Its mark is cut, where the secret itself would have been.
    let line = program.out.wait_for(&["/2.0/files/[secret…"]);
    let shown = program.out.text();
    assert!(!shown.contains(&secret) && !shown.contains(&secret[..6]), "{line}");
}

#[test]
fn a_chosen_format_holds_at_a_terminal_and_pretty_lines_in_a_pipe_have_no_colours() {
    let at = FakeBox::start();
    let program = at_terminal(&at, "[log]\nformat = \"text\"\n", &[]);
    let line = line_of_a_refusal(&program);
    assert!(line.contains(" access request_id=") && line.contains(" rule=\"DELETE /**\" "), "{line}");
    drop(program);
    let piped = Program::start(&at, &format!("{DENY}[log]\nformat = \"pretty\"\n")).ready();
    let line = line_of_a_refusal(&piped);
    assert!(without_time(&line).starts_with("  403 DELETE /intranet/2.0/files/1 "), "{line}");
    assert!(!piped.out.text().contains('\u{1b}') && !piped.err.text().contains('\u{1b}'));
}
