//! Each fault is made, the alert fires in a real Prometheus, and the commands of its entry in the runbook show the cause.

use std::process::Command;
use std::thread;

use super::super::certificates::Authority;
use super::super::check::rehearsal::BoxAlone;
use super::super::client::request;
use super::super::harness::{Folder, Program, command, until, wait};
use super::page::{entries, has};
use super::prometheus::{Prometheus, at_once};
use super::{RULES, comes_to_hold, text};
use crate::redis::Server;

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const ME: &str = "/2.0/users/me";

/// A gateway in front of a sandbox that misbehaves, as an operator would run both.
struct Faulty {
    program: Program,
    sandbox: Option<BoxAlone>,
    /// Where the sandbox has its files.
    _of_box: Folder,
}

impl Faulty {
    /// `fails`: what the sandbox does wrong. `change`: makes the gateway's configuration from the sandbox's.
    fn start(fails: &[&str], change: impl FnOnce(&Folder, String) -> String) -> Self {
        Self::by(fails, change, |folder| command(BOXGATE, folder))
    }

    /// The same with another command that becomes the gateway.
    fn by(
        fails: &[&str],
        change: impl FnOnce(&Folder, String) -> String,
        start: impl FnOnce(&Folder) -> Command,
    ) -> Self {
        let of_box = Folder::new();
        let arguments: Vec<&str> = fails.iter().flat_map(|fail| ["--fail", *fail]).collect();
        let sandbox = BoxAlone::start(&of_box, &arguments);
        let printed = std::fs::read_to_string(of_box.join("proxy.toml")).unwrap();
        let folder = Folder::new();
        let changed = change(&folder, printed);
        folder.write("proxy.toml", &changed);
        let command = start(&folder);
        Self { program: Program::spawn(folder, command), sandbox: Some(sandbox), _of_box: of_box }
    }

    /// Waits until these alerts fire after this was done for each, then does what their entries say and expects what they show.
    fn is_found(&self, fault: &str, alerts: &[&str], mut meanwhile: impl FnMut(&Program)) {
        let prometheus = Prometheus::start(&[&self.program.operators], &at_once(&text(RULES)));
        // It sees an increase once it has seen the count before.
        until("the first scrape", || !prometheus.query("boxgate_ready").is_empty());
        for alert in alerts {
            meanwhile(&self.program);
            let told = prometheus.fires(alert);
            let said = told["annotations"].to_string();
            assert!(!said.contains("error expanding") && !said.contains("no value"), "{said}");
        }
        let entries = entries();
        for alert in alerts {
            let entry = entries.iter().find(|entry| entry.alert == *alert).unwrap();
            let mine = entry.steps.iter().filter(|step| step.faults.iter().any(|name| name == fault));
            let mut confirmed = 0;
            for step in mine {
                let output = || match &step.command {
                    Some(command) => self.run(command),
                    None => self.program.err.text(),
                };
                let mut last = String::new();
                // An outage may not have been noticed by every part yet.
                let shown = || {
                    last = output();
                    step.shows.iter().all(|pattern| has(&last, pattern))
                };
                let is_shown = comes_to_hold(shown);
                assert!(is_shown, "{alert}: {:?} wants {:#?}, and has\n{last}", step.command, step.shows);
                confirmed += 1;
            }
            assert!(confirmed > 0, "the entry of {alert} does not confirm {fault}");
        }
    }

    /// Runs a block of the page here, as an operator would on the gateway's machine; returns both streams.
    fn run(&self, block: &str) -> String {
        let file = self.program.folder.join("proxy.toml");
        let lines = block
            .replace("/etc/boxgate/proxy.toml", file.to_str().unwrap())
            .replace("127.0.0.1:8081", &self.program.operators);
        let path = std::env::var("PATH").unwrap_or_default();
        let own = std::path::Path::new(BOXGATE).parent().unwrap().display();
        let output = command("timeout", &self.program.folder)
            .env("PATH", format!("{own}:{path}"))
            .env("BOXGATE_ADMIN", format!("http://{}", self.program.operators))
            .args(["60", "sh", "-uc", &lines])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn send(&self, count: usize) {
        many(&self.program, count);
    }
}

/// Sends this many requests at once.
fn many(program: &Program, count: usize) {
    let at = &program.callers;
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(move || request(at, "GET", ME, "").status);
        }
    });
}

fn unchanged(_: &Folder, printed: String) -> String {
    printed
}

fn nothing(_: &Program) {}

#[test]
fn a_wrong_secret() {
    let wrong = |folder: &Folder, printed: String| {
        let secret = folder.write("wrong", "not the secret");
        let rest = printed.split_once("client_secret = { file = \"").unwrap();
        let (_, behind) = rest.1.split_once('"').unwrap();
        format!("{}client_secret = {{ file = {secret:?}{behind}", rest.0)
    };
    let faulty = Faulty::start(&[], wrong);
    faulty.send(2);
    faulty.is_found("wrong-secret", &["BoxgateCredentialsRefused", "BoxgateNoToken"], nothing);
}

#[test]
fn an_app_that_an_admin_revoked() {
    let faulty = Faulty::start(&["revoked"], unchanged);
    faulty.is_found("app-revoked", &["BoxgateCredentialsRefused", "BoxgateNoToken"], nothing);
}

