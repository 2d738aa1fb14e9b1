//! Files that a command writes for the first time: each appears whole or not at all, and none takes another's place
//! unless the user says so.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// A file to be written.
pub(super) struct FirstFile<'a> {
    /// Its name in the folder.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// 0600 for a secret. Else as the umask says.
    pub(super) is_secret: bool,
}

/// The file's path; its name alone in the current folder.
pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

/// Says early what [`write()`] would refuse: a file that exists, or a folder that cannot be written to.
///
/// # Errors
/// In words for the user; nothing was changed.
pub(super) fn refuse_early(folder: &Path, names: &[&str], replace: bool) -> Result<(), String> {
    for name in names {
        let path = path(folder, name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                return Err(format!("{} is a folder; choose another --dir", path.display()));
            }
            Ok(_) if !replace => return Err(exists(&path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_write(folder, &error)),
        }
    }
    if fs::exists(folder).unwrap_or_default() {
        Builder::new().tempfile_in(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    Ok(())
}

/// Writes the files, in this order, and makes the folder if there is none. Where one cannot be written, those before it
/// are removed again, unless they took the place of others.
///
/// # Errors
/// In words for the user.
pub(super) fn write(folder: &Path, files: &[FirstFile<'_>], replace: bool) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    // All are on the disk under other names before the first one appears.
    let prepared =
        files.iter().map(|file| prepare(folder, file).map(|temporary| (temporary, path(folder, file.name))));
    let prepared = prepared.collect::<io::Result<Vec<_>>>().map_err(|error| cannot_write(folder, &error))?;
    let mut new: Vec<PathBuf> = Vec::new();
    for (temporary, path) in prepared {
        let was_there = fs::symlink_metadata(&path).is_ok();
        let persisted = match replace {
            true => temporary.persist(&path),
            false => temporary.persist_noclobber(&path),
        };
        if let Err(failed) = persisted {
            for path in new {
                let _ = fs::remove_file(path);
            }
            return Err(match failed.error.kind() {
                io::ErrorKind::AlreadyExists => exists(&path),
                _ => format!("{} cannot be written: {}", path.display(), failed.error),
            });
        }
        if !was_there {
            new.push(path);
        }
    }
    // So that the names survive a loss of power, where the file system can say so.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn prepare(folder: &Path, file: &FirstFile<'_>) -> io::Result<NamedTempFile> {
    let mode = if file.is_secret { 0o600 } else { 0o666 };
    let mut temporary = Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    temporary.write_all(file.text.as_bytes())?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn exists(path: &Path) -> String {
    format!("{} exists already; choose another --dir, or replace it with --force", path.display())
}

fn cannot_write(folder: &Path, error: &io::Error) -> String {
    format!("the folder {} cannot be written to: {error}; choose another --dir", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [FirstFile<'_>; 2] = [
        FirstFile { name: "secret", text: "s\n", is_secret: true },
        FirstFile { name: "proxy.toml", text: "new\n", is_secret: false },
    ];

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn both_files_appear_in_a_folder_that_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        write(&inner, &FILES, false).unwrap();
        assert_eq!(names(&inner), ["proxy.toml", "secret"]);
        assert_eq!(fs::read_to_string(inner.join("proxy.toml")).unwrap(), "new\n");
        let mode = fs::metadata(inner.join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_exists_stays_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("proxy.toml"), "old").unwrap();
        assert!(
            refuse_early(folder.path(), &["secret", "proxy.toml"], false).unwrap_err().contains("--force")
        );
        // As if it had appeared since then: the secret is written first, and taken back.
        let said = write(folder.path(), &FILES, false).unwrap_err();
        assert!(said.contains("proxy.toml exists already") && said.contains("--force"), "{said}");
        assert_eq!(names(folder.path()), ["proxy.toml"]);
        assert_eq!(fs::read_to_string(folder.path().join("proxy.toml")).unwrap(), "old");
        write(folder.path(), &FILES, true).unwrap();
        assert_eq!(names(folder.path()), ["proxy.toml", "secret"]);
        assert_eq!(fs::read_to_string(folder.path().join("proxy.toml")).unwrap(), "new\n");
    }

    #[test]
    fn a_link_that_leads_nowhere_counts_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("secret")).unwrap();
        assert!(refuse_early(folder.path(), &["secret"], false).is_err());
        assert!(write(folder.path(), &FILES, false).unwrap_err().contains("secret exists already"));
        assert_eq!(names(folder.path()), ["secret"]);
    }

    #[test]
    fn what_cannot_be_written_is_said_early() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("proxy.toml")).unwrap();
        assert!(refuse_early(folder.path(), &["proxy.toml"], true).unwrap_err().contains("is a folder"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(
            refuse_early(&file, &["proxy.toml"], false).unwrap_err().contains("--dir"),
            "no folder at all"
        );
        assert!(write(&file.join("below"), &FILES, false).unwrap_err().contains("cannot be written to"));
    }
}
