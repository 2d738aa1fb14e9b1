//! `[listen] max_connections`: connections beyond it are accepted and closed at once. In the backlog, callers would
//! wait in vain, and open connections would use up the descriptors that operators need. A tunnel within an HTTP/2
//! connection counts as one more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tracing::{info, warn};

/// Counts callers' connections, open and refused, against the limit.
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
    /// Sets how many may be open; before this call, none may.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Counts one more connection; `None` if the limit is reached. The first refusal is logged.
    pub(crate) fn take(self: &Arc<Self>) -> Option<OpenConnection> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let taken = OpenConnection(self.clone());
        let most = self.most();
        if open >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if !self.is_full.swap(true, Ordering::Relaxed) {
                warn!(
                    open,
                    "callers' connections have reached [listen] max_connections or the limit of open files; further ones are closed at once"
                );
            }
            return None;
        }
        // Only at three quarters: otherwise every connection that closes and opens at the limit would be logged.
        if open < most - most / 4 && self.is_full.swap(false, Ordering::Relaxed) {
            info!(refused = self.refused(), "callers' connections are accepted again");
        }
        Some(taken)
    }

    /// The most that may be open at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How many connections were closed at once.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
