//! What was counted in the last five minutes, and in each five minutes of the last day: by app, by host of Box, and of all
//! requests together.
//!
//! A request costs nothing here: the workers count it anyway ([`Metrics`]). A task takes the totals every [`STEP`], and whoever
//! reads takes them too, so that what is read is exact at that moment; the difference to the totals before is what came since.
//!
//! **The last five minutes** are kept in steps of ten seconds, so they slide: a request is in them for 300 seconds, and at
//! most 20 more.
//!
//! **The last day** is kept in [`SLOTS`] of five minutes, which begin at whole five minutes of the wall clock (UTC). A difference
//! belongs to the slot in which it began. A clock that is set back continues the slots of that time; while the machine is
//! suspended, nothing is counted. There are never more than [`SLOTS`]; the one farthest from the present makes room.
//!
//! Cost: an app without requests costs nothing in a step or a slot. A thousand apps that are busy all day take about 16 MB: 56
//! bytes for each app and slot whose durations fall into 15 buckets (16.1 MB), as many for each of the 30 steps (1.7 MB), and
//! 590 bytes for each app in each of the three sets that are not packed (1.8 MB).

mod counts; // what is counted in a stretch of time
mod records; // many of them, packed
mod sums; // sums of them over many slots

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use self::counts::Counts;
use self::records::Records;
pub(crate) use self::sums::Sums;
use self::sums::SumsByKey;
use crate::net::clock::{Clock, Moment};
use crate::telemetry::labels::{AppLabel, HostLabel};
use crate::telemetry::metrics::Metrics;

/// How often the totals are taken.
const STEP: Duration = Duration::from_secs(10);
/// How long requests are in the last five minutes.
const WINDOW: Duration = Duration::from_secs(300);
/// The length of a slot, in seconds.
pub(crate) const SLOT: i64 = 300;
/// The number of slots: a day.
pub(crate) const SLOTS: usize = 288;

/// What counts are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// All requests.
    All,
    /// The requests of an app; `None`: of none.
    App(Option<AppLabel>),
    /// The answers of a host of Box; `None`: of those that are not configured.
    Host(Option<HostLabel>),
}

/// The key of the hosts that are not configured; those of the others follow.
const HOSTS: u32 = 0x2_0000;

impl Of {
    /// Its key in a slot. All requests come first, so that they are found at once.
    fn key(self) -> u32 {
        match self {
            Self::All => 0,
            Self::App(None) => 1,
            Self::App(Some(app)) => 2 + u32::from(app.number()),
            Self::Host(None) => HOSTS,
            Self::Host(Some(host)) => HOSTS + 1 + u32::from(host.number()),
        }
    }

    /// What has this key; `None` if no key is this number.
    fn with_key(key: u32) -> Option<Self> {
        let number = |number: u32| u16::try_from(number).ok();
        Some(match key {
            0 => Self::All,
            1 => Self::App(None),
            2..HOSTS => Self::App(Some(AppLabel::of(number(key - 2)?))),
            HOSTS => Self::Host(None),
            _ => Self::Host(Some(HostLabel::of(number(key - HOSTS - 1)?))),
        })
    }
}

type ByKey = BTreeMap<u32, Counts>;

/// The store. Its lock is taken by the thread that answers operators, never by a worker.
#[derive(Debug)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The totals as last taken.
    totals: ByKey,
    /// The closed steps of the last five minutes, in the order of time.
    steps: VecDeque<Step<Records>>,
    step: Step<ByKey>,
    /// The closed slots, by their number: the beginning in seconds since 1970, divided by [`SLOT`].
    slots: BTreeMap<i64, Records>,
    slot: (i64, ByKey),
}

#[derive(Debug)]
struct Step<C> {
    began: Moment,
    /// When the last of its counts were taken.
    counted: Moment,
    counts: C,
}

impl History {
    /// Nothing so far. `metrics` had counted nothing before.
    pub(crate) fn new(now: Moment) -> Self {
        Self(Mutex::new(State {
            totals: ByKey::new(),
            steps: VecDeque::new(),
            step: Step { began: now, counted: now, counts: ByKey::new() },
            slots: BTreeMap::new(),
            slot: (slot_of(now.wall), ByKey::new()),
        }))
    }

