//! The counts: which limits apply to a request, and does it pass them all?
//!
//! governor does the arithmetic (GCRA). It charges whatever passes, so it is given a copy of each count; only where
//! all limits let a request pass do the new counts replace the old ones. Time is handed in.
//!
//! Keys are kept as 64-bit hashes under a random key: two keys fall together once in thousands of years, and nobody
//! can choose keys that do. A limit keeps [`KEYS_MAX`] live counts; newcomers beyond share one, so that a flood of
//! addresses costs neither memory nor the callers who are known already. A count whose bucket is full again says
//! nothing that a new one would not, and is dropped.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::{Key, Limit};
use crate::class::Class;
use crate::operation::Operation;

/// A limit keeps so many live counts.
pub const KEYS_MAX: usize = 65_536;
/// No request waits longer: Box's SDKs end a call that has no answer after 60 s, and Box takes its time too.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Each limit's dead counts are looked for once in this time.
const SWEEP: u64 = 10_000_000_000;
/// A full limit looks for dead counts not more often than this.
const SWEEP_FULL: u64 = 1_000_000_000;
/// 146 years: so long a pause for one call is as good as any longer, and sums stay within 64 bits.
const LONGEST: u64 = 1 << 62;

/// What is asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// What.
    pub operation: Operation<'a>,
    /// Its class.
    pub class: Class,
    /// The client behind trusted proxies.
    pub client: IpAddr,
    /// The app's place in the configuration.
    pub app: usize,
    /// The identity's place in the configuration.
    pub identity: usize,
    /// On whose behalf.
    pub user: User<'a>,
    /// A number for each client id.
    pub enterprise: usize,
    /// Box's own limits count it: not what goes to a pre-signed or realtime URL.
    pub counted_by_box: bool,
}

/// On whose behalf Box is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User<'a> {
    /// `As-User`, or the identity's `user_id`: one count, whichever identity asks.
    Id(&'a str),
    /// The service account that belongs to the client id.
    Service,
}

/// The limits as they are configured and as Box publishes them. Unchanging: asked without a lock.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Rule {
    limit: Limit,
    of_box: bool,
}

impl Rules {
    /// The configured ones come first: where several refuse, theirs is the name that an operator expects.
    pub fn new(configured: Vec<Limit>, of_box: Vec<Limit>) -> Self {
        let configured = configured.into_iter().map(|limit| Rule { limit, of_box: false });
        let rules = configured.chain(of_box.into_iter().map(|limit| Rule { limit, of_box: true }));
        Self { rules: rules.collect(), hasher: RandomState::new() }
    }

    /// By its place.
    pub fn get(&self, place: u32) -> Option<&Limit> {
        self.rules.get(place as usize).map(|rule| &rule.limit)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.rules.iter().map(|rule| &rule.limit)
    }

    /// What this request is counted under; empty where no limit is about it.
    pub fn applying(&self, asking: &Asking<'_>) -> Keys {
        let mut keys = Keys::default();
        let mut hashes: [Option<u64>; 6] = [None; 6];
        for (place, Rule { limit, of_box }) in (0..).zip(&self.rules) {
            if (*of_box && !asking.counted_by_box) || !limit.applies(asking.operation, asking.class) {
                continue;
            }
            let key = match hashes.get_mut(limit.key as usize) {
                Some(known) => *known.get_or_insert_with(|| self.hash(limit.key, asking)),
                None => self.hash(limit.key, asking),
            };
            keys.push(Counted { rule: place, key });
        }
        keys
    }

