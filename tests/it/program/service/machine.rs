//! A machine with a real systemd, on which the pages of docs/deployment are followed: `tests/systemd/machine`, in namespaces
//! of its own, and a Box in it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::super::harness::{Folder, Lines, until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Ended and removed when dropped.
pub(super) struct Machine {
    folder: Folder,
    child: Child,
    err: Lines,
    /// The process that is systemd, as the host numbers it.
    systemd: String,
    /// The variables with which commands reach the Box that runs in it.
    variables: Vec<(&'static str, String)>,
}

fn script() -> Command {
    Command::new(Path::new(ROOT).join("tests/systemd/machine"))
}

/// What an operator types: the blocks `sh` of a page, in their order, between two of its headings. `""`: its end.
pub(super) fn blocks(page: &str, from: &str, to: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let start = text.find(&format!("\n{from}\n")).unwrap_or_else(|| panic!("{page} has no {from}"));
    let text = &text[start..];
    let end = if to.is_empty() { text.len() } else { text.find(&format!("\n{to}\n")).unwrap() };
    let blocks: Vec<String> = text[..end]
        .split("\n```sh\n")
        .skip(1)
        .map(|block| block.split("\n```").next().unwrap().to_owned())
        .collect();
    assert!(!blocks.is_empty(), "{page}: no commands between {from} and {to}");
    blocks
}

/// All of [`blocks`].
pub(super) fn typed(page: &str, from: &str, to: &str) -> String {
    blocks(page, from, to).join("\n")
}

impl Machine {
    /// With a clone of the repository's release build at `/run/test`, a Box, and no boxgate yet.
    pub(super) fn start() -> Self {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.join("target/release")).unwrap();
        for part in ["systemd", "logrotate"] {
            std::fs::create_dir_all(folder.join("deploy").join(part)).unwrap();
        }
        let rotation = "deploy/logrotate/boxgate";
        std::fs::copy(Path::new(ROOT).join(rotation), folder.join(rotation)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_boxgate"), folder.join("target/release/boxgate")).unwrap();
        for file in std::fs::read_dir(Path::new(ROOT).join("deploy/systemd")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join("deploy/systemd").join(file.file_name())).unwrap();
        }
        let mut child = script()
            .arg(&*folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let err = Lines::of(child.stderr.take().unwrap());
        let mut machine = Self { folder, child, err, systemd: String::new(), variables: Vec::new() };
        let children = format!("/proc/{0}/task/{0}/children", machine.child.id());
        until("systemd runs", || {
            if let Some(status) = machine.child.try_wait().unwrap() {
                machine.err.wait_for_end();
                let words = machine.err.text();
                panic!(
                    "no machine ({status}): it needs root, namespaces, and systemd, which tests/run installs: {words}"
                );
            }
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            machine.systemd = text.trim().to_owned();
            !machine.systemd.is_empty()
                && machine.output("systemctl is-active --quiet machine.target").status.success()
        });
        machine.start_box();
        machine
    }

    /// A Box that its programs reach as the real one is reached from a network with an egress proxy.
    fn start_box(&mut self) {
        self.sh("setsid target/release/boxgate sandbox --print-config >box.toml 2>box.log </dev/null &");
        let printed = || std::fs::read_to_string(self.folder.join("box.toml")).unwrap_or_default();
        until("a Box", || printed().contains("[forward_proxy]"));
        let text = printed();
        let value = |key: &str| {
            let line = text.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
            line.rsplit('"').nth(1).unwrap().to_owned()
        };
        let (authority, secret) = (value("ca_file"), value("client_secret"));
        self.sh(&format!("install -d /etc/boxgate; install -m 0644 {authority} /etc/boxgate/egress-ca.pem"));
        self.variables = vec![
            ("BOX_CLIENT_ID", value("client_id")),
            ("BOX_CLIENT_SECRET", self.sh(&format!("cat {secret}"))),
            ("BOX_ENTERPRISE_ID", value("enterprise_id")),
            ("HTTPS_PROXY", value("proxy")),
            ("SSL_CERT_FILE", "/etc/boxgate/egress-ca.pem".to_owned()),
        ];
        let service: String =
            self.variables[3..].iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(self.folder.join("environment"), service).unwrap();
        self.sh("install -m 0600 environment /etc/boxgate/environment");
    }

    /// What becomes of commands that root types in the folder of the clone.
    pub(super) fn output(&self, commands: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("nsenter")
            .args([
                "--target",
                &self.systemd,
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--net",
                "--cgroup",
                "--",
            ])
            .args(["env", "--chdir=/run/test", "timeout", "120", "sh", "-euc", commands])
            .env_clear()
            .env("PATH", format!("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{path}"))
            .env("SYSTEMD_PAGER", "")
            .env("HOME", "/root")
            .envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Their standard output; they succeed.
    pub(super) fn sh(&self, commands: &str) -> String {
        let output = self.output(commands);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{commands}\n{}\n{out}{err}\n{}",
            output.status,
            String::from_utf8_lossy(&self.output("journalctl --no-pager -n 50").stdout)
        );
        out.into_owned()
    }

    /// A property of the service.
    pub(super) fn property(&self, name: &str) -> String {
        self.sh(&format!("systemctl show --value --property {name} boxgate")).trim().to_owned()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All processes in it go with its first.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let name = self.folder.file_name().unwrap().to_string_lossy().into_owned();
        let removed = script().arg("--remove").arg(format!("boxgate-{name}")).status();
        if !std::thread::panicking() {
            assert!(removed.is_ok_and(|status| status.success()), "its control group is left");
        }
    }
}
