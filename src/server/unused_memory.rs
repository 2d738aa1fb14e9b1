//! Gives the memory of a burst back to the system. The allocator does so while it works: whenever it frees pages, it returns
//! those that have been unused for a second. A gateway that has become idle frees nothing, and would keep them
//! (docs/decisions/mimalloc.md).

use std::hint::black_box;

/// So many connections fewer than at the last look are the end of a burst.
const BURST: u64 = 32;
/// So large that it has pages of its own.
const BLOCK: usize = 1024 * 1024;

/// What a worker's connections need, as of the last look.
#[derive(Debug, Default)]
pub(super) struct UnusedMemory {
    busy: u64,
}

impl UnusedMemory {
    /// To be called about twice a second. `busy`: the worker's connections that hold buffers.
    pub(super) fn give_back(&mut self, busy: u64) {
        let before = std::mem::replace(&mut self.busy, busy);
        if before.saturating_sub(busy) >= BURST {
            give_all_back();
        } else {
            // Its pages are given back at once, and the allocator then looks for others that are unused.
            drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
        }
    }
}

/// Before the allocator says that there is no memory, it returns all that it can, however short it has been unused. No system
/// has so much.
fn give_all_back() {
    let failed = black_box(Vec::<u8>::new().try_reserve_exact(isize::MAX.unsigned_abs()));
    debug_assert!(failed.is_err());
}
