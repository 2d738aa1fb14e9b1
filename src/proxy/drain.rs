//! How the requests of a worker learn that the process stops.

use std::cell::Cell;

use tokio::sync::Notify;

/// The drain of one worker thread. At its beginning long polls end, at the cut-off everything that is still in flight.
#[derive(Default)]
pub(crate) struct Drain {
    begun: Cell<bool>,
    told: Notify,
    cut_off: Cell<bool>,
}

impl Drain {
    /// Begins the drain: ends what it does not wait for.
    pub(crate) fn begin(&self) {
        self.begun.set(true);
        self.told.notify_waiters();
    }

    /// Returns once a drain has begun.
    pub(crate) async fn begun(&self) {
        let told = self.told.notified();
        if !self.begun.get() {
            told.await;
        }
    }

    /// Drops what is still in flight from now on.
    pub(crate) fn cut_off(&self) {
        self.cut_off.set(true);
    }

    /// Whether requests in flight are dropped because the process stops.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }
}
