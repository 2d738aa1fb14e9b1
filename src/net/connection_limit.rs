//! `[listen] max_connections`: more callers are accepted and closed at once. Left in the backlog they would wait for
//! nothing, and each of them takes descriptors from operators. A tunnel inside of an HTTP/2 connection counts as one more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tracing::{info, warn};

/// How many connections of callers there are and may be, and what became of the others.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLimit {
    most: AtomicUsize,
    open: AtomicUsize,
    refused: AtomicU64,
    is_full: AtomicBool,
}

/// Counts as an open connection while it lives.
#[derive(Debug)]
#[must_use = "the connection is no longer counted when it is dropped"]
pub(crate) struct OpenConnection(Arc<ConnectionLimit>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionLimit {
    /// So many may be open from here on; none before.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// One more, unless there are as many as there may be. The first that is refused is logged.
    pub(crate) fn take(self: &Arc<Self>) -> Option<OpenConnection> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let taken = OpenConnection(self.clone());
        let most = self.most();
        if open >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if !self.is_full.swap(true, Ordering::Relaxed) {
                warn!(
                    open,
                    "callers have as many connections as [listen] max_connections, or the limit of open files, allows; more are closed at once"
                );
            }
            return None;
        }
        // Not at once: with one connection less it would be said for each that comes.
        if open < most - most / 4 && self.is_full.swap(false, Ordering::Relaxed) {
            info!(refused = self.refused(), "there is room for callers' connections again");
        }
        Some(taken)
    }

    /// The most that may be open at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