    fn hash(&self, key: Key, asking: &Asking<'_>) -> u64 {
        let hash = |value: u64| self.hasher.hash_one((key, value));
        match key {
            Key::Client => match asking.client.to_canonical() {
                IpAddr::V4(address) => hash(u64::from(address.to_bits())),
                // A household or a server has so many at its disposal.
                IpAddr::V6(address) => self.hasher.hash_one((key, 6, address.to_bits() >> 64)),
            },
            Key::App => hash(asking.app as u64),
            Key::Identity => hash(asking.identity as u64),
            Key::Enterprise => hash(asking.enterprise as u64),
            Key::Global => hash(0),
            Key::User => match asking.user {
                User::Id(id) => self.hasher.hash_one((key, id)),
                User::Service => hash(asking.enterprise as u64),
            },
        }
    }
}

/// A limit by its place in [`Rules`], and what it counts under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Counted {
    /// The limit's place.
    pub rule: u32,
    /// The hash of what has a count of its own.
    pub key: u64,
}

/// What a request is counted under. Few limits apply to one request, so they mostly need no allocation.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    first: [Counted; 8],
    len: usize,
    more: Vec<Counted>,
}

impl Keys {
    /// Adds one.
    pub fn push(&mut self, counted: Counted) {
        match self.first.get_mut(self.len) {
            Some(free) => {
                *free = counted;
                self.len += 1;
            }
            None => self.more.push(counted),
        }
    }

    /// Whether no limit applies.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the limits' order.
    pub fn iter(&self) -> impl Iterator<Item = Counted> {
        self.first.iter().take(self.len).chain(&self.more).copied()
    }
}

/// How it stands with one limit, as the `RateLimit` fields tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name.
    pub limit: Arc<str>,
    /// So many calls may be made at once after a while of rest …
    pub quota: u32,
    /// … and are so in this time again.
    pub window: Duration,
    /// So many are left now.
    pub remaining: u32,
    /// Until all are there again; of a refusal: until the next one is.
    pub reset: Duration,
}

impl Standing {
    /// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub fn policy(&self) -> String {
        format!("{};q={};w={}", quoted(&self.limit), self.quota, whole_seconds(self.window))
    }

    /// The value of `RateLimit`.
    pub fn state(&self) -> String {
        format!("{};r={};t={}", quoted(&self.limit), self.remaining, whole_seconds(self.reset))
    }
}

/// A string of RFC 9651 §3.3.3; what cannot stand in one becomes `_`.
fn quoted(name: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '_' };
    format!("\"{}\"", name.chars().map(plain).collect::<String>())
}

/// Rounded up, for header fields: whoever comes back then is not too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A request that passed all its limits and is charged to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Of the limit that leaves the fewest calls; none where no enforced limit applies.
    pub tightest: Option<Standing>,
    /// The limits that would have refused it if they were enforced.
    pub shadow: Vec<Shadow>,
}

/// A limit that is not enforced and would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its place in [`Rules`].
    pub rule: u32,
    /// Its name.
    pub limit: Arc<str>,
}

/// A request that is refused and charged to no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The place in [`Rules`] of the limit that said no.
    pub rule: u32,
    /// How it stands with that limit.
    pub standing: Standing,
    /// When all limits let a request pass that comes alone, whoever queues now served first.
    pub retry_after: Duration,
}

/// What the limits say of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed and is charged.
    Pass(Passed),
    /// It is refused and charged to none.
    Refused(Refused),
}

/// What one limit would say, before anything is charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    pub(super) counted: Counted,
    pub(super) enforce: bool,
    /// The new count, or how many nanoseconds are missing.
    outcome: Result<After, u64>,
}

#[derive(Debug, Clone, Copy)]
struct After {
    count: u64,
    remaining: u32,
}

impl Staged {
    /// Nanoseconds until the limit lets one pass; 0 if it does.
    pub(super) fn left(&self) -> u64 {
        self.outcome.err().unwrap_or(0)
    }
}

/// The counts of all limits. Kept behind one lock by its owner.
#[derive(Debug)]
pub struct Table {
    counters: Vec<Counter>,
    /// Of the request being looked at; kept for its capacity.
    staged: Vec<Staged>,
    keys_max: usize,
    next_sweep: u64,
    swept: usize,
}

