//! Hardens the process of a gateway, so that whoever takes it over by a fault of the program can do less: no new rights, no
//! program executed, no other process read, no secret in the swap.
//!
//! Everything here holds for this thread and for those that it starts later, so it comes before the first of them. Nothing of
//! it is needed to serve: what the kernel or the container does not grant is told, and the start goes on.

use crate::admin::hardening::Hardening;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod system_calls; // those that a gateway never makes

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Hardened {
    pub(super) hardening: Hardening,
    /// Why something is not on, for the log.
    pub(super) missing: Vec<String>,
}

/// Hardens this process. Call it before there is a second thread, and only for a gateway: `boxgate exec` executes a program.
#[cfg(target_os = "linux")]
pub(super) fn harden() -> Hardened {
    let mut missing = Vec::new();
    let mut is_on = |what: &str, done: Result<(), String>| {
        let failed = done.map_err(|why| missing.push(format!("{what}: {why}")));
        failed.is_ok()
    };
    let hardening = Hardening {
        // Without it, the filter would need a privilege.
        no_new_privileges: is_on(
            "the process may gain privileges (no_new_privs)",
            rustix::thread::set_no_new_privs(true).map_err(|why| why.to_string()),
        ),
        memory_locked: is_on("memory is not locked (mlockall)", lock_memory()),
        system_calls_filtered: is_on("system calls are not filtered (seccomp)", filter_system_calls()),
    };
    Hardened { hardening, missing }
}

/// Other systems have other means.
#[cfg(not(target_os = "linux"))]
pub(super) fn harden() -> Hardened {
    Hardened::default()
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
use self::system_calls::filter as filter_system_calls;

#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn filter_system_calls() -> Result<(), String> {
    Err(format!("there is no filter for {}", std::env::consts::ARCH))
}

/// Keeps all memory out of the swap, now and later, where the operator permits any amount. With a limit, locking would succeed
/// until the limit is reached, and from then on allocations would fail.
#[cfg(target_os = "linux")]
fn lock_memory() -> Result<(), String> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, getrlimit};
    if let Some(limit) = getrlimit(Resource::Memlock).current {
        return Err(format!(
            "the limit of locked memory is {limit} bytes; with no limit (LimitMEMLOCK=infinity, ulimit -l unlimited) it is locked"
        ));
    }
    // ONFAULT: stacks and reserved ranges are locked page by page as they are used, not as a whole at once.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|why| why.to_string())
}
