//! Queues of requests that wait for a limit, and their order. Time is a parameter; [`super::waiting`] sleeps and wakes.
//!
//! If a limit refuses and has a `wait`, the request joins the queue of that limit and key. Each app has its own
//! order of arrival there, and the apps take turns: an app with a thousand queued requests delays one with two by
//! one call each. The first request of the first app checks again when the limit's next call is due; all
//! others sleep until they are first. Only a request that passes all its limits moves its app to the back.
//!
//! No request overtakes: a new one joins the queue of any of its limits that has one, even if the count would let it
//! pass. A first request that another limit refuses moves to the queue of that limit, ordered by arrival. Once in
//! its lifetime a first request also lets requests pass that arrived earlier and are queued for another of its
//! limits; only once, so that two queues cannot send requests back and forth. Requests of one app with the same keys pass
//! in the order of arrival: a later one follows an earlier one to its queue each time, and stays behind it there.
//!
//! A request that could not be served in time is refused at once, with the time after which all queued requests are
//! served. If later requests push a queued one beyond its time, the last one of the app with the most requests is
//! refused.

use std::collections::{HashMap, VecDeque};

use super::buckets::{Passed, Refused, Table};
use super::limit::WAIT_MAX;
use super::matcher::{Counted, Keys, LimitMatcher};

/// The most requests that wait for one limit, over all its keys.
pub(crate) const QUEUED_MAX: usize = 1024;

/// The decision about a new request.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It passed and is charged.
    Passed(Passed),
    /// It is refused and charged to none.
    Refused(Refused),
    /// It is queued under this number: [`WaitQueues::poll`] returns for how long.
    Waits(u64),
}

/// The decision about a queued request.
#[derive(Debug)]
pub(crate) enum Polled {
    /// It passed and is charged.
    Passed(Passed),
    /// It is refused and charged to none.
    Refused(Refused),
    /// Poll again at this time, or when woken.
    Until(u64),
}

/// The counts and the queues of all limits. Kept behind one lock by its owner.
#[derive(Debug)]
pub(crate) struct WaitQueues {
    table: Table,
    lines: HashMap<Counted, WaitQueue>,
    waiters: HashMap<u64, State>,
    /// The number of queued requests, by slot of the table.
    queued: Vec<usize>,
    next: u64,
    now: u64,
    woken: Vec<u64>,
}

/// Where a waiting request is.
#[derive(Debug)]
enum State {
    InLine(Counted, u64),
    /// It was refused and has not been polled since.
    Evicted(Refused),
}

