//! What limits have done, for metrics: it goes on for a limit of the same name in the next configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What one limit has done.
#[derive(Debug)]
pub(crate) struct Tally {
    limit: Arc<str>,
    refused: AtomicU64,
    shadow: AtomicU64,
    queued: AtomicUsize,
}

/// By the indices of the limits of one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Tallies(Vec<Arc<Tally>>);

/// A request that waits for its turn, counted until dropped.
pub(crate) struct Queued<'t>(&'t Tally);

impl Tally {
    fn new(limit: &Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            limit: Arc::clone(limit),
            refused: AtomicU64::new(0),
            shadow: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
        })
    }

    /// Requests that it refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that it would have refused if it were enforced.
    pub(crate) fn shadow(&self) -> u64 {
        self.shadow.load(Ordering::Relaxed)
    }

    /// Requests that wait until Redis lets them go.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn queue(&self) -> Queued<'_> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        Queued(self)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tallies {
    /// At zero, of limits with these names.
    pub(crate) fn new<'n>(limits: impl Iterator<Item = &'n Arc<str>>) -> Self {
        Self(limits.map(Tally::new).collect())
    }

    /// Of the limits of the next configuration: those that keep their name keep what was counted.
    pub(crate) fn successor<'n>(&self, limits: impl Iterator<Item = &'n Arc<str>>) -> Self {
        let known = |limit: &Arc<str>| self.0.iter().find(|tally| tally.limit == *limit).cloned();
        Self(limits.map(|limit| known(limit).unwrap_or_else(|| Tally::new(limit))).collect())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Tally> {
        self.0.get(index).map(Arc::as_ref)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tally> {
        self.0.iter().map(Arc::as_ref)
    }

    pub(crate) fn count_refused(&self, index: usize) {
        if let Some(tally) = self.get(index) {
            tally.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_shadow(&self, index: usize) {
        if let Some(tally) = self.get(index) {
            tally.shadow.fetch_add(1, Ordering::Relaxed);
        }
    }
}
