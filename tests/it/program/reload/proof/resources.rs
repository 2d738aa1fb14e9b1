//! What the program holds of the system while nobody calls.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::program::harness::{Program, until};

/// Samples of the memory, which the allocator gives back bit by bit.
const SAMPLES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    /// In KiB.
    pub(super) memory: usize,
}

impl Resources {
    /// Once all connections of callers and to Box are closed. `most`: waits until there are no more threads and descriptors;
    /// a thread that looked a name up lives on for a while.
    pub(super) fn settled(program: &Program, most: Option<Self>) -> Self {
        until("callers' connections are closed", || program.metric("boxgate_connections") == 0);
        if let Some(most) = most {
            until("threads and descriptors are where they were", || {
                let now = Self::now(program);
                now.threads <= most.threads && now.descriptors <= most.descriptors
            });
        }
        let samples = (0..SAMPLES).map(|_| {
            thread::sleep(Duration::from_millis(50));
            Self::now(program)
        });
        samples.min_by_key(|sample| sample.memory).unwrap()
    }

    fn now(program: &Program) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
        let line = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        // Only root may look at descriptors; the room for them, which others see, doubles when it is used up.
        let listed = fs::read_dir(format!("/proc/{}/fd", program.id())).map(Iterator::count);
        Self {
            threads: line("Threads:"),
            descriptors: listed.unwrap_or_else(|_| line("FDSize:")),
            memory: line("VmRSS:"),
        }
    }
}
