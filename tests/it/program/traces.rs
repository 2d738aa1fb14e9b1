//! What the program says about a collector that fails, and what it does at a stop.

use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::harness::{FakeBox, Program, until};
use crate::harness::free_port;
use crate::traces::collector::{Collector, Does};

const ME: &str = "/2.0/users/me";

/// A thread on which collectors run while a test blocks. Ends when dropped.
pub(super) struct Background {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    pub(super) fn start() -> Self {
        let (started, starting) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            started.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(stopped);
        });
        Self { runtime: starting.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Waits for a future of a collector.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_collector_that_is_away_costs_a_few_lines() {
    let at = FakeBox::start();
    let port = free_port();
    let program = Program::start(&at, &format!("[trace]\notlp = \"http://127.0.0.1:{port}\"\n")).ready();
    let line = program.err.wait_for(&["WARN", "trace collector"]);
    let begins = format!("trace collector 127.0.0.1:{port} unreachable since ");
    assert!(line.contains(&begins) && line.contains("boxgate_trace_spans_lost_total"), "{line}");
    assert!(line.to_lowercase().contains("connection refused"), "{line}");
    for _ in 0..50 {
        assert_eq!(program.get(ME).status, 200);
    }
    let lines = program.err.all();
    let told = lines.iter().filter(|line| line.contains("trace collector")).count();
    assert!(told <= 3, "{lines:#?}");
    assert_eq!(program.admin("/readyz").status, 200, "it serves without traces");

    let background = Background::start();
    let _collector = background.wait(Collector::at(&format!("127.0.0.1:{port}"), Does::Take));
    program.err.wait_for(&["INFO", &format!("trace collector 127.0.0.1:{port} reachable again after ")]);
    until("spans arrive", || program.metric("boxgate_trace_spans_exported_total") >= 101);
}

#[test]
fn a_stop_says_what_was_not_sent() {
    let at = FakeBox::start();
    let tables = format!("[trace]\notlp = \"http://127.0.0.1:{}\"\n", free_port());
    let mut program = Program::start(&at, &tables).ready();
    program.err.wait_for(&["WARN", "trace collector"]);
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let log = program.err.text();
    assert!(log.contains("the trace collector did not take the last spans before the stop"), "{log}");
}
