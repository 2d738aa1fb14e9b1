//! What the service manager is told by `sd_notify(3)`. Each message is one line here.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::super::client::send;
use super::super::harness::{FakeBox, Folder, Lines, Program, boxgate, command, until, wait, write_file};

const ME: &str = "/2.0/users/me";

/// The datagrams of a socket as lines.
struct Datagrams(UnixDatagram, Vec<u8>);

impl Read for Datagrams {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            let mut bytes = vec![0; 16 * 1024];
            let count = self.0.recv(&mut bytes)?;
            bytes.truncate(count);
            self.1 = String::from_utf8(bytes).unwrap().replace('\n', " ").into_bytes();
            self.1.push(b'\n');
        }
        let count = self.1.len().min(into.len());
        into[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

/// A program that tells a socket of the test's, and what it has told. `more`: of its file; `variables`: of its environment.
fn start(at: &FakeBox, more: &str, variables: &[(&str, &str)]) -> (Program, Lines) {
    let folder = Folder::new();
    let path = folder.join("notify");
    let notices = Lines::of(Datagrams(UnixDatagram::bind(&path).unwrap(), Vec::new()));
    write_file(&folder, at, "address = \"127.0.0.1:0\"", more);
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.env("NOTIFY_SOCKET", path).envs(variables.iter().copied());
    (Program::spawn(folder, run), notices)
}

#[test]
fn it_is_ready_once_it_accepts_requests_although_there_is_no_token_and_the_status_says_so() {
    let at = FakeBox::start();
    let hold = at.hold_token_replies();
    let (program, notices) = start(&at, "", &[]);
    let first = notices.wait_for(&["READY=1"]);
    assert!(first.contains(" STATUS=not ready: identity service: "), "{first}");
    assert!(first.ends_with("; 0 requests in flight"), "{first}");
    assert_eq!(program.admin("/healthz").status, 200);
    drop(hold);
    notices.wait_for(&["STATUS=ready; 0 requests in flight"]);
    assert_eq!(program.get(ME).status, 200);
}

#[test]
fn a_reload_begins_with_its_time_and_ends_whatever_comes_of_it() {
    let at = FakeBox::start();
    let (program, notices) = start(&at, "", &[]);
    let program = program.ready();
    notices.wait_for(&["STATUS=ready;"]);
    let reload = || boxgate(&program.folder, &["reload", "--admin", &program.operators]);

    assert_eq!(reload().status.code(), Some(0));
    let all = notices.all();
    let began = all.iter().position(|line| line.starts_with("RELOADING=1 MONOTONIC_USEC=")).unwrap();
    let micros = all[began].split(['=', ' ']).nth(3).unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0, "{}", all[began]);
    assert!(all[began].contains("STATUS=reads the configuration again: POST /reload"), "{}", all[began]);
    // Before `boxgate reload` has ended.
    assert!(all[began + 1..].iter().any(|line| line.starts_with("READY=1 STATUS=ready;")), "{all:?}");

    let text = std::fs::read_to_string(program.folder.join("proxy.toml")).unwrap();
    program.folder.write("proxy.toml", &format!("{text}\n[lisen]\n"));
    assert_eq!(reload().status.code(), Some(1));
    let refused = notices.wait_for(&["READY=1", "the configuration was not taken over at", "lisen"]);
    assert!(refused.contains("STATUS=ready; 0 requests in flight; "), "{refused}");
    let reloads = notices.all().iter().filter(|line| line.contains("RELOADING=1")).count();
    assert_eq!(reloads, 2);
}

/// systemd drops a datagram of more than 4096 bytes whole: READY=1 would be lost, and the service be ended.
#[test]
fn a_long_status_is_cut_and_takes_neither_ready_nor_stopping_with_it() {
    let at = FakeBox::start();
    let _hold = at.hold_token_replies();
    let mut more = String::new();
    for number in 0..80 {
        let name = format!("account-{number}-{}", "n".repeat(40));
        write!(more, "[[app]]\nname = \"a{number}\"\npath = \"/a{number}\"\nidentity = {name:?}\n").unwrap();
        write!(more, "[identity.{name}]\nclient_id = {name:?}\nclient_secret = {{ file = \"secret\" }}\n")
            .unwrap();
        writeln!(more, "enterprise_id = {:?}", at.enterprise_id()).unwrap();
    }
    let (mut program, notices) = start(&at, &more, &[]);
    let ready = notices.wait_for(&["READY=1"]);
    program.terminate();
    let stopping = notices.wait_for(&["STOPPING=1"]);
    assert!(stopping.ends_with("… EXTEND_TIMEOUT_USEC=30000000"), "{stopping}");
    assert!(ready.contains(" STATUS=not ready: identity ") && ready.ends_with('…'), "{ready}");
    for line in [ready, stopping] {
        assert!(line.len() < 2_000, "{}: {line}", line.len());
    }
    assert_eq!(program.exited().code(), Some(0));
}

