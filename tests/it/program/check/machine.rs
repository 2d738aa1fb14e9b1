//! The machine: clock, files, addresses, Redis.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use boxgate::sandbox::{Fault, TokenAnswer};
use http::HeaderValue;
use http::header::DATE;

use super::super::certificates::Authority;
use super::super::harness::{FakeBox, write_file};
use super::{Said, edit, folder_for, only_for_its_owner};
use crate::redis::Server;

#[test]
fn a_clock_that_is_off_is_a_warning() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    // So that nothing but the three hosts asks the API.
    at.token_always(Some(TokenAnswer::refuse("invalid_client", "no")));
    let old = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
    at.script("/", (0..3).map(|_| Fault::status(404).with_header(DATE, old.clone())).collect());
    let said = Said::of(&folder, &[]);
    said.has("clock", &["  warning  ", "ahead of Box's", "NTP"]);
}

#[test]
fn secret_files_that_a_group_may_change_are_a_warning() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    Said::of(&folder, &["--offline"]).has("secret files", &["  ok  ", "1, for its owner alone"]);
    let set = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(folder.join("secret"), permissions).unwrap();
    };
    set(0o620);
    let said = Said::of(&folder, &["--offline"]);
    assert_eq!(said.status, Some(0), "{}", said.out);
    let parts = ["  warning  ", "secret: ", "its group may change it", "mode 0620", "chmod 0600"];
    said.has("secret files", &parts);
    assert_eq!(Said::of(&folder, &["--offline", "--strict"]).status, Some(1));
    // The group of a service manager may read.
    set(0o440);
    assert_eq!(Said::of(&folder, &["--offline", "--strict"]).status, Some(0));
}

#[test]
fn a_certificates_end_is_shown_and_its_key_is_a_secret_file() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let authority = Authority::new("One");
    authority.server_of(2001, 2902).write(&folder);
    write_file(&folder, &at, "tls = { cert = \"tls.crt\", key = \"tls.key\" }", "");
    only_for_its_owner(&folder, "secret");
    std::fs::set_permissions(folder.join("tls.key"), std::os::unix::fs::PermissionsExt::from_mode(0o660))
        .unwrap();
    let said = Said::of(&folder, &["--offline"]);
    said.has("[listen] tls", &["  ok  ", "until 2902-"]);
    said.has("secret files", &["  warning  ", "tls.key: "]);
    only_for_its_owner(&folder, "tls.key");
    assert_eq!(Said::of(&folder, &["--offline", "--strict"]).status, Some(0));
}

#[test]
fn an_address_that_is_taken_is_a_warning() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    write_file(&folder, &at, &format!("address = [\"{address}\", \"unix:gate.sock\"]"), "");
    only_for_its_owner(&folder, "secret");
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(0), "{}", said.out);
    said.has(&address.to_string(), &["  warning  ", "address in use", "[listen] address"]);
    said.has("unix:gate.sock", &["  ok  ", "free"]);
    said.has("127.0.0.1:0", &["  ok  ", "any free port"]);
    assert!(!folder.join("gate.sock").exists());
    assert_eq!(Said::of(&folder, &["--strict"]).status, Some(1));
    let socket = UnixListener::bind(folder.join("gate.sock")).unwrap();
    Said::of(&folder, &[]).has("unix:gate.sock", &["  warning  ", "address in use"]);
    drop(socket);
    // Nobody listens on what is left, so it would be replaced.
    Said::of(&folder, &[]).has("unix:gate.sock", &["  ok  ", "free"]);
    std::fs::remove_file(folder.join("gate.sock")).unwrap();
    folder.write("gate.sock", "");
    Said::of(&folder, &[]).has("unix:gate.sock", &["  warning  ", "no socket"]);
}

#[test]
fn redis_is_tried_and_a_warning_where_it_is_down() {
    let at = FakeBox::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = runtime.block_on(Server::with(&["--requirepass", "canary-password"]));
    let right = server.url().replace("redis://", "redis://:canary-password@");
    let folder = folder_for(&at, &format!("[state]\nredis = {right:?}"));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(0), "{}", said.out);
    said.has("redis", &["  ok  ", "127.0.0.1:"]);
    edit(&folder, "canary-password@", "wrong-canary@");
    let wrong = Said::of(&folder, &[]);
    wrong.has("redis", &["  warning  ", "user or password is wrong"]);
    server.kill();
    let down = Said::of(&folder, &[]);
    assert_eq!(down.status, Some(0), "{}", down.out);
    down.has("redis", &["  warning  ", "127.0.0.1:", "connection refused", "[state] redis"]);
    for said in [said, wrong, down] {
        assert!(!(said.out + &said.err).contains("canary"));
    }
}

#[test]
fn a_state_folder_that_cannot_be_written_to_is_a_failure_where_counts_must_be_kept() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "[state]\ndir = \"state/here\"");
    let said = Said::of(&folder, &[]);
    said.has("state folder", &["  ok  ", "state/here, made at the start"]);
    assert!(!folder.join("state").exists());
    folder.write("state", "");
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(0), "{}", said.out);
    said.has("state folder", &["  warning  ", "state is no folder", "until a restart", "[state] dir"]);
    let budget = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 5\nper = \"month\"\nwhen_spent = \"reject\"\n";
    edit(&folder, "[state]\n", &format!("{budget}[state]\n"));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("state folder", &["  failed  ", "state is no folder"]);
}
