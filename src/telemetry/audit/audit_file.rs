//! The file of the audit log: opened for appending and locked, so that two processes never mix their chains; whole lines
//! only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::chain::{self, Hash};
use crate::net::file_identity::FileIdentity;

/// Who may read what is in it: its owner alone.
const MODE: u32 = 0o600;
/// How much of the end of a file is searched for its last line. Lines are much shorter.
const SEARCHED: u64 = 1024 * 1024;
/// How every audit line begins.
const BEGIN: &[u8] = b"{\"time\":\"";
/// The pause before a retry, if a pipe accepts nothing now.
const BUSY: Duration = Duration::from_millis(10);

/// An open file.
#[derive(Debug)]
pub(crate) struct AuditFile {
    file: File,
    identity: FileIdentity,
    /// Not a pipe or device: it can be read, locked and truncated.
    is_regular: bool,
}

/// What a file ends with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The hash of its last whole line; `None` if it has no line.
    pub(crate) last: Option<Hash>,
    /// How many bytes follow that line which are no line: a write that was cut off.
    pub(crate) cut: u64,
    /// Whether a line feed is missing at the end.
    pub(crate) is_open: bool,
}

/// What became of lines.
#[derive(Debug)]
pub(crate) struct Appended {
    /// How many of them are in the file as a whole.
    pub(crate) whole: usize,
    /// How many bytes of the next one are behind them and could not be taken back.
    pub(crate) cut: u64,
    pub(crate) result: io::Result<()>,
}

impl AuditFile {
    /// Opens the file, which is created if it is missing; its folder is not.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Reading finds the end of the chain, and opens a pipe that nobody reads. Non-blocking, since a pipe that nobody
        // reads must not stop the thread for good; a regular file ignores that.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(flags)
            .open(path)?;
        let found = file.metadata()?;
        Ok(Self { file, identity: FileIdentity::of(&found), is_regular: found.is_file() })
    }

    /// Whether a gateway could go on behind what the file has. It is only read, and not locked.
    ///
    /// # Errors
    /// It cannot be read, or has other content than audit lines.
    pub(crate) fn judge(path: &Path) -> io::Result<()> {
        let found = std::fs::metadata(path)?;
        // To open a pipe would disturb those who use it.
        if found.is_file() {
            let file = File::open(path)?;
            Self { file, identity: FileIdentity::of(&found), is_regular: true }.ending()?;
        }
        Ok(())
    }

    /// Whether both are the same file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Whether it has no name any more: what is written to it is gone when it is closed.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_regular && self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    /// Locks it until it is closed, however the process ends. Returns false while another process has it locked.
    ///
    /// # Errors
    /// It cannot be locked.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        if !self.is_regular {
            return Ok(true);
        }
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            // Some network file systems have no locks, or none that answers.
            Err(TryLockError::Error(error))
                if error.kind() == ErrorKind::Unsupported
                    || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) =>
            {
                Ok(true)
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Reads what it ends with.
    ///
    /// # Errors
    /// It cannot be read, or has other content than audit lines.
    pub(crate) fn ending(&mut self) -> io::Result<Ending> {
        if !self.is_regular {
            return Ok(Ending { last: None, cut: 0, is_open: false });
        }
        let length = self.file.metadata()?.len();
        self.file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED)))?;
        let mut end = Vec::new();
        (&self.file).take(SEARCHED).read_to_end(&mut end)?;
        let ending = Ending::of(&end);
        let is_first_line = length <= SEARCHED && is_beginning(&end);
        if ending.last.is_none() && !end.is_empty() && !is_first_line {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the end of the file has no audit line; name another file, or move this one away",
            ));
        }
        Ok(ending)
    }

    /// Appends lines. What cannot be written as a whole line is taken back. `ends`: the end of each line in `lines`.
    /// `progress` counts bytes as they are written.
    pub(crate) fn append(&mut self, lines: &[u8], ends: &[usize], progress: &AtomicU64) -> Appended {
        let before = if self.is_regular { self.file.metadata().map(|found| found.len()).ok() } else { None };
        let (written, result) = self.write_all(lines, progress);
        let whole = ends.partition_point(|end| *end <= written);
        let end = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        let mut cut = (written - end) as u64;
        if cut > 0
            && let Some(before) = before
            && self.file.set_len(before + end as u64).is_ok()
        {
            cut = 0;
        }
        Appended { whole, cut, result }
    }

    /// Writes as much as possible, and returns how much that was.
    fn write_all(&mut self, bytes: &[u8], progress: &AtomicU64) -> (usize, io::Result<()>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    progress.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY),
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.is_regular { self.file.sync_data() } else { Ok(()) }
    }
}

/// Whether it is what a crash or a loss of power leaves of a first line: its beginning, and zeros in place of what was not
/// written yet.
fn is_beginning(text: &[u8]) -> bool {
    let zeros = text.iter().rev().take_while(|byte| **byte == 0).count();
    let (text, _) = text.split_at(text.len() - zeros);
    (text.starts_with(BEGIN) || BEGIN.starts_with(text)) && !text.contains(&b'\n')
}

impl Ending {
    /// Of the last bytes of a file.
    fn of(end: &[u8]) -> Self {
        let is_open = end.last().is_some_and(|byte| *byte != b'\n');
        let mut behind = 0;
        for line in end.split_inclusive(|byte| *byte == b'\n').rev() {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if let Some(link) = chain::link(text).filter(|link| link.fits) {
                return Self { last: Some(link.hash), cut: behind, is_open };
            }
            behind += line.len() as u64;
        }
        Self { last: None, cut: behind, is_open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(object: &str) -> (Vec<u8>, Hash) {
        let mut text = Vec::new();
        let hash = chain::push(&mut text, object.as_bytes(), Hash::NONE);
        (text, hash)
    }

    #[test]
    fn a_first_line_may_be_cut_off_anywhere_and_a_file_of_another_kind_is_refused() {
        let (whole, _) = line("{\"time\":\"1\"");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let ending = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            AuditFile::open(&path).unwrap().ending()
        };
        for length in 0..whole.len() - 1 {
            assert_eq!(ending(&whole[..length]).unwrap().cut, length as u64);
        }
        for left in [&[0; 40][..], b"{\"ti\0\0\0"] {
            assert_eq!(ending(left).unwrap().cut, left.len() as u64, "as after a loss of power");
        }
        for other in [&b"{\"timid\":1}"[..], b"text\n", b"{\"time\":\"1\"}\n", b"\0text"] {
            assert_eq!(ending(other).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn the_end_of_a_file_is_its_last_whole_line_and_what_was_cut_off_behind_it() {
        let (first, last) = line("{\"time\":\"1\"");
        let (second, _) = line("{\"time\":\"2\"");
        let of = |parts: &[&[u8]]| Ending::of(&parts.concat());
        let ending = |last, cut, is_open| Ending { last, cut, is_open };
        assert_eq!(of(&[]), ending(None, 0, false));
        assert_eq!(of(&[&first]), ending(Some(last), 0, false));
        assert_eq!(of(&[&first, &second[..40]]), ending(Some(last), 40, true));
        assert_eq!(of(&[&first, &second[..40], b"\n"]), ending(Some(last), 41, false));
        assert_eq!(
            of(&[&first[..first.len() - 1]]),
            ending(Some(last), 0, true),
            "only its line feed is missing"
        );
        assert_eq!(of(&[&first, &[0; 9]]), ending(Some(last), 9, true), "as after a loss of power");
        assert_eq!(of(&[&first[..40]]), ending(None, 40, true));
    }
}
