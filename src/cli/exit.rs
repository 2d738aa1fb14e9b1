//! How a subcommand runs and ends: its runtime, and its exit status.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{Failure, code_frames};
use crate::config::Problems;
use crate::telemetry::log;

/// The exit status for an invalid configuration, on which a service manager must not restart the process.
pub(super) const BAD_CONFIGURATION: u8 = 2;

/// Runs a subcommand on this thread.
pub(super) fn block_on(running: impl Future<Output = io::Result<ExitCode>>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(running);
    // Dropping the runtime would wait for name look-ups still under way.
    runtime.shutdown_background();
    status
}

/// The exit status of a subcommand that logs: an error is logged.
pub(super) fn logged(result: io::Result<ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|error| {
        log::say(&format!("boxgate: {error}"));
        ExitCode::FAILURE
    });
    log::flush();
    code
}

/// Runs a subcommand that returns its own exit status.
pub(super) fn with_status(running: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let status = block_on(async {
        Ok(ExitCode::from(running.await.unwrap_or_else(|Failure { status, words }| {
            eprintln!("boxgate: {words}");
            status
        })))
    });
    status.unwrap_or_else(|error| {
        eprintln!("boxgate: {error}");
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// Prints the problems of a configuration: with the lines of the file on a terminal, one to a line elsewhere.
pub(super) fn bad_configuration(problems: &Problems) -> ExitCode {
    match code_frames::on_terminal(problems) {
        Some(frames) => eprintln!("{frames}"),
        None => eprintln!("{problems}"),
    }
    ExitCode::from(BAD_CONFIGURATION)
}

/// Prints what another program reads, which may have enough before its end (`boxgate man | head`).
pub(super) fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("boxgate: standard output cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
