//! What the requests of a worker are told when the process stops.

use std::cell::Cell;

use tokio::sync::Notify;

/// Of one worker thread. First long polls end, at last whatever is still in flight.
#[derive(Default)]
pub(crate) struct Drain {
    begun: Cell<bool>,
    told: Notify,
    cut_off: Cell<bool>,
}

impl Drain {
    /// Ends what a drain does not wait for.
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

    /// What is still in flight is dropped from here on.
    pub(crate) fn cut_off(&self) {
        self.cut_off.set(true);
    }

    /// Whether what is in flight is dropped because the process stops.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }
}
