//! Reads files within a time limit. A read of a named pipe that nobody writes, or of a network file system that is gone,
//! never ends and cannot be cancelled: without a limit, no later reload would happen.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The time limit for all files of a configuration.
const LIMIT: Duration = Duration::from_secs(5);
/// The most reads that may be left hanging. Each keeps one of the runtime's threads for blocking work, which look up names too.
const MOST: usize = 8;

/// Reads on threads of their own.
#[derive(Default)]
pub(super) struct BoundedReading {
    /// Held by each read that has not ended.
    unfinished: Arc<()>,
}

impl BoundedReading {
    /// What the task returns, if it ends in time.
    ///
    /// # Errors
    /// It did not; in words for operators, which name those of `paths` that are pipes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        paths: Vec<PathBuf>,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        if self.hanging() >= MOST {
            return Err(format!(
                "{MOST} earlier attempts to read the configuration's files still hang: correct the files, then restart the gateway"
            ));
        }
        let held = self.unfinished.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let result = task();
            drop(held);
            result
        });
        match tokio::time::timeout(LIMIT, reading).await {
            Ok(Ok(result)) => Ok(result),
            // The task is never aborted.
            Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            Err(_) => Err(self.why(paths).await),
        }
    }

    fn hanging(&self) -> usize {
        Arc::strong_count(&self.unfinished) - 1
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
