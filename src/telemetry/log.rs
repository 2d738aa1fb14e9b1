//! Log messages for operators, on standard error. The text format escapes control bytes.
//!
//! Logging never blocks on standard error: lines that it does not accept in time are lost and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use tracing::{Level, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::net::secret_filter::{self, Audience};
use crate::telemetry::json_lines::{self, JsonLines};
use crate::telemetry::line_writer::{LineWriter, unbuffered};
use crate::telemetry::terminal;
use crate::telemetry::text_lines::{Milliseconds, PrettyLines};

/// The settings of `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: tracing::Level,
    /// The format of access lines and messages.
    pub format: LogFormat,
    /// Whether each request gets a line on stdout.
    pub access: bool,
    /// The file of the audit log; `None`: there is none.
    pub audit: Option<PathBuf>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Short coloured lines on a terminal, `key=value` text elsewhere.
    Auto,
    /// Short lines for people, coloured on a terminal.
    Pretty,
    /// `key=value` text; control bytes are escaped.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The form of lines that are written to this.
    pub(crate) fn on(self, out: &impl IsTerminal) -> LineFormat {
        let is_terminal = out.is_terminal();
        match self {
            Self::Auto if !is_terminal => LineFormat::Text,
            Self::Auto | Self::Pretty => {
                LineFormat::Pretty { colour: is_terminal && terminal::has_colours() }
            }
            Self::Text => LineFormat::Text,
            Self::Json => LineFormat::Json,
        }
    }
}

/// The form of the lines of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
    /// Aligned, for people.
    Pretty { colour: bool },
}

/// The most lines that wait for standard error.
const WAITING: usize = 8192;

/// The queue for standard error, one for the process.
static LINES: OnceLock<LineWriter> = OnceLock::new();
/// The format of these lines.
static FORMAT: OnceLock<LineFormat> = OnceLock::new();

/// Starts logging. Messages of libraries are logged only from `warn` up: at `trace` they could show what they send.
///
/// # Errors
/// The writer thread cannot be started.
pub fn init(log: &Log) -> io::Result<()> {
    let level = match log.level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse_lossy(format!("warn,boxgate={level}"));
    // Failed writes are not reported: the only place for a report is standard error itself.
    let started = LineWriter::start("log", unbuffered(io::stderr())?, WAITING, |_| {})?;
    let lines = LINES.get_or_init(|| started);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false);
    let format = log.format.on(&io::stderr());
    // A second call, as in tests, has no effect.
    let _ = match format {
        LineFormat::Text => subscriber.with_timer(Milliseconds).try_init(),
        LineFormat::Json => subscriber.event_format(JsonLines).try_init(),
        LineFormat::Pretty { colour } => subscriber.event_format(PrettyLines { colour }).try_init(),
    };
    let _ = FORMAT.set(format);
    panic::set_hook(Box::new(panicked));
    Ok(())
}

/// The panic hook. Replaces the standard library's, which writes to standard error itself and would block if that is
/// full, so that the process would not abort.
fn panicked(panic: &PanicHookInfo<'_>) {
    let message = panic.to_string().replace('\n', " ");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(thread, ?backtrace, "{message}");
    } else {
        error!(thread, "{message}");
    }
    flush();
}

/// How many lines were lost.
pub fn lost() -> u64 {
    LINES.get().map_or(0, LineWriter::lost)
}

/// Waits until all lines are written or writing makes no progress.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Reports why the program ends: as a plain line, or as a log message if the format is JSON.
pub fn say(line: &str) {
    match LINES.get() {
        Some(lines) if FORMAT.get() == Some(&LineFormat::Json) => {
            lines.write(json_lines::line("ERROR", line, &[]).into_bytes());
        }
        Some(lines) => lines.write(format!("{line}\n").into_bytes()),
        // The writer thread has not been started.
        None => {
            let line = secret_filter::blanked_text(line.to_owned(), Audience::Operators);
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

/// Calls `act` and returns the lines that this thread logs in it, as text.
#[cfg(test)]
pub(crate) fn captured(act: impl FnOnce()) -> Vec<String> {
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    tracing::subscriber::with_default(subscriber.with_target(false).finish(), act);
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::net::secret::Secret;

    /// Set for the child process; its value says whether the child first fills its standard error.
    const CHILD: &str = "BOXGATE_TEST_PANIC_CHILD";
    const WENT_ON: i32 = 7;

    /// Not a test: the child process of the two tests below.
    #[test]
    #[ignore = "a child process of other tests"]
    fn panics_once_the_log_has_begun() {
        let Some(fills) = std::env::var_os(CHILD) else { return };
        if fills == "full" {
            // Opened again, so that only this end of the pipe is non-blocking (O_NONBLOCK of Linux).
            let pipe = File::options().write(true).custom_flags(0o4000).open("/proc/self/fd/2");
            let mut pipe = pipe.unwrap();
            while pipe.write_all(&[b'\n'; 1]).is_ok() {}
        }
        init(&Log { level: Level::INFO, format: LogFormat::Text, access: false, audit: None }).unwrap();
        let live = Secret::new("canary-in-a-panic".to_owned());
        let panicking = thread::Builder::new()
            .name("worker-3".to_owned())
            .spawn(move || panic!("first\nsecond {}", live.expose()));
        assert!(panicking.unwrap().join().is_err());
        std::process::exit(WENT_ON);
    }

    struct Killed(Child);

    impl Killed {
        fn start(stderr: &str) -> Self {
            let child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "telemetry::log::tests::panics_once_the_log_has_begun",
                    "--ignored",
                    "--nocapture",
                ])
                .env(CHILD, stderr)
                .env_remove("RUST_BACKTRACE")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            Self(child.unwrap())
        }

        fn ended(&mut self) -> ExitStatus {
            for _ in 0..300 {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
                thread::sleep(Duration::from_millis(100));
            }
            panic!("it goes on");
        }
    }

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_panic_is_logged_as_one_line() {
        let mut child = Killed::start("read");
        let said = io::read_to_string(child.0.stderr.take().unwrap()).unwrap();
        assert_eq!(child.ended().code(), Some(WENT_ON));
        let line = said.lines().find(|line| line.contains("ERROR")).unwrap();
        for part in ["panicked at src/telemetry/log.rs:", ": first second [secret]", "thread=\"worker-3\""] {
            assert!(line.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn a_panic_does_not_block_on_a_full_standard_error() {
        let mut child = Killed::start("full");
        assert_eq!(child.ended().code(), Some(WENT_ON));
    }
}
