//! The filter of system calls: what a gateway never does, and an intruder in it would like to.
//!
//! A list of what is denied, not of what is allowed: an allowed list would have to follow the C library, the allocator and the
//! kernel, and end a gateway that has done nothing wrong after an update (docs/decisions/seccomp.md).

use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// They fail with EPERM.
#[rustfmt::skip]
const DENIED: &[c_long] = &[
    // Executes another program.
    libc::SYS_execve, libc::SYS_execveat,
    // Reads or controls other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd, libc::SYS_kcmp,
    // Leaves the namespaces and the root folder, or changes what is mounted there.
    libc::SYS_unshare, libc::SYS_setns, libc::SYS_chroot, libc::SYS_pivot_root,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_mount_setattr,
    libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    // Parts of the kernel in which most of its faults are found, and that a gateway does not need.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_personality,
    // The kernel's keys.
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // Opens files past the rights of folders; watches and accounts for those of others.
    libc::SYS_open_by_handle_at, libc::SYS_fanotify_init, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_acct,
    // The machine: modules, another kernel, swap, clock, name, log, ports of devices.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")] libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")] libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")] libc::SYS_modify_ldt,
];

/// Filters the system calls of this thread, and of those that it starts from now on.
///
/// # Errors
/// The kernel has no filters, the container forbids them, or the processor is none that the filter is made for.
pub(super) fn filter() -> Result<(), String> {
    let program = program().map_err(|why| why.to_string())?;
    apply_filter(&program).map_err(|why| why.to_string())
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(ARCH)?;
    // Whatever their arguments are.
    let rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program = SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture)?.try_into()?;
    Ok(other_calls_denied(program))
}

/// Denies on x86-64 what has a number of the x32 ABI as well, by which some kernels offer the same calls once more.
#[cfg(target_arch = "x86_64")]
fn other_calls_denied(program: BpfProgram) -> BpfProgram {
    use seccompiler::sock_filter;
    /// Set in all numbers of x32 (`__X32_SYSCALL_BIT`).
    const X32: u32 = 0x4000_0000;
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let first = [
        // The number is the first word of `struct seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
    ];
    first.into_iter().chain(program).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn other_calls_denied(program: BpfProgram) -> BpfProgram {
    program
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_gateway_never_does_fails_and_the_rest_goes_on() {
        // On a thread of its own, since a filter cannot be taken off.
        let tried = std::thread::spawn(|| {
            filter().unwrap();
            let executed = Command::new("true").status().map_err(|error| error.kind());
            let entered = rustix::process::chroot("/").map_err(io::Error::from);
            let read = std::fs::read("/proc/self/status").is_ok();
            let bound = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
            (executed, entered.map_err(|error| error.kind()), read, bound)
        });
        let (executed, entered, read, bound) = tried.join().unwrap();
        assert_eq!(executed.unwrap_err(), io::ErrorKind::PermissionDenied);
        // Root may do so without the filter.
        assert_eq!(entered, Err(io::ErrorKind::PermissionDenied));
        assert!(read && bound);
    }
}
