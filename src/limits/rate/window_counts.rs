//! The calls of one limit that counts them in a window that slides: never more than the figure in any window, both its
//! ends included, and nearly all of it over time. Why so: `docs/decisions/gcra-and-windows.md`.
//!
//! A call is reserved when it is admitted, and becomes a time stamp when its head is written to Box. A reservation
//! counts for as long as it is held, a stamp for as long as the window. So reservations and stamps together are never
//! more than the figure, and it does not matter for how long a call waits for a token or a connection in between.
//!
//! Up to [`STAMPED`] calls each have a stamp of their own. Of larger figures a window is cut into [`SLICES`], and a call
//! has the stamp of the end of its slice: a slice that has passed in part counts whole. So no key takes more than 4 KiB.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use super::bucket_counts::{AlreadyHashed, SWEEP_FULL, nanos};
use super::limit::margin;

/// A figure up to this size has a time stamp for each call.
const STAMPED: u32 = 250;
/// A window of a larger figure has so many slices. A slice costs at most its share of the figure: here 0.8 %.
const SLICES: u64 = 120;

/// What a limit lets pass.
#[derive(Debug, Clone, Copy)]
struct Figure {
    calls: u32,
    /// A stamp counts for so long, in nanoseconds: the window and its margin.
    kept: u64,
    /// A stamp is rounded up to a multiple of this.
    slice: u64,
}

/// The calls of one key.
#[derive(Debug, Clone, Default)]
struct Window {
    /// Times in ascending order, and how many calls were written then.
    written: VecDeque<(u64, u32)>,
    /// The sum of the above.
    sum: u32,
    /// Calls that were admitted and are not written yet.
    reserved: u32,
}

/// The windows of all keys of one limit, no more of them than the table allows; newcomers beyond share one.
#[derive(Debug)]
pub(super) struct WindowCounts {
    figure: Figure,
    windows: HashMap<u64, Window, BuildHasherDefault<AlreadyHashed>>,
    /// For all newcomers while the limit is full of live keys.
    overflow: Window,
    /// By key, how many of the reservations in `overflow` are its own.
    overflow_keys: HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>,
    full_until: u64,
}

impl Figure {
    fn new(calls: u32, length: Duration) -> Self {
        let slice = if calls > STAMPED { nanos(length) / SLICES } else { 1 };
        let kept = nanos(length.saturating_add(margin(length)));
        Self { calls, kept, slice: slice.max(1) }
    }

    fn stamp(&self, now: u64) -> u64 {
        now.div_ceil(self.slice).saturating_mul(self.slice)
    }

    fn is_over(&self, stamp: u64, now: u64) -> bool {
        stamp.saturating_add(self.kept) < now
    }
}

impl Window {
    fn forget_old(&mut self, figure: &Figure, now: u64) {
        while let Some((stamp, calls)) = self.written.front()
            && figure.is_over(*stamp, now)
        {
            self.sum -= calls;
            self.written.pop_front();
        }
    }

    fn is_empty(&self) -> bool {
        self.reserved == 0 && self.written.is_empty()
    }

    /// Nanoseconds until one more call may be made, if what is reserved is written now; 0 if it may be made.
    fn left(&self, figure: &Figure, now: u64) -> u64 {
        let mut held = self.sum.saturating_add(self.reserved);
        if held < figure.calls {
            return 0;
        }
        for (stamp, calls) in &self.written {
            held -= calls;
            if held < figure.calls {
                return stamp.saturating_add(figure.kept + 1).saturating_sub(now);
            }
        }
        figure.stamp(now).saturating_add(figure.kept + 1).saturating_sub(now)
    }

    fn write(&mut self, figure: &Figure, now: u64) {
        let stamp = figure.stamp(now);
        match self.written.back_mut() {
            // The clock does not go back, but for what threads read before they got the lock.
            Some((last, calls)) if *last >= stamp => *calls += 1,
            _ => self.written.push_back((stamp, 1)),
        }
        self.sum += 1;
    }
}

