//! `--watch`.

use std::process::{Command, Stdio};

use super::{NOT_READY, READY};
use crate::program::fake_admin::{FakeAdmin, Reply};
use crate::program::harness::{Folder, Lines, boxgate, command};
use crate::program::terminal::Screen;

/// The alternate screen without a cursor, and back.
const ENTERED: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEFT: &str = "\u{1b}[?25h\u{1b}[?1049l";
const CTRL_C: &str = "\u{3}";

fn ok(body: &str) -> Reply {
    Reply::answer("200 OK", body)
}

/// A gateway of this version, so that one answer is told from another.
fn version(version: &str, ready: bool) -> Reply {
    ok(&format!("{{\"ready\":{ready},\"version\":\"{version}\"}}"))
}

/// At a terminal of 80 columns and 24 lines, which `line` of a shell runs. In it `$WATCH` is the command, which a signal
/// reaches also in the background, and Ctrl-C ends the command alone.
fn at_terminal(folder: &Folder, fake: &FakeAdmin, interval: &str, line: &str) -> Screen {
    let watch = format!(
        "{} status --watch --interval {interval} --admin {}",
        env!("CARGO_BIN_EXE_boxgate"),
        fake.address
    );
    let line = format!("trap : INT; {line}");
    Screen::open(folder, 80, &line, &[("NO_COLOR", "1"), ("WATCH", &watch)])
}

#[test]
fn the_screen_is_refreshed_in_place_and_the_terminal_is_restored() {
    let (folder, fake) = (Folder::new(), FakeAdmin::start(version("1.0.1", true)));
    let mut screen = at_terminal(&folder, &fake, "100ms", "$WATCH");
    screen.answer("boxgate 1.0.1   READY", "");
    fake.say(version("1.0.2", false));
    screen.answer("boxgate 1.0.2   NOT READY", CTRL_C);
    let (exit, text) = screen.end();
    assert_eq!(exit, Some(1), "as the last answer said: {text:?}");
    assert!(text.contains(ENTERED) && text.trim_end().ends_with(LEFT), "{text:?}");
    // Between the screens nothing is erased that is not overwritten: the cursor goes home.
    assert!(!text.contains("\u{1b}[2J") && text.matches("\u{1b}[H").count() >= 2, "{text:?}");
}

#[test]
fn a_key_or_a_signal_ends_it() {
    for (end, line) in [
        ("q", "$WATCH"),
        // In the background no key is read.
        ("\n", "$WATCH & read line; kill -TERM $!; wait $!"),
        ("\n", "$WATCH & read line; kill -HUP $!; wait $!"),
    ] {
        let (folder, fake) = (Folder::new(), FakeAdmin::start(version("1.0.1", true)));
        let mut screen = at_terminal(&folder, &fake, "100ms", line);
        screen.answer("boxgate 1.0.1   READY", end);
        let (exit, text) = screen.end();
        assert_eq!(exit, Some(0), "{line}: {text:?}");
        assert!(text.trim_end().ends_with(LEFT), "{line}: {text:?}");
    }
}

#[test]
fn a_gateway_that_ceases_to_answer_is_stale_until_it_answers_again() {
    let (folder, fake) = (Folder::new(), FakeAdmin::start(Reply::broken()));
    let mut screen = at_terminal(&folder, &fake, "100ms", "$WATCH");
    screen.answer("stale since ", "");
    screen.answer("broke", "");
    fake.say(version("1.0.1", true));
    screen.answer("boxgate 1.0.1   READY", "");
    fake.say(Reply::answer("404 Not Found", ""));
    // The screen stays.
    screen.answer("older", "");
    fake.say(version("1.0.2", true));
    screen.answer("boxgate 1.0.2   READY", "");
    // One word, which no window breaks.
    fake.say(Reply::answer("500 No", "{\"code\":\"code-500\",\"message\":\"\"}"));
    screen.answer("(code-500)", CTRL_C);
    let (exit, text) = screen.end();
    assert_eq!(exit, Some(2), "{text:?}");
    let last = text.rsplit("\u{1b}[H").next().unwrap();
    assert!(last.contains("stale since ") && last.contains("boxgate 1.0.2   READY"), "{last:?}");
}

