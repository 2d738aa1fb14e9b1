//! Files of the configuration that every user of the machine can read or replace are warned of: at the start, at a reload, and
//! by `boxgate check`.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::certificates::Authority;
use super::harness::{FakeBox, Folder, Program, boxgate, command, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

fn set(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder that every user may enter, with a configuration and a secret for all.
fn open(at: &FakeBox, listen: &str, more: &str) -> Folder {
    let folder = Folder::new();
    write_file(&folder, at, &format!("address = \"127.0.0.1:0\"\n{listen}"), more);
    set(&folder, 0o755);
    set(&folder.join("secret"), 0o644);
    folder
}

/// What `boxgate check` says of the file, and its exit status if warnings count.
fn checked(folder: &Folder) -> (String, Option<i32>) {
    let said = boxgate(folder, &["check", "--offline", "--strict"]);
    (String::from_utf8_lossy(&said.stdout).into_owned(), said.status.code())
}

fn warnings_of(program: &Program, parts: &[&str]) -> usize {
    let lines = program.err.all();
    lines.iter().filter(|line| line.contains("WARN") && parts.iter().all(|part| line.contains(part))).count()
}

#[test]
fn a_secret_that_every_user_can_read_is_warned_of_at_the_start_at_a_reload_and_by_check() {
    let at = FakeBox::start();
    let folder = open(&at, "", "");
    let run = command(BOXGATE, &folder);
    let program = Program::spawn(folder, run).ready();
    let secret = program.folder.join("secret");
    let parts = ["identity.service.client_secret.file: ", "every user of this machine can read it"];
    let line = program.err.wait_for(&parts);
    let shown = secret.file_name().unwrap().to_str().unwrap();
    assert!(line.contains("WARN") && line.contains("(mode 0644): chmod 600 "), "{line}");
    assert!(line.contains(shown) && line.contains("defaultMode: 0440"), "{line}");
    let (said, strict) = checked(&program.folder);
    assert!(said.contains(parts[1]) && !said.contains("for its owner alone"), "{said}");
    assert_eq!((warnings_of(&program, &parts), strict), (1, Some(1)));
    assert!(program.admin("/?view=configuration").body.contains(parts[1]));

    // The mode alone is a change of the file, which is taken over.
    set(&secret, 0o600);
    program.err.wait_for(&["the configuration was taken over"]);
    assert_eq!(warnings_of(&program, &parts), 1);
    let (said, strict) = checked(&program.folder);
    assert!(said.contains("1, for its owner alone"), "{said}");
    assert_eq!(strict, Some(0));
    set(&secret, 0o604);
    program.err.wait_for(&["a file has changed", parts[1], "(mode 0604)"]);
}

#[test]
fn a_folder_that_others_may_not_enter_or_a_group_that_may_read_is_no_warning() {
    let at = FakeBox::start();
    let folder = open(&at, "", "");
    set(&folder, 0o750);
    let (said, strict) = checked(&folder);
    assert!(said.contains("secret files") && !said.contains("every user"), "{said}");
    assert_eq!(strict, Some(0));
    set(&folder, 0o755);
    set(&folder.join("secret"), 0o440);
    let (said, strict) = checked(&folder);
    assert!(said.contains("1, for its owner and group"), "{said}");
    assert_eq!(strict, Some(0));
}

#[test]
fn every_kind_of_secret_file_is_judged_and_each_once() {
    let at = FakeBox::start();
    let more = "key = { file = \"admin.key\" }\n[[app]]\nname = \"a\"\nkey = [{ file = \"app.key\" }, { file = \"app.key\" }]\n\
                [state]\nredis = { file = \"redis\" }\n[forward_proxy]\ncert = \"hosts.crt\"\nkey = \"hosts.key\"";
    let folder = open(&at, "tls = { cert = \"tls.crt\", key = \"tls.key\" }", more);
    let authority = Authority::new("One");
    authority.server_of(2001, 2902).write(&folder);
    for kind in ["crt", "key"] {
        std::fs::copy(folder.join(format!("tls.{kind}")), folder.join(format!("hosts.{kind}"))).unwrap();
    }
    folder.write("admin.key", "a key that is long enough");
    folder.write("app.key", "another key that is long enough");
    folder.write("redis", "redis://127.0.0.1:1");
    let files = ["secret", "tls.key", "hosts.key", "admin.key", "app.key", "redis"];
    for file in files.iter().chain(&["tls.crt", "hosts.crt", "proxy.toml", "ca.pem"]) {
        set(&folder.join(file), 0o644);
    }
    let (said, _) = checked(&folder);
    for file in files {
        let words = format!("{file} holds a secret");
        assert_eq!(said.matches(&words).count(), 1, "{words}: {said}");
    }
    assert_eq!(said.matches("holds a secret").count(), files.len(), "{said}");
}

#[test]
fn a_configuration_file_with_a_secret_in_it_is_a_secret_file() {
    let at = FakeBox::start();
    let folder = open(&at, "", "[[app]]\nname = \"a\"\nkey = \"a key that is long enough\"");
    set(&folder.join("secret"), 0o600);
    set(&folder.join("proxy.toml"), 0o644);
    let (said, _) = checked(&folder);
    assert!(said.contains("proxy.toml holds a secret"), "{said}");
    assert!(!said.contains("long enough"), "{said}");
    set(&folder.join("proxy.toml"), 0o640);
    assert!(!checked(&folder).0.contains("holds a secret"));
}

#[test]
fn what_every_user_can_replace_is_warned_of() {
    let at = FakeBox::start();
    let folder = open(&at, "", "");
    set(&folder.join("secret"), 0o602);
    let (said, strict) = checked(&folder);
    let secret = "write to ";
    assert!(said.contains(secret) && said.contains("(mode 0602)") && said.contains("chmod o-w"), "{said}");
    assert_eq!(strict, Some(1));
    set(&folder.join("secret"), 0o600);
    set(&folder.join("proxy.toml"), 0o646);
    let (said, _) = checked(&folder);
    assert!(said.contains("proxy.toml (mode 0646)"), "{said}");
    set(&folder.join("proxy.toml"), 0o644);
    set(&folder, 0o777);
    let (said, _) = checked(&folder);
    assert_eq!(said.matches("(mode 0777)").count(), 1, "one folder, one warning: {said}");
    // As /tmp is: nobody replaces what is another's.
    set(&folder, 0o1777);
    let (said, strict) = checked(&folder);
    assert!(!said.contains("every user"), "{said}");
    assert_eq!(strict, Some(0));
}
