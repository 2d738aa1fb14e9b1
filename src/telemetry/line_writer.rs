//! Lines on standard output and standard error, written by a thread of their own.
//!
//! Queueing a line never blocks: a pipe that no one reads, or a slow disk, delays neither requests nor the end of the
//! process. Lines that are not written are counted.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::net::secret_filter::{self, Audience};

/// About how many bytes of lines are written with one call.
const BATCH: usize = 64 * 1024;
/// The most bytes of queued lines; callers decide how long a path is.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// One line in [`Counts::waiting`], which holds lines and bytes in one number.
const ONE: u64 = 1 << 40;
/// How often [`is_flushed`] checks for progress.
const LOOK: Duration = Duration::from_millis(100);
/// [`is_flushed`] gives up after this many checks without progress …
const STALLED: u32 = 20;
/// … and after this many checks in any case.
const LOOKS: u32 = 100;
/// The pause after a write, for which further lines are only queued: waking the thread for each line costs more than the
/// line. A line after a pause is written at once.
const GATHER: Duration = Duration::from_millis(5);
/// The pause before a retry, if a non-blocking descriptor accepts nothing now.
const BUSY: Duration = Duration::from_millis(10);

/// The queue of the writer thread.
#[derive(Debug, Clone)]
pub struct LineWriter {
    /// Unbounded, since a bounded channel allocates all its slots at once; `waiting` enforces the bounds.
    queue: Sender<Entry>,
    most: u64,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Entry {
    /// One line, with its line feed.
    Line(Vec<u8>),
    /// Answered once everything before it is written or lost.
    Flush(SyncSender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    lost: AtomicU64,
    /// The number of queued lines times [`ONE`], plus their bytes.
    waiting: AtomicU64,
    /// How many bytes were written.
    written: AtomicU64,
}

/// A standard stream as a plain file. The standard library's handles have a lock and a buffer, on which other threads
/// or the end of the process could block.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn unbuffered(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

impl LineWriter {
    /// Starts a thread of this name, which writes to `out` until the last clone of the returned queue is dropped. At
    /// most `most` lines are queued. `failed` is called for the first failed write only.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        name: &str,
        out: impl Write + Send + 'static,
        most: usize,
        failed: impl FnOnce(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, lines) = channel();
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_lines(out, &lines, &counted, failed))?;
        Ok(Self { queue, most: most as u64, counts })
    }

    /// Queues one line, which must end with a line feed, with secrets blanked. If too many lines wait already, it is
    /// lost.
    pub fn write(&self, line: Vec<u8>) {
        // Blanked here and not when it is written, since a secret may be dropped in between.
        let line = secret_filter::blanked(&line, Audience::Operators).unwrap_or(line);
        let cost = ONE + line.len() as u64;
        let waiting = self.counts.waiting.fetch_add(cost, Ordering::Relaxed) + cost;
        let has_room = waiting / ONE <= self.most && waiting % ONE <= MOST_BYTES;
        if !has_room || self.queue.send(Entry::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(cost, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were not written, or only in part.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until every line queued so far is written or lost. Returns false on a timeout: after two seconds without
    /// progress, or ten in all.
    pub fn flush(&self) -> bool {
        let (done, flushed) = sync_channel(1);
        if self.queue.send(Entry::Flush(done)).is_err() {
            return false;
        }
        is_flushed(&flushed, &self.counts.written)
    }
}

/// Waits for this message from a writer. Returns false on a timeout: after two seconds in which `written`, which counts
/// bytes, did not grow, or ten in all.
pub(crate) fn is_flushed(flushed: &Receiver<()>, written: &AtomicU64) -> bool {
    let mut before = written.load(Ordering::Relaxed);
    let mut stalled = 0;
    for _ in 0..LOOKS {
        match flushed.recv_timeout(LOOK) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = written.load(Ordering::Relaxed);
        stalled = if now == before { stalled + 1 } else { 0 };
        if stalled == STALLED {
            return false;
        }
        before = now;
    }
    false
}

/// Queues what one call writes as one line.
impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LineWriter::write(self, line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(
    mut out: impl Write,
    lines: &Receiver<Entry>,
    counts: &Counts,
    failed: impl FnOnce(&io::Error),
) {
    let mut failed = Some(failed);
    let mut batch = Batch::default();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        let mut flush = None;
        // All queued lines are written with one call.
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => batch.push(&line),
                Entry::Flush(done) => {
                    flush = Some(done);
                    break;
                }
            }
            next = if batch.bytes.len() < BATCH { lines.try_recv().ok() } else { None };
        }
        let is_full = batch.bytes.len() >= BATCH;
        // Writing goes on after a failure (no reader, or a full disk), which may be temporary.
        if let Err(error) = batch.write(&mut out, counts)
            && let Some(failed) = failed.take()
        {
            failed(&error);
        }
        match flush {
            Some(done) => {
                let _ = done.send(());
            }
            // More may be queued, and must not wait.
            None if is_full => {}
            None => thread::sleep(GATHER),
        }
    }
}

/// Lines to be written with one call.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// The end of each line in `bytes`.
    ends: Vec<usize>,
    /// Whether the last write ended within a line.
    cut: bool,
}

