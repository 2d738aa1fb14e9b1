//! One answer.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Output;

use super::{NOT_READY, READY};
use crate::program::fake_admin::{FakeAdmin, Reply};
use crate::program::harness::{Folder, boxgate};
use crate::program::terminal::Screen;

/// What it printed on standard output and standard error, and its exit status.
fn said(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

fn status(reply: Reply, more: &[&str]) -> (String, String, i32) {
    let fake = FakeAdmin::start(reply);
    let arguments = [&["status", "--admin", &fake.address], more].concat();
    let said = said(&boxgate(&Folder::new(), &arguments));
    assert_eq!(fake.asked(), ["GET /status.json HTTP/1.1"]);
    said
}

fn ok(body: &str) -> Reply {
    Reply::answer("200 OK", body)
}

/// Ends with 2 and these words, and prints nothing that a program could take for an answer.
fn no_answer(said: (String, String, i32), words: &[&str]) {
    let (out, err, exit) = said;
    assert_eq!((out.as_str(), exit), ("", 2), "{err}");
    for word in words {
        assert!(err.contains(word), "{word} in {err}");
    }
}

#[test]
fn the_exit_status_says_whether_the_gateway_is_ready() {
    let (out, err, exit) = status(ok(READY), &[]);
    assert_eq!((err.as_str(), exit), ("", 0));
    assert!(out.starts_with("boxgate 0.1.0   READY   up 3 h 12 min   proxy.toml taken over"), "{out}");
    assert!(out.contains("\n  intranet    service      1,200   14    3    0  43 ms  120 ms "), "{out}");
    let (out, err, exit) = status(ok(NOT_READY), &[]);
    assert_eq!((err.as_str(), exit), ("", 1));
    assert!(out.contains("\n  identity reports: Box refuses the credentials: invalid_client"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours in a pipe: {out:?}");
}

#[test]
fn json_is_the_document_on_one_line() {
    for (document, exit) in [(READY, 0), (NOT_READY, 1)] {
        let (out, err, ended) = status(ok(document), &["--json"]);
        assert_eq!((err.as_str(), ended, out.lines().count()), ("", exit, 1), "{out}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&out), value(document));
    }
    // Keys that this program does not know are kept, and so are their order and the digits of numbers.
    let (out, _, _) = status(ok("{\"z\": 1.50,\n \"ready\": true, \"a\": [{}]}"), &["--json"]);
    assert_eq!(out, "{\"z\":1.50,\"ready\":true,\"a\":[{}]}\n");
}

#[test]
fn what_is_no_status_is_exit_status_2_with_the_reason() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = Folder::new();
    for more in [&[][..], &["--json"]] {
        let arguments = [&["status", "--admin", &closed], more].concat();
        no_answer(said(&boxgate(&folder, &arguments)), &["cannot reach", "is the gateway running?"]);
        for (http, body, words) in [
            ("200 OK", "<html>", &["is not an admin listener of boxgate", "is not JSON"][..]),
            ("200 OK", "", &["is not an admin listener of boxgate", "is not JSON"]),
            ("200 OK", "[{\"ready\":true}]", &["is not an admin listener of boxgate", "no \"ready\""]),
            ("200 OK", "{\"ready\":true", &["is not JSON"]),
            ("404 Not Found", "here are /healthz and /metrics\n", &["has no /status.json", "--admin"]),
            ("503 Down", "<html>", &["is not an admin listener of boxgate", "503"]),
            (
                "404 Not Found",
                r#"{"code":"no_such_app","message":"No app serves this."}"#,
                &["404 (no_such_app): No app"],
            ),
            (
                "421 Misdirected Request",
                r#"{"code":"host_not_allowed","message":"\"ops\" is not in hosts of [admin]."}"#,
                &["421 (host_not_allowed): \"ops\" is not in hosts of [admin]."],
            ),
        ] {
            no_answer(status(Reply::answer(http, body), more), words);
        }
        let huge = format!("{{\"ready\":true,\"a\":\"{}\"}}", "x".repeat(17 * 1024 * 1024));
        no_answer(status(ok(&huge), more), &["longer than 16 MiB"]);
        no_answer(status(Reply::broken(), more), &["broke off its answer"]);
    }
    no_answer(said(&boxgate(&folder, &["status", "--admin", "8081"])), &["--admin \"8081\"", "unix:PATH"]);
}

#[test]
fn a_gateway_that_says_nothing_is_given_up_on() {
    no_answer(status(Reply::Silence, &[]), &["does not answer GET /status.json within 5s"]);
}

/// Names, reasons and keys come from callers, from Box and from other servers.
#[test]
fn what_the_gateway_quotes_cannot_direct_a_terminal() {
    let hostile = "{\"ready\":false,\"version\":\"1\\u001b[2J\",\"reasons\":[\"a\\nb\u{9b}31m\"],\
        \"apps\":[{\"name\":\"in\u{202e}tranet\\r\"}]}";
    let (out, _, exit) = status(ok(hostile), &[]);
    assert_eq!(exit, 1);
    assert!(out.contains("boxgate 1\\u{1b}[2J ") && out.contains("  a\\nb\\u{9b}31m; "), "{out:?}");
    let (json, _, _) = status(ok(hostile), &["--json"]);
    assert!(json.contains("\\u009b31m") && json.contains("in\\u202etranet\\r"), "{json:?}");
    let (_, message, _) =
        status(Reply::answer("500 No", "{\"code\":\"a\\u001b\",\"message\":\"b\u{9b}\"}"), &[]);
    assert!(message.contains("(a\\u{1b}): b\\u{9b}"), "{message:?}");
    for text in [out, json, message] {
        let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
    }
}

#[test]
fn the_listener_is_found_in_the_configuration_file() {
    let (fake, folder) = (FakeAdmin::start(ok(READY)), Folder::new());
    folder.write("proxy.toml", &format!("[admin]\naddress = {:?}\n", fake.address));
    folder.write("other.toml", &format!("[admin]\naddress = {:?}\n", fake.address));
    let elsewhere = Folder::new();
    let other = folder.join("other.toml");
    for output in
        [boxgate(&folder, &["status"]), boxgate(&elsewhere, &["status", "--config", other.to_str().unwrap()])]
    {
        assert_eq!(said(&output).2, 0);
    }
}

/// What a terminal of 80 columns and 24 lines shows.
fn at_terminal(document: &str, variables: &[(&str, &str)]) -> String {
    let fake = FakeAdmin::start(ok(document));
    let line = format!("boxgate status --admin {}", fake.address);
    let (exit, text) = Screen::open(&Folder::new(), 80, &line, variables).end();
    assert_eq!(exit, Some(0), "{text}");
    text
}

#[test]
fn a_terminal_gets_colours_unless_they_are_not_wanted() {
    let text = at_terminal(READY, &[]);
    assert!(text.contains("\u{1b}[1mboxgate 0.1.0\u{1b}[0m   \u{1b}[32mREADY\u{1b}[0m   up"), "{text:?}");
    // In the terminal's own foreground and background, whichever they are.
    for code in text.split("\u{1b}[").skip(1).map(|rest| rest.split('m').next().unwrap()) {
        assert!(["0", "1", "2", "31", "32", "33", "36", "1;31"].contains(&code), "{code:?} in {text:?}");
    }
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let text = at_terminal(READY, &variables);
        assert!(text.contains("boxgate 0.1.0   READY   up") && !text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn a_thousand_apps_fit_into_a_terminal_and_are_all_in_a_pipe() {
    let mut apps = String::new();
    for number in 0..1000 {
        let comma = if number == 0 { "" } else { "," };
        write!(apps, "{comma}{{\"name\":\"app-{number:04}\",\"in_flight\":{}}}", 1000 - number).unwrap();
    }
    let document = format!("{{\"ready\":true,\"apps\":[{apps}]}}");
    let text = at_terminal(&document, &[("NO_COLOR", "1")]);
    // The next prompt is on the last line.
    assert_eq!(text.trim_end().lines().count(), 23, "{text}");
    assert!(text.contains("  app-0000 ") && text.contains("\n  … 981 more: --json"), "{text}");
    let (out, _, _) = status(ok(&document), &[]);
    assert!(out.contains("  app-0000 ") && out.contains("  app-0999 "), "{out}");
}
