//! Limits shared by the workers: one check for each request, which waits for its turn if it may.
//!
//! The counts and queues of [`super::queue`] are behind one lock, held for less than a microsecond for a request that
//! need not wait. One that waits sleeps until it is woken or its time has come; only the first in each queue has a
//! timer, so that a call that becomes free wakes one request and not all. A caller that hangs up drops the
//! future, which leaves the queue: the next request is woken, even if the dropped one was just about to go.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::buckets::{Passed, Refused, Shadow};
use super::fullest::{Fullness, Remembered};
use super::limit::{Key, Limit};
use super::matcher::{Keys, LimitMatcher, RequestKey, User};
use super::queue::{Arrival, Polled, WaitQueues};
use super::tally::{Tallies, Tally};
use crate::net::clock::Clock;

/// All limits of one configuration. Counts and queues are shared with the previous and next configurations, as long as
/// they have requests in progress: a limit that several of them have counts the requests of all, which wait in one
/// queue.
#[derive(Debug)]
pub(crate) struct Limits {
    rules: LimitMatcher,
    shared: Arc<Shared>,
    /// The number of its configuration: it must not overwrite the figures of a later one.
    configuration: u64,
    tallies: Tallies,
}

/// The state that configurations share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// The origin of times.
    start: Instant,
    hasher: RandomState,
    state: Mutex<State>,
    /// Clients and users that a limit refused or let wait.
    remembered: Remembered,
}

#[derive(Debug)]
struct State {
    queues: WaitQueues,
    waiting: HashMap<u64, Arc<Notify>>,
    /// The number of the newest configuration.
    newest: u64,
}

/// A request that may go to Box, charged to all its limits.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Its first call, if a window counts it.
    pub reservation: Option<Reservation>,
    /// The limits that would have refused it if they were enforced: for the log. They are counted already.
    pub shadow: Vec<Shadow>,
    /// How long it was queued.
    pub waited: Duration,
}

/// The figures of one limit, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    pub limit: Arc<str>,
    pub refused: u64,
    /// Requests that it would have refused if it were enforced.
    pub shadow: u64,
    /// Requests queued now, of all configurations.
    pub queued: usize,
}

impl Limits {
    /// The limits of the first configuration.
    pub(crate) fn new(rules: LimitMatcher, tallies: Tallies, clock: Clock) -> Self {
        let state = State { queues: WaitQueues::new(), waiting: HashMap::new(), newest: 0 };
        let (start, hasher) = (clock.mono(), RandomState::new());
        let remembered = Remembered::default();
        let shared = Shared { clock, start, hasher, state: Mutex::new(state), remembered };
        Self::bound(Arc::new(shared), rules, tallies, 0)
    }

    /// The limits of the next configuration, which takes over now. A limit that stays
    /// ([`super::counter::Counter::is_of`]) keeps its counts and its queue; its new figures apply to the requests of
    /// both configurations.
    pub(crate) fn successor(&self, rules: LimitMatcher, tallies: Tallies) -> Self {
        let configuration = {
            let mut state = self.lock();
            state.newest += 1;
            state.newest
        };
        Self::bound(self.shared.clone(), rules, tallies, configuration)
    }

    /// The same limits of the same configuration with other figures. If a later configuration also has a limit, that
    /// one's figures apply.
    pub(crate) fn with_figures(&self, rules: LimitMatcher) -> Self {
        Self::bound(self.shared.clone(), rules, self.tallies.clone(), self.configuration)
    }

    fn bound(shared: Arc<Shared>, mut rules: LimitMatcher, tallies: Tallies, configuration: u64) -> Self {
        let now = shared.now();
        let mut state = shared.lock();
        let is_newest = configuration >= state.newest;
        let slots = state.queues.bind(&rules, is_newest, now);
        state.wake();
        drop(state);
        rules.bind(&slots, shared.hasher.clone());
        Self { rules, shared, configuration, tallies }
    }

