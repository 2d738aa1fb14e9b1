//! What all replicas share through Redis or Valkey: limits, pauses, budgets.
//!
//! Everything of a request is asked in one round trip, by a script that the server runs in one step on its own
//! clock. Redis may be slow or gone: then this side says [`Unavailable`] at once, whoever asks goes by limits of its
//! own at a fair share ([`Replicas::share`]), and [`Replicas::run`] finds out when Redis is back.
//!
//! There is one connection for the process, carried by a task on the main runtime and reached by the client's own
//! channel, so that one breaker is right about the whole replica. What holds up the main runtime for longer than
//! [`BOUND`] looks like a slow Redis. Figures: `docs/decisions/redis-one-round-trip.md`.
//!
//! No token, path, user id or address is stored, see `src/limits/redis/keys.rs`. What is read may have been written by
//! anybody: the scripts take what makes no sense for absent, and nothing that is found there pauses longer than
//! `max_pause`.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::limits::budget::definition::WhenSpent;
use crate::limits::rate::limit::Quota;
use crate::net::clock::Clock;
use crate::net::secret::Secret;
use crate::net::tls_client::Trust;
use crate::telemetry::outages::{Outages, Party};

pub use super::keys::PauseKey;
pub use super::protocol::{Answer, Cell, Spend, Spent, Stamp, Tightest, Verdict};

use super::connection::{SAYS, Target};
use super::keys::Keys;
use super::protocol::{arguments, kept};
use super::scripts::{self, Call, Script};

/// An operation that takes longer has failed: no request waits longer for Redis, and only those under way then.
pub const BOUND: Duration = Duration::from_millis(100);
/// For a connection, TLS and logging in.
const CONNECT: Duration = Duration::from_secs(2);
/// From one try to the next.
const PROBE: Duration = Duration::from_secs(1);
/// So long at most, where Redis comes and goes: each change is a line in the log.
const PROBE_AT_MOST: Duration = Duration::from_secs(8);
/// What lasted so long did not come and go.
const STEADY: Duration = Duration::from_secs(10);
/// A replica says so often that it is there.
const BEAT: Duration = Duration::from_secs(2);
/// One that has not said so for this long is gone.
const GONE: Duration = Duration::from_secs(7);
/// More replicas than this are another writer's invention.
const REPLICAS: u32 = 1000;
/// A count outlives its period by this: clocks differ.
const MARGIN: Duration = Duration::from_secs(3600);
/// No key lives longer.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);

/// What is set.
pub struct Settings {
    /// Of the server, with its password.
    pub url: Secret,
    /// Before every key.
    pub prefix: String,
    /// No pause holds longer.
    pub max_pause: Duration,
    /// [`BOUND`], but for tests.
    pub bound: Duration,
}

/// Redis has no say now; local limits have, at a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what replicas share is out of reach")
    }
}

impl std::error::Error for Unavailable {}

/// Who has the say.
#[derive(Debug, Clone)]
pub enum Health {
    /// All replicas together.
    Shared,
    /// This one alone.
    Local {
        /// The beginning.
        since: Instant,
        /// What Redis last failed with.
        why: Arc<str>,
    },
}

impl Health {
    /// Whether all replicas together have the say.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

/// For the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether Redis has the say.
    pub shared: bool,
    /// Questions that were sent to it, beats too.
    pub operations: u64,
    /// Those that failed or took too long.
    pub errors: u64,
    /// What all of them took together.
    pub latency: Duration,
    /// How often it was lost after it had had the say.
    pub losses: u64,
    /// Replicas, as last known.
    pub replicas: u32,
}

/// Of a pause, as Redis keeps it.
fn micros(max_pause: Duration) -> u64 {
    u64::try_from(max_pause.min(LIFE).as_micros()).unwrap_or(u64::MAX)
}

