//! The time slots in which requests go after a pause. Time is a parameter, in nanoseconds; [`super`] sleeps.
//!
//! No two requests of a pause have the same slot. When a pause begins or becomes longer while requests wait, those that
//! have not gone get new slots: none is earlier than the one before, and the order stays. That is the rule and not the
//! exception, since responses of Box and answers of Redis that mean the same pause differ by milliseconds about its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Paused, Scope};

/// The number of requests admitted in the first second after a pause.
pub(super) const FIRST_PACE: u64 = 4;
/// The number of seconds after which the rate is no longer limited.
pub(super) const RAMP: u64 = 10;
/// The most pauses at once; beyond, the one that ends first is dropped.
pub(super) const SCOPES_MAX: usize = 4096;
/// The most requests that wait.
pub(super) const WAITING_MAX: usize = 1024;
pub(super) const SECOND: u64 = 1_000_000_000;

/// The decision about a new request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It goes now.
    Passed,
    /// It would have to wait for too long: this time.
    Refused(Duration),
    /// It waits under this number, until the time of its slot. Then [`Slots::poll`] must be called.
    Waits { number: u64, slot: u64 },
}

/// The decision about a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polled {
    /// It goes now.
    Passed,
    /// A pause has begun or become longer meanwhile: the request would have to wait for too long, still this time.
    Refused(Duration),
    /// Poll again at this time.
    Until(u64),
}

/// The pauses, and the requests that wait for their ends. Kept behind one lock by its owner.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pauses: HashMap<Scope, Pause>,
    /// By their numbers, which increase in the order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    next_number: u64,
}

#[derive(Debug)]
struct Pause {
    until: u64,
    /// When the next request may go after those that have gone.
    after_gone: u64,
    /// When the next request may go after those that wait, too; not before the end of the pause.
    next: u64,
    of: Arc<Paused>,
}

#[derive(Debug)]
struct Waiter {
    scopes: [Scope; 2],
    /// When it goes. If that is after `by`, it will be refused, and the slot is free for others.
    slot: u64,
    /// The latest time at which it may go.
    by: u64,
}

impl Pause {
    fn is_over(&self, now: u64) -> bool {
        now >= self.until.saturating_add(RAMP * SECOND)
    }

    /// When the next request may go if one goes at this time.
    fn after(&self, slot: u64) -> u64 {
        let since = slot.saturating_sub(self.until) / SECOND;
        let pause = if since >= RAMP { 0 } else { SECOND / (FIRST_PACE << since) };
        slot.saturating_add(pause)
    }
}

impl Slots {
    /// Begins a pause, or makes it longer. Returns whether it begins: none held before.
    pub(super) fn pause(&mut self, scope: Scope, of: Arc<Paused>, until: u64, now: u64) -> bool {
        self.make_room_for(scope, now);
        let held = self.pauses.get(&scope).map(|pause| pause.until);
        self.pauses.entry(scope).or_insert(Pause { until: 0, after_gone: 0, next: 0, of });
        self.prolong(scope, until);
        held.is_none_or(|held| held <= now)
    }

    /// Makes a pause longer if it is still known and ends before this time.
    pub(super) fn prolong(&mut self, scope: Scope, until: u64) {
        if let Some(pause) = self.pauses.get_mut(&scope).filter(|pause| pause.until < until) {
            pause.until = until;
            self.rebook(scope);
        }
    }

