//! Declines transparent huge pages: where the system gives them to every program, one live allocation keeps 2 MiB, and
//! half of the memory of an idle gateway was of this kind. Large buffers that would gain from them it does not have.

/// Declines them for this process and what it executes. Call it before memory is taken for connections.
#[cfg(target_os = "linux")]
pub(super) fn decline() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("transparent huge pages cannot be declined: {error}");
    }
}

/// Other systems have none.
#[cfg(not(target_os = "linux"))]
pub(super) fn decline() {}
