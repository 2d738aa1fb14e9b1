//! Access lines: one for each request, on standard output.
//!
//! Workers never wait for standard output. Lines that it does not accept in time are dropped and counted.

use std::fs::File;
use std::io;

use tracing::warn;

use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::log::{LineFormat, LogFormat};

/// The most lines that wait for standard output.
const WAITING: usize = 65_536;

/// The queue for access lines.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// The queue, and the form of its lines.
    lines: Option<(LineWriter, LineFormat)>,
}

impl AccessLog {
    /// Writes lines to `out`; `None`: writes none.
    ///
    /// # Errors
    /// The writer thread cannot be started.
    pub fn new(out: Option<File>, format: LogFormat) -> io::Result<Self> {
        let failed = |error: &io::Error| {
            warn!(
                "access lines cannot be written on standard output: {error}; boxgate_access_lines_lost_total counts the lost lines"
            );
        };
        let started = |out: File| {
            let format = format.on(&out);
            Ok::<_, io::Error>((LineWriter::start("access", out, WAITING, failed)?, format))
        };
        Ok(Self { lines: out.map(started).transpose()? })
    }

    /// The form of the lines; `None` if none are written.
    pub(crate) fn format(&self) -> Option<LineFormat> {
        self.lines.as_ref().map(|(_, format)| *format)
    }

    /// Queues one line, which must end with a line feed.
    pub fn write(&self, line: String) {
        if let Some((lines, _)) = &self.lines {
            lines.write(line.into_bytes());
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lines.as_ref().map_or(0, |(lines, _)| lines.lost())
    }

    /// Waits until all lines are written or writing makes no progress. For the end of the process.
    pub fn flush(&self) {
        if let Some((lines, _)) = &self.lines
            && !lines.flush()
        {
            warn!("standard output accepts no access lines; those still queued are lost");
        }
    }
}
