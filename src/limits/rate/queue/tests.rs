//! The order and duration of waiting, with a clock set by the test.

use super::super::limit::{Key, Limit, Quota};
use super::super::matcher::{RequestKey, User};
use super::*;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use http::Method;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::num::NonZeroU32;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn limit(key: Key, interval_ms: u64, burst: u32, wait_ms: u64) -> Limit {
    Limit {
        name: format!("{key:?}").into(),
        key,
        on: vec![],
        quota: Quota::Bucket {
            interval: Duration::from_millis(interval_ms),
            burst: NonZeroU32::new(burst).unwrap(),
        },
        wait: Duration::from_millis(wait_ms),
        enforce: true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Refused(u64),
}

/// Simulates callers with their timers and wake-ups.
struct Sim {
    rules: LimitMatcher,
    hasher: RandomState,
    /// Previous configurations.
    old: Vec<LimitMatcher>,
    queues: WaitQueues,
    now: u64,
    /// Waiting calls by number: the call, and when it polls next.
    waiting: BTreeMap<u64, (usize, u64)>,
    calls: Vec<Call>,
    ended: usize,
    looks: usize,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    app: usize,
    user: usize,
    came: u64,
    end: Option<(u64, End)>,
    /// Its number, if it was queued.
    number: Option<u64>,
    /// The index among those that ended.
    finished: usize,
}

impl Sim {
    fn new(limits: Vec<Limit>) -> Self {
        let mut rules = LimitMatcher::new(limits, vec![]);
        let (mut queues, hasher) = (WaitQueues::new(), RandomState::new());
        rules.bind(&queues.bind(&rules, true, 0), hasher.clone());
        let old = Vec::new();
        Self {
            rules,
            hasher,
            old,
            queues,
            now: 0,
            waiting: BTreeMap::new(),
            calls: vec![],
            ended: 0,
            looks: 0,
        }
    }

    fn call(&mut self, app: usize, user: usize) -> usize {
        let keys = self.rules.applying(&request_key(app as u64, &user.to_string()));
        let call = self.calls.len();
        self.calls.push(Call { app, user, came: self.now, end: None, number: None, finished: 0 });
        match self.queues.enqueue(keys, app as u64, self.now) {
            Arrival::Passed(_) => self.ends(call, End::Passed),
            Arrival::Refused(refused) => self.ends(call, refusal(&refused)),
            Arrival::Waits(number) => {
                self.calls[call].number = Some(number);
                self.waiting.insert(number, (call, self.now));
                self.poll(number);
            }
        }
        self.wake();
        call
    }

    fn ends(&mut self, call: usize, end: End) {
        self.ended += 1;
        self.calls[call].finished = self.ended;
        self.calls[call].end = Some((self.now, end));
    }

    fn poll(&mut self, number: u64) {
        let Some((call, _)) = self.waiting.get(&number).copied() else { return };
        self.looks += 1;
        match self.queues.poll(number, self.now) {
            Polled::Until(until) => {
                assert!(until > self.now, "it would look for ever");
                self.waiting.insert(number, (call, until));
                return;
            }
            Polled::Passed(_) => self.ends(call, End::Passed),
            Polled::Refused(refused) => self.ends(call, refusal(&refused)),
        }
        self.waiting.remove(&number);
        self.queues.leave(number);
    }

    fn wake(&mut self) {
        loop {
            let woken: Vec<u64> = self.queues.woken().collect();
            if woken.is_empty() {
                return;
            }
            for number in woken {
                self.poll(number);
            }
        }
    }

    fn hang_up(&mut self, call: usize) {
        if let Some(number) = self.calls[call].number.filter(|number| self.waiting.remove(number).is_some()) {
            self.queues.leave(number);
            self.wake();
        }
    }

    fn run_until(&mut self, then: u64) {
        while let Some((at, number)) = self.waiting.iter().map(|(n, (_, at))| (*at, *n)).min() {
            if at > then {
                break;
            }
            self.now = self.now.max(at);
            self.poll(number);
            self.wake();
        }
        self.now = self.now.max(then);
    }

    fn run(&mut self) {
        self.run_until(self.now + 100_000 * MS);
        assert!(self.waiting.is_empty());
        assert!(self.queues.lines.is_empty() && self.queues.waiters.is_empty());
        assert!(self.queues.queued.iter().all(|queued| *queued == 0));
    }

    fn passed(&self) -> Vec<Call> {
        let mut passed: Vec<Call> =
            self.calls.iter().copied().filter(|c| matches!(c.end, Some((_, End::Passed)))).collect();
        passed.sort_by_key(|call| call.finished);
        passed
    }

    /// When a call passed.
    fn at(&self, call: usize) -> Option<u64> {
        self.calls[call].end.and_then(|(at, end)| (end == End::Passed).then_some(at / MS))
    }
}

fn request_key(app: u64, user: &str) -> RequestKey<'_> {
    RequestKey {
        operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
        class: Class::General,
        client: std::net::IpAddr::from([10, 0, 0, 1]).into(),
        app: AppId::new(0),
        identity: IdentityId::new(0),
        app_number: app,
        identity_number: 0,
        user: User::Id(user),
        enterprise: 0,
        counted_by_box: true,
    }
}

