//! What a request and an idle caller cost, in counts that are the same on every machine: how often a plain proxied request
//! allocates memory, and how many bytes a parked connection keeps.
//!
//! A binary of its own, since its allocator counts for the whole process: the gateway runs in it with one worker, Box in
//! another process, and the caller is a socket that is written and read without allocating. To see where memory is
//! allocated, run one of the tests with `BOXGATE_HEAP_PROFILE=FILE`: docs/performance.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails stops, and speaks to its reader"
)]

mod harness; // the gateway, Box and a caller
mod parked; // the bytes of an idle caller
mod requests; // the allocations of a request

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;
