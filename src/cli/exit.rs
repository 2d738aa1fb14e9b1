//! How a subcommand runs and ends: its runtime, and its exit status.

use std::io;
use std::process::ExitCode;

use super::Failure;
use crate::config::Problems;
use crate::telemetry::log;

/// Of a configuration that cannot be used, so that a service manager need not restart into it.
pub(super) const BAD_CONFIGURATION: u8 = 2;

/// Runs a subcommand on this thread.
pub(super) fn block_on(running: impl Future<Output = io::Result<ExitCode>>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(running);
    // Dropped, it would wait for name look-ups that are still under way.
    runtime.shutdown_background();
    status
}

/// The status of what writes to the log: a failure is one of its lines.
pub(super) fn logged(result: io::Result<ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|error| {
        log::say(&format!("boxgate: {error}"));
        ExitCode::FAILURE
    });
    log::flush();
    code
}

/// Runs what ends with a status of its own.
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

/// Says what is wrong with a configuration.
pub(super) fn bad_configuration(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(BAD_CONFIGURATION)
}
