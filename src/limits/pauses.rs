//! Pauses: after Box refuses with 429 or 503, to which requests the pause applies, and how they resume.
//!
//! A 429 pauses one user's requests of one class; if Box limits the operation separately, and after a 503, only that
//! operation. All other requests go on. When a pause ends, requests resume at a growing rate: [`FIRST_PACE`] in
//! the first second, twice as many in each further second, and any number after [`RAMP`]. Each waiting request gets a
//! time slot of its own, in the order of arrival, so that the end of a pause wakes them one after the other.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate::matcher::User;
use crate::net::clock::Clock;
use crate::net::secret_filter;
use crate::routing::operation::{Operation, plain_path};
use crate::routing::operation_class::Class;
use crate::routing::operation_template;

/// The name of a pause in responses, access lines and metrics.
pub(crate) const NAME: &str = "box-pause";
/// The number of requests admitted in the first second after a pause.
const FIRST_PACE: u64 = 4;
/// The number of seconds after which the rate is no longer limited.
const RAMP: u64 = 10;
const SECOND: u64 = 1_000_000_000;
/// The most pauses at once; beyond, the one that ends first is dropped.
const SCOPES_MAX: usize = 4096;
/// The longest operation of a pause, in characters; longer ones are cut.
const LONGEST_OPERATION: usize = 128;
/// The most requests that wait.
const WAITING_MAX: usize = 1024;

/// What a pause applies to: a hash under a random key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Scope(u64);

/// A request: the user and the operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The number of the identity, the same in all configurations of the process.
    pub identity: u64,
    pub user: User<'a>,
    pub class: Class,
    pub operation: Operation<'a>,
}

/// What became of Box's wish for a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The operation alone is paused, not its class.
    pub alone: bool,
    /// A pause begins; otherwise one that holds already lasts longer, or as long as before.
    pub begins: bool,
}

/// What is paused now, or coming back.
#[derive(Debug)]
pub(crate) struct Pauses {
    clock: Clock,
    start: Instant,
    hasher: RandomState,
    pauses: Mutex<HashMap<Scope, Pause>>,
    /// The number of pauses. It is usually 0, and then no request takes the lock.
    live: AtomicUsize,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// The requests that a pause holds up, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paused {
    /// The number of the identity, the same in all configurations of the process.
    pub identity: u64,
    /// The user's id; `None`: the service account.
    pub user: Option<Box<str>>,
    pub requests: PausedRequests,
}

/// Which of a user's requests are paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PausedRequests {
    /// All of this class.
    Class(Class),
    /// One operation: method and template, such as `PUT /2.0/folders/*`; its first [`LONGEST_OPERATION`] characters, since
    /// callers choose the path. Control characters are escaped.
    Operation(Box<str>),
}

impl Paused {
    fn new(asked: Asked<'_>, alone: bool) -> Arc<Self> {
        let Asked { identity, user, class, operation } = asked;
        let user = match user {
            User::Id(id) => Some(id.into()),
            User::Service => None,
        };
        let requests = match alone {
            false => PausedRequests::Class(class),
            true => {
                let template = operation_template::below_version(operation.path);
                let text = format!("{} /2.0{}", operation.method, template.escape_debug());
                PausedRequests::Operation(secret_filter::shortened(text, LONGEST_OPERATION).into())
            }
        };
        Arc::new(Self { identity, user, requests })
    }
}

#[derive(Debug, Clone)]
struct Pause {
    until: u64,
    /// When the next request may go; not before the end of the pause.
    next: u64,
    of: Arc<Paused>,
}

impl Pause {
    fn is_over(&self, now: u64) -> bool {
        now >= self.until.saturating_add(RAMP * SECOND)
    }

    /// Books this time slot for a request.
    fn goes(&mut self, at: u64) {
        let since = at.saturating_sub(self.until) / SECOND;
        let pause = if since >= RAMP { 0 } else { SECOND / (FIRST_PACE << since) };
        self.next = at.saturating_add(pause);
    }
}

