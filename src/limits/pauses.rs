//! Pauses: after Box refuses with 429 or 503, to which requests the pause applies, and how they resume.
//!
//! A 429 pauses one user's requests of one class; if Box limits the operation separately, and after a 503, only that
//! operation. All other requests go on. When a pause ends, requests resume at a growing rate: [`slots::FIRST_PACE`] in
//! the first second, twice as many in each further second, and any number after [`slots::RAMP`]. Each waiting request
//! gets a time slot of its own, in the order of arrival, so that the end of a pause wakes them one after the other.

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

mod slots; // when the requests that wait go

use slots::{Arrival, Polled, Slots};

/// The name of a pause in responses, access lines and metrics.
pub(crate) const NAME: &str = "box-pause";
/// The longest operation of a pause, in characters; longer ones are cut.
const LONGEST_OPERATION: usize = 128;

/// What a pause applies to: a hash under a random key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope(u64);

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
    /// What is paused.
    pub scope: Scope,
}

/// What is paused now, or coming back.
#[derive(Debug)]
pub(crate) struct Pauses {
    clock: Clock,
    start: Instant,
    hasher: RandomState,
    slots: Mutex<Slots>,
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

impl Pauses {
    pub(crate) fn new(clock: Clock) -> Self {
        let start = clock.mono();
        Self {
            clock,
            start,
            hasher: RandomState::new(),
            slots: Mutex::default(),
            live: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Box answered with this status (429 or 503) and a `Retry-After`, which the caller has capped.
    pub(crate) fn box_said(&self, asked: Asked<'_>, status: u16, retry_after: Duration) -> Noted {
        let alone = status == 503 || has_its_own_limit(asked.operation);
        let scope = self.scope(asked, alone);
        Noted { alone, begins: self.pause(scope, Paused::new(asked, alone), retry_after), scope }
    }

    /// Admits a request, after a pause if that ends within `wait`. Otherwise the error is the remaining time.
    pub(crate) async fn pass(&self, asked: Asked<'_>, wait: Duration) -> Result<(), Duration> {
        if self.live.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let scopes = self.scopes(asked);
        let mut now = self.now();
        let by = now.saturating_add(nanos(wait));
        let (number, mut slot) = match self.change(|slots| slots.enqueue(scopes, now, by)) {
            Arrival::Passed => return Ok(()),
            Arrival::Refused(left) => return Err(self.refuse(left)),
            Arrival::Waits { number, slot } => (number, slot),
        };
        let _waiting = Waiting { pauses: self, number };
        loop {
            while now < slot {
                let then = self.clock.now().after(Duration::from_nanos(slot - now));
                self.clock.sleep_until(then).await;
                now = self.now();
            }
            match self.change(|slots| slots.poll(number, now)) {
                Polled::Passed => return Ok(()),
                Polled::Refused(left) => return Err(self.refuse(left)),
                // Box may have requested another pause meanwhile.
                Polled::Until(later) => slot = later,
            }
        }
    }

    /// Pauses the class of this request, or its operation alone; or makes that pause longer. Returns whether a pause begins: none
    /// held before.
    pub(crate) fn begin(&self, asked: Asked<'_>, alone: bool, retry_after: Duration) -> bool {
        self.pause(self.scope(asked, alone), Paused::new(asked, alone), retry_after)
    }

    /// Makes a pause that was noted last for at least this time from now.
    pub(crate) fn prolong(&self, scope: Scope, left: Duration) {
        let until = self.now().saturating_add(nanos(left));
        self.change(|slots| slots.prolong(scope, until));
    }

    fn pause(&self, scope: Scope, of: Arc<Paused>, retry_after: Duration) -> bool {
        let now = self.now();
        let until = now.saturating_add(nanos(retry_after));
        self.change(|slots| slots.pause(scope, of, until, now))
    }

    /// The pauses in force, those that end last first, each with the time left. The lock is held while at most [`slots::SCOPES_MAX`] are
    /// copied.
    pub(crate) fn in_force(&self) -> Vec<(Arc<Paused>, Duration)> {
        let now = self.now();
        let left = |until: u64| Duration::from_nanos(until.saturating_sub(now));
        let mut in_force: Vec<(Arc<Paused>, Duration)> =
            self.lock().in_force(now).map(|(paused, until)| (paused.clone(), left(until))).collect();
        in_force.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
        in_force
    }

    fn scope(&self, asked: Asked<'_>, alone: bool) -> Scope {
        let [class, operation] = self.scopes(asked);
        if alone { operation } else { class }
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

    /// Changes the slots and publishes how many pauses and waiting requests there are.
    fn change<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> T {
        let mut slots = self.lock();
        let outcome = change(&mut slots);
        let (live, waiting) = slots.live();
        self.live.store(live, Ordering::Release);
        self.waiting.store(waiting, Ordering::Relaxed);
        outcome
    }

    /// Counts a refusal for this long.
    fn refuse(&self, left: Duration) -> Duration {
        self.refused.fetch_add(1, Ordering::Relaxed);
        left
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits, until dropped.
struct Waiting<'a> {
    pauses: &'a Pauses,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pauses.change(|slots| slots.leave(self.number));
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
mod tests;