impl Table {
    /// No call made yet.
    pub fn new(rules: &Rules) -> Self {
        Self::with_keys_max(rules, KEYS_MAX)
    }

    fn with_keys_max(rules: &Rules, keys_max: usize) -> Self {
        Self {
            counters: rules.iter().map(Counter::new).collect(),
            staged: Vec::new(),
            keys_max,
            next_sweep: 0,
            swept: 0,
        }
    }

    /// Charges a request to all its limits, or to none.
    pub fn check(&mut self, keys: &Keys, now: u64) -> Verdict {
        self.stage(keys, now);
        if self.passes() {
            return Verdict::Pass(self.charge(now));
        }
        let left = self.staged().map(|staged| staged.left()).max().unwrap_or(0);
        let first = self.staged().find(|staged| staged.left() > 0);
        Verdict::Refused(self.refusal(first.map(|staged| staged.counted).unwrap_or_default(), left))
    }

    /// Asks every limit and charges none.
    pub(super) fn stage(&mut self, keys: &Keys, now: u64) {
        self.sweep(now);
        self.staged.clear();
        for counted in keys.iter() {
            if let Some(counter) = self.counters.get_mut(counted.rule as usize) {
                let outcome = counter.ask(counted.key, now, self.keys_max);
                self.staged.push(Staged { counted, enforce: counter.enforce, outcome });
            }
        }
    }

    /// What the enforced limits said.
    pub(super) fn staged(&self) -> impl Iterator<Item = Staged> {
        self.staged.iter().copied().filter(|staged| staged.enforce)
    }

    /// Whether all of them let the request pass.
    pub(super) fn passes(&self) -> bool {
        self.staged().all(|staged| staged.outcome.is_ok())
    }

    /// Charges the staged request to all limits that let it pass.
    pub(super) fn charge(&mut self, now: u64) -> Passed {
        let mut shadow = Vec::new();
        let mut tightest: Option<(u32, After)> = None;
        for Staged { counted, enforce, outcome } in &self.staged {
            let Some(counter) = self.counters.get_mut(counted.rule as usize) else { continue };
            match outcome {
                Ok(after) => {
                    counter.set(counted.key, after.count, self.keys_max);
                    if *enforce && tightest.is_none_or(|(_, least)| after.remaining < least.remaining) {
                        tightest = Some((counted.rule, *after));
                    }
                }
                Err(_) => shadow.push(Shadow { rule: counted.rule, limit: Arc::clone(&counter.name) }),
            }
        }
        let tightest = tightest.and_then(|(rule, after)| {
            let counter = self.counters.get(rule as usize)?;
            Some(counter.standing(after.remaining, after.count.saturating_sub(now)))
        });
        Passed { tightest, shadow }
    }

    /// A refusal by this limit.
    pub(super) fn refusal(&self, by: Counted, left: u64) -> Refused {
        let standing = match self.counters.get(by.rule as usize) {
            Some(counter) => counter.standing(0, left),
            None => Standing {
                limit: "".into(),
                quota: 0,
                window: Duration::ZERO,
                remaining: 0,
                reset: Duration::from_nanos(left),
            },
        };
        Refused { rule: by.rule, standing, retry_after: Duration::from_nanos(left) }
    }

    /// So long a request may wait for this limit.
    pub(super) fn wait(&self, rule: u32) -> u64 {
        self.counters.get(rule as usize).map_or(0, |counter| counter.wait)
    }

    /// Nanoseconds until the limit lets one pass; nothing is charged.
    pub(super) fn left(&mut self, counted: Counted, now: u64) -> u64 {
        let counter = self.counters.get_mut(counted.rule as usize).filter(|counter| counter.enforce);
        counter.and_then(|counter| counter.ask(counted.key, now, self.keys_max).err()).unwrap_or(0)
    }

    /// The limit's pace: the time between two calls.
    pub(super) fn interval(&self, rule: u32) -> u64 {
        self.counters.get(rule as usize).map_or(0, |counter| counter.interval)
    }