impl WindowCounts {
    pub(super) fn new(calls: u32, length: Duration) -> Self {
        Self {
            figure: Figure::new(calls, length),
            windows: HashMap::default(),
            overflow: Window::default(),
            overflow_keys: HashMap::default(),
            full_until: 0,
        }
    }

    /// Goes on with another figure or length: reservations and time stamps stay. What a shorter window has forgotten
    /// already, a longer one does not know.
    pub(super) fn change(&mut self, calls: u32, length: Duration) {
        self.figure = Figure::new(calls, length);
    }

    /// Whether one more call may be made; `Err` has the nanoseconds until then.
    pub(super) fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<(), u64> {
        let has_room = self.has_room(key, now, keys_max);
        let figure = self.figure;
        let left = |window: &mut Window| {
            window.forget_old(&figure, now);
            window.left(&figure, now)
        };
        let left = match self.windows.get_mut(&key) {
            Some(window) => left(window),
            None if has_room && !self.overflow.is_empty() => left(&mut self.inherited(key)),
            None => left(&mut self.overflow),
        };
        if left == 0 { Ok(()) } else { Err(left) }
    }

    /// Counts a call from now on, until it is written or given back.
    pub(super) fn reserve(&mut self, key: u64, now: u64, keys_max: usize) {
        if !self.windows.contains_key(&key) {
            if !self.has_room(key, now, keys_max) {
                self.overflow.reserved += 1;
                *self.overflow_keys.entry(key).or_default() += 1;
                return;
            }
            let inherited = self.inherited(key);
            self.overflow.reserved -= inherited.reserved;
            self.overflow_keys.remove(&key);
            self.windows.insert(key, inherited);
        }
        if let Some(window) = self.windows.get_mut(&key) {
            window.reserved += 1;
        }
    }

    /// The head of a reserved call is written now.
    pub(super) fn write(&mut self, key: u64, now: u64) {
        let figure = self.figure;
        if let Some(window) = self.take_reserved(key) {
            window.forget_old(&figure, now);
            window.write(&figure, now);
        }
    }

    /// A reserved call is not made.
    pub(super) fn give_back(&mut self, key: u64) {
        self.take_reserved(key);
    }

    /// Drops windows in which nothing is left, and their memory.
    pub(super) fn sweep(&mut self, now: u64) {
        self.windows.retain(|_, window| {
            window.forget_old(&self.figure, now);
            !window.is_empty()
        });
        self.overflow.forget_old(&self.figure, now);
        if self.windows.len() < self.windows.capacity() / 4 {
            self.windows.shrink_to(self.windows.len() * 2);
        }
    }

    /// How many windows are kept, and for how many there is room.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.windows.len(), self.windows.capacity())
    }

    /// The calls that newcomers shared so far: the key may have been among them. What others have reserved is theirs.
    fn inherited(&self, key: u64) -> Window {
        let reserved = self.overflow_keys.get(&key).copied().unwrap_or_default();
        Window { reserved, ..self.overflow.clone() }
    }

    /// Whether the key has a window of its own, or there is room for one.
    fn has_room(&mut self, key: u64, now: u64, keys_max: usize) -> bool {
        if self.windows.len() < keys_max || self.windows.contains_key(&key) {
            return true;
        }
        if now >= self.full_until {
            self.sweep(now);
            self.full_until = now.saturating_add(SWEEP_FULL);
        }
        self.windows.len() < keys_max
    }

    /// The window in which the key has a reservation, without that.
    fn take_reserved(&mut self, key: u64) -> Option<&mut Window> {
        let window = match self.windows.get_mut(&key) {
            Some(window) => window,
            None => {
                let held = self.overflow_keys.get_mut(&key)?;
                *held -= 1;
                if *held == 0 {
                    self.overflow_keys.remove(&key);
                }
                &mut self.overflow
            }
        };
        window.reserved = window.reserved.saturating_sub(1);
        Some(window)
    }
}

#[cfg(test)]
mod tests;
