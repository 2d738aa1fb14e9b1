//! Limits, pauses and budgets that all replicas share through Redis or Valkey.
//!
//! A request is checked in one round trip, by a script that the server runs atomically on its own clock. If Redis is
//! slow or gone, operations fail with [`Unavailable`] at once, their callers apply local limits at a fair share
//! ([`Replicas::share`]), and [`Replicas::run`] reconnects.
//!
//! The process has one connection, carried by a task on the main runtime and used through the client's channel, so that
//! one circuit breaker covers the whole replica. If the main runtime is blocked for longer than [`BOUND`], that looks
//! like a slow Redis. Figures: `docs/decisions/redis-one-round-trip.md`.
//!
//! No token, path, user id or address is stored, see `src/limits/redis/keys.rs`. Other programs may have written to the
//! keys: the scripts treat senseless values as absent, and no stored pause lasts longer than `max_pause`.

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
use crate::limits::rate::limit::{Quota, WAIT_MAX};
use crate::net::clock::Clock;
use crate::net::secret::Secret;
use crate::net::tls_client::Trust;
use crate::telemetry::outages::{Outages, Party};

pub(crate) use self::calls::ToldCalls;
pub use super::keys::PauseKey;
pub use super::protocol::{Answer, Cell, Spend, Spent, Stamp, Tightest, Verdict};

use super::connection::{SAYS, Target};
use super::keys::Keys;
use super::protocol::{arguments, kept};
use super::scripts::{self, Call, Script};

mod calls; // the calls of each replica

/// The timeout of an operation. No request waits longer for Redis, and once it is given up, later requests do not wait
/// at all.
pub const BOUND: Duration = Duration::from_millis(100);
/// The timeout for connecting, TLS and logging in.
const CONNECT: Duration = Duration::from_secs(2);
/// The pause between attempts to connect.
const PROBE: Duration = Duration::from_secs(1);
/// The longest pause between attempts, if Redis fails repeatedly: each change is a line in the log.
const PROBE_AT_MOST: Duration = Duration::from_secs(8);
/// A connection that lasted this long resets the pause between attempts.
const STEADY: Duration = Duration::from_secs(10);
/// How often a replica reports that it is alive.
const BEAT: Duration = Duration::from_secs(2);
/// A replica that did not report for this long counts as gone.
const GONE: Duration = Duration::from_secs(7);
/// The most replicas that are believed; a higher number was written by another program.
const REPLICAS: u32 = 1000;
/// How long a count is kept after its period, since clocks differ.
const MARGIN: Duration = Duration::from_secs(3600);
/// The longest life of a key.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);

/// The settings of the shared state.
pub struct Settings {
    /// The URL of the server, with its password.
    pub url: Secret,
    /// The prefix of every key.
    pub prefix: String,
    /// The longest pause.
    pub max_pause: Duration,
    /// The timeout of an operation: [`BOUND`], except in tests.
    pub bound: Duration,
}

/// Redis is not in use now; local limits apply, at this replica's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state that replicas share is not available")
    }
}

impl std::error::Error for Unavailable {}

/// Which counts apply.
#[derive(Debug, Clone)]
pub enum Health {
    /// Those of all replicas together.
    Shared,
    /// Those of this replica alone.
    Local {
        /// Since when.
        since: Instant,
        /// The last error of Redis.
        why: Arc<str>,
    },
}

impl Health {
    /// Whether the counts of all replicas together apply.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether Redis is in use.
    pub shared: bool,
    /// How many operations were sent, including reports of being alive.
    pub operations: u64,
    /// How many of them failed or took too long.
    pub errors: u64,
    /// Their total duration.
    pub latency: Duration,
    /// How often Redis was lost after it had been in use.
    pub losses: u64,
    /// The number of replicas, as last known.
    pub replicas: u32,
}

/// Of a pause, as Redis keeps it.
fn micros(max_pause: Duration) -> u64 {
    u64::try_from(max_pause.min(LIFE).as_micros()).unwrap_or(u64::MAX)
}

/// The shared state of all replicas; one for the process, used by all its threads.
pub struct Replicas {
    target: Target,
    keys: Keys,
    /// In microseconds.
    max_pause: AtomicU64,
    bound: Duration,
    id: String,
    /// `None`: local counts apply.
    link: ArcSwapOption<Link>,
    health: watch::Sender<Health>,
    /// Whether it was logged that Redis is unavailable.
    said: AtomicBool,
    outages: Arc<Outages>,
    count: AtomicU32,
    operations: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
    losses: AtomicU64,
}

