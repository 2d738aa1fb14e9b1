//! Watches files for changes. They are polled rather than watched through the kernel: polling
//! detects swapped symbolic links (Kubernetes), files renamed into place, and changes on network file
//! systems, and costs a few calls of `stat` a second.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::net::file_fingerprint::{FileFingerprint, FileRead};

/// The time between two polls.
const EVERY: Duration = Duration::from_secs(1);

/// The fingerprints of the watched files; none until [`FileWatch::watch`] names some.
#[derive(Default)]
pub(super) struct FileWatch {
    paths: Vec<PathBuf>,
    /// As read, or as of the last reported change.
    reported: Seen,
    /// As of the last poll.
    last: Seen,
    /// The poll that has begun and not ended.
    looking: Looking<Seen>,
}

/// The fingerprint of each path; `None`: no file is there.
type Seen = Vec<Option<FileFingerprint>>;

impl FileWatch {
    /// Watches these files from now on; each path must be listed once. A change since they were read is reported.
    pub(super) fn watch(&mut self, files: Vec<FileRead>) {
        let (paths, seen): (_, Seen) = files.into_iter().map(|FileRead { path, seen }| (path, seen)).unzip();
        // A poll of these files that hangs is waited for: another would hang, too. What it has seen may be older than what was
        // read; as the first of the two polls that a change needs it reports none.
        let looking = if paths == self.paths { self.looking.take() } else { Looking(None) };
        *self = Self { paths, reported: seen.clone(), last: seen, looking };
    }

    /// Returns once a file has changed and no file changes any more: files replaced together are one change. Never
    /// returns without files. Cancelling a call loses no change.
    pub(super) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            if !self.looking.has_begun() {
                tokio::time::sleep(EVERY).await;
            }
            let paths = &self.paths;
            let seen = self.looking.result(|| {
                let paths = paths.clone();
                move || look(&paths)
            });
            let seen = seen.await;
            if seen.is_some_and(|now| self.is_change(now)) {
                return;
            }
        }
    }

    /// Records what a poll has seen. True if it differs from what was reported and two polls in a row have seen it.
    fn is_change(&mut self, now: Seen) -> bool {
        let is_change = now == self.last && now != self.reported;
        if is_change {
            self.reported.clone_from(&now);
        }
        self.last = now;
        is_change
    }
}

fn look(paths: &[PathBuf]) -> Seen {
    paths.iter().map(|path| FileFingerprint::of(path)).collect()
}

/// A task on a thread of its own, since the files may be on a slow network file system. It is waited for again by whoever
/// asks next, so that one that hangs keeps one thread, however often the wait is cancelled.
struct Looking<T>(Option<JoinHandle<T>>);

impl<T> Default for Looking<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Looking<T> {
    fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// The result of the task that has begun, else of a new one; `None`: it panicked. Cancelling a call loses nothing.
    async fn result<F: FnOnce() -> T + Send + 'static>(&mut self, task: impl FnOnce() -> F) -> Option<T> {
        let looking = self.0.get_or_insert_with(|| tokio::task::spawn_blocking(task()));
        let result = looking.await;
        self.0 = None;
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn watching(paths: Vec<PathBuf>) -> FileWatch {
        let mut watch = FileWatch::default();
        watch.watch(paths.iter().map(|path| FileRead::now(path)).collect());
        watch
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("boxgate-watch-{}-{}", std::process::id(), fastrand::u64(..));
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn replace_link(from: &Path, to: &str) {
        let beside = from.with_extension("new");
        symlink(to, &beside).unwrap();
        fs::rename(beside, from).unwrap();
    }

    /// Polls once more.
    fn look_again(watch: &mut FileWatch) -> bool {
        let now = look(&watch.paths);
        watch.is_change(now)
    }

    #[test]
    fn every_way_to_replace_a_file_is_seen_once() {
        let folder = Folder::new();
        folder.write("1/tls.crt", "one");
        folder.write("2/tls.crt", "one");
        symlink("1", folder.path("data")).unwrap();
        symlink("data/tls.crt", folder.path("tls.crt")).unwrap();
        folder.write("tls.key", "key");
        let mut watch = watching(vec![folder.path("tls.crt"), folder.path("tls.key")]);
        assert!(!look_again(&mut watch), "nothing has changed");
        let changes: [(&str, &dyn Fn()); 5] = [
            ("a link on the way is swapped", &|| replace_link(&folder.path("data"), "2")),
            ("written in place", &|| folder.write("tls.key", "the other key")),
            ("renamed into place", &|| {
                folder.write("beside", "the other key");
                fs::rename(folder.path("beside"), folder.path("tls.key")).unwrap();
            }),
            ("removed", &|| fs::remove_file(folder.path("tls.key")).unwrap()),
            ("there again", &|| folder.write("tls.key", "key")),
        ];
        for (what, change) in changes {
            change();
            assert!(!look_again(&mut watch), "{what}: the change may not be complete");
            assert!(look_again(&mut watch), "{what}");
            assert!(!look_again(&mut watch), "{what}: once");
        }
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_waited_for_again_and_no_other_begins() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let mut looking = Looking::default();
        let hanging = looking.result(|| move || ended.recv().map_or("the first", |()| "woken"));
        // Cancelled, as by another reason for a reload.
        tokio::select! {
            biased;
            _ = hanging => panic!("it hangs"),
            () = std::future::ready(()) => {}
        }
        drop(end);
        assert_eq!(looking.result(|| || "another").await, Some("the first"));
        assert_eq!(looking.result(|| || "another").await, Some("another"));
    }

    #[tokio::test]
    async fn a_look_at_the_same_files_outlives_a_reload_and_reports_no_change_that_was_read() {
        let folder = Folder::new();
        folder.write("a", "one");
        let mut watch = watching(vec![folder.path("a")]);
        let before = look(&watch.paths);
        watch.looking = Looking(Some(tokio::task::spawn_blocking(|| before)));
        folder.write("a", "other");
        watch.watch(vec![FileRead::now(&folder.path("a"))]);
        assert!(watch.looking.has_begun());
        let seen = watch.looking.result(|| Seen::new).await.unwrap();
        assert!(!watch.is_change(seen) && !look_again(&mut watch) && !look_again(&mut watch));
        watch.looking = Looking(Some(tokio::task::spawn_blocking(Seen::new)));
        watch.watch(vec![FileRead::now(&folder.path("b"))]);
        assert!(!watch.looking.has_begun(), "other files");
    }

    #[test]
    fn a_burst_is_one_change_at_its_end() {
        let folder = Folder::new();
        folder.write("a", "");
        let mut watch = watching(vec![folder.path("a")]);
        for size in 1..5 {
            folder.write("a", &"x".repeat(size));
            assert!(!look_again(&mut watch), "it still changes");
        }
        assert!(look_again(&mut watch));
        assert!(!look_again(&mut watch));
        folder.write("a", "other");
        assert!(!look_again(&mut watch));
        replace_link(&folder.path("a"), "nowhere");
        assert!(!look_again(&mut watch));
        assert!(look_again(&mut watch), "a file that is gone is a change");
    }
}
