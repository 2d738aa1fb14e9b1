//! The thread that writes the counts to disk, so that requests do not wait for it: about once a second if something has
//! changed, and at the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tracing::{error, info, warn};

use super::counts::CallCounts;
use super::definition::Period;
use super::period::timestamp;
use super::store::{OpenError, Store};
use crate::net::clock::Clock;

/// Shorter than a second by more than a commit takes, so that a kill loses at most the last second.
const EVERY: Duration = Duration::from_millis(900);

/// The timeout of the last write: the process must end even if the disk hangs.
const LAST: Duration = Duration::from_secs(5);

/// The writer thread. Dropping this writes once more and waits for that, at most for [`LAST`].
pub(crate) struct CountsWriter {
    stop: Option<Sender<()>>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

/// Opens the file in the state folder and starts to write the returned counts to it. `needed`: a budget is configured.
/// Without one, the start does not wait for the file, a file that cannot be opened is only a warning, and the counts
/// then last as long as the process.
///
/// # Errors
/// A budget is configured and the file cannot be opened; the message is for operators.
pub(crate) fn start(
    folder: &Path,
    needed: bool,
    clock: Clock,
) -> Result<(Arc<CallCounts>, CountsWriter), OpenError> {
    let now = timestamp(clock.wall());
    let store = if needed { Some(Store::open(folder, now)?) } else { None };
    let counts = Arc::new(CallCounts::new(now, []));
    let (stop, stopped) = mpsc::channel::<()>();
    let (ending, ended) = mpsc::channel::<()>();
    let mut keeping = Keeping { store, counts: counts.clone(), clock };
    keeping.begin();
    let folder = folder.to_owned();
    let thread = thread::Builder::new().name("budgets".to_owned()).spawn(move || {
        if !needed {
            // Opening writes to the disk, which the start should not wait for.
            match Store::open(&folder, now) {
                Ok(store) => keeping.store = Some(store),
                Err(why) => {
                    warn!("calls of Box's API are counted only until the next restart: {why}");
                    keeping.counts.set_replica(fastrand::u64(..));
                }
            }
            keeping.begin();
        }
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
            keeping.keep();
        }
        keeping.keep();
        // The file is closed before the end is signalled.
        drop(keeping);
        drop(ending);
    });
    thread.map_err(OpenError::Thread)?;
    Ok((counts, CountsWriter { stop: Some(stop), ended }))
}

impl CountsWriter {
    /// Writes once more, and returns when that is synced to disk, or the timeout has passed. Call it after the workers
    /// have ended.
    pub(crate) fn stop(self) {}
}

impl Drop for CountsWriter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(LAST) {
            warn!("the last counts of calls could not be written within {LAST:?}");
        }
    }
}

struct Keeping {
    store: Option<Store>,
    counts: Arc<CallCounts>,
    clock: Clock,
}

impl Keeping {
    /// Loads the counts of the file.
    fn begin(&self) {
        let file = &self.counts.file;
        file.in_memory.store(self.store.is_none(), Ordering::Relaxed);
        if let Some(store) = &self.store {
            self.counts.go_on_from(store.since(), store.entries());
            file.set_aside.store(store.set_aside(), Ordering::Relaxed);
            name_replica(&self.counts, store);
        }
    }

    fn keep(&mut self) {
        let now = timestamp(self.clock.wall());
        let spans = [Period::Day.at(now), Period::Month.at(now)];
        self.counts.forget(spans);
        let Some(store) = &mut self.store else { return };
        let written = store.write(&self.counts, now).map(|unchanged| self.counts.close(&unchanged, spans));
        name_replica(&self.counts, store);
        let file = &self.counts.file;
        file.set_aside.store(store.set_aside(), Ordering::Relaxed);
        let failed_before = file.written(written.as_ref().err().map(ToString::to_string));
        match written {
            Ok(()) if failed_before => info!("counts of calls are written again"),
            Ok(()) => {}
            Err(why) => {
                file.failed_writes.fetch_add(1, Ordering::Relaxed);
                if !failed_before {
                    error!(
                        "counts of calls cannot be written; counting and further attempts go on, but a restart now would lose unwritten counts: {why}"
                    );
                }
            }
        }
    }
}

/// The name of the counts lasts as long as the file does.
fn name_replica(counts: &CallCounts, store: &Store) {
    if let Some(replica) = store.replica() {
        counts.set_replica(replica);
    }
}

#[cfg(test)]
mod tests;