#[test]
fn it_follows_the_size_of_the_window() {
    let (folder, fake) = (Folder::new(), FakeAdmin::start(ok(NOT_READY)));
    // It asks once, so that only the new size can change the screen.
    let line = "$WATCH & read a; stty cols 140 rows 60; read b; kill $!; wait $!";
    let mut screen = at_terminal(&folder, &fake, "1h", line);
    screen.answer("more: --json", "\n");
    screen.answer("  archive   UNAVAILABLE            –  2026-11-24 09:08Z", "\n");
    let (exit, text) = screen.end();
    assert_eq!((exit, fake.asked().len()), (Some(1), 1), "{text:?}");
    let lines_of = |screen: &str| screen.split("\u{1b}[?2026l").next().unwrap().matches("\r\n").count() + 1;
    let screens: Vec<usize> = text.split("\u{1b}[H").skip(2).map(lines_of).collect();
    assert!(screens.first().is_some_and(|lines| (15..=24).contains(lines)), "{screens:?} {text:?}");
    assert!(screens.last().is_some_and(|lines| (25..=60).contains(lines)), "{screens:?} {text:?}");
}

/// Runs without a terminal until these lines came, then ends it with SIGTERM: standard output and the exit status.
fn piped(fake: &FakeAdmin, more: &[&str], until: impl Fn(&Lines, &Lines)) -> (String, String, Option<i32>) {
    let folder = Folder::new();
    let mut command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    command.args(["status", "--watch", "--interval", "100ms", "--admin", &fake.address]).args(more);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
    until(&out, &err);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let exit = child.wait().unwrap();
    out.wait_for_end();
    err.wait_for_end();
    (out.text(), err.text(), exit.code())
}

#[test]
fn in_a_pipe_screens_follow_each_other() {
    let fake = FakeAdmin::start(version("1.0.1", true));
    let (out, err, exit) = piped(&fake, &[], |out, _| {
        out.wait_for(&["1.0.1"]);
        fake.say(version("1.0.2", false));
        out.wait_for(&["the gateway gives no reason"]);
    });
    assert_eq!((err.as_str(), exit), ("", Some(1)));
    let first = "boxgate 1.0.1   READY\n";
    let last = "\nboxgate 1.0.2   NOT READY\n  the gateway gives no reason; its log says more";
    assert!(out.starts_with(first) && out.contains(last) && !out.contains('\u{1b}'), "{out:?}");
    assert!(!out.contains("\n\n\n"), "{out:?}");
}

#[test]
fn as_json_each_answer_is_a_line_and_what_fails_is_said_once() {
    let fake = FakeAdmin::start(ok(READY));
    let (out, err, exit) = piped(&fake, &["--json"], |out, err| {
        out.wait_for_count(2);
        fake.say(Reply::answer("500 No", ""));
        err.wait_for(&["stale since", "with 500"]);
        let asked = fake.asked().len();
        crate::program::harness::until("two more requests", || fake.asked().len() > asked + 2);
        fake.say(Reply::answer("404 Not Found", ""));
        err.wait_for(&["stale since", "no /status.json"]);
    });
    assert_eq!(exit, Some(2), "{err}");
    assert_eq!(err.lines().count(), 2, "{err}");
    for line in out.lines() {
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["version"], "0.1.0");
    }
}

/// As in `boxgate status --watch | head -1`.
#[test]
fn it_ends_when_nobody_reads_any_more() {
    let fake = FakeAdmin::start(ok(READY));
    let folder = Folder::new();
    let mut command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    command.args(["status", "--watch", "--interval", "100ms", "--admin", &fake.address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn an_interval_is_a_duration_and_belongs_to_watch() {
    let folder = Folder::new();
    for (arguments, words) in [
        (&["--watch", "--interval", "5"][..], "\"5\" has no unit"),
        (&["--watch", "--interval", "10ms"], "\"10ms\" is not from \"100ms\" to \"1h\""),
        (&["--watch", "--interval", "2h"], "\"2h\" is not from \"100ms\" to \"1h\""),
        (&["--interval", "5s"], "--watch"),
    ] {
        let output = boxgate(&folder, &[&["status"], arguments].concat());
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(words), "{err}");
    }
}