    /// Admits a new request, books a slot for it not later than `by`, or refuses it.
    pub(super) fn enqueue(&mut self, scopes: [Scope; 2], now: u64, by: u64) -> Arrival {
        self.forget_over(&scopes, now);
        let slot = self.next(&scopes, now);
        if slot > by || (slot > now && self.waiting.len() >= WAITING_MAX) {
            return Arrival::Refused(Duration::from_nanos(slot.saturating_sub(now)));
        }
        self.book(&scopes, slot);
        if slot <= now {
            self.goes(&scopes, slot);
            return Arrival::Passed;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert(number, Waiter { scopes, slot, by });
        Arrival::Waits { number, slot }
    }

    /// Checks whether a waiting request may go. Unless it waits further, it is no longer known afterwards.
    pub(super) fn poll(&mut self, number: u64, now: u64) -> Polled {
        match self.waiting.get(&number) {
            Some(waiter) if waiter.slot > now && waiter.slot <= waiter.by => Polled::Until(waiter.slot),
            Some(Waiter { scopes, slot, by }) => {
                let (scopes, slot, by) = (*scopes, *slot, *by);
                self.waiting.remove(&number);
                if slot > by {
                    return Polled::Refused(Duration::from_nanos(slot.saturating_sub(now)));
                }
                self.goes(&scopes, slot);
                Polled::Passed
            }
            // Only a waiting request is polled.
            None => Polled::Refused(Duration::ZERO),
        }
    }

    /// Forgets a waiting request that is cancelled. Nobody else gets its slot.
    pub(super) fn leave(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// The number of pauses in force or just ended, and of waiting requests.
    pub(super) fn live(&self) -> (usize, usize) {
        (self.pauses.len(), self.waiting.len())
    }

    /// The pauses in force, each with its end.
    pub(super) fn in_force(&self, now: u64) -> impl Iterator<Item = (&Arc<Paused>, u64)> {
        self.pauses.values().filter(move |pause| pause.until > now).map(|pause| (&pause.of, pause.until))
    }

    fn make_room_for(&mut self, scope: Scope, now: u64) {
        if self.pauses.len() < SCOPES_MAX || self.pauses.contains_key(&scope) {
            return;
        }
        self.pauses.retain(|_, pause| !pause.is_over(now));
        if self.pauses.len() >= SCOPES_MAX
            && let Some(soonest) =
                self.pauses.iter().min_by_key(|(_, pause)| pause.until).map(|(scope, _)| *scope)
        {
            self.pauses.remove(&soonest);
        }
    }

    fn forget_over(&mut self, scopes: &[Scope], now: u64) {
        for scope in scopes {
            if self.pauses.get(scope).is_some_and(|pause| pause.is_over(now)) {
                self.pauses.remove(scope);
            }
        }
        if self.pauses.is_empty() && self.pauses.capacity() > 64 {
            self.pauses.shrink_to_fit();
        }
    }

    /// The next free slot, at this time or later.
    fn next(&self, scopes: &[Scope], at: u64) -> u64 {
        scopes.iter().filter_map(|scope| self.pauses.get(scope)).fold(at, |slot, pause| slot.max(pause.next))
    }

    fn book(&mut self, scopes: &[Scope], slot: u64) {
        for scope in scopes {
            if let Some(pause) = self.pauses.get_mut(scope) {
                pause.next = pause.after(slot);
            }
        }
    }

    fn goes(&mut self, scopes: &[Scope], slot: u64) {
        for scope in scopes {
            if let Some(pause) = self.pauses.get_mut(scope) {
                pause.after_gone = pause.after_gone.max(pause.after(slot));
            }
        }
    }

    /// Books the slots of the waiting requests again, after the end of this pause has moved.
    fn rebook(&mut self, scope: Scope) {
        self.free(scope);
        if !self.waiting.values().any(|waiter| waiter.scopes.contains(&scope)) {
            return;
        }
        // A request may wait for another pause, too, so the slots of all pauses are booked again.
        let mut order = Vec::with_capacity(self.waiting.len());
        for (number, waiter) in &self.waiting {
            let pauses = waiter.scopes.iter().filter_map(|scope| self.pauses.get(scope));
            // Who waits for the end of a later pause, too, does not keep back those who arrived after it.
            order.push((pauses.map(|pause| pause.until).max(), *number, waiter.scopes));
        }
        order.sort_unstable_by_key(|(until, number, _)| (*until, *number));
        order.iter().flat_map(|(.., scopes)| scopes).for_each(|scope| self.free(*scope));
        for (_, number, scopes) in order {
            let before = self.waiting.get(&number).map_or(0, |waiter| waiter.slot);
            let slot = self.next(&scopes, before);
            let Some(waiter) = self.waiting.get_mut(&number) else { continue };
            waiter.slot = slot;
            if slot <= waiter.by {
                self.book(&scopes, slot);
            }
        }
    }

    /// Frees all slots of a pause but those of the requests that have gone.
    fn free(&mut self, scope: Scope) {
        if let Some(pause) = self.pauses.get_mut(&scope) {
            pause.next = pause.until.max(pause.after_gone);
        }
    }
}

#[cfg(test)]
mod tests;
