//! Limits as the workers share them: one question for a request, which waits for its turn where it may.
//!
//! The counts and lines of [`super::queue`] stand behind one lock, held for less than a microsecond for a request that
//! need not wait. One that waits sleeps until it is woken or its time has come; only the first in each line has a
//! time to look at, so that a call that becomes free wakes one request and not all. A caller that hangs up drops the
//! future, and leaves the queue: the next one is woken, also where it was just about to go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::buckets::{Passed, Refused, Shadow};
use super::limit::Limit;
use super::matcher::{Counted, Keys, LimitMatcher, RequestKey};
use super::queue::{Arrival, Polled, WaitQueues};
use crate::net::clock::Clock;

/// All limits, and who waits for them.
#[derive(Debug)]
pub(crate) struct Limits {
    rules: LimitMatcher,
    clock: Clock,
    /// Times are counted from here.
    start: Instant,
    state: Mutex<State>,
    tallies: Vec<Tally>,
}

#[derive(Debug)]
struct State {
    queues: WaitQueues,
    waiting: HashMap<u64, Arc<Notify>>,
}

#[derive(Debug, Default)]
struct Tally {
    refused: AtomicU64,
    shadow: AtomicU64,
}

/// A request that may go to Box, charged to all its limits.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Its first call, where a window counts it.
    pub reservation: Option<Reservation>,
    /// The limits that would have refused it if they were enforced: for the log. They are counted already.
    pub shadow: Vec<Shadow>,
    /// So long it stood in line.
    pub waited: Duration,
}

/// What one limit has done, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    pub limit: Arc<str>,
    pub refused: u64,
    /// Requests that it would have refused if it were enforced.
    pub shadow: u64,
    /// Requests in line now.
    pub queued: usize,
}

impl Limits {
    pub(crate) fn new(rules: LimitMatcher, clock: Clock) -> Self {
        let state = State { queues: WaitQueues::new(&rules), waiting: HashMap::new() };
        let tallies = rules.iter().map(|_| Tally::default()).collect();
        let start = clock.mono();
        Self { rules, clock, start, state: Mutex::new(state), tallies }
    }

    /// Charges a request to all its limits, waiting for its turn where it may; or to none.
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
        match self.enqueue(keys, request_key.app.index(), arrived) {
            Entry::Passed(passed) => Entered::Passed(self.admitted(passed, Duration::ZERO)),
            Entry::Refused(refused) => Entered::Refused(self.refused(refused)),
            Entry::Waits(waiting) => Entered::Waits(Turn { waiting, arrived }),
        }
    }

    /// Reserves one more call of a request that was admitted before, where a window counts it.
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

    /// Charges a request that goes to Box whatever these limits say.
    pub(crate) fn charge_regardless(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Option<Reservation> {
        let keys = self.rules.applying(request_key);
        if keys.is_empty() {
            return None;
        }
        let now = self.now();
        let reserved = self.lock().queues.charge_regardless(&keys, now);
        self.reservation(reserved)
    }

    /// The same for one more call of a request that was admitted before.
    pub(crate) fn reserve_regardless(self: &Arc<Self>, request_key: &RequestKey<'_>) -> Option<Reservation> {
        let keys = self.rules.windows(request_key);
        let now = self.now();
        let reserved = self.lock().queues.charge_regardless(&keys, now);
        self.reservation(reserved)
    }

    /// By limits, in their order.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        let state = self.lock();
        let queued = state.queues.queued();
        let of = |(limit, (tally, queued)): (&Limit, (&Tally, &usize))| Figures {
            limit: Arc::clone(&limit.name),
            refused: tally.refused.load(Ordering::Relaxed),
            shadow: tally.shadow.load(Ordering::Relaxed),
            queued: *queued,
        };
        self.rules.iter().zip(self.tallies.iter().zip(queued)).map(of).collect()
    }

    /// How many are in line now.
    #[cfg(test)]
    fn queued(&self) -> usize {
        self.figures().iter().map(|figures| figures.queued).sum()
    }

    pub(crate) fn rules(&self) -> &LimitMatcher {
        &self.rules
    }

    fn enqueue(self: &Arc<Self>, keys: Keys, app: usize, now: u64) -> Entry<'_> {
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

    fn reservation(self: &Arc<Self>, reserved: Vec<Counted>) -> Option<Reservation> {
        (!reserved.is_empty()).then(|| Reservation { limits: Arc::clone(self), reserved })
    }

    fn admitted(self: &Arc<Self>, passed: Passed, waited: Duration) -> Admitted {
        for shadow in &passed.shadow {
            if let Some(tally) = self.tallies.get(shadow.rule as usize) {
                tally.shadow.fetch_add(1, Ordering::Relaxed);
            }
        }
        Admitted { reservation: self.reservation(passed.reserved), shadow: passed.shadow, waited }
    }

    fn refused(&self, refused: Refused) -> Refused {
        if let Some(tally) = self.tallies.get(refused.rule as usize) {
            tally.refused.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

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
    reserved: Vec<Counted>,
}

impl Reservation {
    /// The call's head is written to Box now: it counts for the length of each window from here.
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
    /// Wakes whoever has to look.
    fn wake(&mut self) {
        for number in self.queues.woken() {
            if let Some(woken) = self.waiting.get(&number) {
                woken.notify_one();
            }
        }
    }
}

/// What becomes of a request at once.
pub(crate) enum Entered<'a> {
    Passed(Admitted),
    Refused(Refused),
    /// It stands in line.
    Waits(Turn<'a>),
}

/// A turn that is waited for; dropping it gives it up.
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
            let then = self.limits.clock.now().after(Duration::from_nanos(until.saturating_sub(now)));
            tokio::select! {
                // Being woken is not lost where both have come.
                () = self.woken.notified() => {}
                () = self.limits.clock.sleep_until(then) => {}
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
