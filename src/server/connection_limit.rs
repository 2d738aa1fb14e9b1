//! `[listen] max_connections`: more callers are accepted and closed at once. Left in the backlog they would wait for
//! nothing, and each of them takes descriptors from operators.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::{info, warn};

/// How many connections of callers there may be, and what became of the others.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: usize,
    refused: AtomicU64,
    is_full: AtomicBool,
}

impl ConnectionLimit {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self { most, refused: AtomicU64::new(0), is_full: AtomicBool::new(false) }
    }

    /// Whether one more may be served while so many are open. The first that may not is logged.
    pub(super) fn admits(&self, open: usize) -> bool {
        if open >= self.most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if !self.is_full.swap(true, Ordering::Relaxed) {
                warn!(
                    open,
                    "callers have as many connections as [listen] max_connections, or the limit of open files, allows; more are closed at once"
                );
            }
            return false;
        }
        // Not at once: with one connection less it would be said for each that comes.
        if open < self.most - self.most / 4 && self.is_full.swap(false, Ordering::Relaxed) {
            info!(refused = self.refused(), "there is room for callers' connections again");
        }
        true
    }

    /// The most that may be open at once.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Connections that were closed at once.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
