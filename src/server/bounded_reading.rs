//! Reads files within a time limit. A read of a named pipe that nobody writes, or of a network file system that is gone,
//! never ends and cannot be cancelled: without a limit, no later reload would happen.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

/// The time limit for all files of a configuration.
const LIMIT: Duration = Duration::from_secs(5);
/// The most reads that may be left hanging. Each keeps one of the runtime's threads for blocking work, which look up names too.
const MOST: usize = 8;

/// Reads on threads of their own.
pub(super) struct BoundedReading {
    /// The number of reads that have not ended.
    unfinished: watch::Sender<usize>,
}

/// A read did not end in time.
#[derive(Debug)]
pub(super) struct Hanging {
    /// In words for operators.
    pub(super) why: String,
    /// How many reads hung then: with fewer, it is worth while to try again.
    pub(super) count: usize,
}

/// A read that has not ended.
struct Unfinished(watch::Sender<usize>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl BoundedReading {
    pub(super) fn new() -> Self {
        Self { unfinished: watch::Sender::new(0) }
    }

    /// What the task returns, if it ends in time.
    ///
    /// # Errors
    /// It did not. `paths`: files that it may read; those that are pipes are named.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        paths: Vec<PathBuf>,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hanging> {
        let before = *self.unfinished.borrow();
        if before >= MOST {
            let why = format!(
                "{MOST} earlier attempts to read the configuration's files still hang: correct the files, then restart the gateway"
            );
            return Err(Hanging { why, count: before });
        }
        self.unfinished.send_modify(|count| *count += 1);
        let held = Unfinished(self.unfinished.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let result = task();
            drop(held);
            result
        });
        match tokio::time::timeout(LIMIT, reading).await {
            Ok(Ok(result)) => Ok(result),
            // The task is never aborted.
            Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            Err(_) => Err(Hanging { why: self.why(paths).await, count: before + 1 }),
        }
    }

    /// Returns once fewer reads than this hang.
    pub(super) async fn has_fewer_hanging(&self, count: usize) {
        // The sender is this one, so it is there.
        let _ = self.unfinished.subscribe().wait_for(|now| *now < count).await;
    }

    async fn why(&self, paths: Vec<PathBuf>) -> String {
        // The file system may be what hangs.
        let looking = tokio::task::spawn_blocking(move || pipes(paths));
        let pipes = tokio::time::timeout(Duration::from_secs(1), looking).await;
        let which = match pipes {
            Ok(Ok(pipes)) if !pipes.is_empty() => {
                format!("{} is a named pipe that nobody writes; put a file there", pipes.join(", "))
            }
            _ => "a file hangs, for example on a network file system that is gone".to_owned(),
        };
        format!("the configuration's files could not be read in {} s: {which}", LIMIT.as_secs())
    }
}

fn pipes(paths: Vec<PathBuf>) -> Vec<String> {
    let is_pipe = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    paths.into_iter().filter(is_pipe).map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn reads_are_counted_until_they_end() {
        let reading = BoundedReading::new();
        let (end, ended) = mpsc::channel::<()>();
        let first = reading.run(Vec::new(), move || ended.recv().is_err());
        let second = async {
            assert_eq!(*reading.unfinished.borrow(), 1);
            assert_eq!(reading.run(Vec::new(), || 7).await.unwrap(), 7);
            drop(end);
            reading.has_fewer_hanging(1).await;
        };
        assert!(tokio::join!(biased; first, second).0.unwrap());
        assert_eq!(*reading.unfinished.borrow(), 0);
    }

    #[tokio::test]
    async fn so_many_reads_may_hang_and_no_more() {
        let reading = BoundedReading::new();
        reading.unfinished.send_replace(MOST);
        let refused = reading.run(Vec::new(), || ()).await.unwrap_err();
        assert!(refused.why.contains("restart the gateway") && refused.count == MOST, "{refused:?}");
        drop(Unfinished(reading.unfinished.clone()));
        reading.has_fewer_hanging(refused.count).await;
        reading.run(Vec::new(), || ()).await.unwrap();
    }
}