    /// Takes the totals as long as the process runs.
    pub(crate) async fn keep(&self, metrics: &Metrics, clock: &Clock) {
        loop {
            let now = clock.now();
            // At whole steps of the wall clock, so that a step does not belong to two slots.
            let since_1970 = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            let into = Duration::from_nanos((since_1970.as_nanos() % STEP.as_nanos()) as u64);
            clock.sleep_until(now.after(STEP - into)).await;
            drop(self.sample(metrics, clock.now()));
        }
    }

    /// Takes the totals now.
    fn sample(&self, metrics: &Metrics, now: Moment) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = totals(metrics);
        state.take(totals, now);
        state
    }

    /// The counts of the last five minutes up to now.
    pub(crate) fn recent(&self, metrics: &Metrics, now: Moment) -> Recent {
        let state = self.sample(metrics, now);
        let mut recent = state.step.counts.clone();
        for (key, counts) in state.steps.iter().flat_map(|step| step.counts.iter()) {
            recent.entry(key).or_default().add(&counts);
        }
        Recent(recent)
    }

    /// The slots of the last day with requests, in the order of time, each with its beginning; the present one up to now.
    pub(crate) fn day(&self, metrics: &Metrics, of: Of, now: Moment) -> Vec<(SystemTime, Counts)> {
        self.last_slots(metrics, of, now, SLOTS)
    }

    /// The same of the last so many slots.
    pub(crate) fn last_slots(
        &self,
        metrics: &Metrics,
        of: Of,
        now: Moment,
        slots: usize,
    ) -> Vec<(SystemTime, Counts)> {
        let state = self.sample(metrics, now);
        let (present, counts) = &state.slot;
        let oldest = present - (slots.clamp(1, SLOTS) as i64 - 1);
        let closed = state.slots.range(oldest..*present).map(|(slot, records)| (slot, records.get(of.key())));
        let open = match of {
            Of::All => Some(all(counts)).filter(|all| all.requests > 0),
            of => counts.get(&of.key()).cloned(),
        };
        let slots = closed.chain([(present, open)]);
        slots.filter_map(|(slot, counts)| Some((begins(*slot), counts?))).collect()
    }

    /// The sums of the last so many slots, the present one up to now, of each app and host that had requests in them, and its
    /// requests in `parts` equal parts of that time.
    pub(crate) fn sums(&self, metrics: &Metrics, now: Moment, slots: usize, parts: usize) -> Vec<(Of, Sums)> {
        let state = self.sample(metrics, now);
        let (present, counts) = &state.slot;
        let slots = slots.clamp(1, SLOTS);
        let oldest = present - (slots as i64 - 1);
        let part = |slot: i64| usize::try_from(slot - oldest).unwrap_or(0) * parts / slots;
        let mut sums = SumsByKey::new(parts);
        for (slot, records) in state.slots.range(oldest..*present) {
            records.add_to(&mut sums, part(*slot));
        }
        let mut cursor = 0;
        for (key, counts) in counts {
            if let Some(sums) = sums.of(*key, &mut cursor) {
                sums.counts.add(counts);
                if let Some(of_part) = sums.requests.get_mut(part(*present)) {
                    *of_part += counts.requests;
                }
            }
        }
        let of = |(key, sums)| Some((Of::with_key(key)?, sums));
        // Of all requests there are sums in closed slots alone.
        sums.into_sums().filter_map(of).filter(|(of, _)| *of != Of::All).collect()
    }
}

/// When the last so many slots begin, the oldest first; the last one is going on.
pub(crate) fn slot_beginnings(now: SystemTime, slots: usize) -> Vec<SystemTime> {
    let present = slot_of(now);
    (0..slots as i64).rev().map(|before| begins(present - before)).collect()
}

/// The counts of the last five minutes.
#[derive(Debug)]
pub(crate) struct Recent(ByKey);