/// One for the process, on all its threads.
pub struct Replicas {
    target: Target,
    keys: Keys,
    /// In microseconds.
    max_pause: AtomicU64,
    bound: Duration,
    id: String,
    /// None: local.
    link: ArcSwapOption<Link>,
    health: watch::Sender<Health>,
    /// Whether the log knows that Redis cannot be reached.
    said: AtomicBool,
    outages: Arc<Outages>,
    count: AtomicU32,
    operations: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
    losses: AtomicU64,
}

/// A connection. When its task is ended, everyone who waits for an answer hears of it at once.
struct Link {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Replicas {
    /// Prepares; [`Replicas::run`] connects. Until then, and while the server cannot be reached, all is local.
    ///
    /// # Errors
    /// The URL or the prefix cannot be used. The words hold nothing of the URL, and read on from the name of its key.
    pub fn new(settings: Settings, trust: &Trust) -> Result<Self, String> {
        let Settings { url, prefix, max_pause, bound } = settings;
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let why = "not asked yet".into();
        Ok(Self {
            target: Target::new(&url, trust)?,
            keys: Keys::new(&prefix)?,
            max_pause: AtomicU64::new(micros(max_pause)),
            bound,
            id,
            link: ArcSwapOption::empty(),
            health: watch::Sender::new(Health::Local { since: Instant::now(), why }),
            said: AtomicBool::new(false),
            outages: Arc::new(Outages::new(Clock::real())),
            count: AtomicU32::new(1),
            operations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        })
    }

    /// The longest pause from now on, as a reload may change it.
    pub(crate) fn set_max_pause(&self, max_pause: Duration) {
        self.max_pause.store(micros(max_pause), Ordering::Relaxed);
    }

    fn max_pause(&self) -> Duration {
        Duration::from_micros(self.max_pause.load(Ordering::Relaxed))
    }

    /// May a request pass? Looks at the pauses first; all limits are charged, or none.
    ///
    /// # Errors
    /// Redis has no say, since before or by this very question.
    pub async fn ask(&self, cells: &[Cell<'_>], pauses: &[PauseKey]) -> Result<Answer, Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        if cells.is_empty() && pauses.is_empty() {
            let verdict = Verdict::Pass { after: Duration::ZERO };
            return Ok(Answer { verdict, shadow: Vec::new(), tightest: None, stamp: Stamp::of(0) });
        }
        let mut call = Call::default();
        call.keys.extend(pauses.iter().map(|pause| self.keys.pause(pause)));
        call.arg(pauses.len());
        call.arg(self.max_pause().as_micros());
        for Cell { limit, key } in cells {
            call.keys.push(self.keys.cell(limit, key));
            call.args.extend(arguments(limit));
        }
        let reply = self.operate(&link, &scripts::ASK, &call).await?;
        let answer = Answer::read(&reply, cells.len(), pauses.len(), self.max_pause());
        answer.ok_or_else(|| self.senseless(&link))
    }