/// Apps in the order of their turns, each with its requests in the order of arrival. Every app has a request.
#[derive(Debug, Default)]
struct WaitQueue {
    apps: VecDeque<(u64, VecDeque<Waiter>)>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Waiter {
    /// Numbers increase in the order of arrival.
    number: u64,
    keys: Keys,
    /// The latest time in this queue …
    by: u64,
    /// … and over all queues.
    last: u64,
    /// It has let earlier requests pass.
    yielded: bool,
}

impl WaitQueues {
    /// Empty, without a configuration.
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            lines: HashMap::new(),
            waiters: HashMap::new(),
            queued: Vec::new(),
            next: 0,
            now: 0,
            woken: Vec::new(),
        }
    }

    /// Adds the counts and queues of one more configuration, see [`Table::bind`]. Queued requests stay; the first in
    /// each queue of a limit whose figures have changed checks again, since it may go sooner. Returns the slots in the
    /// order of the limits.
    pub(crate) fn bind(&mut self, rules: &LimitMatcher, newest: bool, now: u64) -> Vec<u32> {
        let now = self.later(now);
        let (slots, changed) = self.table.bind(rules, newest, now);
        self.queued.resize(self.table.slots(), 0);
        let lines = self.lines.iter().filter(|(at, _)| changed.contains(&at.slot));
        self.woken.extend(lines.filter_map(|(_, line)| line.first()));
        slots
    }

    /// Removes a configuration with these slots that has ended; none of its requests waits or has a reservation.
    pub(crate) fn release(&mut self, slots: impl Iterator<Item = u32>) {
        self.table.release(slots);
        self.queued.truncate(self.table.slots());
    }

    /// Admits, queues or refuses a new request.
    pub(crate) fn enqueue(&mut self, keys: Keys, app: u64, now: u64) -> Arrival {
        let now = self.later(now);
        self.table.stage(&keys, now);
        // A limit that is no longer enforced may still have a queue; no request joins it.
        let lined = !self.lines.is_empty()
            && self.table.staged().any(|staged| self.lines.contains_key(&staged.counted));
        if !lined && self.table.passes() {
            return Arrival::Passed(self.table.charge(now));
        }
        let mut retry = 0;
        let mut refused_by = None;
        let mut join: Option<(Counted, u64)> = None;
        let mut longest_wait = 0;
        for staged in self.table.staged() {
            let counted = staged.counted;
            let wait = self.table.wait(counted.slot);
            longest_wait = longest_wait.max(wait);
            let (ahead, all) = match self.lines.get(&counted) {
                None if staged.left() == 0 => continue,
                None => (0, 0),
                Some(line) => (line.ahead_of(app), line.len),
            };
            let interval = self.table.interval(counted.slot);
            let after = |calls: usize| staged.left().saturating_add(interval.saturating_mul(calls as u64));
            retry = retry.max(after(all));
            if wait == 0 || after(ahead) > wait || !self.has_room(counted, app) {
                refused_by = refused_by.or(Some(counted));
            } else if join.is_none_or(|(_, longest)| after(ahead) > longest) {
                join = Some((counted, after(ahead)));
            }
        }
        match (refused_by, join) {
            (None, Some((line, _))) => {
                let number = self.next;
                self.next += 1;
                let last = now.saturating_add(longest_wait.min(WAIT_MAX.as_nanos() as u64));
                let waiter = Waiter { number, keys, by: last, last, yielded: false };
                self.displace_for(line, app, now);
                self.join(line, app, waiter, now);
                self.displace_late(line, number, now);
                Arrival::Waits(number)
            }
            (by, _) => Arrival::Refused(self.table.refusal(by.unwrap_or_default(), retry)),
        }
    }

    /// Checks whether a queued request may go.
    pub(crate) fn poll(&mut self, number: u64, now: u64) -> Polled {
        let now = self.later(now);
        // Each round moves it to another queue, which happens only a few times.
        loop {
            let (line, app) = match self.waiters.get(&number) {
                Some(State::InLine(line, app)) => (*line, *app),
                _ => return Polled::Refused(self.evicted(number)),
            };
            let Some((waiter, first)) = self.lines.get(&line).and_then(|there| there.find(app, number))
            else {
                return Polled::Refused(self.evicted(number));
            };
            if !first {
                if now < waiter.by {
                    return Polled::Until(waiter.by);
                }
                return Polled::Refused(self.refuse(number, line, now));
            }
            let earlier = self.earlier_elsewhere(waiter, line, app);
            let (keys, by, last) = (waiter.keys.clone(), waiter.by, waiter.last);
            self.table.stage(&keys, now);
            let next = match earlier {
                Some(other) => other,
                None if self.table.passes() => {
                    self.remove(number, true);
                    return Polled::Passed(self.table.charge(now));
                }
                None => {
                    let mut longest = (line, 0);
                    let mut refused_by = None;
                    for staged in self.table.staged().filter(|staged| staged.left() > 0) {
                        let (counted, wait) = (staged.counted, self.table.wait(staged.counted.slot));
                        // In its own queue it keeps the deadline with which it joined, even if the limit's `wait` has
                        // changed.
                        let by = if counted == line { by } else { last.min(now.saturating_add(wait)) };
                        if (wait == 0 && counted != line) || now.saturating_add(staged.left()) > by {
                            refused_by = refused_by.or(Some(counted));
                        }
                        if staged.left() > longest.1 {
                            longest = (counted, staged.left());
                        }
                    }
                    if let Some(by) = refused_by {
                        return Polled::Refused(self.refuse(number, by, now));
                    }
                    if longest.0 == line {
                        return Polled::Until(now.saturating_add(longest.1));
                    }
                    longest.0
                }
            };
            if now >= by || !self.has_room(next, app) {
                return Polled::Refused(self.refuse(number, next, now));
            }
            if let Some(mut waiter) = self.remove(number, false) {
                waiter.yielded |= earlier.is_some();
                self.displace_for(next, app, now);
                self.join(next, app, waiter, now);
            }
        }
    }

    /// Reserves one more call of an admitted request, which is not queued.
    pub(crate) fn reserve(&mut self, keys: &Keys, now: u64) -> Result<Passed, Refused> {
        let now = self.later(now);
        self.table.stage(keys, now);
        if self.table.passes() {
            return Ok(self.table.charge(now));
        }
        let refused_by = self.table.staged().find(|staged| staged.left() > 0);
        let left = self.table.staged().map(|staged| staged.left()).max().unwrap_or(0);
        Err(self.table.refusal(refused_by.map(|staged| staged.counted).unwrap_or_default(), left))
    }

    /// Charges a request that goes to Box regardless of the limits. Returns the windows in which its call is reserved.
    pub(crate) fn charge_regardless(&mut self, keys: &Keys, now: u64) -> Keys {
        let now = self.later(now);
        self.table.stage(keys, now);
        self.table.charge_regardless(now)
    }

    /// Records that the head of a call with these reservations is written now.
    pub(crate) fn write(&mut self, reserved: &Keys, now: u64) {
        let now = self.later(now);
        self.table.write(reserved, now);
    }

    /// Gives back the reservations of a call that is not made. No request waits for a window, so none is woken.
    pub(crate) fn give_back(&mut self, reserved: &Keys) {
        self.table.give_back(reserved);
    }

    /// Removes a queued request that is cancelled; wakes the next one.
    pub(crate) fn leave(&mut self, number: u64) {
        if self.remove(number, false).is_none() {
            self.waiters.remove(&number);
        }
    }

    /// The requests to poll now: those first in their queue, or refused.
    pub(crate) fn woken(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.woken.drain(..)
    }

    /// The number of requests queued for the limit with this slot.
    pub(crate) fn queued(&self, slot: u32) -> usize {
        self.queued.get(slot as usize).copied().unwrap_or(0)
    }

    /// What keys have used of the limit with this slot, see [`Table::used`]; also of all keys for which requests wait.
    pub(crate) fn used(&self, slot: u32, keys: &[u64], now: u64) -> Vec<(u64, f64)> {
        let queued = self.lines.keys().filter(|at| at.slot == slot).map(|at| at.key);
        let keys: Vec<u64> = queued.chain(keys.iter().copied()).collect();
        self.table.used(slot, &keys, now.max(self.now))
    }

    /// The requests that wait for the limit with this slot: key, number of the app, how many.
    pub(crate) fn waiting(&self, slot: u32) -> Vec<(u64, u64, usize)> {
        let lines = self.lines.iter().filter(|(at, _)| at.slot == slot);
        let of_line = |(at, line): (&Counted, &WaitQueue)| -> Vec<(u64, u64, usize)> {
            line.apps.iter().map(|(app, order)| (at.key, *app, order.len())).collect()
        };
        lines.flat_map(of_line).collect()
    }

    /// The number of slots of the table, and of those in use.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> (usize, usize) {
        (self.table.slots(), self.table.occupied())
    }

    /// Keeps time monotonic: threads read the clock before they get the lock.
    fn later(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    /// The queue with a request that this one lets pass.
    fn earlier_elsewhere(&self, waiter: &Waiter, here: Counted, app: u64) -> Option<Counted> {
        if self.lines.len() < 2 {
            return None;
        }
        waiter.keys.iter().find(|counted| {
            let line = self.lines.get(counted).filter(|_| *counted != here);
            line.is_some_and(|line| {
                if waiter.yielded { line.has_earlier_alike(waiter, app) } else { line.has_earlier(waiter) }
            })
        })
    }

    /// Whether one more request of this app may wait for this limit, if need be in place of one of an app with more.
    fn has_room(&self, line: Counted, app: u64) -> bool {
        self.queued(line.slot) < QUEUED_MAX || self.greedier(line, app).is_some()
    }

    /// The last request of the app with the most, if that has more than this app would have.
    fn greedier(&self, line: Counted, app: u64) -> Option<u64> {
        let line = self.lines.get(&line)?;
        let own = line.apps.iter().find(|(name, _)| *name == app).map_or(0, |(_, order)| order.len());
        let (_, longest) = line.apps.iter().max_by_key(|(_, order)| order.len())?;
        longest.back().filter(|_| longest.len() > own + 1).map(|waiter| waiter.number)
    }

    fn displace_for(&mut self, line: Counted, app: u64, now: u64) {
        if self.queued(line.slot) >= QUEUED_MAX
            && let Some(number) = self.greedier(line, app)
        {
            self.evict(number, line, now);
        }
    }

    /// A new request delays others by one call: the last one may now be too late.
    fn displace_late(&mut self, line: Counted, newcomer: u64, now: u64) {
        let Some(there) = self.lines.get(&line) else { return };
        let longest = there.apps.iter().max_by_key(|(_, order)| order.len());
        let Some(last) = longest.filter(|(_, order)| order.len() > 1).and_then(|(_, order)| order.back())
        else {
            return;
        };
        let before = there.len.saturating_sub(1) as u64;
        let served = now
            .saturating_add(self.table.left(line, now))
            .saturating_add(self.table.interval(line.slot).saturating_mul(before));
        let (number, late) = (last.number, served > last.by);
        if late && number != newcomer {
            self.evict(number, line, now);
        }
    }

    fn evict(&mut self, number: u64, line: Counted, now: u64) {
        let refusal = self.refuse(number, line, now);
        self.waiters.insert(number, State::Evicted(refusal));
        self.woken.push(number);
    }

    fn evicted(&mut self, number: u64) -> Refused {
        match self.waiters.remove(&number) {
            Some(State::Evicted(refused)) => refused,
            // A removed request is not polled any more.
            _ => self.table.refusal(Counted::default(), 0),
        }
    }

    /// Removes a request from its queue, refused by `by`.
    fn refuse(&mut self, number: u64, by: Counted, now: u64) -> Refused {
        let keys = self.remove(number, false).map(|waiter| waiter.keys).unwrap_or_default();
        let mut retry = 0;
        for counted in keys.iter() {
            let in_line = self.lines.get(&counted).map_or(0, |line| line.len as u64);
            let all = self.table.interval(counted.slot).saturating_mul(in_line);
            retry = retry.max(self.table.left(counted, now).saturating_add(all));
        }
        self.table.refusal(by, retry)
    }

    fn join(&mut self, at: Counted, app: u64, mut waiter: Waiter, now: u64) {
        waiter.by = waiter.last.min(now.saturating_add(self.table.wait(at.slot)));
        self.waiters.insert(waiter.number, State::InLine(at, app));
        if let Some(queued) = self.queued.get_mut(at.slot as usize) {
            *queued += 1;
        }
        let line = self.lines.entry(at).or_default();
        line.len += 1;
        match line.apps.iter_mut().find(|(name, _)| *name == app) {
            Some((_, order)) => {
                let position = order.partition_point(|other| other.number < waiter.number);
                order.insert(position, waiter);
            }
            None => line.apps.push_back((app, VecDeque::from([waiter]))),
        }
    }

    fn remove(&mut self, number: u64, served: bool) -> Option<Waiter> {
        let Some(State::InLine(at, app)) = self.waiters.get(&number) else { return None };
        let (at, app) = (*at, *app);
        self.waiters.remove(&number);
        let line = self.lines.get_mut(&at)?;
        let was_first = line.first() == Some(number);
        let turn = line.apps.iter().position(|(name, _)| *name == app)?;
        let (_, order) = line.apps.get_mut(turn)?;
        let position = order.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        let waiter = order.remove(position)?;
        if order.is_empty() {
            line.apps.remove(turn);
        } else if served && let Some(app) = line.apps.remove(turn) {
            line.apps.push_back(app);
        }
        line.len -= 1;
        if let Some(queued) = self.queued.get_mut(at.slot as usize) {
            *queued -= 1;
        }
        match line.first() {
            Some(first) if was_first => self.woken.push(first),
            Some(_) => {}
            None => {
                self.lines.remove(&at);
                give_back(&mut self.lines);
            }
        }
        give_back(&mut self.waiters);
        Some(waiter)
    }
}