impl Recent {
    /// The apps with requests.
    pub(crate) fn apps(&self) -> impl Iterator<Item = AppLabel> {
        let apps = self.0.range(Of::App(None).key() + 1..Of::Host(None).key());
        apps.filter_map(|(key, _)| u16::try_from(key - 2).ok().map(AppLabel::of))
    }

    /// The counts of an app or a host; zeros without requests.
    pub(crate) fn of(&self, of: Of) -> Counts {
        match of {
            Of::All => all(&self.0),
            of => self.0.get(&of.key()).cloned().unwrap_or_default(),
        }
    }
}

impl State {
    fn take(&mut self, totals: ByKey, now: Moment) {
        self.steps.retain(|step| !is_over(step.counted, now));
        if is_over(self.step.counted, now) {
            self.step = Step { began: now, counted: now, counts: ByKey::new() };
        }
        for (key, total) in &totals {
            let before = self.totals.get(key);
            if before == Some(total) {
                continue;
            }
            let since = before.map_or_else(|| total.clone(), |before| total.since(before));
            self.step.counts.entry(*key).or_default().add(&since);
            self.slot.1.entry(*key).or_default().add(&since);
            self.step.counted = now;
        }
        self.totals = totals;
        if now.mono.saturating_duration_since(self.step.began.mono) >= STEP {
            self.close_step(now);
        }
        let slot = slot_of(now.wall);
        if slot != self.slot.0 {
            self.close_slot(slot);
        }
    }

    fn close_step(&mut self, now: Moment) {
        let Step { began, counted, counts } =
            std::mem::replace(&mut self.step, Step { began: now, counted: now, counts: ByKey::new() });
        if !counts.is_empty() {
            self.steps.push_back(Step { began, counted, counts: Records::of(&counts) });
        }
    }

    /// Closes the slot, and opens the one with this number, which exists if the clock was set back.
    fn close_slot(&mut self, next: i64) {
        let opened = self.slots.remove(&next).map(|records| records.iter().collect()).unwrap_or_default();
        let (slot, mut counts) = std::mem::replace(&mut self.slot, (next, opened));
        if counts.is_empty() {
            return;
        }
        counts.insert(Of::All.key(), all(&counts));
        self.slots.insert(slot, Records::of(&counts));
        while self.slots.len() >= SLOTS {
            let farthest = self.slots.keys().max_by_key(|slot| slot.abs_diff(next)).copied();
            farthest.map(|slot| self.slots.remove(&slot));
        }
    }
}

/// Whether counts taken then are no longer in the last five minutes, by either clock: the monotonic one stands still while the
/// machine is suspended, and the wall clock can be set back.
fn is_over(counted: Moment, now: Moment) -> bool {
    counted.after(WINDOW).has_come(now)
}

/// The sum over the apps.
fn all(counts: &ByKey) -> Counts {
    let mut all = Counts::default();
    counts.range(Of::App(None).key()..Of::Host(None).key()).for_each(|(_, counts)| all.add(counts));
    all
}

fn totals(metrics: &Metrics) -> ByKey {
    let mut totals = ByKey::new();
    metrics.each_series(|labels, count| {
        totals.entry(Of::App(labels.app).key()).or_default().add_status(labels.status, count);
    });
    metrics.each_duration(|app, recorder| {
        totals.entry(Of::App(app).key()).or_default().durations.add(recorder);
    });
    metrics.each_host(|host, recorder| {
        totals.entry(Of::Host(host).key()).or_default().durations.add(recorder);
    });
    for (_, of_host) in totals.range_mut(Of::Host(None).key()..) {
        of_host.requests = of_host.durations.count();
    }
    totals
}

/// The number of the slot that a time is in.
fn slot_of(time: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let since_1970 = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()) - 1,
    };
    since_1970.div_euclid(SLOT)
}

fn begins(slot: i64) -> SystemTime {
    let from_1970 = Duration::from_secs(slot.saturating_mul(SLOT).unsigned_abs());
    let begins = if slot < 0 { UNIX_EPOCH.checked_sub(from_1970) } else { UNIX_EPOCH.checked_add(from_1970) };
    begins.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
