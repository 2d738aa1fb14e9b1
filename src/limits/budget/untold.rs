//! Calls of budgets that Redis does not know of yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The calls of one count that Redis does not know of yet. They are sent in numbered batches: if a reply is lost, the
/// same batch is sent again, and Redis counts it once.
#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Telling>);

#[derive(Debug, Default)]
struct Telling {
    waiting: u64,
    batch: Option<Batch>,
    /// An operation under way carries the batch.
    on_its_way: bool,
}

/// Calls that are reported to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) calls: u64,
}

/// A batch under way. Unless [`Told::arrived`] is called, it stays to be sent.
#[derive(Debug)]
pub(super) struct Told {
    alone: Arc<Alone>,
    batch: Option<Batch>,
}

impl Alone {
    /// Adds a call that Redis does not know of.
    pub(super) fn add(&self) {
        self.lock().waiting += 1;
    }

    /// The number of calls that Redis does not know of.
    pub(super) fn calls(&self) -> u64 {
        let telling = self.lock();
        telling.waiting + telling.batch.map_or(0, |batch| batch.calls)
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Takes the batch to be sent, unless another operation carries it or Redis is not in use (`heard` is false).
    pub(super) fn begin(alone: Arc<Alone>, heard: bool) -> Self {
        let mut telling = alone.lock();
        if telling.on_its_way || !heard {
            drop(telling);
            return Self { alone, batch: None };
        }
        if telling.batch.is_none() && telling.waiting > 0 {
            let calls = std::mem::take(&mut telling.waiting);
            telling.batch = Some(Batch { number: fastrand::u64(..), calls });
        }
        let batch = telling.batch;
        telling.on_its_way = batch.is_some();
        drop(telling);
        Self { alone, batch }
    }

    pub(super) fn batch(&self) -> Option<Batch> {
        self.batch
    }

    /// Redis has counted the batch.
    pub(super) fn arrived(mut self) {
        if self.batch.take().is_some() {
            let mut telling = self.alone.lock();
            (telling.batch, telling.on_its_way) = (None, false);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.batch.is_some() {
            self.alone.lock().on_its_way = false;
        }
    }
}