    /// Counts a call in these windows from now on, in place of the stamp that it has. They need not be charged with
    /// it any more; they count it then all the same. The new stamp.
    ///
    /// # Errors
    /// Redis has no say.
    pub async fn restamp(&self, cells: &[Cell<'_>], stamp: Stamp) -> Result<Stamp, Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        let reply = self.operate(&link, &scripts::RESTAMP, &self.windows(cells, stamp, true)).await?;
        let stamp = reply.first().and_then(|stamp| u64::try_from(*stamp).ok());
        stamp.map(Stamp::of).ok_or_else(|| self.senseless(&link))
    }

    /// A call with this stamp is not made: these windows do not count it any more.
    ///
    /// # Errors
    /// Redis has no say.
    pub async fn give_back(&self, cells: &[Cell<'_>], stamp: Stamp) -> Result<(), Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        self.operate(&link, &scripts::RESTAMP, &self.windows(cells, stamp, false)).await.map(drop)
    }

    fn windows(&self, cells: &[Cell<'_>], stamp: Stamp, is_made: bool) -> Call {
        let mut call = Call::default();
        call.arg(stamp.micros());
        call.arg(u8::from(is_made));
        for Cell { limit, key } in cells {
            if let Quota::Window { length, .. } = limit.quota {
                call.keys.push(self.keys.cell(limit, key));
                call.arg(kept(length));
            }
        }
        call
    }

    /// Spends one call on each budget, or on none.
    ///
    /// # Errors
    /// Redis has no say. Where it is this question that failed, the call may have been counted all the same.
    pub async fn spend(&self, budgets: &[Spend<'_>]) -> Result<Spent, Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        if budgets.is_empty() {
            return Ok(Spent { refused: None, counts: Vec::new() });
        }
        let mut call = Call::default();
        for Spend { budget, key, period, ends_in, at_least, made, .. } in budgets {
            call.keys.push(self.keys.budget(budget, period, key));
            call.arg(budget.calls);
            call.arg(u8::from(budget.enforce && budget.when_spent == WhenSpent::Reject));
            call.arg(at_least);
            call.arg(made);
            call.arg(ends_in.saturating_add(MARGIN).min(LIFE).as_millis());
        }
        let batches = budgets.iter().filter(|spend| spend.made > 0);
        call.keys.extend(batches.map(|spend| self.keys.batch(&self.id, spend.batch)));
        let reply = self.operate(&link, &scripts::SPEND, &call).await?;
        Spent::read(&reply, budgets.len()).ok_or_else(|| self.senseless(&link))
    }

    /// Pauses for so long, at most `max_pause`; a pause that holds longer already stays.
    ///
    /// # Errors
    /// Redis has no say: the pause is this replica's alone.
    pub async fn pause(&self, key: &PauseKey, length: Duration) -> Result<(), Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        let mut call = Call::default();
        call.keys.push(self.keys.pause(key));
        call.arg(length.min(self.max_pause()).as_micros());
        call.arg(self.max_pause().as_micros());
        self.operate(&link, &scripts::PAUSE, &call).await.map(drop)
    }

    /// By how much local limits are to be divided while Redis has no say: the replicas as last known.
    pub fn share(&self) -> NonZeroU32 {
        NonZeroU32::new(self.count.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// Whether a question would be asked.
    pub fn in_reach(&self) -> bool {
        self.link.load().is_some()
    }

    /// Tells of outages there, beside others of the process.
    pub(crate) fn telling(mut self, outages: Arc<Outages>) -> Self {
        self.outages = outages;
        self
    }

    /// Who has the say.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Returns once Redis has been tried for the first time, well or not; that takes little more than two seconds.
    /// Who serves before would go by local limits, with a burst of its own and not yet knowing of other replicas.
    pub async fn tried(&self) {
        let tried = |health: &Health| health.is_shared() || self.said.load(Ordering::Relaxed);
        // The sender is here, so it cannot be gone.
        let _ = self.health.subscribe().wait_for(tried).await;
    }

    /// Tells of every change.
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// For the metrics.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            shared: self.health.borrow().is_shared(),
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            latency: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            losses: self.losses.load(Ordering::Relaxed),
            replicas: self.share().get(),
        }
    }

    /// Connects, says that this replica is there, connects again; until told to stop. One task does this, on a
    /// runtime that goes on as long: the connection lives there.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep_up() => {}
        }
        if let Some(link) = self.link.swap(None) {
            // The others' shares grow at once, not when a beat is missed.
            let _ = timeout(self.bound, scripts::BEAT.run(&link.connection, &self.beat(true))).await;
            self.health.send_replace(Health::Local { since: Instant::now(), why: "stopped".into() });
        }
    }

