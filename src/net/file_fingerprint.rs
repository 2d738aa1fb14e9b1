//! Detects whether the file at a path has changed, by its metadata.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::net::file_identity::FileIdentity;

/// Differs whenever the file at a path may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFingerprint {
    /// The path with all symbolic links resolved.
    target: PathBuf,
    file: FileIdentity,
    size: u64,
    /// The last change of the content, in seconds and nanoseconds.
    modified: (i64, i64),
    /// The last change of the inode, likewise.
    changed: (i64, i64),
}

/// A file that was read, with its fingerprint from just before, to detect later changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    /// The path as given.
    pub path: PathBuf,
    /// `None`: the file did not exist.
    pub seen: Option<FileFingerprint>,
}

impl FileFingerprint {
    /// The fingerprint of the file at this path; `None`: no file is there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let target = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&target).ok()?;
        Some(Self {
            target,
            file: FileIdentity::of(&found),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl FileRead {
    /// Takes the fingerprint; call it before reading the file.
    pub(crate) fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: FileFingerprint::of(path) }
    }
}