#[test]
fn scopes_that_are_missing() {
    let faulty = Faulty::start(&["scope"], unchanged);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.is_found("scopes-missing", &["BoxgateScopesMissing"], |program| {
        for _ in 0..6 {
            assert_eq!(request(&program.callers, "DELETE", "/2.0/files/17", "").status, 403);
        }
    });
}

#[test]
fn a_box_that_is_slow() {
    let faulty = Faulty::start(&["slow:3s"], unchanged);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.send(1);
    faulty.is_found("box-slow", &["BoxgateBoxSlow"], |program| many(program, 16));
}

#[test]
fn a_box_that_answers_429() {
    let faulty = Faulty::start(&["429:100%"], unchanged);
    faulty.program.err.wait_for(&["a token was obtained"]);
    // Each 429 is followed by a pause of a second.
    faulty.is_found("box-429", &["BoxgateBox429", "BoxgatePauses"], |program| {
        let of_box = || {
            let text = program.admin("/metrics").body;
            let name =
                "boxgate_requests_total{app=\"default\",method=\"GET\",status=\"429\",answered_by=\"box\"} ";
            text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0)
        };
        until("Box has answered many requests with 429", || {
            many(program, 4);
            of_box() >= 10
        });
    });
}

#[test]
fn a_budget_that_is_spent() {
    let budget = |_: &Folder, printed: String| {
        format!("{printed}\n[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 5\n")
    };
    let faulty = Faulty::start(&[], budget);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.send(8);
    faulty.is_found("budget-spent", &["BoxgateBudgetSpent"], nothing);
}

#[test]
fn a_redis_that_is_gone() {
    let mut redis = wait(Server::start());
    let url = redis.url();
    let shared =
        |_: &Folder, printed: String| printed.replace("[state]\n", &format!("[state]\nredis = {url:?}\n"));
    let faulty = Faulty::start(&[], shared);
    until("limits are shared", || faulty.program.admin("/metrics").body.contains("boxgate_redis_shared 1\n"));
    redis.kill();
    faulty.is_found("redis-gone", &["BoxgateRedisLost"], |program| many(program, 2));
}

#[test]
fn a_certificate_that_has_expired() {
    let with_tls = |folder: &Folder, printed: String| {
        Authority::new("Servers").server_of(2020, 2021).write(folder);
        printed.replace("[listen]\n", "[listen]\ntls = { cert = \"tls.crt\", key = \"tls.key\" }\n")
    };
    let faulty = Faulty::start(&[], with_tls);
    faulty.is_found("certificate-expired", &["BoxgateCertificateExpired"], nothing);
}

/// The file may grow no further, as on a disk that is full; the signal that comes with this limit is ignored.
#[test]
fn a_disk_that_is_full_for_the_counts() {
    let start = |folder: &Folder| {
        let mut shell = command("sh", folder);
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" run --config proxy.toml", BOXGATE]);
        shell
    };
    let faulty = Faulty::by(&[], unchanged, start);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.program.err.wait_for(&["counts of calls begin at zero"]);
    let id = faulty.program.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &id, "--fsize=1"]).status();
    assert!(limited.expect("prlimit is part of util-linux").success());
    let failures = |program: &Program| program.metric("boxgate_state_write_failures_total");
    faulty.is_found("disk-full", &["BoxgateStateNotWritten"], |program| {
        many(program, 1);
        until("more attempts have failed than the alert forgives", || failures(program) > 6);
    });
}

#[test]
fn a_disk_that_is_full_for_the_log() {
    let start = |folder: &Folder| {
        let mut shell = command("sh", folder);
        shell.args(["-c", "exec \"$0\" run --config proxy.toml > /dev/full", BOXGATE]);
        shell
    };
    let faulty = Faulty::by(&[], unchanged, start);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.is_found("log-disk-full", &["BoxgateLinesLost"], |program| many(program, 3));
}

#[test]
fn a_disk_that_is_full_for_the_audit_log() {
    let full = |_: &Folder, text: String| format!("{text}\n[log]\naudit = \"/dev/full\"\n");
    let faulty = Faulty::start(&[], full);
    faulty.program.err.wait_for(&["a token was obtained"]);
    faulty.is_found("audit-disk-full", &["BoxgateAuditLinesLost"], |program| {
        (0..3).for_each(|id| drop(request(&program.callers, "DELETE", &format!("/2.0/files/{id}"), "")));
    });
}

#[test]
fn a_box_that_is_unreachable() {
    let mut faulty = Faulty::start(&[], unchanged);
    faulty.program.err.wait_for(&["a token was obtained"]);
    // The gateway's way to this Box ends with it.
    drop(faulty.sandbox.take());
    faulty.send(4);
    faulty.is_found("box-unreachable", &["BoxgateBoxUnreachable"], |program| many(program, 2));
}

#[test]
fn a_configuration_that_a_reload_refuses() {
    let faulty = Faulty::start(&[], unchanged);
    let file = faulty.program.folder.join("proxy.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[server]\ndrain_delay = \"soon\"\n")).unwrap();
    faulty.program.hang_up();
    faulty.is_found("reload-refused", &["BoxgateReloadRefused"], nothing);
}
