//! The queue of audit lines, and the thread that puts them into the chain and writes them.
//!
//! Queueing a line never blocks: a full, slow or failing disk delays no request. Lines that cannot be written are lost and
//! counted. Once writing works again, a line in the chain says how many they were.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::audit_file::{AuditFile, Ending};
use super::chain::{self, Hash};
use crate::net::clock::Clock;
use crate::net::secret_filter::{self, Audience};
use crate::telemetry::line_writer::is_flushed;
use crate::telemetry::outages::{Outages, Party};
use crate::telemetry::words::{grouped, rfc_3339_millis};

/// The most bytes of lines that wait for the disk. Most lines have some 500; a caller can make them 20 times as long.
const WAITING: u64 = 8 * 1024 * 1024;
/// About how many bytes of lines are written with one call.
const BATCH: usize = 64 * 1024;
/// How often writing is tried again while lines are lost and no further ones come.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a start waits, in steps, for a process that ends to give up the file.
const LOCK_STEP: Duration = Duration::from_millis(50);
const LOCK_STEPS: u32 = 100;
/// How long a reload waits until the file is opened again.
const REOPENING: Duration = Duration::from_secs(2);

/// Where audit lines go.
#[derive(Debug)]
pub(crate) struct AuditLog {
    /// Unbounded, since a bounded channel allocates all its slots at once; `waiting` enforces the bound.
    queue: Sender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Entry {
    /// A JSON object without its last brace.
    Object(Vec<u8>),
    /// Opens the file again; answered with the outcome.
    Reopen(oneshot::Sender<Result<(), String>>),
    /// Answered once everything before it is written or lost.
    Flush(SyncSender<()>),
}

/// What the queue and the thread share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The path as text.
    file: String,
    outages: Arc<Outages>,
    clock: Clock,
    /// Bytes of lines.
    waiting: AtomicU64,
    /// Lines of requests that were written.
    written: AtomicU64,
    /// Lines of requests that were not.
    lost: AtomicU64,
    /// How many of these a line in the file tells.
    told: AtomicU64,
    /// Bytes, to see progress.
    bytes: AtomicU64,
}

impl AuditLog {
    /// Opens the file of this path, which is created if it is missing, and starts the thread. Waits a few seconds while
    /// another process, which may be about to end, has the file.
    ///
    /// # Errors
    /// The file cannot be opened or used; the message is for operators.
    pub(crate) fn start(path: PathBuf, outages: Arc<Outages>, clock: Clock) -> io::Result<Self> {
        let file = path.display().to_string();
        let named = |error: io::Error| {
            let advice = match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem => {
                    "; name a file in a folder that exists and that this user may write to"
                }
                _ => "",
            };
            io::Error::new(error.kind(), format!("[log] audit: {file}: {error}{advice}"))
        };
        let (opened, ending) = open(&path).map_err(named)?;
        let shared = Arc::new(Shared {
            path,
            outages,
            clock,
            waiting: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            told: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            file,
        });
        let head = ending.last.unwrap_or(Hash::NONE);
        let mut writer =
            Writer { shared: shared.clone(), file: opened, head, cut: 0, is_open: false, fails: false };
        writer.go_on_from(&ending);
        let (queue, entries) = channel();
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&entries))?;
        Ok(Self { queue, shared })
    }

    /// Queues the line of a request, with secrets blanked. If too much waits already, it is lost. `object`: JSON
    /// without its last brace.
    pub(crate) fn write(&self, object: Vec<u8>) {
        // Blanked here and not when it is written, since a secret may be dropped in between.
        let object = secret_filter::blanked(&object, Audience::Operators).unwrap_or(object);
        let shared = &self.shared;
        let bytes = object.len() as u64;
        let waiting = shared.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting <= WAITING && self.queue.send(Entry::Object(object)).is_ok() {
            return;
        }
        shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
        if shared.lost.load(Ordering::Relaxed) == shared.told.load(Ordering::Relaxed) {
            shared.fails("the disk accepts lines too slowly, and too many wait");
        }
        // Only now: the thread ends the outage once it has told of this line, so the outage must have begun by then.
        shared.lost.fetch_add(1, Ordering::Release);
    }

    /// Opens the file again, which may have been moved away. Lines queued before go into the file that is open now.
    ///
    /// # Errors
    /// It cannot be opened; lines go on into the file that is open.
    pub(crate) async fn reopen(&self) -> Result<(), String> {
        let (done, reopened) = oneshot::channel();
        let ended = || "its thread has ended".to_owned();
        self.queue.send(Entry::Reopen(done)).map_err(|_| ended())?;
        let outcome = tokio::time::timeout(REOPENING, reopened).await;
        let outcome = match outcome {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err("the disk does not answer; it is opened again once it does".to_owned()),
        };
        outcome.map_err(|why| {
            format!(
                "[log] audit: {} could not be opened again: {why}; lines go on into the file that is open",
                self.shared.file
            )
        })
    }

    /// The path of its file.
    pub(crate) fn file(&self) -> &str {
        &self.shared.file
    }

    /// How many lines of requests were written.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// How many were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// What operators must know: lines are lost now; `None` if all is well, and again once writing works.
    pub(crate) fn trouble(&self) -> Option<String> {
        let shared = &self.shared;
        let untold = self.lost().saturating_sub(shared.told.load(Ordering::Relaxed));
        let outage = shared.outages.of(shared.party());
        if untold == 0 && outage.is_none() {
            return None;
        }
        let reason = outage.map_or_else(|| "cannot be written".to_owned(), |outage| outage.reason);
        Some(format!("the audit log {} {reason}; lines lost until now: {}", shared.file, grouped(untold)))
    }

    /// Waits until all lines are on the disk, or writing makes no progress. For the end of the process, once all requests
    /// have ended.
    pub(crate) fn stop(&self) {
        let (done, flushed) = sync_channel(1);
        let sent = self.queue.send(Entry::Flush(done)).is_ok();
        if !sent || !is_flushed(&flushed, &self.shared.bytes) {
            warn!("[log] audit: {} accepts no lines; those still queued are lost", self.shared.file);
        }
    }
}

