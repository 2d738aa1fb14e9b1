//! Forbids core dumps: one would reveal the tokens and secrets of the process to a file or a crash handler.
//!
//! A limit of 0 for core files does not stop a program to which the kernel pipes them (core(5), `core_pattern`), so on
//! Linux the process is marked as not dumpable besides. That also keeps other processes of the same user from attaching
//! a debugger and from reading its memory, environment and descriptors in `/proc`; only root may. The mark does not
//! apply to programs that this process executes, the limit does.

use std::env;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use rlimit::Resource;

use super::exit::BAD_CONFIGURATION;

/// The variable that allows core dumps, for a diagnosis.
const VARIABLE: &str = "BOXGATE_CORE_DUMPS";
const ALLOW: &str = "allow";

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Forbids core dumps of this process, unless the environment allows them. Call it first, before any secret is read.
///
/// # Errors
/// The variable has another value than allowed. That has been reported; the error is the exit status.
pub fn forbid() -> Result<(), ExitCode> {
    let set = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    match set {
        Some(value) if value == ALLOW => ALLOWED.store(true, Ordering::Relaxed),
        Some(value) => {
            eprintln!(
                "boxgate: {VARIABLE}={value:?} is not an allowed value; allowed: \"{ALLOW}\", or leave the variable unset, so that no core dump reveals tokens and secrets"
            );
            return Err(ExitCode::from(BAD_CONFIGURATION));
        }
        None => warn_of(undumpable()),
    }
    Ok(())
}

/// Sets the limit for core files to 0, which commands that this process starts inherit. Call it after [`forbid`].
pub fn forbid_for_children() {
    if !allowed() {
        warn_of(Resource::CORE.set(0, 0));
    }
}

/// Whether the environment allows them.
pub(super) fn allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// The warning if they are allowed.
pub(super) const WARNING: &str = "core dumps are allowed (BOXGATE_CORE_DUMPS=allow), and one would reveal tokens and secrets; unset the variable after the diagnosis";

#[cfg(any(target_os = "linux", target_os = "android"))]
fn undumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)
}

/// Other systems have only the limit.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn undumpable() -> io::Result<()> {
    Ok(())
}

/// Prints a warning, since the log has not started. Does not fail, since a container may forbid the call.
fn warn_of(forbidden: io::Result<()>) {
    if let Err(error) = forbidden {
        eprintln!("boxgate: warning: core dumps cannot be forbidden: {error}");
    }
}
