//! The process of a gateway is hardened; what is on is told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use boxgate::sandbox::Options;
use serde_json::{Value, json};

use super::fake_gateway::{Chain, FakeServer};
use super::harness::{FakeBox, Folder, Program, command, until, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

/// What /proc says of a process or a thread.
struct Proc(BTreeMap<String, String>);

impl Proc {
    fn of(path: &str) -> Self {
        let text = fs::read_to_string(format!("{path}/status")).unwrap();
        Self::from_text(&text)
    }

    fn from_text(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("{name}"))
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).trim_end_matches(" kB").parse().unwrap()
    }

    /// Privileges, mode of the filter, and how many filters it has besides those of this process.
    fn restrictions(&self) -> (&str, &str, u64) {
        let own = Self::of("/proc/self").number("Seccomp_filters");
        (self.get("NoNewPrivs"), self.get("Seccomp"), self.number("Seccomp_filters") - own)
    }
}

/// A gateway whose limit of locked memory is this one, in KiB, if it may be set.
fn start(at: &FakeBox, limit: &str) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, "address = \"127.0.0.1:0\"", "[log]\nlevel = \"debug\"");
    let mut run = command("bash", &folder);
    run.args(["-c", &format!("ulimit -l {limit}; exec \"$0\""), BOXGATE]);
    Program::spawn(folder, run).ready()
}

/// Whether it may lock any amount of memory.
fn has_no_limit(program: &Program) -> bool {
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")).unwrap();
    line.split_whitespace().next() == Some("unlimited")
}

fn told(program: &Program) -> Value {
    let status: Value = serde_json::from_str(&program.admin("/status.json").body).unwrap();
    status["hardening"].clone()
}

#[test]
fn no_thread_of_a_gateway_gains_privileges_or_makes_the_calls_of_an_intruder() {
    let at = FakeBox::start();
    let program = start(&at, "64");
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap().collect();
    assert!(threads.len() >= 3, "workers, signals, budgets: {threads:?}");
    for thread in threads {
        let thread = Proc::of(thread.unwrap().path().to_str().unwrap());
        assert_eq!(thread.restrictions(), ("1", "2", 1), "{}", thread.get("Name"));
    }
    // Nor is it root's right alone that decides about locked memory.
    assert_eq!(Proc::of(&format!("/proc/{}", program.id())).number("VmLck"), 0);
    let hardening = json!({"no_new_privileges": true, "system_calls_filtered": true, "memory_locked": false});
    assert_eq!(told(&program), hardening);
    assert!(program.admin("/").body.contains("no new privileges, filtered system calls"));
    let why = program.err.wait_for(&["memory is not locked"]);
    assert!(why.contains("DEBUG") && why.contains("65536 bytes") && why.contains("LimitMEMLOCK"), "{why}");
}

/// A container may forbid to lift the limit: then it counts like any other.
#[test]
fn memory_is_locked_exactly_where_any_amount_may_be() {
    let at = FakeBox::start();
    let program = start(&at, "unlimited");
    let locks = has_no_limit(&program);
    let process = Proc::of(&format!("/proc/{}", program.id()));
    assert_eq!(process.number("VmLck") > 0, locks);
    assert_eq!(told(&program)["memory_locked"], locks);
    assert_eq!(program.admin("/").body.contains("locked memory"), locks);
    // What is used is resident, not stacks and ranges that are only reserved.
    assert!(process.number("VmRSS") < 256 * 1024, "{}", process.get("VmRSS"));
    assert_eq!(program.get("/2.0/users/me").status, 200);
}

/// The text in the memory that the process has written itself. Only root may look there.
fn holds(program: &Program, text: &str) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", program.id())).ok()?;
    let memory = File::open(format!("/proc/{}/mem", program.id())).ok()?;
    let mut found = false;
    for map in maps.lines().filter(|map| map.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (range, _) = map.split_once(' ').unwrap();
        let (first, end) = range.split_once('-').unwrap();
        let (first, end) = (u64::from_str_radix(first, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - first).unwrap()];
        // It may be gone by now.
        if memory.read_exact_at(&mut bytes, first).is_ok() {
            found |= memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        }
    }
    Some(found)
}

/// Also where a library sent it: what follows at the same place is as long.
#[test]
fn a_secret_that_was_replaced_is_not_in_memory_any_more() {
    const OLD: &str = "canary-of-the-first-secret-0123456789";
    let new = "x".repeat(OLD.len());
    let at = FakeBox::with(Options { client_secret: OLD.to_owned(), ..Options::default() });
    at.accept_secrets(&[OLD, &new]);
    let program = start(&at, "64");
    assert_eq!(program.get("/2.0/users/me").status, 200);
    let Some(held) = holds(&program, OLD) else { return };
    assert!(held, "it is found while it is in use");
    program.folder.write("secret", &new);
    until("a token comes with the new one", || {
        program.err.text().matches("a token was obtained").count() == 2
    });
    until("the old one is gone", || holds(&program, OLD) == Some(false));
}

#[test]
fn the_sandbox_is_hardened_too() {
    let folder = Folder::new();
    let mut run = command(BOXGATE, &folder);
    run.args(["sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
    let program = Program::spawn(folder, run).ready();
    assert_eq!(Proc::of(&format!("/proc/{}", program.id())).restrictions(), ("1", "2", 1));
}

/// Its command may be one that gains privileges, such as sudo.
#[test]
fn the_command_of_exec_is_not_hardened() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let mut exec: Command = command(BOXGATE, &folder);
    exec.args(["exec", "--gateway", &gateway.address.to_string(), "--", "cat", "/proc/self/status"]);
    let output = exec.env("XDG_CACHE_HOME", &*folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let own = Proc::of("/proc/self");
    let command = Proc::from_text(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(command.restrictions(), (own.get("NoNewPrivs"), own.get("Seccomp"), 0));
}