#[test]
fn a_line_that_a_reload_has_sent_is_not_sent_again() {
    let at = FakeBox::start();
    // A sign of life every 1.2 s: the line is looked at once between two of them.
    let (program, notices) = start(&at, "", &[("WATCHDOG_USEC", "2400000")]);
    let program = program.ready();
    program.folder.write("proxy.toml", "bad");
    let reload = boxgate(&program.folder, &["reload", "--admin", &program.operators]);
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    let alive = || notices.all().iter().filter(|line| *line == "WATCHDOG=1").count();
    let before = alive();
    until("two signs of life", || alive() >= before + 2);
    let all = notices.all();
    let refused: Vec<_> = all.iter().filter(|line| line.contains("was not taken over")).collect();
    assert!(matches!(refused[..], [line] if line.starts_with("READY=1 STATUS=ready;")), "{all:?}");
}

#[test]
fn a_drain_says_what_it_waits_for_and_asks_for_time() {
    let at = FakeBox::start();
    let (program, notices) = start(&at, "[server]\ndrain_timeout = \"10m\"", &[]);
    let mut program = program.ready();
    let hold = at.hold_replies(ME);
    let in_flight = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));
    program.terminate();
    let stopping = notices.wait_for(&["STOPPING=1"]);
    assert!(stopping.contains("STATUS=not ready: draining; 1 request in flight"), "{stopping}");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=30000000"), "{stopping}");
    // Again, as long as it takes.
    until("it asks again", || notices.all().iter().any(|line| line == "EXTEND_TIMEOUT_USEC=30000000"));
    drop(hold);
    assert_eq!(program.exited().code(), Some(0));
    notices.wait_for(&["STATUS=drained; ends", "EXTEND_TIMEOUT_USEC="]);
    drop(in_flight);
}

#[test]
fn the_watchdog_is_told_while_the_workers_answer_and_only_by_the_process_that_it_watches() {
    let at = FakeBox::start();
    let (program, notices) = start(&at, "", &[("WATCHDOG_USEC", "200000")]);
    let alive = || notices.all().iter().filter(|line| *line == "WATCHDOG=1").count();
    until("three signs of life", || alive() >= 3);
    program.signal("-STOP");
    until("no more signs", || {
        let before = alive();
        std::thread::sleep(std::time::Duration::from_millis(500));
        alive() == before
    });
    program.signal("-CONT");
    let before = alive();
    until("signs again", || alive() > before);

    let (other, notices) = start(&at, "", &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    notices.wait_for(&["STATUS=ready;"]);
    drop(other);
    assert!(!notices.all().iter().any(|line| line.contains("WATCHDOG")), "{:?}", notices.all());
}

#[test]
fn an_abstract_socket_is_told_too() {
    let at = FakeBox::start();
    let name = format!("boxgate-it-{}", fastrand::u64(..));
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let notices = Lines::of(Datagrams(socket, Vec::new()));
    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.env("NOTIFY_SOCKET", format!("@{name}"));
    let _program = Program::spawn(folder, run);
    notices.wait_for(&["READY=1"]);
}

#[test]
fn a_socket_that_nobody_has_costs_one_line_and_one_that_cannot_be_ends_the_start() {
    let at = FakeBox::start();
    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.env("NOTIFY_SOCKET", folder.join("nobody"));
    let mut program = Program::spawn(folder, run).ready();
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines = program.err.all();
    let told =
        lines.iter().filter(|line| line.contains("the service manager at NOTIFY_SOCKET cannot be told"));
    assert_eq!(told.count(), 1, "{lines:?}");

    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    let ended = run.env("NOTIFY_SOCKET", "vsock:2:1").output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("NOTIFY_SOCKET=\"vsock:2:1\"") && said.contains("allowed is"), "{said}");
}
