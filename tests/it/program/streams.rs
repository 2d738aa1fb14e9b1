//! Requests and the end of the process do not wait for standard output and standard error that accept no lines.

use std::net::TcpStream;

use boxgate::sandbox::Fault;

use super::client::send;
use super::harness::{FakeBox, Program, Stream, until, wait};

const ME: &str = "/2.0/users/me";
const ACCESS_LOST: &str = "boxgate_access_lines_lost_total";
const LOG_LOST: &str = "boxgate_log_lines_lost_total";

/// At this level each failure is a line of its own.
const LOUD: &str = "[log]\nlevel = \"debug\"\n";

/// Requests that each make a worker log; more than there are workers.
fn requests_that_are_logged(at: &FakeBox, program: &Program) {
    for _ in 0..8 {
        at.script(ME, vec![Fault::CloseBeforeHead; 3]);
        assert_eq!(program.get(ME).status, 502);
        assert_eq!(program.get(ME).status, 200);
    }
}

#[test]
fn a_log_that_no_one_reads_delays_neither_requests_nor_operators_nor_the_end() {
    let at = FakeBox::start();
    let mut program = Program::with_streams(&at, LOUD, Stream::Read, Stream::Unread).ready();
    program.fill(2);
    requests_that_are_logged(&at, &program);
    program.hang_up();
    assert_eq!(program.admin("/healthz").status, 200);
    assert_eq!(program.metric(LOG_LOST), 0, "they wait");
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert_eq!(program.out.all().len(), 16);
}

#[test]
fn it_goes_on_serving_and_counts_lost_lines_when_its_readers_are_gone() {
    let at = FakeBox::start();
    let mut program = Program::with_streams(&at, LOUD, Stream::Closed, Stream::Closed).ready();
    requests_that_are_logged(&at, &program);
    until("every access line is counted", || program.metric(ACCESS_LOST) == 16);
    until("the log's lines are counted", || program.metric(LOG_LOST) >= 8);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
}

#[test]
fn access_lines_that_no_one_reads_delay_neither_requests_nor_the_end() {
    let at = FakeBox::start();
    let mut program = Program::with_streams(&at, "", Stream::Unread, Stream::Read).ready();
    program.fill(1);
    for _ in 0..8 {
        assert_eq!(program.get(ME).status, 200);
    }
    assert_eq!(program.metric(ACCESS_LOST), 0, "they wait");
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.err.wait_for(&["WARN", "access lines", "standard output"]);
}

#[test]
fn a_second_signal_ends_it_when_neither_stream_is_read() {
    let at = FakeBox::start();
    let more = "[server]\ndrain_timeout = \"10m\"";
    let mut program = Program::with_streams(&at, more, Stream::Unread, Stream::Unread).ready();
    program.fill(1);
    program.fill(2);
    let _hold = at.hold_replies(ME);
    let hanging = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));
    program.terminate();
    until("draining has begun", || TcpStream::connect(&program.callers).is_err());
    program.terminate();
    assert!(program.exited().code().is_some(), "it ends by itself, not by the signal");
    drop(hanging);
}

#[test]
fn on_a_full_disk_lost_access_lines_are_counted_and_one_warning_is_logged() {
    let at = FakeBox::start();
    let mut program = Program::with_streams(&at, "", Stream::Full, Stream::Read).ready();
    for count in 1..=5 {
        assert_eq!(program.get(ME).status, 200);
        until("the line is counted", || program.metric(ACCESS_LOST) == count);
    }
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    program.err.wait_for(&["WARN", "access lines cannot be written", "No space left on device"]);
    assert_eq!(program.err.text().matches("access lines").count(), 1, "{}", program.err.text());
}

/// More lines than a pipe holds wait when the program is told to stop; then somebody reads them.
#[test]
fn the_end_waits_for_a_reader_that_takes_the_lines() {
    const REQUESTS: usize = 600;
    let at = FakeBox::start();
    let mut program = Program::with_streams(&at, "", Stream::Unread, Stream::Read).ready();
    let long = format!("/none/{}", "x".repeat(500));
    for _ in 0..REQUESTS {
        assert_eq!(program.get(&long).status, 404);
    }
    program.terminate();
    program.read_out();
    assert_eq!(program.exited().code(), Some(0));
    let lines = program.out.all();
    assert_eq!(lines.len(), REQUESTS);
    assert!(lines.iter().all(|line| line.contains(" status=404 ") && line.contains(&long)));
}
