//! What the kernel denies to this process, or does for it, because the process asked for it at its start.

use serde::Serialize;

/// Nothing of it is needed to serve, so each may be missing: an older kernel, a container that forbids the call, a gateway
/// within a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Hardening {
    /// Neither it nor what it executes gains rights by set-user-ID files (`no_new_privs`).
    pub(crate) no_new_privileges: bool,
    /// System calls that a gateway never makes fail (seccomp).
    pub(crate) system_calls_filtered: bool,
    /// No page of its memory is swapped out.
    pub(crate) memory_locked: bool,
}
