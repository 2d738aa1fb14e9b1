//! An idle caller over HTTP/1.1 keeps its socket and little else.

use std::thread;
use std::time::Duration;

use crate::harness::{Caller, Counting, PATIENCE, Sandbox, start_gateway};

/// Connections before counting, so that tables have grown.
const FIRST: usize = 64;
/// The connections that are counted.
const CALLERS: usize = 256;
/// The most bytes that a parked connection keeps: its task, the registration of its socket, what it shares with its requests,
/// and its share of the tables.
const MOST: usize = 1300;

/// Looks again and again until it is so; returns whether it came to be.
fn comes(is_so: impl Fn() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    (0..PATIENCE.as_millis() / PAUSE.as_millis()).any(|_| {
        let so = is_so();
        if !so {
            thread::sleep(PAUSE);
        }
        so
    })
}

#[test]
fn a_parked_connection_keeps_at_most_so_many_bytes() {
    // Dropped last, so that a profile of the heap shows what they keep.
    let mut open = Vec::with_capacity(FIRST + CALLERS);
    let _counting = Counting::begin();
    let sandbox = Sandbox::start();
    let gateway = start_gateway(sandbox.config(), None);
    let mut connect = |count: usize| {
        for _ in 0..count {
            let mut caller = Caller::connect(&gateway.callers);
            caller.ask();
            // Its buffer is not the gateway's.
            open.push(caller.into_socket());
        }
    };
    connect(FIRST);
    assert!(comes(|| gateway.parked() == FIRST), "{} are parked", gateway.parked());
    let before = dhat::HeapStats::get().curr_bytes;
    connect(CALLERS);
    assert!(comes(|| gateway.parked() == FIRST + CALLERS), "{} are parked", gateway.parked());
    let each = || dhat::HeapStats::get().curr_bytes.saturating_sub(before) / CALLERS;
    // Connections to Box that are no longer needed, and the connection that was asked for the count, take a moment to end.
    let is_little = comes(|| each() <= MOST);
    eprintln!("a parked connection keeps {} bytes", each());
    assert!(is_little, "a parked connection keeps {} bytes, at most {MOST} are allowed", each());
}
