//! Access lines: one for each request, on stdout, written by a thread of its own.
//!
//! A worker never waits for stdout. Where it does not take the lines in time (a blocked pipe), lines are lost and
//! counted; the traffic is not held up.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::config::LogFormat;

/// Lines that wait for stdout at most.
const WAITING: usize = 65_536;

/// Where workers hand their lines.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<SyncSender<String>>,
    format: LogFormat,
    lost: Arc<AtomicU64>,
}

/// Ends the writing thread: join it after the last [`AccessLog`] was dropped.
pub struct Writer(Option<JoinHandle<()>>);

impl Writer {
    /// Waits until every line is written.
    pub fn finish(self) {
        if let Some(thread) = self.0 {
            let _ = thread.join();
        }
    }
}

impl AccessLog {
    /// Lines go to `out`; with `None` there are none.
    pub fn new(out: Option<Box<dyn Write + Send>>, format: LogFormat) -> io::Result<(Self, Writer)> {
        let lost = Arc::new(AtomicU64::new(0));
        let Some(out) = out else {
            return Ok((Self { lines: None, format, lost }, Writer(None)));
        };
        let (sender, receiver) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("access".into()).spawn(move || write(out, &receiver))?;
        Ok((Self { lines: Some(sender), format, lost }, Writer(Some(thread))))
    }

    /// The form of the lines; `None` where none are written.
    pub fn format(&self) -> Option<LogFormat> {
        self.lines.as_ref().map(|_| self.format)
    }

    /// Hands over one line, with its line feed.
    pub fn write(&self, line: String) {
        if let Some(lines) = &self.lines {
            match lines.try_send(line) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn write(mut out: Box<dyn Write + Send>, lines: &Receiver<String>) {
    let mut batch = String::new();
    while let Ok(line) = lines.recv() {
        batch.push_str(&line);
        // What waits is written in one call.
        while batch.len() < 64 * 1024 {
            match lines.try_recv() {
                Ok(line) => batch.push_str(&line),
                Err(_) => break,
            }
        }
        // A reader that has gone is no reason to stop serving.
        let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
        batch.clear();
    }
}