/// Release the memory of a rush.
fn give_back<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.is_empty() && map.capacity() > 64 {
        map.shrink_to_fit();
    }
}

impl WaitQueue {
    fn first(&self) -> Option<u64> {
        self.apps.front()?.1.front().map(|waiter| waiter.number)
    }

    fn has_earlier(&self, waiter: &Waiter) -> bool {
        self.apps.iter().filter_map(|(_, order)| order.front()).any(|first| first.number < waiter.number)
    }

    /// Whether an earlier request of this app has the same keys.
    fn has_earlier_alike(&self, waiter: &Waiter, app: u64) -> bool {
        let order = self.apps.iter().find(|(name, _)| *name == app).map(|(_, order)| order);
        let mut earlier = order.into_iter().flatten().take_while(|other| other.number < waiter.number);
        earlier.any(|other| other.keys == waiter.keys)
    }

    /// The request, and whether it is first.
    fn find(&self, app: u64, number: u64) -> Option<(&Waiter, bool)> {
        let (_, order) = self.apps.iter().find(|(name, _)| *name == app)?;
        let position = order.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        Some((order.get(position)?, self.first() == Some(number)))
    }

    /// The number of requests served before one more request of this app.
    fn ahead_of(&self, app: u64) -> usize {
        let turn = self.apps.iter().position(|(name, _)| *name == app);
        let own = turn.and_then(|turn| self.apps.get(turn)).map_or(0, |(_, order)| order.len());
        let turn = turn.unwrap_or(self.apps.len());
        let others = self.apps.iter().enumerate().filter(|(index, _)| *index != turn);
        let ahead = others.map(|(index, (_, order))| order.len().min(own + usize::from(index < turn)));
        own + ahead.sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
