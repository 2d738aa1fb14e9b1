//! Access lines: one for each request, on standard output.
//!
//! A worker never waits for it. Where it does not take the lines, they are lost and counted; the traffic is not held
//! up.

use std::fs::File;
use std::io;

use tracing::warn;

use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::log::LogFormat;

/// Lines that wait for standard output at most.
const WAITING: usize = 65_536;

/// Where workers hand their lines.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<LineWriter>,
    format: LogFormat,
}

impl AccessLog {
    /// Lines go to `out`; with `None` there are none.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub fn new(out: Option<File>, format: LogFormat) -> io::Result<Self> {
        let failed = |error: &io::Error| {
            warn!(
                "access lines cannot be written on standard output: {error}; boxgate_access_lines_lost_total counts those that are lost"
            );
        };
        let lines = out.map(|out| LineWriter::start("access", out, WAITING, failed)).transpose()?;
        Ok(Self { lines, format })
    }

    /// The form of the lines; `None` where none are written.
    pub fn format(&self) -> Option<LogFormat> {
        self.lines.as_ref().map(|_| self.format)
    }

    /// Hands over one line, with its line feed.
    pub fn write(&self, line: String) {
        if let Some(lines) = &self.lines {
            lines.write(line.into_bytes());
        }
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.lines.as_ref().map_or(0, LineWriter::lost)
    }

    /// Waits until the lines are written, as long as somebody takes them. At the end, when no request is left.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines
            && !lines.flush()
        {
            warn!("standard output takes no access lines; those that wait for it are lost");
        }
    }
}
