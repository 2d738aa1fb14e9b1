//! Which files every user of the machine can read, or replace by others.
//!
//! A file's mode does not decide alone: what is below a folder that others may not enter, they cannot reach.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// Rights of users who are neither the owner nor in the group.
const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
const ENTER: u32 = 0o001;
/// In a folder with this bit only the owner of a file removes or renames it.
const STICKY: u32 = 0o1000;

/// The mode of the file to which a path leads, if every user can read it.
pub(crate) fn readable_by_all(path: &Path) -> Option<u32> {
    let target = fs::canonicalize(path).ok()?;
    let mode = mode(&fs::metadata(&target).ok()?);
    (mode & READ != 0 && target.parent().is_none_or(is_reachable)).then_some(mode)
}

/// A file or folder that every user can write to, and thereby decide what a path leads to: the file itself, or a folder on the
/// way to it or to its symbolic link. With its mode.
pub(crate) fn writable_by_all(path: &Path) -> Option<(PathBuf, u32)> {
    let target = fs::canonicalize(path).ok()?;
    let found = fs::metadata(&target).ok()?;
    if mode(&found) & WRITE != 0 && target.parent().is_none_or(is_reachable) && !is_read_only(&target) {
        return Some((target, mode(&found)));
    }
    // `canonicalize` does not take an empty path for the current folder.
    let beside =
        path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let beside = beside.and_then(|folder| fs::canonicalize(folder).ok());
    let folders = beside.iter().flat_map(|folder| folder.ancestors());
    let is_open = |folder: &&Path| {
        let mode = fs::metadata(folder).map_or(0, |found| mode(&found));
        mode & WRITE != 0 && mode & STICKY == 0 && is_reachable(folder) && !is_read_only(folder)
    };
    let folder = folders.chain(target.ancestors().skip(1)).find(is_open)?;
    Some((folder.to_owned(), mode(&fs::metadata(folder).ok()?)))
}

/// Whether every user may enter this folder and all above it. Its path has no symbolic links.
fn is_reachable(folder: &Path) -> bool {
    folder.ancestors().all(|folder| fs::metadata(folder).is_ok_and(|found| mode(&found) & ENTER != 0))
}

/// Whether the file system is mounted read-only, as the kubelet mounts volumes whose folders have mode 0777.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mounted| mounted.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The lowest twelve bits.
fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Below the folder for temporary files, which every user may enter and which is sticky; removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("boxgate-exposure-{}-{}", std::process::id(), fastrand::u64(..));
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            fs::create_dir(folder.join("in")).unwrap();
            fs::write(folder.join("in/secret"), "s").unwrap();
            symlink("in/secret", folder.join("link")).unwrap();
            let folder = Self(folder);
            folder.set("", 0o755).set("in", 0o755).set("in/secret", 0o600);
            folder
        }

        fn set(&self, name: &str, mode: u32) -> &Self {
            fs::set_permissions(self.0.join(name), Permissions::from_mode(mode)).unwrap();
            self
        }

        fn readable(&self, name: &str) -> Option<u32> {
            readable_by_all(&self.0.join(name))
        }

        /// The name and mode of what is found.
        fn writable(&self, name: &str) -> Option<(String, u32)> {
            let (path, mode) = writable_by_all(&self.0.join(name))?;
            let root = fs::canonicalize(&self.0).unwrap();
            Some((path.strip_prefix(root).unwrap().display().to_string(), mode))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_readable_by_all_where_others_may_read_it_and_enter_every_folder_above() {
        let folder = Folder::new();
        for (of_file, of_folder, want) in [
            (0o600, 0o755, None),
            (0o640, 0o755, None),
            (0o644, 0o755, Some(0o644)),
            (0o604, 0o711, Some(0o604)),
            (0o444, 0o755, Some(0o444)),
            (0o644, 0o700, None),
            (0o644, 0o750, None),
            // The names in it can be listed, and not opened.
            (0o644, 0o754, None),
        ] {
            folder.set("in/secret", of_file).set("in", of_folder);
            for name in ["in/secret", "link"] {
                assert_eq!(folder.readable(name), want, "{name} {of_file:o} in {of_folder:o}");
            }
        }
        folder.set("in", 0o755).set("", 0o700);
        assert_eq!(folder.readable("link"), None, "a folder further above");
        assert_eq!(folder.readable("nowhere"), None);
    }

    #[test]
    fn a_file_is_writable_by_all_where_it_or_a_folder_on_the_way_is() {
        let folder = Folder::new();
        let found = |name: &str, mode| Some((name.to_owned(), mode));
        assert_eq!((folder.writable("in/secret"), folder.writable("link")), (None, None));
        folder.set("in/secret", 0o602);
        assert_eq!(folder.writable("link"), found("in/secret", 0o602));
        folder.set("in", 0o700);
        assert_eq!(folder.writable("link"), None, "nobody reaches it");
        folder.set("in/secret", 0o600).set("in", 0o777);
        assert_eq!(folder.writable("in/secret"), found("in", 0o777));
        assert_eq!(folder.writable("link"), found("in", 0o777));
        folder.set("in", 0o1777);
        assert_eq!(folder.writable("in/secret"), None, "only the owner replaces what is in it");
        // The link can be replaced, and what it leads to cannot.
        folder.set("in", 0o755).set("", 0o777);
        assert_eq!(folder.writable("link"), found("", 0o777));
        assert_eq!(folder.writable("in/secret"), found("", 0o777));
    }

    #[test]
    fn what_is_mounted_read_only_is_not_writable() {
        assert!(!is_read_only(&std::env::temp_dir()));
        // Linux mounts it so, even if a container may write elsewhere in /sys.
        let read_only = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut mounts = read_only.lines().filter(|line| {
            line.split(' ').nth(3).is_some_and(|options| options.split(',').any(|option| option == "ro"))
        });
        if let Some(place) = mounts.next().and_then(|line| line.split(' ').nth(1)) {
            assert!(is_read_only(Path::new(place)), "{place}");
        }
    }
}