fn refusal(refused: &Refused) -> End {
    End::Refused(u64::try_from(refused.retry_after.as_nanos()).unwrap())
}

/// Jain's fairness index: 1 if all shares are equal; 1/n if one has everything.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn calls_are_spaced_at_the_limits_pace_in_their_order() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 100, 2, 1000)]);
    let calls: Vec<usize> = (0..6).map(|_| sim.call(0, 0)).collect();
    sim.run();
    let at: Vec<_> = calls.iter().map(|call| sim.at(*call)).collect();
    assert_eq!(at, [Some(0), Some(0), Some(100), Some(200), Some(300), Some(400)]);
}

#[test]
fn a_call_that_cannot_pass_in_time_is_refused_at_once_with_a_time_to_retry() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 250)]);
    let calls: Vec<usize> = (0..4).map(|_| sim.call(0, 0)).collect();
    assert_eq!(sim.calls[calls[3]].end, Some((0, End::Refused(300 * MS))));
    sim.run_until(300 * MS);
    let late = sim.call(0, 0);
    assert_eq!(sim.at(late), Some(300));
}

#[test]
fn a_new_call_does_not_overtake_even_if_one_could_pass() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 1000)]);
    sim.call(0, 0);
    let waiting = sim.call(0, 0);
    // The waiting call polls late.
    sim.now = 150 * MS;
    let newcomer = sim.call(1, 0);
    assert_eq!((sim.at(waiting), sim.at(newcomer)), (None, None));
    sim.run();
    assert!(sim.calls[waiting].finished < sim.calls[newcomer].finished);
}

#[test]
fn the_turn_of_a_caller_that_leaves_goes_to_the_next() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 1000)]);
    let calls: Vec<usize> = (0..5).map(|_| sim.call(0, 0)).collect();
    sim.hang_up(calls[1]); // the first in the queue
    sim.hang_up(calls[3]); // one in the middle
    sim.run();
    assert_eq!([2, 4].map(|i| sim.at(calls[i])), [Some(100), Some(200)]);
    assert_eq!(sim.passed().len(), 3);
}

/// Both calls of app 3 and user 1 have let earlier ones pass, the first again in the moment in which the second could pass.
#[test]
fn a_call_that_has_let_others_pass_does_not_overtake_one_with_the_same_keys() {
    let limits =
        vec![limit(Key::App, 60, 1, 61), limit(Key::User, 6, 1, 195), limit(Key::Identity, 65, 3, 130)];
    let mut sim = Sim::new(limits);
    sim.call(0, 1);
    sim.call(0, 0);
    let first = sim.call(3, 1);
    sim.run_until(5 * MS);
    sim.call(1, 0);
    sim.call(0, 0);
    let second = sim.call(3, 1);
    sim.call(3, 2);
    sim.call(2, 2);
    sim.call(3, 0);
    sim.run();
    assert_eq!([first, second].map(|call| sim.at(call)), [Some(130), Some(195)]);
}