impl Shared {
    fn party(&self) -> Party<'_> {
        Party::AuditLog { file: &self.file }
    }

    fn fails(&self, cause: &str) {
        let detail = "requests go on without it, and boxgate_audit_lines_lost_total counts the lost lines";
        self.outages.failed(self.party(), cause, 0, detail);
    }
}

/// Opens and locks the file, and reads what it ends with.
fn open(path: &Path) -> io::Result<(AuditFile, Ending)> {
    let mut file = AuditFile::open(path)?;
    let mut steps = 0;
    while !file.lock()? {
        steps += 1;
        if steps > LOCK_STEPS {
            return Err(io::Error::new(
                ErrorKind::ResourceBusy,
                "another process writes to it; give each gateway a file of its own",
            ));
        }
        thread::sleep(LOCK_STEP);
    }
    let ending = file.ending()?;
    Ok((file, ending))
}

/// The thread's state.
struct Writer {
    shared: Arc<Shared>,
    file: AuditFile,
    /// The hash of the last line.
    head: Hash,
    /// Bytes at the end of the file that are no line.
    cut: u64,
    /// Whether a line feed is missing at the end of the file.
    is_open: bool,
    /// Whether the last attempt to write has failed.
    fails: bool,
}

impl Writer {
    /// Until the last queue is dropped.
    fn run(mut self, entries: &Receiver<Entry>) {
        // Tells at once what a crash has cut off.
        self.write(&[]);
        loop {
            let first = if self.owes() {
                entries.recv_timeout(AGAIN)
            } else {
                entries.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut next = match first {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut objects, mut bytes) = (Vec::new(), 0);
            // All queued lines are written with one call.
            let then = loop {
                match next {
                    Some(Entry::Object(object)) => {
                        bytes += object.len();
                        objects.push(object);
                    }
                    other => break other,
                }
                next = if bytes < BATCH { entries.try_recv().ok() } else { None };
            };
            self.shared.waiting.fetch_sub(bytes as u64, Ordering::Relaxed);
            self.write(&objects);
            match then {
                Some(Entry::Reopen(done)) => {
                    let _ = done.send(self.reopen().map_err(|error| error.to_string()));
                }
                Some(Entry::Flush(done)) => {
                    if let Err(error) = self.file.sync() {
                        self.shared.fails(&error.to_string());
                    }
                    let _ = done.send(());
                }
                Some(Entry::Object(_)) | None => {}
            }
        }
    }

    /// Whether lines are lost that no line in the file tells.
    fn owes(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire) > self.shared.told.load(Ordering::Relaxed)
    }

