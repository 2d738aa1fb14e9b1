//! Divides the limit of open files, so that callers leave descriptors for connections to Box, and both leave some for
//! operators, tokens and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rlimit::Resource;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Descriptors reserved for token requests, Redis, name look-ups and files. With those of operators at most a quarter of all.
const SPARE: usize = 16;
/// The fewest and the most descriptors reserved for operators: a hundred open pages ask every few seconds.
const OPERATORS: (usize, usize) = (32, 256);
/// The number of open descriptors that is assumed if they cannot be counted.
const OPEN_AT_LEAST: usize = 32;

/// How many connections of each kind may be open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Of callers.
    pub callers: usize,
    /// To Box.
    pub upstream: usize,
    /// Of operators.
    pub operators: usize,
}

impl Shares {
    /// Divides what is free now. `wanted`: the share of callers; 0: half.
    pub(crate) fn of_free(wanted: usize) -> Self {
        let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let open = std::fs::read_dir("/proc/self/fd").map_or(OPEN_AT_LEAST, Iterator::count);
        Self::of(limit.saturating_sub(open), wanted)
    }

    fn of(free: usize, wanted: usize) -> Self {
        let operators = (free / 32).clamp(OPERATORS.0, OPERATORS.1);
        let spare = (SPARE + operators).min(free / 4);
        let operators = operators.min(spare.saturating_sub(SPARE)).max(4);
        let free = (free - spare).max(2);
        // HTTP/2 carries many requests to Box on one connection, so callers may have more than half where they ask for it.
        let most = free - (free / 4).max(1);
        let callers = if wanted == 0 { free / 2 } else { wanted.min(most) };
        // A semaphore cannot hold more permits.
        Self { callers, upstream: (free - callers).min(Semaphore::MAX_PERMITS), operators }
    }
}

/// Permits for connections to Box, shared by the workers. Connections for large bodies, in either direction, get at most
/// three quarters: they last as long as callers take to read or send, and the API must remain reachable.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamRoom {
    all: Arc<Semaphore>,
    content: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// Held as long as a connection is open.
#[derive(Debug)]
#[must_use = "the room is free again when it is dropped"]
pub(crate) struct Room {
    _content: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// Counts as waiting while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UpstreamRoom {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(0)),
            content: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
        }
    }

    /// Adds permits for this many connections.
    pub(crate) fn add(&self, more: usize) {
        self.all.add_permits(more);
        self.content.add_permits((more - more / 4).max(1));
    }

    /// Takes one permit, if one is free now.
    pub(crate) fn try_take(&self, is_content: bool) -> Option<Room> {
        let content = match is_content {
            true => Some(self.content.clone().try_acquire_owned().ok()?),
            false => None,
        };
        Some(Room { _content: content, _all: self.all.clone().try_acquire_owned().ok()? })
    }

    /// Waits for one permit. Owners of idle connections should close them meanwhile, see [`UpstreamRoom::is_wanted`].
    pub(crate) async fn take(&self, is_content: bool) -> Option<Room> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        // The semaphores are never closed.
        let content = match is_content {
            true => Some(self.content.clone().acquire_owned().await.ok()?),
            false => None,
        };
        Some(Room { _content: content, _all: self.all.clone().acquire_owned().await.ok()? })
    }

    /// Whether anyone is waiting for a permit.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_gets_a_share() {
        for free in [0, 3, 17, 40, 1_000, 1 << 20, usize::MAX] {
            for wanted in [0, 1, 10, 800, 1 << 30] {
                let Shares { callers, upstream, operators } = Shares::of(free, wanted);
                assert!(callers >= 1 && upstream >= 1, "{free} {wanted}");
                assert!(wanted == 0 || callers <= wanted, "{free} {wanted}");
                assert!((4..=OPERATORS.1).contains(&operators), "{free} {wanted}");
                // For less than this, a quarter is reserved for whoever is first.
                assert!(free < 32 || callers + upstream + operators <= free, "{free} {wanted}");
            }
        }
        assert_eq!(Shares::of(100_272, 0), Shares { callers: 50_000, upstream: 50_000, operators: 256 });
        assert_eq!(Shares::of(1_048, 0), Shares { callers: 500, upstream: 500, operators: 32 });
        assert_eq!(Shares::of(1_048, 800), Shares { callers: 750, upstream: 250, operators: 32 });
        assert_eq!(Shares::of(1_048, 600), Shares { callers: 600, upstream: 400, operators: 32 });
    }
}
