//! Files that are taken over when they change. They are looked at once in a while rather than watched by the kernel: that
//! sees symbolic links that are swapped (Kubernetes), files that are renamed into place, and changes on network file
//! systems, and costs a few calls of `stat` a second.

use std::path::PathBuf;
use std::time::Duration;

use crate::net::file_fingerprint::{FileFingerprint, FileRead};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What was seen of files when they were last looked at; of none, until [`FileWatch::watch`] names some.
#[derive(Default)]
pub(super) struct FileWatch {
    paths: Vec<PathBuf>,
    /// When they were read, or a change was last reported.
    reported: Seen,
    /// At the last look.
    last: Seen,
}

/// What each path leads to; `None` where that is no file.
type Seen = Vec<Option<FileFingerprint>>;

impl FileWatch {
    /// Looks at these files from now on, of which each path stands once. A change since they were read is reported.
    pub(super) fn watch(&mut self, files: Vec<FileRead>) {
        let (paths, seen): (_, Seen) = files.into_iter().map(|FileRead { path, seen }| (path, seen)).unzip();
        *self = Self { paths, reported: seen.clone(), last: seen };
    }

    /// Returns once a file has changed and none does any more: several that are replaced together are one change. Never
    /// returns without files. A call that is given up misses nothing.
    pub(super) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(EVERY).await;
            let paths = self.paths.clone();
            // The files may be on a network.
            let looked = tokio::task::spawn_blocking(move || look(&paths)).await;
            if looked.is_ok_and(|now| self.is_change(now)) {
                return;
            }
        }
    }

    /// Notes what a look has seen. True where it differs from what was reported and two looks in a row have seen it.
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

    /// Looks once more.
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
            assert!(!look_again(&mut watch), "{what}: it may go on");
            assert!(look_again(&mut watch), "{what}");
            assert!(!look_again(&mut watch), "{what}: once");
        }
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
