//! Transparent huge pages: where the system gives them to every program, one small allocation keeps 2 MiB, which was a third
//! of the memory of an idle gateway. It has no large buffers that would gain from them, so they are declined.

/// Declines them for this process and what it executes. Returns true unless they were declined before, by whoever
/// started the process, or cannot be. Call it first: what was given is not taken back.
#[cfg(target_os = "linux")]
pub fn decline() -> bool {
    use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
    transparent_huge_pages_are_disabled() == Ok(false) && disable_transparent_huge_pages(true).is_ok()
}

/// Takes that back, for a program that this process is about to execute.
#[cfg(target_os = "linux")]
pub fn accept() {
    // It could be declined, so this cannot fail.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
}

/// Other systems have none.
#[cfg(not(target_os = "linux"))]
pub fn decline() -> bool {
    false
}

/// Other systems have none.
#[cfg(not(target_os = "linux"))]
pub fn accept() {}