    /// Takes over the end of a file that was just opened.
    fn go_on_from(&mut self, ending: &Ending) {
        (self.cut, self.is_open) = (ending.cut, ending.is_open);
        if self.cut > 0 {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            warn!(
                "[log] audit: the last line of {} is cut off after {} bytes; the chain goes on behind it",
                self.shared.file, self.cut
            );
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut file = AuditFile::open(&self.shared.path)?;
        if file.is(&self.file) {
            return Ok(());
        }
        if !file.lock()? {
            return Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes to it"));
        }
        let ending = file.ending()?;
        self.file = file;
        self.go_on_from(&ending);
        self.write(&[]);
        Ok(())
    }

    /// In place of a file that was removed.
    fn make_again(&mut self) -> io::Result<()> {
        self.reopen()?;
        warn!("[log] audit: {} was removed, with the lines in it; it is made again", self.shared.file);
        Ok(())
    }

    /// Writes lines, and before them one that tells of lost ones.
    fn write(&mut self, objects: &[Vec<u8>]) {
        if objects.is_empty() && !self.owes() {
            return;
        }
        if self.file.is_removed()
            && let Err(error) = self.make_again()
        {
            self.shared.lost.fetch_add(objects.len() as u64, Ordering::Relaxed);
            self.fails = true;
            self.shared.fails(&format!("the file was removed, and cannot be made again: {error}"));
            return;
        }
        let shared = &self.shared;
        let owed = shared.lost.load(Ordering::Acquire) - shared.told.load(Ordering::Relaxed);
        let is_told = owed > 0;
        let (mut text, mut ends, mut hashes) = (Vec::new(), Vec::new(), vec![self.head]);
        if self.is_open {
            text.push(b'\n');
        }
        let told = is_told.then(|| self.lost_lines(owed));
        for object in told.iter().chain(objects) {
            let previous = hashes.last().copied().unwrap_or(self.head);
            hashes.push(chain::push(&mut text, object, previous));
            ends.push(text.len());
        }
        let appended = self.file.append(&text, &ends, &shared.bytes);
        self.head = hashes.get(appended.whole).copied().unwrap_or(self.head);
        let is_told = is_told && appended.whole > 0;
        let written = (appended.whole - usize::from(is_told)) as u64;
        shared.written.fetch_add(written, Ordering::Relaxed);
        shared.lost.fetch_add(objects.len() as u64 - written, Ordering::Relaxed);
        if is_told {
            shared.told.fetch_add(owed, Ordering::Relaxed);
        }
        if appended.whole > 0 {
            (self.cut, self.is_open) = (appended.cut, appended.cut > 0);
        } else if appended.cut > 0 {
            let behind = usize::try_from(appended.cut).ok().and_then(|cut| text.get(cut.checked_sub(1)?));
            (self.cut, self.is_open) = (self.cut + appended.cut, behind != Some(&b'\n'));
        }
        match appended.result {
            Err(error) => {
                self.fails = true;
                shared.fails(&error.to_string());
            }
            Ok(()) if self.fails || is_told => {
                self.fails = false;
                shared.outages.answered(shared.party(), &format!("lines lost: {}", grouped(owed)));
            }
            Ok(()) => {}
        }
    }

    /// The line that tells how many lines are lost, and how many bytes in front of it are no line.
    fn lost_lines(&self, owed: u64) -> Vec<u8> {
        let time = rfc_3339_millis(self.shared.clock.wall());
        let mut object = format!("{{\"time\":\"{time}\",\"lost\":{owed}");
        if self.cut > 0 {
            let _ = write!(object, ",\"cut\":{}", self.cut + u64::from(self.is_open));
        }
        object.into_bytes()
    }
}

#[cfg(test)]
mod tests;