    /// Charges a request to all its limits, after waiting for its turn if it may; or refuses it and charges none.
    pub(crate) async fn admit(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Result<Admitted, Refused> {
        match self.enter(request_key) {
            Entered::Passed(admitted) => Ok(admitted),
            Entered::Refused(refused) => Err(refused),
            Entered::Waits(turn) => turn.come().await,
        }
    }

    /// The same without the waiting.
    pub(crate) fn enter(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Entered<'_> {
        let keys = self.rules.applying(request_key);
        if keys.is_empty() {
            return Entered::Passed(Admitted::default());
        }
        let arrived = self.now();
        match self.enqueue(keys, request_key.app_number, arrived) {
            Entry::Passed(passed) => {
                if !passed.shadow.is_empty() {
                    self.remember(request_key);
                }
                Entered::Passed(self.admitted(passed, Duration::ZERO))
            }
            Entry::Refused(refused) => {
                self.remember(request_key);
                Entered::Refused(self.refused(refused))
            }
            Entry::Waits(waiting) => {
                self.remember(request_key);
                Entered::Waits(Turn { waiting, arrived })
            }
        }
    }

    /// Reserves one more call of an admitted request, if a window counts it.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        request_key: &RequestKey<'_>,
    ) -> Result<Option<Reservation>, Refused> {
        let keys = self.rules.windows(request_key);
        if keys.is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let reserved = self.lock().queues.reserve(&keys, now);
        match reserved {
            Ok(passed) => Ok(self.reservation(passed.reserved)),
            Err(refused) => Err(self.refused(refused)),
        }
    }

    /// Charges a request that goes to Box regardless of these limits.
    pub(crate) fn charge_regardless(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Option<Reservation> {
        let keys = self.rules.applying(request_key);
        if keys.is_empty() {
            return None;
        }
        let now = self.now();
        let reserved = self.lock().queues.charge_regardless(&keys, now);
        self.reservation(reserved)
    }

    /// The same for one more call of an admitted request.
    pub(crate) fn reserve_regardless(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Option<Reservation> {
        let keys = self.rules.windows(request_key);
        let now = self.now();
        let reserved = self.lock().queues.charge_regardless(&keys, now);
        self.reservation(reserved)
    }

    /// The figures of the limits, in their order.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        let state = self.lock();
        let of = |((limit, slot), tally): ((&Limit, u32), &Tally)| Figures {
            limit: Arc::clone(&limit.name),
            refused: tally.refused(),
            shadow: tally.shadow(),
            queued: state.queues.queued(slot),
        };
        self.rules.iter().zip(self.rules.slots()).zip(self.tallies.iter()).map(of).collect()
    }

    /// Remembers the client and the user of a request that is refused or waits, so that operators see who they are.
    pub(crate) fn remember(&self, request_key: &RequestKey<'_>) {
        for (_, limit) in self.rules.about(request_key) {
            let key = || self.rules.hash(limit.key, request_key);
            match (limit.key, request_key.user) {
                (Key::Client, _) => {
                    let name = || request_key.client.of_network().into();
                    self.shared.remembered.add(key(), Key::Client, name);
                }
                (Key::User, User::Id(id)) => self.shared.remembered.add(key(), Key::User, || id.into()),
                _ => {}
            }
        }
    }

    /// How full the limit with this index is, and who waits for it. The lock is held for some tens of microseconds, however many
    /// keys there are: of a limit with more than 512, those that were refused or wait are looked at, and 512 others.
    pub(crate) fn fullness(&self, index: usize) -> Fullness {
        let limits = self.rules.iter().zip(self.rules.slots());
        let Some((limit, slot)) = limits.into_iter().nth(index) else { return Fullness::default() };
        let names = self.shared.remembered.of(limit.key);
        let keys: Vec<u64> = names.iter().map(|(key, _)| *key).collect();
        let now = self.now();
        let (used, waiting) = {
            let state = self.lock();
            (state.queues.used(slot, &keys, now), state.queues.waiting(slot))
        };
        Fullness::new(used, &waiting, &names)
    }

    /// The number of queued requests.
    #[cfg(test)]
    fn queued(&self) -> usize {
        self.figures().iter().map(|figures| figures.queued).sum()
    }

    pub(crate) fn rules(&self) -> &LimitMatcher {
        &self.rules
    }

    fn enqueue(self: &Arc<Self>, keys: Keys, app: u64, now: u64) -> Entry<'_> {
        let mut state = self.lock();
        match state.queues.enqueue(keys, app, now) {
            Arrival::Passed(passed) => Entry::Passed(passed),
            Arrival::Refused(refused) => Entry::Refused(refused),
            Arrival::Waits(number) => {
                let woken = Arc::new(Notify::new());
                state.waiting.insert(number, Arc::clone(&woken));
                state.wake();
                Entry::Waits(Waiting { limits: self, number, woken })
            }
        }
    }

