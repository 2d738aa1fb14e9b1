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
use super::matcher::{Keys, LimitMatcher, RequestKey};
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
    pub(crate) async fn admit(&self, request_key: &RequestKey<'_>) -> Result<Admitted, Refused> {
        match self.enter(request_key) {
            Entered::Passed(admitted) => Ok(admitted),
            Entered::Refused(refused) => Err(refused),
            Entered::Waits(turn) => turn.come().await,
        }
    }

    /// The same without the waiting.
    pub(crate) fn enter(&self, request_key: &RequestKey<'_>) -> Entered<'_> {
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

    fn enqueue(&self, keys: Keys, app: usize, now: u64) -> Entry<'_> {
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

    fn admitted(&self, passed: Passed, waited: Duration) -> Admitted {
        for shadow in &passed.shadow {
            if let Some(tally) = self.tallies.get(shadow.rule as usize) {
                tally.shadow.fetch_add(1, Ordering::Relaxed);
            }
        }
        Admitted { shadow: passed.shadow, waited }
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
    limits: &'a Limits,
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
mod tests {
    use super::super::limit::Key;
    use super::super::matcher::User;
    use super::*;
    use crate::oauth::identity::IdentityId;
    use crate::routing::app::AppId;
    use crate::routing::operation::Operation;
    use crate::routing::operation_class::Class;
    use http::Method;
    use std::num::NonZeroU32;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const HOUR: Duration = Duration::from_secs(3600);
    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn limits(limits: Vec<Limit>) -> (Arc<Limits>, Clock) {
        let clock = Clock::adjustable();
        (Arc::new(Limits::new(LimitMatcher::new(limits, vec![]), clock.clone())), clock)
    }

    fn limit(interval: Duration, wait: Duration, enforce: bool) -> Limit {
        let burst = NonZeroU32::MIN;
        Limit { name: "a".into(), key: Key::Global, on: vec![], interval, burst, wait, enforce }
    }

    fn request_key() -> RequestKey<'static> {
        RequestKey {
            operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
            class: Class::General,
            client: std::net::IpAddr::from([10, 0, 0, 1]).into(),
            app: AppId::new(0),
            identity: IdentityId::new(0),
            user: User::Service,
            enterprise: 0,
            counted_by_box: true,
        }
    }

    async fn others_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_waits_for_its_turn_and_the_next_one_is_woken() {
        let (limits, clock) = limits(vec![limit(TEN_SECONDS, Duration::from_secs(25), true)]);
        limits.admit(&request_key()).await.unwrap();
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let limits = Arc::clone(&limits);
                tokio::spawn(async move { limits.admit(&request_key()).await })
            })
            .collect();
        others_run().await;
        assert_eq!(limits.queued(), 2);
        let refused = limits.admit(&request_key()).await.unwrap_err();
        assert!(
            refused.retry_after > Duration::from_secs(29) && refused.retry_after <= Duration::from_secs(30)
        );
        for (left, task) in [1, 0].into_iter().zip(tasks) {
            clock.advance(TEN_SECONDS);
            assert!(task.await.unwrap().unwrap().waited >= TEN_SECONDS);
            assert_eq!(limits.queued(), left);
        }
        assert_eq!(limits.figures()[0], Figures { limit: "a".into(), refused: 1, shadow: 0, queued: 0 });
    }

    #[tokio::test]
    async fn whoever_hangs_up_just_before_its_turn_hands_it_on() {
        let (limits, clock) = limits(vec![limit(TEN_SECONDS, Duration::from_secs(25), true)]);
        limits.admit(&request_key()).await.unwrap();
        let first = request_key();
        let second = request_key();
        let mut first = Box::pin(limits.admit(&first));
        let mut second = pin!(limits.admit(&second));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        clock.advance(TEN_SECONDS);
        // Its time has come and it is never polled again.
        drop(first);
        assert_eq!(limits.queued(), 1);
        assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        assert_eq!(limits.queued(), 0);
        assert!(limits.lock().waiting.is_empty());
    }

    #[test]
    fn turns_go_from_thread_to_thread() {
        let (limits, clock) = limits(vec![limit(Duration::from_secs(1), Duration::from_secs(30), true)]);
        let one = |limits: Arc<Limits>| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async { limits.admit(&request_key()).await.is_ok() })
        };
        assert!(one(Arc::clone(&limits)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let limits = Arc::clone(&limits);
                std::thread::spawn(move || one(limits))
            })
            .collect();
        while limits.queued() < 8 {
            std::thread::yield_now();
        }
        for left in (0..8).rev() {
            clock.advance(Duration::from_secs(1));
            while limits.queued() > left {
                std::thread::yield_now();
            }
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        assert!(limits.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_shadow_limit_is_counted() {
        let (limits, _clock) = limits(vec![limit(HOUR, Duration::ZERO, false)]);
        assert!(limits.admit(&request_key()).await.unwrap().shadow.is_empty());
        assert_eq!(limits.admit(&request_key()).await.unwrap().shadow.len(), 1);
        assert_eq!(limits.figures()[0].shadow, 1);
    }
}
