//! Starting without Box, draining, stopping.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use boxgate::sandbox::{Content, Role};

use super::client::{receive, send};
use super::harness::{FakeBox, PATIENCE, Program, until, wait};

const ME: &str = "/2.0/users/me";

#[test]
fn requests_in_flight_at_sigterm_finish_while_no_new_ones_are_accepted() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_delay = \"300ms\"").ready();
    let hold = at.hold_replies(ME);
    let in_flight = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));

    program.terminate();
    program.err.wait_for(&["draining"]);
    let readiness = program.admin("/readyz");
    assert_eq!(readiness.status, 503);
    assert!(readiness.body.contains("draining"), "{}", readiness.body);
    until("new connections are refused", || TcpStream::connect(&program.callers).is_err());
    assert_eq!(program.admin("/healthz").status, 200, "it lives until the last request is done");

    drop(hold);
    let answer = receive(in_flight);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\"login\""), "{}", answer.body);
    assert_eq!(program.exited().code(), Some(0));
    program.out.wait_for(&["status=200", "end=complete"]);
}

#[test]
fn an_operators_idle_connection_does_not_delay_the_end() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    let mut idle = TcpStream::connect(&program.operators).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 1024]).unwrap() > 0);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
}

#[test]
fn accepting_goes_on_for_the_delay() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_delay = \"10m\"").ready();
    program.terminate();
    program.err.wait_for(&["draining"]);
    assert_eq!(program.admin("/readyz").status, 503);
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    program.exited();
}

/// Otherwise a balancer keeps connections until the gateway closes them, and may send a request at that moment.
#[test]
fn answers_during_the_delay_end_connections_of_http_1() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_delay = \"10m\"").ready();
    let mut kept = TcpStream::connect(&program.callers).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kept.write_all(request.as_bytes()).unwrap();
    program.out.wait_for(&["status=200", "end=complete"]);
    program.terminate();
    program.err.wait_for(&["draining"]);
    kept.write_all(request.as_bytes()).unwrap();
    // Both answers, then the end of the connection.
    let answers = receive(kept);
    let (first, last) = answers.body.split_once("HTTP/1.1 200 ").expect("two answers");
    assert!(
        !answers.head.contains("connection: close") && !first.contains("connection: close"),
        "{answers:?}"
    );
    assert!(last.contains("connection: close"), "{answers:?}");
    // New ones are accepted as before.
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    program.exited();
}

#[test]
fn a_connection_between_requests_does_not_delay_the_end() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_timeout = \"10m\"").ready();
    let mut kept = TcpStream::connect(&program.callers).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    kept.write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    program.out.wait_for(&["status=200", "end=complete"]);
    program.terminate();
    // The answer, then the end of the connection.
    assert_eq!(receive(kept).status, 200);
    assert_eq!(program.exited().code(), Some(0));
}

#[test]
fn a_connection_without_a_request_does_not_delay_the_end() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_timeout = \"10m\"").ready();
    let silent = TcpStream::connect(&program.callers).unwrap();
    // Accepted one after the other.
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    drop(silent);
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_timeout = \"10m\"").ready();
    let _hold = at.hold_replies(ME);
    let hanging = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));
    program.terminate();
    program.err.wait_for(&["draining"]);
    program.terminate();
    assert!(program.exited().code().is_some(), "it ends by itself, not by the signal");
    program.out.wait_for(&["status=503", "end=stopped"]);
    drop(hanging);
}

/// A request cut off by the stop is not recorded as left by the caller or broken by Box.
#[test]
fn requests_cut_off_by_a_stop_are_recorded_as_such() {
    let at = FakeBox::start();
    let file = at.add_file("0", "z", Content::Zeros(64 << 20));
    let mut program = Program::start(&at, "[server]\ndrain_timeout = \"200ms\"").ready();
    let mut upload = send(&program.callers, "POST", "/2.0/files/content", "Content-Length: 1000\r\n");
    upload.write_all(b"a part of it").unwrap();
    let mut download = send(&program.callers, "GET", &format!("/api/2.0/files/{file}/content"), "");
    let mut first = [0; 1024];
    download.read_exact(&mut first).unwrap();
    let hold = at.hold_replies(ME);
    let waiting = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(3));
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.out.wait_for(&["method=POST", "status=503", "end=stopped"]);
    program.out.wait_for(&["path=/api/2.0/files/", "status=200", "end=stopped"]);
    program.out.wait_for(&["path=/2.0/users/me", "status=503", "end=stopped"]);
    assert!(!program.out.text().contains("caller_left"), "{}", program.out.text());
    drop((upload, download, waiting, hold));
}

#[test]
fn requests_that_outlast_the_drain_timeout_are_cut_off() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[server]\ndrain_timeout = \"200ms\"").ready();
    let _hold = at.hold_replies(ME);
    let hanging = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.err.wait_for(&["drain_timeout has passed"]);
    drop(hanging);
}

#[test]
fn it_starts_without_box_says_so_and_recovers_by_itself() {
    let at = FakeBox::start();
    wait(at.go_down(Role::Api));
    let program = Program::start(&at, "");
    let warning = program.err.wait_for(&["token endpoint", "unreachable since"]);
    assert!(warning.contains("WARN") && warning.contains("service"), "{warning}");
    assert_eq!(program.admin("/healthz").status, 200);
    let readiness = program.admin("/readyz");
    assert_eq!(readiness.status, 503);
    assert!(readiness.body.contains("identity service:"), "{}", readiness.body);

    let refused = program.get(ME);
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("\"token_unavailable\""), "{}", refused.body);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));

    at.comes_up(Role::Api);
    until("ready", || program.admin("/readyz").status == 200);
    assert_eq!(program.get(ME).status, 200);
}

#[test]
fn first_requests_wait_for_the_first_token_and_share_one_token_request() {
    let at = FakeBox::start();
    let hold = at.hold_token_replies();
    let program = Program::start(&at, "");
    wait(at.wait_for_token_requests(1));
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let stream = send(&program.callers, "GET", ME, "");
            thread::spawn(move || receive(stream).status)
        })
        .collect();
    drop(hold);
    assert!(requests.into_iter().all(|request| request.join().unwrap() == 200));
    assert_eq!(at.token_requests(), 1);
}