/// A connection. When its task is aborted, all pending operations fail at once.
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
    /// Checks the settings; [`Replicas::run`] connects. Until then, and while Redis is unavailable, local counts apply.
    ///
    /// # Errors
    /// The URL or the prefix cannot be used. The message shows nothing of the URL and continues a sentence that begins with the key's name.
    pub fn new(settings: Settings, trust: &Trust) -> Result<Self, String> {
        let Settings { url, prefix, max_pause, bound } = settings;
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let why = "not connected yet".into();
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

    /// Asks whether a request may pass. Checks the pauses first; charges all limits or none.
    ///
    /// # Errors
    /// Redis was unavailable before, or this operation failed.
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
        call.arg(WAIT_MAX.as_micros());
        for Cell { limit, key } in cells {
            call.keys.push(self.keys.cell(limit, key));
            call.args.extend(arguments(limit));
        }
        let reply = self.operate(&link, &scripts::ASK, &call).await?;
        let answer = Answer::read(&reply, cells.len(), pauses.len(), self.max_pause());
        answer.ok_or_else(|| self.senseless(&link))
    }

    /// Moves a call in these windows from its stamp to now and returns the new stamp. Windows that no longer have the
    /// call count it again.
    ///
    /// # Errors
    /// Redis has no say.
    pub async fn restamp(&self, cells: &[Cell<'_>], stamp: Stamp) -> Result<Stamp, Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        let reply = self.operate(&link, &scripts::RESTAMP, &self.windows(cells, stamp, true)).await?;
        let stamp = reply.first().and_then(|stamp| u64::try_from(*stamp).ok());
        stamp.map(Stamp::of).ok_or_else(|| self.senseless(&link))
    }

    /// Removes a call that was not made from these windows.
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

    /// Charges one call to all budgets, or to none.
    ///
    /// # Errors
    /// Redis is unavailable. If this operation failed, the call may have been counted all the same.
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

    /// Begins a pause of this length, at most `max_pause`. A longer one that is already in force stays. Returns how long
    /// the pause holds from now.
    ///
    /// # Errors
    /// Redis is unavailable: only this replica pauses.
    pub async fn pause(&self, key: &PauseKey, length: Duration) -> Result<Duration, Unavailable> {
        let link = self.link.load_full().ok_or(Unavailable)?;
        let mut call = Call::default();
        call.keys.push(self.keys.pause(key));
        call.arg(length.min(self.max_pause()).as_micros());
        call.arg(self.max_pause().as_micros());
        let reply = self.operate(&link, &scripts::PAUSE, &call).await?;
        let left = reply.first().and_then(|micros| u64::try_from(*micros).ok());
        let left = left.ok_or_else(|| self.senseless(&link))?;
        Ok(Duration::from_micros(left).min(self.max_pause()))
    }

    /// By how much local limits must be divided while Redis is unavailable: the number of replicas as last known.
    pub fn share(&self) -> NonZeroU32 {
        NonZeroU32::new(self.count.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// Whether Redis is in use, so that an operation would be sent.
    pub fn in_reach(&self) -> bool {
        self.link.load().is_some()
    }

    /// Logs outages of Redis with the other outages of the process.
    pub(crate) fn telling(mut self, outages: Arc<Outages>) -> Self {
        self.outages = outages;
        self
    }

    /// Which counts apply now.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Returns once the first attempt to connect has succeeded or failed, after little more than two seconds. A replica
    /// that served earlier would apply local limits, with a full burst and not yet knowing of other replicas.
    pub async fn tried(&self) {
        let tried = |health: &Health| health.is_shared() || self.said.load(Ordering::Relaxed);
        // `self` holds the sender, so the channel cannot be closed.
        let _ = self.health.subscribe().wait_for(tried).await;
    }

    /// Reports every change of [`Replicas::health`].
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Figures for the metrics.
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

    /// Connects, reports that this replica is alive, and reconnects, until told to stop. Run it once, on a runtime that
    /// outlives it, since the connection belongs to that runtime.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep_up() => {}
        }
        if let Some(link) = self.link.swap(None) {
            // Leaving explicitly gives the other replicas a larger share at once.
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

    /// Opens a connection on which an operation has succeeded.
    async fn connect(&self) -> Result<(Arc<Link>, JoinHandle<()>), String> {
        let mut moved = None;
        loop {
            let opening = timeout(CONNECT, self.target.open(moved.as_ref())).await;
            let (connection, driver) = opening.map_err(|_| format!("not connected within {CONNECT:?}"))??;
            let link = Arc::new(Link { connection, driver: driver.abort_handle() });
            // The first operation writes: a server that is read-only or full is of no use.
            let beat = self.beat(false);
            let beating = timeout(self.bound, scripts::BEAT.run(&link.connection, &beat)).await;
            match beating.map_err(|_| self.too_slow())? {
                Ok(reply) => {
                    self.counted(&reply);
                    return Ok((link, driver));
                }
                // In a cluster, another node has the slot of all keys: connect to that one.
                Err(error) if moved.is_none() => {
                    moved = Some(self.target.moved(&error).ok_or_else(|| self.target.words(&error))?);
                }
                Err(error) => return Err(self.target.words(&error)),
            }
        }
    }

    /// Reports being alive until the connection ends.
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
                    // A failure here ends the connection.
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
        self.lost(link, "a reply that makes no sense");
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

    /// Gives up the connection. Only the first failure on a connection is reported.
    fn lost(&self, link: &Arc<Link>, why: &str) {
        let before = self.link.compare_and_swap(link, None);
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, link)) {
            return;
        }
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.said.store(true, Ordering::Relaxed);
        self.health.send_replace(Health::Local { since: Instant::now(), why: why.into() });
        self.warn(why);
        // Last, so that operations that fail by it see all of the above.
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
        let detail = format!("this process applies its own limits, each at a share of 1/{share}");
        let reached = why.starts_with(SAYS);
        self.outages.failed(Party::Redis { server: &server, reached }, why, 0, &detail);
    }
}
