//! Rehearsals: `boxgate sandbox --print-config` and `--fail`, and what `check` and `run` make of them.

use std::process::{Child, Command, Stdio};

use super::super::client::request;
use super::super::harness::{Folder, Program, boxgate, command, until};
use super::Said;

/// A Box without a gateway, killed when this is dropped.
pub(in crate::program) struct BoxAlone(Child);

impl BoxAlone {
    /// Its configuration is in `proxy.toml`, complete.
    pub(in crate::program) fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let file = std::fs::File::create(folder.join("proxy.toml")).unwrap();
        let log = std::fs::File::create(folder.join("err")).unwrap();
        let mut sandbox = command(env!("CARGO_BIN_EXE_boxgate"), folder);
        sandbox.args(["sandbox", "--print-config", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        sandbox.args(arguments).stdin(Stdio::null()).stdout(file).stderr(log);
        let started = Self(sandbox.spawn().unwrap());
        let said = || std::fs::read_to_string(folder.join("err")).unwrap();
        // Said once the configuration is printed.
        until("it says what to do", || said().contains("boxgate check --config FILE"));
        started
    }

    fn terminate(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for BoxAlone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_printed_configuration_is_accepted_by_check_and_run_while_the_sandbox_runs() {
    let folder = Folder::new();
    let alone = BoxAlone::start(&folder, &[]);
    let said = Said::of(&folder, &["--strict"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    for host in ["api.box.com", "upload.box.com", "dl.boxcloud.com"] {
        said.has(host, &["  ok  ", "through the proxy 127.0.0.1:"]);
    }
    said.has("service", &["  ok  ", "AutomationUser_"]);
    said.has("state folder", &["  ok  "]);
    let text = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
    assert!(text.starts_with("# Printed by `boxgate sandbox --print-config`"), "{text}");
    assert!(!text.contains("sandbox-secret"), "{text}");

    let elsewhere = Folder::new();
    elsewhere.write("proxy.toml", &text);
    let gateway = command(env!("CARGO_BIN_EXE_boxgate"), &elsewhere);
    let mut program = Program::spawn(elsewhere, gateway);
    assert_eq!(program.get("/2.0/users/me").status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));

    alone.terminate();
    let entries = std::fs::read_dir(&*folder).unwrap();
    let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["err", "proxy.toml"], "its temporary folder is gone");
    assert_eq!(Said::of(&folder, &[]).status, Some(2), "its CA and secret are gone with it");
}

#[test]
fn what_a_sandbox_is_told_to_do_wrong_is_found_by_check() {
    for (fail, name, parts) in [
        ("token", "service", &["  refused  ", "invalid_client", "Developer Console"][..]),
        ("revoked", "service", &["  refused  ", "unauthorized_client", "Admin Console"]),
        ("slow:6s", "service", &["  failed  ", "not checked", "does not answer in 5s"]),
        ("503:100%", "api.box.com", &["  failed  ", "answers 503"]),
        ("401:100%", "service", &["  failed  ", "answers 401 to a token it has just given"]),
    ] {
        let folder = Folder::new();
        let alone = BoxAlone::start(&folder, &["--fail", fail]);
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{fail} {}{}", said.out, said.err);
        said.has(name, parts);
        alone.terminate();
    }
}

#[test]
fn a_failure_that_is_none_is_refused_with_the_forms() {
    for fail in ["429", "200:5%", "slow:2h"] {
        let output = boxgate(&Folder::new(), &["sandbox", "--fail", fail]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(fail) && said.contains("429:5%") && said.contains("slow:2s"), "{said}");
    }
}

/// With the gateway in front, as callers meet it.
#[test]
fn callers_of_a_sandbox_meet_its_failures() {
    let folder = Folder::new();
    let mut sandbox = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    sandbox.args(["sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
    sandbox.args(["--fail", "403:25%", "--fail", "401:once"]);
    let program = Program::spawn(folder, sandbox);
    // The gateway sends the call again that got a 401, with a fresh token; its caller sees nothing of it.
    let statuses: Vec<_> =
        (0..5).map(|_| request(&program.callers, "GET", "/2.0/users/me", "").status).collect();
    assert_eq!(statuses, [200, 200, 200, 403, 200]);
}