impl Batch {
    fn push(&mut self, line: &[u8]) {
        if self.cut && self.bytes.is_empty() {
            // The rest of the partial line is lost, so the next line must begin on a new one.
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    /// Writes all lines and clears the batch; counts lines that were not written completely.
    fn write(&mut self, out: &mut impl Write, counts: &Counts) -> io::Result<()> {
        let first = usize::from(self.cut);
        let bytes = self.bytes.len().saturating_sub(first);
        counts.waiting.fetch_sub(self.ends.len() as u64 * ONE + bytes as u64, Ordering::Relaxed);
        let (written, result) = write_all(out, &self.bytes, counts);
        let whole = self.ends.partition_point(|end| *end <= written);
        counts.lost.fetch_add((self.ends.len() - whole) as u64, Ordering::Relaxed);
        if written > 0 {
            let ended = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(first);
            self.cut = written > ended;
        }
        self.bytes.clear();
        self.ends.clear();
        result
    }
}

/// Writes as much as possible, and returns how much that was.
fn write_all(out: &mut impl Write, bytes: &[u8], counts: &Counts) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => {
                written += count;
                counts.written.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the pipe or terminal may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Accepts these numbers of bytes, one for each write, and fails where the number is 0; then accepts everything.
    #[derive(Clone, Default)]
    struct Disk {
        text: Arc<Mutex<Vec<u8>>>,
        takes: Arc<Mutex<Vec<usize>>>,
    }

    impl Disk {
        fn taking(takes: &[usize]) -> Self {
            let takes = takes.iter().rev().copied().collect();
            Self { text: Arc::default(), takes: Arc::new(Mutex::new(takes)) }
        }

        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.takes.lock().unwrap().pop().unwrap_or(bytes.len());
            if most == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let piece = &bytes[..most.min(bytes.len())];
            self.text.lock().unwrap().extend_from_slice(piece);
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe that is not read until the returned sender is dropped.
    struct FullPipe(Receiver<()>);

    fn full_pipe() -> (FullPipe, Sender<()>) {
        let (reader, pipe) = channel();
        (FullPipe(pipe), reader)
    }

    impl Write for FullPipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started(out: impl Write + Send + 'static, most: usize) -> LineWriter {
        LineWriter::start("lines", out, most, |_| {}).unwrap()
    }

    #[test]
    fn partial_lines_are_counted_and_the_next_line_begins_on_a_new_one() {
        // A batch of three lines of four bytes: the disk accepts six bytes and is full; it is full once more; it
        // accepts one byte.
        for (takes, text, lost) in [
            (&[][..], "aaa\nbbb\nccc\nddd\neee\nfff\n", 0),
            (&[6, 0], "aaa\nbb\nddd\neee\nfff\n", 2),
            (&[8, 0], "aaa\nbbb\nddd\neee\nfff\n", 1),
            (&[0], "ddd\neee\nfff\n", 3),
            (&[6, 0, 0], "aaa\nbb\neee\nfff\n", 3),
            (&[6, 0, 1, 0], "aaa\nbb\neee\nfff\n", 3),
            (&[6, 0, 3, 0], "aaa\nbb\ndd\neee\nfff\n", 3),
            (&[6, 0, 1, 2, 0, 5, 0], "aaa\nbb\ndd\neee\n", 4),
            (&[1, 1, 1, 1, 1], "aaa\nbbb\nccc\nddd\neee\nfff\n", 0),
        ] {
            let (mut disk, counts) = (Disk::taking(takes), Counts::default());
            let mut batch = Batch::default();
            for lines in [&["aaa\n", "bbb\n", "ccc\n"][..], &["ddd\n"], &["eee\n"], &["fff\n"]] {
                for line in lines {
                    counts.waiting.fetch_add(ONE + line.len() as u64, Ordering::Relaxed);
                    batch.push(line.as_bytes());
                }
                let _ = batch.write(&mut disk, &counts);
            }
            assert_eq!(disk.text(), text, "{takes:?}");
            assert_eq!(counts.lost.load(Ordering::Relaxed), lost, "{takes:?}");
            assert_eq!(counts.waiting.load(Ordering::Relaxed), 0, "{takes:?}");
        }
    }

    #[test]
    fn every_line_is_written_in_its_order() {
        let disk = Disk::default();
        let lines = started(disk.clone(), 100_000);
        let want: Vec<String> = (0..20_000).map(|number| format!("line {number}\n")).collect();
        want.iter().for_each(|line| lines.write(line.clone().into()));
        assert!(lines.flush());
        assert_eq!(disk.text(), want.concat());
        assert_eq!(lines.lost(), 0);
    }

    #[test]
    fn a_pipe_that_no_one_reads_blocks_no_one_and_every_lost_line_is_counted() {
        let (pipe, reader) = full_pipe();
        let lines = started(pipe, 10);
        // The thread may already have taken the first line.
        (0..111).for_each(|_| lines.write(b"line\n".to_vec()));
        assert!((100..=101).contains(&lines.lost()), "{}", lines.lost());
        assert!(!lines.flush());
        drop(reader);
        assert!(lines.flush());
        assert!((100..=101).contains(&lines.lost()), "{}", lines.lost());
    }

    #[test]
    fn queued_lines_are_bounded_in_bytes() {
        let (pipe, reader) = full_pipe();
        let lines = started(pipe, 1000);
        let mebibyte = vec![b'\n'; 1024 * 1024];
        (0..50).for_each(|_| lines.write(mebibyte.clone()));
        assert!((33..=34).contains(&lines.lost()), "{}", lines.lost());
        drop(reader);
        assert!(lines.flush());
        lines.write(mebibyte);
        assert!(lines.flush());
        assert!((33..=34).contains(&lines.lost()), "{}", lines.lost());
    }

    #[test]
    fn only_the_first_failure_is_reported() {
        let (told, failures) = channel();
        let disk = Disk::taking(&[0, 0]);
        let failed = move |error: &io::Error| told.send(error.kind()).unwrap();
        let lines = LineWriter::start("lines", disk.clone(), 10, failed).unwrap();
        for line in ["a\n", "b\n", "c\n"] {
            lines.write(line.into());
            assert!(lines.flush());
        }
        assert_eq!(failures.iter().collect::<Vec<_>>(), [ErrorKind::StorageFull]);
        assert_eq!((disk.text().as_str(), lines.lost()), ("c\n", 2));
    }
}