impl Pauses {
    pub(crate) fn new(clock: Clock) -> Self {
        let start = clock.mono();
        Self {
            clock,
            start,
            hasher: RandomState::new(),
            pauses: Mutex::new(HashMap::new()),
            live: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Box answered with this status (429 or 503) and a `Retry-After`, which the caller has capped.
    pub(crate) fn box_said(&self, asked: Asked<'_>, status: u16, retry_after: Duration) -> Noted {
        let alone = status == 503 || has_its_own_limit(asked.operation);
        Noted { alone, begins: self.begin(asked, alone, retry_after) }
    }

    /// Admits a request, after a pause if that ends within `wait`. Otherwise the error is the remaining time.
    pub(crate) async fn pass(&self, asked: Asked<'_>, wait: Duration) -> Result<(), Duration> {
        if self.live.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let scopes = self.scopes(asked);
        let mut now = self.now();
        let deadline = now.saturating_add(nanos(wait));
        loop {
            let slot =
                self.book(&scopes, now, deadline.saturating_sub(now)).inspect_err(|_| self.refuse())?;
            if slot <= now {
                return Ok(());
            }
            let Some(_waits) = Waits::begin(&self.waiting) else {
                self.refuse();
                return Err(Duration::from_nanos(slot - now));
            };
            while now < slot {
                let then = self.clock.now().after(Duration::from_nanos(slot - now));
                self.clock.sleep_until(then).await;
                now = self.now();
            }
            // Box may have requested another pause meanwhile.
            if !self.is_paused_beyond(&scopes, slot) {
                return Ok(());
            }
        }
    }

    /// Pauses the class of this request, or its operation alone; or makes that pause longer. Returns whether a pause begins: none
    /// held before.
    pub(crate) fn begin(&self, asked: Asked<'_>, alone: bool, retry_after: Duration) -> bool {
        let [class, operation] = self.scopes(asked);
        let scope = if alone { operation } else { class };
        self.pause(scope, Paused::new(asked, alone), retry_after, self.now())
    }

    fn pause(&self, scope: Scope, of: Arc<Paused>, retry_after: Duration, now: u64) -> bool {
        let until = now.saturating_add(nanos(retry_after));
        let mut pauses = self.lock();
        if pauses.len() >= SCOPES_MAX && !pauses.contains_key(&scope) {
            pauses.retain(|_, pause| !pause.is_over(now));
            if pauses.len() >= SCOPES_MAX
                && let Some(soonest) =
                    pauses.iter().min_by_key(|(_, pause)| pause.until).map(|(scope, _)| *scope)
            {
                pauses.remove(&soonest);
            }
        }
        let begins = pauses.get(&scope).is_none_or(|pause| pause.until <= now);
        let pause = pauses.entry(scope).or_insert(Pause { until, next: until, of });
        if until > pause.until {
            (pause.until, pause.next) = (until, until);
        }
        self.live.store(pauses.len(), Ordering::Release);
        begins
    }

    /// The remaining time of a pause; books nothing.
    #[cfg(test)]
    fn check(&self, scope: Scope, now: u64) -> Option<Duration> {
        let pauses = self.lock();
        let pause = pauses.get(&scope).filter(|pause| !pause.is_over(now))?;
        Some(pause.next.max(pause.until))
            .filter(|next| *next > now)
            .map(|next| Duration::from_nanos(next - now))
    }

    /// The pauses in force, those that end last first, each with the time left. The lock is held while at most [`SCOPES_MAX`] are
    /// copied.
    pub(crate) fn in_force(&self) -> Vec<(Arc<Paused>, Duration)> {
        let now = self.now();
        let mut in_force: Vec<(Arc<Paused>, Duration)> = {
            let pauses = self.lock();
            let left = |pause: &Pause| Duration::from_nanos(pause.until.saturating_sub(now));
            pauses
                .values()
                .filter(|pause| pause.until > now)
                .map(|pause| (pause.of.clone(), left(pause)))
                .collect()
        };
        in_force.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
        in_force
    }

    /// The scopes under which a request may be paused: its class, and its operation.
    fn scopes(&self, asked: Asked<'_>) -> [Scope; 2] {
        let who = (
            asked.identity,
            match asked.user {
                User::Id(id) => Some(id),
                User::Service => None,
            },
        );
        let alone = (asked.operation.method, operation_template::below_version(asked.operation.path));
        [Scope(self.hasher.hash_one((who, asked.class))), Scope(self.hasher.hash_one((who, alone)))]
    }

    /// The number of pauses in force or just ended, and of waiting requests.
    pub(crate) fn live(&self) -> (usize, usize) {
        (self.live.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }

    /// The number of refused requests.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nanoseconds since the process started.
    fn now(&self) -> u64 {
        nanos(self.clock.mono().saturating_duration_since(self.start))
    }

    /// Books a time slot for a request in all its scopes; the error is the remaining time if that exceeds `wait`.
    fn book(&self, scopes: &[Scope], now: u64, wait: u64) -> Result<u64, Duration> {
        let mut pauses = self.lock();
        let mut slot = now;
        for scope in scopes {
            match pauses.get(scope) {
                Some(pause) if pause.is_over(now) => {
                    pauses.remove(scope);
                }
                Some(pause) => slot = slot.max(pause.next),
                None => {}
            }
        }
        self.live.store(pauses.len(), Ordering::Release);
        if pauses.is_empty() && pauses.capacity() > 64 {
            pauses.shrink_to_fit();
        }
        let left = slot - now;
        if left > wait {
            return Err(Duration::from_nanos(left));
        }
        for scope in scopes {
            if let Some(pause) = pauses.get_mut(scope) {
                pause.goes(slot);
            }
        }
        Ok(slot)
    }

    fn is_paused_beyond(&self, scopes: &[Scope], slot: u64) -> bool {
        let pauses = self.lock();
        scopes.iter().filter_map(|scope| pauses.get(scope)).any(|pause| pause.until > slot)
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, Pause>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits, counted until dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let this = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(this)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether Box limits this operation separately (`docs/box-api.md#limits-and-429`).
fn has_its_own_limit(operation: Operation<'_>) -> bool {
    let path = plain_path(operation.path);
    let first = path.strip_prefix("/2.0/").and_then(|below| below.split('/').next()).unwrap_or_default();
    ["sign_requests", "metadata_queries", "zip_downloads", "storage_policy_assignments"].contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    fn asked<'a>(method: &'a Method, path: &'a str) -> Asked<'a> {
        let operation = Operation { method, path };
        Asked { identity: 0, user: User::Service, class: Class::of(operation), operation }
    }

    fn pauses() -> (Arc<Pauses>, Clock) {
        let clock = Clock::adjustable();
        (Arc::new(Pauses::new(clock.clone())), clock)
    }

    impl Pauses {
        fn pause_scope(&self, scope: Scope, retry_after: Duration, now: u64) -> bool {
            let of = Paused::new(asked(&Method::GET, "/2.0/users/me"), false);
            self.pause(scope, of, retry_after, now)
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_kept_of_a_callers_path_is_bounded() {
        let path = format!("/2.0/{}", "letters/".repeat(4_000));
        match &Paused::new(asked(&Method::GET, &path), true).requests {
            PausedRequests::Operation(text) => {
                assert!(text.starts_with("GET /2.0/letters/") && text.len() == LONGEST_OPERATION, "{text}");
            }
            PausedRequests::Class(class) => panic!("{class:?}"),
        }
    }

    #[tokio::test]
    async fn a_429_pauses_only_one_users_class() {
        let (pauses, _clock) = pauses();
        let me = asked(&Method::GET, "/2.0/users/me");
        pauses.box_said(me, 429, MINUTE);
        let refused = |asked| {
            let pauses = &pauses;
            async move { pauses.pass(asked, Duration::ZERO).await.is_err() }
        };
        assert!(refused(me).await && refused(asked(&Method::PUT, "/2.0/files/1")).await);
        assert!(!refused(Asked { user: User::Id("1"), ..me }).await);
        assert!(!refused(Asked { identity: 1, ..me }).await);
        assert!(!refused(asked(&Method::GET, "/2.0/search")).await);
        assert_eq!(pauses.refused(), 2);
    }

    #[tokio::test]
    async fn a_503_or_a_separate_limit_pauses_only_the_operation() {
        for (status, path) in [
            (503, "/2.0/files/17/comments"),
            (429, "/2.0/sign_requests/ab-12"),
            (429, "/2.0/zip_downloads/17/content"),
        ] {
            let (pauses, _clock) = pauses();
            let one = asked(&Method::GET, path);
            pauses.box_said(one, status, MINUTE);
            assert!(pauses.pass(one, Duration::ZERO).await.is_err(), "{path}");
            let same = path.replace("17", "18").replace("ab-12", "cd-34");
            assert!(pauses.pass(asked(&Method::GET, &same), Duration::ZERO).await.is_err(), "{same}");
            assert!(pauses.pass(asked(&Method::PUT, path), Duration::ZERO).await.is_ok(), "PUT {path}");
            assert!(pauses.pass(asked(&Method::GET, "/2.0/files/17"), Duration::ZERO).await.is_ok());
        }
    }

    #[test]
    fn pauses_in_force_tell_what_they_hold_up() {
        let (pauses, clock) = pauses();
        pauses.box_said(asked(&Method::GET, "/2.0/search"), 429, MINUTE);
        let of_user = Asked { identity: 7, user: User::Id("17"), ..asked(&Method::PUT, "/2.0/folders/1") };
        pauses.box_said(of_user, 503, 2 * MINUTE);
        clock.advance(Duration::from_secs(30));
        let in_force = pauses.in_force();
        let all: Vec<&Paused> = in_force.iter().map(|(paused, _)| &**paused).collect();
        let operation = PausedRequests::Operation("PUT /2.0/folders/*".into());
        assert_eq!(*all[0], Paused { identity: 7, user: Some("17".into()), requests: operation });
        let search = PausedRequests::Class(Class::Search);
        assert_eq!(*all[1], Paused { identity: 0, user: None, requests: search });
        assert!(in_force[1].1 <= Duration::from_secs(30) && in_force[0].1 > MINUTE, "{in_force:?}");
        clock.advance(MINUTE);
        assert_eq!(
            pauses.in_force().len(),
            1,
            "the other has ended, though its requests still come back slowly"
        );
    }

    proptest! {
        #[test]
        fn requests_do_not_resume_all_at_once(arrivals in prop::collection::vec(0..60_u64, 1..2_000), wait in 0..5_000_u64) {
            let (pauses, _clock) = pauses();
            let scope = Scope(1);
            pauses.pause_scope(scope, Duration::from_secs(1), 0);
            let mut now = 0;
            let mut went = vec![];
            for step in arrivals {
                now += step * 1_000_000;
                if let Ok(slot) = pauses.book(&[scope, Scope(2)], now, wait * 1_000_000) {
                    prop_assert!(slot >= now && slot - now <= wait * 1_000_000);
                    went.push(slot);
                }
            }
            prop_assert!(went.iter().all(|at| *at >= SECOND), "none before the end");
            for second in 0..RAMP {
                let of_it = went.iter().filter(|at| **at / SECOND == 1 + second).count() as u64;
                prop_assert!(of_it <= (FIRST_PACE << second) + 1, "{of_it} in second {second}");
            }
        }
    }

    #[test]
    fn the_ramp_is_as_fast_as_allowed_and_ends() {
        let (pauses, _clock) = pauses();
        let scope = Scope(1);
        pauses.pause_scope(scope, Duration::from_secs(1), 0);
        assert_eq!(pauses.check(scope, 0), Some(Duration::from_secs(1)));
        // All arrive at once and may wait as long as needed.
        let went: Vec<u64> = (0..100).map(|_| pauses.book(&[scope], SECOND, u64::MAX).unwrap()).collect();
        for (second, calls) in [(1, 4), (2, 8), (3, 16), (4, 32)] {
            let of_it = went.iter().filter(|at| **at / SECOND == second).count();
            assert!((calls..=calls + 1).contains(&of_it), "{of_it} in second {second}");
        }
        // A single request does not wait during the ramp, and after it the pause is forgotten.
        assert_eq!(pauses.book(&[scope], 8 * SECOND, 0), Ok(8 * SECOND));
        assert_eq!(pauses.check(scope, 11 * SECOND), None);
        for _ in 0..1000 {
            assert_eq!(pauses.book(&[scope], 11 * SECOND, 0), Ok(11 * SECOND));
        }
        assert_eq!(pauses.live(), (0, 0));
    }

    #[test]
    fn a_pause_begins_where_none_holds() {
        let (pauses, _clock) = pauses();
        let begins =
            |at: u64, seconds| pauses.pause_scope(Scope(1), Duration::from_secs(seconds), at * SECOND);
        assert_eq!([(0, 10), (1, 1), (2, 10)].map(|(at, seconds)| begins(at, seconds)), [true, false, false]);
        assert!(begins(12, 5), "the one before has ended, though requests come back slowly");
        assert!(!begins(13, 5));
    }

    #[test]
    fn a_shorter_pause_does_not_end_a_longer_one() {
        let (pauses, _clock) = pauses();
        pauses.pause_scope(Scope(1), MINUTE, 0);
        pauses.pause_scope(Scope(1), Duration::from_secs(1), 0);
        assert_eq!(pauses.check(Scope(1), 0), Some(MINUTE));
    }

    #[test]
    fn pauses_are_bounded() {
        let (pauses, _clock) = pauses();
        for i in 0..10_000 {
            pauses.pause_scope(Scope(i), Duration::from_secs(1 + i), 0);
        }
        assert_eq!(pauses.live().0, SCOPES_MAX);
        assert!(pauses.check(Scope(9_999), 0).is_some());
    }

    #[tokio::test]
    async fn a_waiting_request_goes_when_the_pause_ends_unless_it_is_extended() {
        let (pauses, clock) = pauses();
        let me = asked(&Method::GET, "/2.0/users/me");
        pauses.box_said(me, 429, MINUTE);
        let waiter = |wait| {
            let pauses = Arc::clone(&pauses);
            tokio::spawn(async move { pauses.pass(asked(&Method::GET, "/2.0/users/me"), wait).await })
        };
        let (patient, impatient) = (waiter(MINUTE * 5), waiter(MINUTE + Duration::from_secs(1)));
        while pauses.live().1 < 2 {
            tokio::task::yield_now().await;
        }
        pauses.box_said(me, 429, MINUTE * 2);
        clock.advance(MINUTE);
        assert!(impatient.await.unwrap().is_err());
        assert!(!patient.is_finished());
        clock.advance(MINUTE + Duration::from_secs(1));
        assert_eq!(patient.await.unwrap(), Ok(()));
        assert_eq!(pauses.live().1, 0);
    }
}