    /// How many counts are kept, and for how many there is room, over all limits.
    pub fn size(&self) -> (usize, usize) {
        self.counters.iter().fold((0, 0), |(len, capacity), counter| {
            (len + counter.counts.len(), capacity + counter.counts.capacity())
        })
    }

    /// Drops dead counts of one limit after the other, so that no request pays for all.
    fn sweep(&mut self, now: u64) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.saturating_add(SWEEP / self.counters.len().max(1) as u64);
        self.swept = (self.swept + 1) % self.counters.len().max(1);
        if let Some(counter) = self.counters.get_mut(self.swept) {
            counter.sweep(now);
        }
    }
}

/// The counts of one limit.
#[derive(Debug)]
struct Counter {
    name: Arc<str>,
    gcra: Gcra,
    /// When a key's bucket is full again, in nanoseconds: GCRA's theoretical arrival time. No entry: it is full.
    counts: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    /// The same, for all newcomers while the limit is full of live keys.
    overflow: u64,
    full_until: u64,
    interval: u64,
    burst: u32,
    wait: u64,
    enforce: bool,
}

impl Counter {
    fn new(limit: &Limit) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        let interval = nanos(limit.interval).max(1);
        let wait = nanos(limit.wait.min(WAIT_MAX));
        let at_most = u32::try_from(LONGEST / interval).unwrap_or(u32::MAX);
        let burst = limit.burst.get().min(at_most);
        // Who would have waited is not refused: GCRA with that much more tolerance refuses just those for whom a
        // queue would have been too long.
        let waiting = if limit.enforce { 0 } else { u32::try_from(wait / interval).unwrap_or(u32::MAX) };
        let tolerated =
            NonZeroU32::new(burst.saturating_add(waiting).min(at_most)).unwrap_or(NonZeroU32::MIN);
        Self {
            name: Arc::clone(&limit.name),
            gcra: gcra(interval, tolerated),
            counts: HashMap::default(),
            overflow: 0,
            full_until: 0,
            interval,
            burst,
            wait,
            enforce: limit.enforce,
        }
    }

    fn standing(&self, remaining: u32, reset: u64) -> Standing {
        Standing {
            limit: Arc::clone(&self.name),
            quota: self.burst,
            window: Duration::from_nanos(self.interval.saturating_mul(u64::from(self.burst))),
            remaining,
            reset: Duration::from_nanos(reset),
        }
    }

    /// What the limit would say; `Err` has what is missing.
    fn ask(&mut self, key: u64, now: u64, keys_max: usize) -> Result<After, u64> {
        let slot = Slot(Cell::new(self.count(key, now, keys_max)));
        self.gcra.clock().0.set(now);
        match self.gcra.check_key(&slot) {
            Ok(state) => Ok(After { count: slot.0.get(), remaining: state.remaining_burst_capacity() }),
            Err(not_until) => {
                let left = not_until.wait_time_from(Nanos::from(now));
                Err(u64::try_from(left.as_nanos()).unwrap_or(LONGEST).max(1))
            }
        }
    }

    /// The count of a key; a newcomer's is what newcomers shared before, as long as that says anything: it may have
    /// been among them.
    fn count(&mut self, key: u64, now: u64, keys_max: usize) -> u64 {
        if let Some(count) = self.counts.get(&key) {
            return *count;
        }
        if self.counts.len() >= keys_max && now >= self.full_until {
            self.sweep(now);
            self.full_until = now.saturating_add(SWEEP_FULL);
        }
        self.overflow
    }

    fn set(&mut self, key: u64, count: u64, keys_max: usize) {
        if self.counts.len() < keys_max {
            self.counts.insert(key, count);
        } else {
            match self.counts.get_mut(&key) {
                Some(known) => *known = count,
                None => self.overflow = count,
            }
        }
    }

    /// Drops the counts of full buckets, and their memory.
    fn sweep(&mut self, now: u64) {
        self.counts.retain(|_, count| *count > now);
        if self.counts.len() < self.counts.capacity() / 4 {
            self.counts.shrink_to(self.counts.len() * 2);
        }
    }
}

