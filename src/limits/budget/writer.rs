//! The thread that writes the counts down, off the path of requests: when something has changed, about once a
//! second, and at the end.

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

/// Under a second by more than a commit takes, so that a kill loses the last second at most.
const EVERY: Duration = Duration::from_millis(900);

/// The last write may take this long: a disk can hang, and the process is to end all the same.
const LAST: Duration = Duration::from_secs(5);

/// The thread. Dropping it writes once more, and waits for that, but no longer than [`LAST`].
pub(crate) struct CountsWriter {
    stop: Option<Sender<()>>,
    /// Its other half is dropped at the thread's end.
    ended: Receiver<()>,
}

/// Opens the file in the state folder, and begins to write the counts that are returned to it.
/// `needed`: a budget is configured. Without one, nobody waits for the file, a file that cannot be had is a warning,
/// and the counts of who spent what live as long as the process.
///
/// # Errors
/// A budget is configured, and the file cannot be had; in words for operators.
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
            // Opening it writes to the disk, for which a start would wait.
            match Store::open(&folder, now) {
                Ok(store) => keeping.store = Some(store),
                Err(why) => warn!("who spends Box calls is counted until the next restart only: {why}"),
            }
            keeping.begin();
        }
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
            keeping.keep();
        }
        keeping.keep();
        // The file is closed before anybody hears of the end.
        drop(keeping);
        drop(ending);
    });
    thread.map_err(OpenError::Thread)?;
    Ok((counts, CountsWriter { stop: Some(stop), ended }))
}

impl CountsWriter {
    /// Writes once more, and returns when that is safe on the disk, or the disk hangs. After the workers have ended.
    pub(crate) fn stop(self) {}
}

impl Drop for CountsWriter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(LAST) {
            warn!("the last counts of calls could not be written down within {LAST:?}");
        }
    }
}

struct Keeping {
    store: Option<Store>,
    counts: Arc<CallCounts>,
    clock: Clock,
}

impl Keeping {
    /// Goes on from what the file says.
    fn begin(&self) {
        let file = &self.counts.file;
        file.in_memory.store(self.store.is_none(), Ordering::Relaxed);
        if let Some(store) = &self.store {
            self.counts.go_on_from(store.since(), store.entries());
            file.set_aside.store(store.set_aside(), Ordering::Relaxed);
        }
    }

    fn keep(&mut self) {
        let now = timestamp(self.clock.wall());
        self.counts.forget([Period::Day.at(now), Period::Month.at(now)]);
        let Some(store) = &mut self.store else { return };
        let written = store.write(&self.counts.entries(), now);
        let file = &self.counts.file;
        file.set_aside.store(store.set_aside(), Ordering::Relaxed);
        let failed_before = file.failing.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Ok(()) if failed_before => info!("counts of calls are written down again"),
            Ok(()) => {}
            Err(why) => {
                file.failed_writes.fetch_add(1, Ordering::Relaxed);
                if !failed_before {
                    error!(
                        "counts of calls cannot be written down; counting goes on, and so do the tries, but a restart now would lose what is not written: {why}"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
