//! The counts of one limit with a sliding window: never more than the figure in any window, both its
//! ends included, and nearly all of it can be used over time. Why: `docs/decisions/gcra-and-windows.md`.
//!
//! A call is reserved when it is admitted, and becomes a time stamp when its head is written to Box. A reservation
//! counts for as long as it is held, a stamp for as long as the window. So reservations and stamps together are never
//! more than the figure, and it does not matter for how long a call waits for a token or a connection in between.
//!
//! Up to [`STAMPED`] calls each have their own stamp. For larger figures a window is divided into [`SLICES`], and a
//! call has the stamp of the end of its slice: a partly expired slice counts whole. So no key takes more than 4 KiB.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use super::bucket_counts::{AlreadyHashed, SWEEP_FULL, nanos};
use super::limit::margin;

/// The largest figure with a time stamp for each call.
const STAMPED: u32 = 250;
/// The slices of a window with a larger figure. At most one slice's share of the figure is lost: 0.8 %.
const SLICES: u64 = 120;

/// A limit's figure.
#[derive(Debug, Clone, Copy)]
struct Figure {
    calls: u32,
    /// How long a stamp counts, in nanoseconds: the window and its margin.
    kept: u64,
    /// A stamp is rounded up to a multiple of this.
    slice: u64,
}

/// The calls of one key.
#[derive(Debug, Clone, Default)]
struct Window {
    /// Times in ascending order, and the number of calls written at each.
    written: VecDeque<(u64, u32)>,
    /// The sum of the above.
    sum: u32,
    /// Calls that are admitted and not yet written.
    reserved: u32,
}

/// The windows of all keys of one limit, at most as many as the table allows; further new keys share one.
#[derive(Debug)]
pub(super) struct WindowCounts {
    figure: Figure,
    windows: HashMap<u64, Window, BuildHasherDefault<AlreadyHashed>>,
    /// Shared by all new keys while no entry is free.
    overflow: Window,
    /// The number of reservations in `overflow`, by key.
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

    fn held(&self, figure: &Figure, now: u64) -> u64 {
        let is_over = |(stamp, _): &&(u64, u32)| figure.is_over(*stamp, now);
        let old: u32 = self.written.iter().take_while(is_over).map(|(_, calls)| calls).sum();
        u64::from(self.sum - old) + u64::from(self.reserved)
    }

    fn is_empty(&self) -> bool {
        self.reserved == 0 && self.written.is_empty()
    }

    /// Nanoseconds until one more call may be made, if all reserved calls are written now; 0 if it may be made at once.
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
            // The clock is monotonic, but threads read it before they get the lock.
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

    /// Changes the figure or length: reservations and time stamps stay. Calls that a shorter window has dropped
    /// are unknown to a longer one.
    pub(super) fn change(&mut self, calls: u32, length: Duration) {
        self.figure = Figure::new(calls, length);
    }

    /// A key's calls in the window, with those reserved. Changes nothing.
    pub(super) fn held(&self, key: u64, now: u64) -> Option<u64> {
        self.windows.get(&key).map(|window| window.held(&self.figure, now))
    }

    /// The same of this many keys in no order.
    pub(super) fn some_held(&self, most: usize, now: u64) -> impl Iterator<Item = (u64, u64)> {
        self.windows.iter().take(most).map(move |(key, window)| (*key, window.held(&self.figure, now)))
    }

    /// Whether one more call may be made; the error is the nanoseconds until then.
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

    /// Records that the head of a reserved call is written now.
    pub(super) fn write(&mut self, key: u64, now: u64) {
        let figure = self.figure;
        if let Some(window) = self.take_reserved(key) {
            window.forget_old(&figure, now);
            window.write(&figure, now);
        }
    }

    /// Gives back a reserved call that is not made.
    pub(super) fn give_back(&mut self, key: u64) {
        self.take_reserved(key);
    }

    /// Drops empty windows, and their memory.
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

    /// The number of windows, and the capacity.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.windows.len(), self.windows.capacity())
    }

    /// The shared calls so far, since the key may have made some of them; without the reservations of other keys.
    fn inherited(&self, key: u64) -> Window {
        let reserved = self.overflow_keys.get(&key).copied().unwrap_or_default();
        Window { reserved, ..self.overflow.clone() }
    }

    /// Whether the key has its own window, or an entry is free for one.
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

    /// Removes a reservation of the key, and returns its window.
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
