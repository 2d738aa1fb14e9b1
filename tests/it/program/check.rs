//! What `boxgate check` finds, and in which words and with which exit status it says so.

use std::os::unix::fs::PermissionsExt;

use boxgate::sandbox::Role;
use serde_json::{Value, json};

use super::harness::{FakeBox, Folder, boxgate, command, write_file};

mod way; // the way to Box
mod identities; // tokens and rights
mod machine; // clock, files, addresses, Redis
pub(super) mod rehearsal; // a Box that misbehaves

/// What one run said.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(folder: &Folder, arguments: &[&str]) -> Self {
        let output = boxgate(folder, &[&["check"], arguments].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The only line whose first column is this.
    fn line(&self, name: &str) -> &str {
        let is = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with("  ") && !rest.trim().is_empty())
        };
        let lines: Vec<_> = self.out.lines().filter(is).collect();
        assert_eq!(lines.len(), 1, "{name} in\n{}{}", self.out, self.err);
        lines[0]
    }

    /// Fails unless the line has all of these parts.
    fn has(&self, name: &str, parts: &[&str]) {
        let line = self.line(name);
        for part in parts {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("https://").split('/').next().unwrap().to_owned()
}

/// A folder whose secret only its owner may read.
fn folder_for(at: &FakeBox, more: &str) -> Folder {
    let folder = Folder::new();
    // The default port may be in use, which is a warning.
    write_file(&folder, at, "address = \"127.0.0.1:0\"", more);
    only_for_its_owner(&folder, "secret");
    folder
}

pub(super) fn only_for_its_owner(folder: &Folder, name: &str) {
    std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
}

fn edit(folder: &Folder, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    folder.write("proxy.toml", &text.replace(from, to));
}

#[test]
fn offline_the_file_is_judged_and_nobody_is_called() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let good = Said::of(&folder, &["--offline", "--strict"]);
    assert_eq!(good.status, Some(0), "{}{}", good.out, good.err);
    good.has("proxy.toml", &["  ok  ", "1 identity, 1 app"]);
    assert!(good.out.ends_with("\nall is well\n"), "{}", good.out);
    write_file(&folder, &at, "", "[server]\ndrain_timeout = 3");
    let bad = Said::of(&folder, &["--offline", "--config", "proxy.toml"]);
    assert_eq!(bad.status, Some(2));
    assert!(bad.err.contains("server.drain_timeout") && bad.out.is_empty(), "{}{}", bad.err, bad.out);
    assert_eq!(at.connections(Role::Api), 0);
}

#[test]
fn all_is_well_from_the_file_to_the_first_answer() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "[[app]]\nname = \"a\"\nas_user = [\"11446498\"]");
    let said = Said::of(&folder, &["--strict"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    for url in [at.api_url(), at.upload_url(), at.download_url()] {
        said.has(&authority(&url), &["  ok  ", " ms ", "TLS 1.3, HTTP/2"]);
    }
    said.has("service", &["  ok  ", "AutomationUser_", "@boxdevedition.com (3550001234), enterprise 123456"]);
    said.has("  root folder", &["empty", "invite this login"]);
    said.has("  users", &["  ok  "]);
    said.has("  as-user 11446498", &["  ok  ", "aaron@sandbox.example"]);
    said.has("clock", &["  ok  "]);
    assert!(said.out.ends_with("\nall is well\n"), "{}", said.out);
    at.add_folder("0", "x");
    Said::of(&folder, &[]).has("  root folder", &["  ok  ", "1 item"]);
}

/// Scripts read one document, whatever was found.
#[test]
fn json_is_one_document_at_each_exit_status() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let document = |status: i32| -> Value {
        let said = Said::of(&folder, &["--json"]);
        assert_eq!(said.status, Some(status), "{}{}", said.out, said.err);
        let document: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((&document["exit"], &document["ok"]), (&json!(status), &json!(status == 0)));
        document
    };
    let find = |document: &Value, subject: &str| -> Value {
        let checks = document["checks"].as_array().unwrap().iter();
        let mut found = checks.filter(|row| row["subject"] == subject && row["part"].is_null());
        found.next().unwrap_or_else(|| panic!("{subject} in {document}")).clone()
    };
    let well = document(0);
    let service = find(&well, "service");
    assert_eq!((&service["check"], &service["state"]), (&json!("identity"), &json!("ok")));
    folder.write("secret", "wrong-canary-secret");
    let failed = document(1);
    let service = find(&failed, "service");
    assert_eq!((&service["state"], &service["label"]), (&json!("failed"), &json!("refused")));
    assert!(service["advice"].as_str().unwrap().contains("Developer Console"), "{service}");
    assert!(!failed.to_string().contains("wrong-canary-secret"));
    write_file(&folder, &at, "adress = 1", "[server]\ndrain_timeout = 3");
    let bad = document(2);
    let problems: Vec<_> = bad["checks"].as_array().unwrap().iter().map(|row| row["words"].clone()).collect();
    assert_eq!(problems.len(), 2, "{bad}");
    assert!(problems[0].as_str().unwrap().contains("did you mean \"address\"?"), "{bad}");
}

#[test]
fn a_warning_fails_only_with_strict() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    edit(&folder, "{ file = \"secret\" }", &format!("{:?}", at.client_secret()));
    let said = Said::of(&folder, &["--offline"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let line = said.out.lines().find(|line| line.contains("  warning  ")).unwrap();
    assert!(
        line.contains("identity.service.client_secret") && !said.out.contains(at.client_secret()),
        "{line}"
    );
    assert!(said.out.ends_with("\nnothing failed, 1 warning\n"), "{}", said.out);
    assert_eq!(Said::of(&folder, &["--offline", "--strict"]).status, Some(1));
}

/// In a terminal of 80 columns no line is broken by the terminal, and the progress is gone at the end.
#[test]
fn a_terminal_shows_progress_colours_and_lines_that_fit() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    folder.write("secret", "wrong-canary-secret");
    let on_terminal = |no_color: &str| {
        let line = format!("stty cols 80 && {} check", env!("CARGO_BIN_EXE_boxgate"));
        let mut script = command("script", &folder);
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("NO_COLOR", no_color);
        let output = script.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = on_terminal("");
    assert!(
        coloured.contains("checking: 0 of 5") && coloured.contains("\u{1b}[1;31mrefused\u{1b}[0m"),
        "{coloured}"
    );
    let plain = on_terminal("1");
    assert!(!plain.contains("\u{1b}[1;31m"), "{plain}");
    // What is left on the screen: behind the last erasure of each line.
    let lines: Vec<_> = plain.lines().map(|line| line.rsplit("\u{1b}[K").next().unwrap()).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.starts_with("service  ") && line.contains("  refused  ")),
        "{lines:#?}"
    );
    assert!(!lines.iter().any(|line| line.contains("checking")), "{lines:#?}");
}