#[test]
fn only_the_first_in_the_queue_polls_when_a_call_becomes_available() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 10, 1, 10_000)]);
    for _ in 0..900 {
        sim.call(0, 0);
    }
    sim.looks = 0;
    sim.run();
    assert!(sim.looks <= 2 * 900, "{}", sim.looks);
}

#[test]
fn no_app_waits_for_a_thousand_calls_of_another() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 20, 1, 30_000)]);
    sim.call(0, 0);
    let greedy: Vec<usize> = (0..1000).map(|_| sim.call(0, 0)).collect();
    // More than fit: the other apps' calls are queued, and the last ones of the greedy app are refused.
    let modest: Vec<[usize; 2]> = (1..50).map(|app| [sim.call(app, 0), sim.call(app, 0)]).collect();
    assert_eq!(sim.queues.queued, [QUEUED_MAX]);
    let evicted = greedy.iter().filter(|call| sim.calls[**call].end.is_some()).count();
    assert_eq!(evicted, 1000 + 98 - QUEUED_MAX);
    sim.run();
    // Each round serves each app once: fifty calls, 20 ms apart.
    for [first, second] in &modest {
        assert!(sim.at(*first).unwrap() <= 1000 && sim.at(*second).unwrap() <= 2000);
    }
    let mut shares = [0.0; 50];
    for call in &sim.passed()[1..=100] {
        shares[call.app] += 1.0;
    }
    assert!(jain(&shares) > 0.999, "{}", jain(&shares));
    // No time is lost: the greedy app's last call is served at the time at which all calls could be.
    assert_eq!(sim.passed().last().unwrap().end.unwrap().0, QUEUED_MAX as u64 * 20 * MS);
}

#[test]
fn fifty_apps_with_different_demand_get_equal_shares() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 10, 5, 20_000)]);
    // Each app keeps between two and eleven requests queued.
    let mut in_line = [0_usize; 50];
    for tick in 0..750_u64 {
        sim.run_until(tick * 10 * MS);
        in_line.fill(0);
        for (call, _) in sim.waiting.values() {
            in_line[sim.calls[*call].app] += 1;
        }
        for (app, in_line) in in_line.iter().enumerate() {
            for _ in *in_line..app % 10 + 2 {
                sim.call(app, 0);
            }
        }
    }
    let mut shares = [0.0; 50];
    for call in sim.passed() {
        shares[call.app] += 1.0;
    }

    assert!(jain(&shares) > 0.99, "{} {shares:?}", jain(&shares));
}

#[test]
fn a_call_that_is_pushed_back_beyond_its_wait_is_refused_at_once() {
    let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 300)]);
    sim.call(0, 0);
    let greedy: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
    let modest = sim.call(1, 0);
    assert!(matches!(sim.calls[greedy[2]].end, Some((0, End::Refused(_)))));
    sim.run();
    assert_eq!(sim.at(modest), Some(200));
    assert_eq!([0, 1].map(|i| sim.at(greedy[i])), [Some(100), Some(300)]);
}

#[test]
fn the_queue_of_one_key_does_not_delay_another_key() {
    let mut sim = Sim::new(vec![limit(Key::User, 100, 1, 1000), limit(Key::Identity, 1, 50, 1000)]);
    for _ in 0..5 {
        sim.call(0, 1);
    }
    let other = sim.call(0, 2);
    assert_eq!(sim.at(other), Some(0));
    sim.run();
    assert_eq!(sim.passed().len(), 6);
}

