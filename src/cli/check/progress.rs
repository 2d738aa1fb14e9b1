//! One line on standard error that says how far the checks have come, on a terminal alone.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};

/// Gone when it is dropped.
pub(super) struct Progress {
    shown: bool,
    all: usize,
    done: Cell<usize>,
}

impl Progress {
    /// `all`: how many checks run. `wanted`: unless a program reads.
    pub(super) fn begin(all: usize, wanted: bool) -> Self {
        let shown = wanted && stderr().is_terminal() && stdout().is_terminal();
        let progress = Self { shown, all, done: Cell::new(0) };
        progress.show();
        progress
    }

    /// One more check is done.
    pub(super) fn step(&self) {
        self.done.set(self.done.get() + 1);
        self.show();
    }

    fn show(&self) {
        if self.shown {
            // A terminal that is gone needs no progress.
            let _ = write!(stderr(), "\r\u{1b}[Kchecking: {} of {} …", self.done.get(), self.all);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}
