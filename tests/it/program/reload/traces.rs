//! Where traces go after a reload.

use super::*;
use crate::program::client::request;
use crate::program::traces::Background;
use crate::traces::collector::{Collector, Does, Trace};

fn collector(background: &Background) -> Collector {
    background.wait(Collector::start(Does::Take))
}

/// Sends a request with this id.
fn asked(running: &Running, id: &str) {
    let answer = request(&running.program.callers, "GET", ME, &format!("X-Request-Id: {id}\r\n"));
    assert_eq!(answer.status, 200);
}

/// The same, and waits for its trace.
fn traced(running: &Running, background: &Background, collector: &Collector, id: &str) -> Trace {
    asked(running, id);
    background.wait(collector.trace_of(id))
}

fn has(collector: &Collector, id: &str) -> bool {
    collector.taken().iter().any(|span| span.text("boxgate.request_id") == Some(id))
}

#[test]
fn every_key_is_taken_over() {
    let background = Background::start();
    let (first, second) = (collector(&background), collector(&background));
    let running = Running::start(&[], "");
    asked(&running, "none-1");
    running.take_over(&first.table());
    traced(&running, &background, &first, "first-1");
    running.take_over(&format!("{}sample = 0.0\n", first.table()));
    asked(&running, "none-2");
    running.take_over(&first.table());
    let trace = traced(&running, &background, &first, "first-2");
    running.take_over(&second.table());
    traced(&running, &background, &second, "second-1");
    running.take_over("");
    asked(&running, "none-3");
    running.take_over(&second.table());
    traced(&running, &background, &second, "second-2");
    for (id, at) in
        [("none-1", 0), ("none-2", 0), ("none-3", 0), ("first-1", 1), ("first-2", 1), ("second-1", 2)]
    {
        assert_eq!((has(&first, id), has(&second, id)), (at == 1, at == 2), "{id}");
    }
    let log = running.program.err.text();
    assert!(!log.contains("takes effect only at a restart"), "{log}");
    assert_eq!(running.program.metric("boxgate_trace_spans_lost_total"), 0);
    let line = running.program.out.wait_for(&["request_id=first-2"]);
    assert!(line.contains(&format!("trace_id={}", trace.root.trace_id())), "{line}");
    let line = running.program.out.wait_for(&["request_id=none-2"]);
    assert!(!line.contains("trace_id="), "{line}");
}

#[test]
fn what_began_before_goes_to_the_collector_of_before() {
    let background = Background::start();
    let (first, second) = (collector(&background), collector(&background));
    let running = Running::start(&[], &first.table());
    assert_eq!(running.status(ME), 200);
    let before = running.at.calls();
    let held = running.at.hold_replies(ME);
    let waiting = send(&running.program.callers, "GET", ME, "X-Request-Id: began-before\r\n");
    wait(running.at.wait_for_calls(before + 1));
    running.take_over(&second.table());
    drop(held);
    assert_eq!(receive(waiting).status, 200);
    background.wait(first.trace_of("began-before"));
    traced(&running, &background, &second, "began-after");
    assert!(!has(&second, "began-before") && !has(&first, "began-after"));
}

#[test]
fn a_bad_collector_leaves_the_good_one_in_use() {
    let background = Background::start();
    let first = collector(&background);
    let running = Running::start(&[], &first.table());
    running.write("[trace]\notlp = \"http://user:canary@127.0.0.1:4318\"\n");
    running.program.hang_up();
    until("it is refused", || running.refused() == 1);
    traced(&running, &background, &first, "still");
    let log = running.program.err.text();
    assert!(log.contains("trace.otlp: no user or password") && !log.contains("canary"), "{log}");
}