#[test]
fn a_limit_without_wait_refuses_calls_that_wait_for_another() {
    let mut sim = Sim::new(vec![limit(Key::User, 1000, 1, 0), limit(Key::Identity, 100, 1, 1000)]);
    sim.call(0, 1);
    let waits = sim.call(0, 2);
    let also = sim.call(1, 2);
    sim.run();
    assert_eq!((sim.at(waits), sim.at(also)), (Some(100), None));
}

#[derive(Debug, Clone)]
enum Step {
    Call { app: usize, user: usize },
    HangUp(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4_usize, 0..3_usize).prop_map(|(app, user)| Step::Call { app, user }),
        1 => any::<usize>().prop_map(Step::HangUp),
        2 => (0..200_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..150)
}

fn play(sim: &mut Sim, steps: Vec<Step>) {
    steps.into_iter().for_each(|step| take(sim, step));
    sim.run();
}

fn take(sim: &mut Sim, step: Step) {
    match step {
        Step::Call { app, user } => {
            sim.call(app, user);
        }
        Step::HangUp(any) if !sim.calls.is_empty() => sim.hang_up(any % sim.calls.len()),
        Step::HangUp(_) => {}
        Step::Pass(ms) => sim.run_until(sim.now + ms * MS),
    }
}

fn keeps_to(at: &[u64], burst: u64, interval: u64) -> bool {
    at.iter()
        .enumerate()
        .all(|(i, from)| at[i..].iter().zip(1..).all(|(to, calls)| calls <= burst + (to - from) / interval))
}

proptest! {
    #[test]
    fn one_limit_serves_in_order_at_its_pace(steps in steps(), interval in 1..80_u64, burst in 1..4_u32, wait in 0..500_u64) {
        let mut sim = Sim::new(vec![limit(Key::Identity, interval, burst, wait)]);
        play(&mut sim, steps);
        let at: Vec<u64> = sim.passed().iter().map(|call| call.end.unwrap().0).collect();
        prop_assert!(keeps_to(&at, u64::from(burst), interval * MS));
        for app in 0..4 {
            let came: Vec<u64> = sim.passed().iter().filter(|c| c.app == app).map(|c| c.came).collect();
            prop_assert!(came.is_sorted(), "first come, first served");
        }
        for call in &sim.calls {
            if let Some((at, _)) = call.end {
                prop_assert!(at - call.came <= wait * MS);
            }
        }
    }

    #[test]
    fn several_limits_end_every_call_in_its_time(
        steps in steps(),
        intervals in [1..80_u64, 1..80_u64, 1..80_u64],
        bursts in [1..4_u32, 1..4_u32, 1..4_u32],
        waits in [0..500_u64, 0..500_u64, 0..500_u64],
    ) {
        let keys = [Key::App, Key::User, Key::Identity];
        let mut sim = Sim::new((0..3).map(|i| limit(keys[i], intervals[i], bursts[i], waits[i])).collect());
        play(&mut sim, steps);
        let longest = waits.iter().max().unwrap() * MS;
        for call in &sim.calls {
            if let Some((at, _)) = call.end {
                prop_assert!(at - call.came <= longest);
            }
        }
        let passed = sim.passed();
        let at = |wanted: &dyn Fn(&Call) -> bool| -> Vec<u64> {
            passed.iter().filter(|call| wanted(call)).map(|call| call.end.unwrap().0).collect()
        };
        prop_assert!(keeps_to(&at(&|_| true), bursts[2].into(), intervals[2] * MS));
        for one in 0..4 {
            prop_assert!(keeps_to(&at(&|call| call.app == one), bursts[0].into(), intervals[0] * MS));
            prop_assert!(keeps_to(&at(&|call| call.user == one), bursts[1].into(), intervals[1] * MS));
            for user in 0..3 {
                // Calls with the same keys in all limits pass in the order of arrival.
                let same = |call: &&Call| call.app == one && call.user == user;
                let came: Vec<u64> = passed.iter().filter(same).map(|call| call.came).collect();
                prop_assert!(came.is_sorted(), "{came:?}");
            }
        }
    }
}

mod reload;