    fn reservation(self: &Arc<Self>, reserved: Keys) -> Option<Reservation> {
        (!reserved.is_empty()).then(|| Reservation { limits: Arc::clone(self), reserved })
    }

    fn admitted(self: &Arc<Self>, passed: Passed, waited: Duration) -> Admitted {
        for shadow in &passed.shadow {
            if let Some(index) = self.rules.index_of(shadow.slot) {
                self.tallies.count_shadow(index);
            }
        }
        Admitted { reservation: self.reservation(passed.reserved), shadow: passed.shadow, waited }
    }

    fn refused(&self, refused: Refused) -> Refused {
        if let Some(index) = self.rules.index_of(refused.slot) {
            self.tallies.count_refused(index);
        }
        refused
    }

    fn now(&self) -> u64 {
        self.shared.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

/// Each queued request borrows its limits and each reservation holds them, so none is left when they are dropped.
impl Drop for Limits {
    fn drop(&mut self) {
        self.lock().queues.release(self.rules.slots());
    }
}

impl Shared {
    fn now(&self) -> u64 {
        let since = self.clock.mono().saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that windows count from its admission on. It is given back when this is dropped before the call is written.
#[derive(Debug)]
#[must_use = "a call that is dropped is given back"]
pub(crate) struct Reservation {
    limits: Arc<Limits>,
    reserved: Keys,
}

impl Reservation {
    /// Records that the call's head is written to Box now: it counts for the length of each window from here.
    pub(crate) fn written(mut self) {
        let reserved = std::mem::take(&mut self.reserved);
        let now = self.limits.now();
        self.limits.lock().queues.write(&reserved, now);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.reserved.is_empty() {
            self.limits.lock().queues.give_back(&self.reserved);
        }
    }
}

impl State {
    /// Wakes the requests that must be polled.
    fn wake(&mut self) {
        for number in self.queues.woken() {
            if let Some(woken) = self.waiting.get(&number) {
                woken.notify_one();
            }
        }
    }
}

/// The immediate decision about a request.
pub(crate) enum Entered<'a> {
    Passed(Admitted),
    Refused(Refused),
    /// It is queued.
    Waits(Turn<'a>),
}

/// A queued request's turn; dropping it leaves the queue.
pub(crate) struct Turn<'a> {
    waiting: Waiting<'a>,
    arrived: u64,
}

impl Turn<'_> {
    pub(crate) async fn come(self) -> Result<Admitted, Refused> {
        let limits = self.waiting.limits;
        let outcome = self.waiting.turn().await;
        let waited = Duration::from_nanos(limits.now().saturating_sub(self.arrived));
        match outcome {
            Ok(passed) => Ok(limits.admitted(passed, waited)),
            Err(refused) => Err(limits.refused(refused)),
        }
    }
}

enum Entry<'a> {
    Passed(Passed),
    Refused(Refused),
    Waits(Waiting<'a>),
}

/// A position in a queue, given up when dropped.
struct Waiting<'a> {
    limits: &'a Arc<Limits>,
    number: u64,
    woken: Arc<Notify>,
}

impl Waiting<'_> {
    async fn turn(self) -> Result<Passed, Refused> {
        loop {
            let now = self.limits.now();
            let until = match self.poll(now) {
                Polled::Passed(passed) => return Ok(passed),
                Polled::Refused(refused) => return Err(refused),
                Polled::Until(until) => until,
            };
            let clock = &self.limits.shared.clock;
            let then = clock.now().after(Duration::from_nanos(until.saturating_sub(now)));
            tokio::select! {
                // If both are ready, the next poll sees it anyway.
                () = self.woken.notified() => {}
                () = clock.sleep_until(then) => {}
            }
        }
    }

    fn poll(&self, now: u64) -> Polled {
        let mut state = self.limits.lock();
        let look = state.queues.poll(self.number, now);
        state.wake();
        look
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.limits.lock();
        state.queues.leave(self.number);
        state.waiting.remove(&self.number);
        state.wake();
    }
}

#[cfg(test)]
mod tests;