    async fn keep_up(&self) {
        let mut pause = PROBE;
        loop {
            match self.connect().await {
                Ok((link, driver)) => {
                    let began = Instant::now();
                    self.gained(&link);
                    self.stay(&link, driver).await;
                    pause = if began.elapsed() < STEADY { (pause * 2).min(PROBE_AT_MOST) } else { PROBE };
                }
                Err(why) => self.still_local(&why),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A connection on which a question has been answered well.
    async fn connect(&self) -> Result<(Arc<Link>, JoinHandle<()>), String> {
        let mut moved = None;
        loop {
            let opening = timeout(CONNECT, self.target.open(moved.as_ref())).await;
            let (connection, driver) = opening.map_err(|_| format!("not connected within {CONNECT:?}"))??;
            let link = Arc::new(Link { connection, driver: driver.abort_handle() });
            // It writes: a server that only reads, or is full, is of no use.
            let beat = self.beat(false);
            let beating = timeout(self.bound, scripts::BEAT.run(&link.connection, &beat)).await;
            match beating.map_err(|_| self.too_slow())? {
                Ok(reply) => {
                    self.counted(&reply);
                    return Ok((link, driver));
                }
                // Of a cluster, and another node has the slot: the one slot of all keys.
                Err(error) if moved.is_none() => {
                    moved = Some(self.target.moved(&error).ok_or_else(|| self.target.words(&error))?);
                }
                Err(error) => return Err(self.target.words(&error)),
            }
        }
    }

    /// Beats until the connection ends.
    async fn stay(&self, link: &Arc<Link>, mut driver: JoinHandle<()>) {
        let mut beats = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut driver => {
                    self.lost(link, "the connection was closed");
                    return;
                }
                _ = beats.tick() => {
                    // What fails here ends the connection.
                    if let Ok(reply) = self.operate(link, &scripts::BEAT, &self.beat(false)).await {
                        self.counted(&reply);
                    }
                }
            }
        }
    }

    fn beat(&self, leaves: bool) -> Call {
        let args = vec![self.id.clone(), GONE.as_micros().to_string(), u8::from(leaves).to_string()];
        Call { keys: vec![self.keys.replicas()], args }
    }

    fn counted(&self, reply: &[i64]) {
        if let Some(count) = reply.first().and_then(|count| u32::try_from(*count).ok()) {
            self.count.store(count.clamp(1, REPLICAS), Ordering::Relaxed);
        }
    }

    async fn operate(&self, link: &Arc<Link>, script: &Script, call: &Call) -> Result<Vec<i64>, Unavailable> {
        let began = Instant::now();
        let asked = timeout(self.bound, script.run(&link.connection, call)).await;
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        let why = match asked {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => self.target.words(&error),
            Err(_) => self.too_slow(),
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.lost(link, &why);
        Err(Unavailable)
    }

    fn too_slow(&self) -> String {
        format!("no answer within {:?}", self.bound)
    }

    fn senseless(&self, link: &Arc<Link>) -> Unavailable {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.lost(link, "an answer that makes no sense");
        Unavailable
    }

    fn gained(&self, link: &Arc<Link>) {
        self.link.store(Some(link.clone()));
        self.health.send_replace(Health::Shared);
        let (server, replicas) = (self.target.name(), self.share());
        if self.said.swap(false, Ordering::Relaxed) {
            self.outages.answered(
                Party::Redis { server: &server, reached: true },
                "limits, pauses and budgets are shared again",
            );
        } else {
            info!(server, replicas, "limits, pauses and budgets are shared through Redis");
        }
    }

    /// The first of those who fail on a connection says so, for everybody.
    fn lost(&self, link: &Arc<Link>, why: &str) {
        let before = self.link.compare_and_swap(link, None);
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, link)) {
            return;
        }
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.said.store(true, Ordering::Relaxed);
        self.health.send_replace(Health::Local { since: Instant::now(), why: why.into() });
        self.warn(why);
        // Last: whoever waits for an answer on it finds all of the above.
        link.driver.abort();
    }

    fn still_local(&self, why: &str) {
        self.said.store(true, Ordering::Relaxed);
        self.health.send_modify(|health| {
            if let Health::Local { why: old, .. } = health {
                *old = why.into();
            }
        });
        self.warn(why);
    }

    fn warn(&self, why: &str) {
        let (server, share) = (self.target.name(), self.share());
        let detail = format!("limits of this process alone hold, each at a share of 1/{share}");
        let reached = why.starts_with(SAYS);
        self.outages.failed(Party::Redis { server: &server, reached }, why, 0, &detail);
    }
}
