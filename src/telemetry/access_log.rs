//! Access lines: one for each request, on standard output.
//!
//! Workers never wait for standard output. Lines that it does not accept in time are dropped and counted.

use std::fs::File;
use std::io;

use tracing::warn;

use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::log::LogFormat;

/// The most lines that wait for standard output.
const WAITING: usize = 65_536;

/// The queue for access lines.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<LineWriter>,
    format: LogFormat,
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
        let lines = out.map(|out| LineWriter::start("access", out, WAITING, failed)).transpose()?;
        Ok(Self { lines, format })
    }

    /// The format of the lines; `None` if none are written.
    pub fn format(&self) -> Option<LogFormat> {
        self.lines.as_ref().map(|_| self.format)
    }

    /// Queues one line, which must end with a line feed.
    pub fn write(&self, line: String) {
        if let Some(lines) = &self.lines {
            lines.write(line.into_bytes());
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lines.as_ref().map_or(0, LineWriter::lost)
    }

    /// Waits until all lines are written or writing makes no progress. For the end of the process.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines
            && !lines.flush()
        {
            warn!("standard output accepts no access lines; those still queued are lost");
        }
    }
}