/// governor's arithmetic, on one count that is handed to it as if it were a key.
type Gcra = RateLimiter<Slot, InSlot, HandSet, StateInformationMiddleware>;

fn gcra(interval: u64, burst: NonZeroU32) -> Gcra {
    let interval = Duration::from_nanos(interval);
    let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
    Gcra::new(quota, InSlot, HandSet(Cell::new(0)))
}

/// A copy of a count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot(Cell<u64>);

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// The store that keeps nothing.
#[derive(Debug)]
struct InSlot;

impl StateStore for InSlot {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (said, count) = judge(Some(Nanos::from(slot.0.get())))?;
        slot.0.set(count.as_u64());
        Ok(said)
    }
}

/// The clock that stands where it was put.
#[derive(Debug)]
struct HandSet(Cell<u64>);

impl Clock for HandSet {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.get())
    }
}

/// The keys are hashes.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::super::box_limits;
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(name: &str, key: Key, interval: u64, burst: u32) -> Limit {
        Limit {
            name: name.into(),
            key,
            on: vec![],
            interval: Duration::from_nanos(interval),
            burst: NonZeroU32::new(burst).unwrap(),
            wait: Duration::ZERO,
            enforce: true,
        }
    }

    fn asking(client: IpAddr) -> Asking<'static> {
        Asking {
            operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
            class: Class::General,
            client,
            app: 0,
            identity: 0,
            user: User::Service,
            enterprise: 0,
            counted_by_box: true,
        }
    }

    fn client(text: &str) -> Asking<'static> {
        asking(text.parse().unwrap())
    }

    fn passed(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Pass(_))
    }

    /// In every closed window, also those that begin and end with a call.
    fn keeps_to(admitted: &[u64], burst: u64, interval: u64) -> bool {
        admitted.iter().enumerate().all(|(i, from)| {
            admitted[i..].iter().zip(1..).all(|(to, calls)| calls <= burst + (to - from) / interval)
        })
    }

    fn times() -> impl Strategy<Value = Vec<u64>> {
        // Bursts at one instant, steps around an interval, long rests.
        let step = prop_oneof![4 => Just(0_u64), 4 => 0..2_000_u64, 1 => 0..100_000_u64];
        prop::collection::vec(step, 1..200).prop_map(|steps| {
            let mut now = 0;
            steps
                .into_iter()
                .map(|step| {
                    now += step;
                    now
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_and_refill(times in times(), interval in 1..3_000_u64, burst in 1..20_u32) {
            let rules = Rules::new(vec![limit("a", Key::Global, interval, burst)], vec![]);
            let mut table = Table::new(&rules);
            let keys = rules.applying(&client("10.0.0.1"));
            let admitted: Vec<u64> = times.into_iter().filter(|now| passed(&table.check(&keys, *now))).collect();
            prop_assert!(keeps_to(&admitted, u64::from(burst), interval));
            prop_assert!(!admitted.is_empty());
        }

        #[test]
        fn all_are_charged_or_none(times in times(), intervals in [1..3_000_u64, 1..3_000_u64, 1..3_000_u64], bursts in [1..8_u32, 1..8_u32, 1..8_u32]) {
            let one = |i: usize| limit("a", Key::Global, intervals[i], bursts[i]);
            let rules = Rules::new((0..3).map(one).collect(), vec![]);
            let mut table = Table::new(&rules);
            let keys = rules.applying(&client("10.0.0.1"));
            // As if each limit had seen nothing but what all let pass.
            let alone: Vec<Rules> = (0..3).map(|i| Rules::new(vec![one(i)], vec![])).collect();
            let mut apart: Vec<Table> = alone.iter().map(Table::new).collect();
            for now in times {
                let says: Vec<bool> = alone.iter().zip(&mut apart).map(|(rules, table)| {
                    table.stage(&rules.applying(&client("10.0.0.1")), now);
                    table.passes()
                }).collect();
                match table.check(&keys, now) {
                    Verdict::Pass(_) => {
                        prop_assert!(says.iter().all(|passes| *passes));
                        for table in &mut apart {
                            table.charge(now);
                        }
                    }
                    Verdict::Refused(refused) => {
                        // The first that says no is named.
                        prop_assert_eq!(Some(refused.rule as usize), says.iter().position(|passes| !passes));
                    }
                }
            }
        }

        #[test]
        fn retry_after_is_exact(times in times(), intervals in [1..3_000_u64, 1..3_000_u64], bursts in [1..8_u32, 1..8_u32]) {
            let rules = Rules::new((0..2).map(|i| limit("a", Key::Global, intervals[i], bursts[i])).collect(), vec![]);
            let mut table = Table::new(&rules);
            let keys = rules.applying(&client("10.0.0.1"));
            for now in times {
                if let Verdict::Refused(refused) = table.check(&keys, now) {
                    let then = now + u64::try_from(refused.retry_after.as_nanos()).unwrap();
                    table.stage(&keys, then - 1);
                    prop_assert!(!table.passes());
                    table.stage(&keys, then);
                    prop_assert!(table.passes());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn boxs_figures_hold_in_every_window(steps in prop::collection::vec(prop_oneof![3 => Just(0_u64), 3 => 0..100_u64, 1 => 0..2_000_u64], 1..1_500)) {
            // As fractions of the limit's interval, so that each limit is met at its edges.
            for published in box_limits::published(Duration::ZERO) {
                let window = u64::try_from(published.window.as_nanos()).unwrap();
                let interval = u64::try_from(published.limit.interval.as_nanos()).unwrap();
                let rules = Rules::new(vec![Limit { on: vec![], ..published.limit }], vec![]);
                let mut table = Table::new(&rules);
                let keys = rules.applying(&client("10.0.0.1"));
                let mut now = 0;
                let mut recent = std::collections::VecDeque::new();
                for step in &steps {
                    now += step * (interval / 50);
                    if passed(&table.check(&keys, now)) {
                        recent.push_back(now);
                    }
                    while recent.front().is_some_and(|first| now - first > window) {
                        recent.pop_front();
                    }
                    prop_assert!(recent.len() <= published.calls as usize);
                }
            }
        }
    }

    #[test]
    fn boxs_figures_are_reached_and_not_passed_by_a_steady_stream() {
        for published in box_limits::published(Duration::ZERO) {
            let window = u64::try_from(published.window.as_nanos()).unwrap();
            let rules = Rules::new(vec![Limit { on: vec![], ..published.limit }], vec![]);
            let mut table = Table::new(&rules);
            let keys = rules.applying(&client("10.0.0.1"));
            let step = window / 5_000;
            // The last one falls on the window's very end.
            let admitted =
                (0..=5_000).filter(|i| passed(&table.check(&keys, i * step + window % 5_000))).count();
            assert!(
                admitted <= published.calls as usize && admitted + 1 >= published.calls as usize,
                "{admitted}"
            );
        }
    }

    #[test]
    fn each_key_has_its_count() {
        let one = |key| Rules::new(vec![limit("a", key, SECOND, 1)], vec![]);
        let base = client("10.0.0.1");
        let [id, other_id] = [User::Id("1"), User::Id("2")];
        for (key, same, other) in [
            (Key::Client, Asking { app: 1, ..base }, client("10.0.0.2")),
            (Key::App, Asking { identity: 1, ..base }, Asking { app: 1, ..base }),
            (Key::Identity, Asking { app: 1, ..base }, Asking { identity: 1, ..base }),
            (Key::Enterprise, Asking { identity: 1, ..base }, Asking { enterprise: 1, ..base }),
            (Key::User, Asking { identity: 1, ..base }, Asking { user: id, ..base }),
        ] {
            let rules = one(key);
            let mut table = Table::new(&rules);
            assert!(passed(&table.check(&rules.applying(&base), 0)), "{key:?}");
            assert!(!passed(&table.check(&rules.applying(&same), 0)), "{key:?}");
            assert!(passed(&table.check(&rules.applying(&other), 0)), "{key:?}");
        }
        // One user is one user, whichever identity asks.
        let rules = one(Key::User);
        let mut table = Table::new(&rules);
        assert!(passed(&table.check(&rules.applying(&Asking { user: id, ..base }), 0)));
        assert!(!passed(
            &table.check(&rules.applying(&Asking { user: id, enterprise: 1, identity: 1, ..base }), 0)
        ));
        assert!(passed(&table.check(&rules.applying(&Asking { user: other_id, ..base }), 0)));
        let rules = one(Key::Global);
        let mut table = Table::new(&rules);
        assert!(passed(&table.check(&rules.applying(&base), 0)));
        assert!(!passed(&table.check(&rules.applying(&Asking { app: 1, user: id, ..client("::1") }), 0)));
    }

    #[test]
    fn addresses_are_grouped_as_they_are_given_out() {
        let rules = Rules::new(vec![limit("a", Key::Client, SECOND, 1)], vec![]);
        let key = |text: &str| rules.applying(&client(text)).iter().next().unwrap();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    #[test]
    fn boxs_own_count_only_what_box_counts() {
        let of_box = vec![limit("box", Key::User, SECOND, 1)];
        let rules = Rules::new(vec![limit("own", Key::User, SECOND, 1)], of_box);
        let presigned = Asking { counted_by_box: false, ..client("10.0.0.1") };
        assert_eq!(rules.applying(&presigned).iter().map(|counted| counted.rule).collect::<Vec<_>>(), [0]);
        assert_eq!(rules.applying(&client("10.0.0.1")).iter().count(), 2);
    }

    #[test]
    fn a_shadow_limit_counts_and_lets_pass() {
        let shadow = Limit { enforce: false, ..limit("shadow", Key::Global, SECOND, 1) };
        let rules = Rules::new(vec![shadow, limit("real", Key::Global, SECOND, 3)], vec![]);
        let mut table = Table::new(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        let shadows: Vec<Option<usize>> = (0..4)
            .map(|_| match table.check(&keys, 0) {
                Verdict::Pass(passed) => Some(passed.shadow.len()),
                Verdict::Refused(_) => None,
            })
            .collect();
        assert_eq!(shadows, [Some(0), Some(1), Some(1), None]);
    }

    #[test]
    fn a_shadow_limit_with_a_queue_refuses_whom_the_queue_would_not_serve() {
        let wait = Duration::from_secs(3);
        let shadow = Limit { enforce: false, wait, ..limit("shadow", Key::Global, SECOND, 2) };
        let rules = Rules::new(vec![shadow], vec![]);
        let mut table = Table::new(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        let refused = |verdict| matches!(verdict, Verdict::Pass(Passed { shadow, .. }) if !shadow.is_empty());
        // Two at once, one each after 1, 2 and 3 s; the sixth would wait 4 s.
        assert_eq!((0..7).filter(|_| refused(table.check(&keys, 0))).count(), 2);
        assert!(!refused(table.check(&keys, SECOND)));
    }

    #[test]
    fn the_fields_tell_how_it_stands() {
        let rules = Rules::new(vec![limit("a \"b\"", Key::Global, SECOND / 10, 20)], vec![]);
        let mut table = Table::new(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        let Verdict::Pass(Passed { tightest: Some(standing), .. }) = table.check(&keys, 0) else { panic!() };
        assert_eq!(standing.policy(), "\"a _b_\";q=20;w=2");
        assert_eq!(standing.state(), "\"a _b_\";r=19;t=1");
        for _ in 1..20 {
            assert!(passed(&table.check(&keys, 0)));
        }
        let Verdict::Refused(refused) = table.check(&keys, 0) else { panic!() };
        assert_eq!(refused.standing.state(), "\"a _b_\";r=0;t=1");
        assert_eq!(refused.retry_after, Duration::from_millis(100));
    }

    #[test]
    fn figures_out_of_all_proportion_do_no_harm() {
        for (interval, burst) in
            [(u64::MAX, u32::MAX), (1, u32::MAX), (1 << 61, 9), (86_400 * SECOND, u32::MAX)]
        {
            let rules = Rules::new(vec![limit("a", Key::Global, interval, burst)], vec![]);
            let mut table = Table::new(&rules);
            let keys = rules.applying(&client("10.0.0.1"));
            for now in [0, SECOND, 1 << 61] {
                table.check(&keys, now);
            }
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_gives_it_back() {
        let limits = vec![limit("a", Key::Client, SECOND, 2)];
        let rules = Rules::new(limits, vec![]);
        let mut table = Table::with_keys_max(&rules, 1000);
        let known = rules.applying(&client("192.0.2.1"));
        assert!(passed(&table.check(&known, 0)));
        // A hundred addresses for each that there is room for, within 2 s; who was there before and goes on keeps its own.
        let mut admitted = 0;
        for i in 0..100_000_u32 {
            let now = u64::from(i) * 20_000;
            let keys = rules.applying(&asking(IpAddr::from((0x0a00_0000 + i).to_be_bytes())));
            admitted += u32::from(passed(&table.check(&keys, now)));
            assert!(table.size().0 <= 1000 && table.size().1 <= 4000);
            if i % 40_000 == 39_999 {
                assert!(passed(&table.check(&known, now)));
            }
        }
        assert!(admitted < 3100, "{admitted}");
        // A minute later nothing is left but whoever asks then.
        table.check(&known, 60 * SECOND);
        table.check(&known, 120 * SECOND);
        assert!(table.size().0 <= 1 && table.size().1 < 100, "{:?}", table.size());
    }

    #[test]
    fn ten_million_keys_leave_no_trace() {
        let rules = Rules::new(vec![limit("a", Key::Client, 1000, 1)], vec![]);
        let mut table = Table::new(&rules);
        let mut most = 0;
        // The hashes themselves: hashing addresses is tested above. One each 10 ns makes all of them live for 100 steps
        // only, so dead ones are looked for again and again.
        let millions = if cfg!(debug_assertions) { 1 } else { 10 };
        for i in 0..millions * 1_000_000_u64 {
            let mut keys = Keys::default();
            keys.push(Counted { rule: 0, key: i.wrapping_mul(0x9e37_79b9_7f4a_7c15) });
            table.check(&keys, i * 10);
            most = most.max(table.size().0);
        }
        assert!(most <= KEYS_MAX);
        let mut keys = Keys::default();
        keys.push(Counted { rule: 0, key: 1 });
        table.check(&keys, 1000 * SECOND);
        table.check(&keys, 1010 * SECOND);
        assert!(table.size().1 < 100, "{:?}", table.size());
    }

    #[test]
    fn a_newcomer_inherits_what_newcomers_shared() {
        let rules = Rules::new(vec![limit("a", Key::Client, SECOND, 1)], vec![]);
        let mut table = Table::with_keys_max(&rules, 1);
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|text| rules.applying(&client(text)));
        assert!(passed(&table.check(&first, 0)));
        assert!(passed(&table.check(&second, SECOND / 2)));
        // The first one's count is dropped at 1 s and makes room; the second one's call of 0.5 s still counts.
        assert!(!passed(&table.check(&second, SECOND + SECOND / 4)));
        assert!(passed(&table.check(&second, SECOND + SECOND / 2)));
    }
}
