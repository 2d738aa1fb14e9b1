//! No core dumps: one would hold the tokens and secrets of the process, in a file or with a program that takes it.
//!
//! A limit of 0 for core files does not stop a program to which the kernel pipes them (core(5), `core_pattern`), so on
//! Linux the process is marked as not dumpable besides. That also keeps other processes of the same user from attaching
//! a debugger and from reading its memory, environment and descriptors in `/proc`; only root may. The mark ends where
//! another program is executed, a limit is inherited.

use std::env;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use rlimit::Resource;

use super::exit::BAD_CONFIGURATION;

/// What allows core dumps, for a diagnosis.
const VARIABLE: &str = "BOXGATE_CORE_DUMPS";
const ALLOW: &str = "allow";

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Forbids core dumps of this process, unless the environment allows them. To be called first of all, before a secret is
/// read.
///
/// # Errors
/// The variable says something else than it may, which has been said; the exit status for that.
pub fn forbid() -> Result<(), ExitCode> {
    let set = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    match set {
        Some(value) if value == ALLOW => ALLOWED.store(true, Ordering::Relaxed),
        Some(value) => {
            eprintln!(
                "boxgate: {VARIABLE}={value:?} is not known; allowed: \"{ALLOW}\", or leave it out, so that no core dump holds tokens and secrets"
            );
            return Err(ExitCode::from(BAD_CONFIGURATION));
        }
        None => warn_of(undumpable()),
    }
    Ok(())
}

/// Sets the limit for core files to 0, which commands that this process starts inherit. After [`forbid`].
pub fn forbid_for_children() {
    if !allowed() {
        warn_of(Resource::CORE.set(0, 0));
    }
}

/// Whether the environment allows them.
pub(super) fn allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// What to tell an operator who has allowed them.
pub(super) const WARNING: &str = "core dumps are allowed (BOXGATE_CORE_DUMPS=allow), and one would hold tokens and secrets; take the variable out after the diagnosis";

#[cfg(any(target_os = "linux", target_os = "android"))]
fn undumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)
}

/// Other systems have the limit alone.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn undumpable() -> io::Result<()> {
    Ok(())
}

/// The log has not begun. A sandbox that forbids the call is no reason not to serve.
fn warn_of(forbidden: io::Result<()>) {
    if let Err(error) = forbidden {
        eprintln!("boxgate: warning: core dumps cannot be forbidden: {error}");
    }
}
