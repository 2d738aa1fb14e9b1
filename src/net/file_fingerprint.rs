//! Whether a path leads to what it led to before, by what the file system says of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::net::file_identity::FileIdentity;

/// Changes whenever what a path leads to may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFingerprint {
    /// Where symbolic links lead.
    target: PathBuf,
    file: FileIdentity,
    size: u64,
    /// Of the content and of the inode, in seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that was read, as it was just before: a later change is seen by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    /// As it was named.
    pub path: PathBuf,
    /// `None`: it was not there.
    pub seen: Option<FileFingerprint>,
}

impl FileFingerprint {
    /// Of what the path leads to now; `None` where that is no file.
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
    /// To be made before the file is read.
    pub(crate) fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: FileFingerprint::of(path) }
    }
}
