//! Requests that wait while one configuration follows another.

use super::*;

impl Sim {
    /// Another configuration takes over. The previous one lasts as long as one of its requests waits.
    fn reload(&mut self, limits: Vec<Limit>) {
        let mut rules = LimitMatcher::new(limits, vec![]);
        let slots = self.queues.bind(&rules, true, self.now);
        rules.bind(&slots, self.hasher.clone());
        self.old.push(std::mem::replace(&mut self.rules, rules));
        self.wake();
        self.let_go();
    }

    fn let_go(&mut self) {
        if self.waiting.is_empty() {
            for old in self.old.drain(..) {
                self.queues.release(old.slots());
            }
        }
    }

    /// Runs until no request waits: then the previous configurations have ended.
    fn end(&mut self) {
        self.run();
        self.let_go();
        assert_eq!(self.queues.slots().1, self.rules.iter().count(), "slots that nobody has are free");
    }
}

fn identity(interval_ms: u64, burst: u32, wait_ms: u64) -> Vec<Limit> {
    vec![limit(Key::Identity, interval_ms, burst, wait_ms)]
}

/// A reload without changes does not affect waiting: requests from before and after it share
/// one queue.
#[test]
fn requests_from_before_and_after_a_reload_wait_in_one_queue() {
    let mut sim = Sim::new(identity(100, 1, 1000));
    let mut calls: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
    sim.reload(identity(100, 1, 1000));
    calls.extend((0..3).map(|_| sim.call(0, 0)));
    sim.end();
    let at: Vec<_> = calls.iter().map(|call| sim.at(*call)).collect();
    assert_eq!(at, [Some(0), Some(100), Some(200), Some(300), Some(400), Some(500)]);
}

#[test]
fn a_faster_rate_wakes_queued_requests_and_keeps_their_order() {
    let mut sim = Sim::new(identity(1000, 1, 10_000));
    let calls: Vec<usize> = (0..4).map(|_| sim.call(0, 0)).collect();
    sim.run_until(500 * MS);
    // Half of a call is still spent, which is 50 ms at the new rate.
    sim.reload(identity(100, 1, 10_000));
    let late = sim.call(0, 0);
    sim.end();
    let at: Vec<_> = calls.iter().chain([&late]).map(|call| sim.at(*call)).collect();
    assert_eq!(at, [Some(0), Some(550), Some(650), Some(750), Some(850)]);
}

#[test]
fn a_slower_rate_applies_to_queued_requests() {
    let mut sim = Sim::new(identity(100, 1, 10_000));
    let calls: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
    sim.run_until(50 * MS);
    sim.reload(identity(1000, 1, 10_000));
    sim.end();
    let at: Vec<_> = calls.iter().map(|call| sim.at(*call)).collect();
    assert_eq!(at, [Some(0), Some(550), Some(1550)]);
}

#[test]
fn a_limit_without_wait_after_a_reload_serves_queued_requests_first() {
    let mut sim = Sim::new(identity(100, 1, 1000));
    let calls: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
    sim.reload(identity(100, 1, 0));
    sim.now = 150 * MS;
    let newcomer = sim.call(0, 0);
    assert!(matches!(sim.calls[newcomer].end, Some((_, End::Refused(_)))), "it would have overtaken");
    sim.end();
    assert_eq!([1, 2].map(|i| sim.at(calls[i])), [Some(150), Some(250)]);
}

#[test]
fn a_limit_that_is_no_longer_enforced_lets_queued_and_new_requests_pass() {
    let mut sim = Sim::new(identity(1000, 1, 10_000));
    let calls: Vec<usize> = (0..5).map(|_| sim.call(0, 0)).collect();
    let limits = vec![Limit { enforce: false, ..identity(1000, 1, 10_000).remove(0) }];
    sim.now = 10 * MS;
    sim.reload(limits);
    let newcomer = sim.call(0, 0);
    assert!(calls[1..].iter().chain([&newcomer]).all(|call| sim.at(*call) == Some(10)));
    sim.end();
}

#[test]
fn requests_queued_for_a_removed_limit_go_at_its_rate_and_delay_no_other() {
    let mut sim = Sim::new(identity(100, 1, 1000));
    let calls: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
    sim.reload(vec![limit(Key::User, 100, 1, 1000)]);
    let newcomer = sim.call(0, 0);
    assert_eq!(sim.at(newcomer), Some(0));
    sim.end();
    assert_eq!([1, 2].map(|i| sim.at(calls[i])), [Some(100), Some(200)]);
}

/// What happened to each call.
fn ends(sim: &Sim) -> Vec<Option<(u64, End)>> {
    sim.calls.iter().map(|call| call.end).collect()
}

proptest! {
    /// Whatever the calls, and whenever a configuration with the same limits takes over, each call ends at the same
    /// time and in the same way as if there had been one configuration all along.
    #[test]
    fn a_reload_that_changes_nothing_has_no_effect(
        steps in steps(),
        reloads in prop::collection::vec(any::<bool>(), 150),
        intervals in [1..80_u64, 1..80_u64, 1..80_u64],
        bursts in [1..4_u32, 1..4_u32, 1..4_u32],
        waits in [0..500_u64, 0..500_u64, 0..500_u64],
    ) {
        let keys = [Key::App, Key::User, Key::Identity];
        let limits = || (0..3).map(|i| limit(keys[i], intervals[i], bursts[i], waits[i])).collect::<Vec<_>>();
        let mut one = Sim::new(limits());
        play(&mut one, steps.clone());
        let mut many = Sim::new(limits());
        for (step, reloads) in steps.into_iter().zip(reloads) {
            if reloads {
                many.reload(limits());
            }
            take(&mut many, step);
        }
        many.end();
        prop_assert_eq!(ends(&one), ends(&many));
    }

    /// With constantly changing rates, no window sees more than the largest burst, what the fastest rate adds,
    /// and the increases of the burst; every call ends in its time.
    #[test]
    fn changing_rates_give_no_second_burst(
        steps in steps(),
        changes in prop::collection::vec(prop::option::weighted(0.2, (1..80_u64, 1..4_u32)), 150),
        wait in 0..500_u64,
    ) {
        let mut sim = Sim::new(identity(40, 2, wait));
        let (mut fastest, mut largest, mut last, mut raised) = (40, 2, 2, 0);
        for (step, change) in steps.into_iter().zip(changes) {
            if let Some((interval, burst)) = change {
                sim.reload(identity(interval, burst, wait));
                (fastest, largest) = (fastest.min(interval), largest.max(burst));
                raised += burst.saturating_sub(last);
                last = burst;
            }
            take(&mut sim, step);
        }
        sim.end();
        let at: Vec<u64> = sim.passed().iter().map(|call| call.end.unwrap().0).collect();
        prop_assert!(keeps_to(&at, u64::from(largest + raised), fastest * MS));
        for call in &sim.calls {
            prop_assert!(call.end.is_some_and(|(at, _)| at - call.came <= wait * MS) || call.end.is_none());
        }
    }
}

/// Actions of callers on windows and buckets, and reloads.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A request of this app, under one of the live configurations.
    Arrive {
        app: u64,
        under: usize,
    },
    /// A reserved call is written.
    Write(usize),
    /// A reserved call is given back.
    GiveBack(usize),
    /// Time passes, in milliseconds.
    Pass(u64),
    Reload,
    /// The oldest configuration ends, if it has no reservations.
    End,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..3_u64, 0..4_usize).prop_map(|(app, under)| Act::Arrive { app, under }),
        6 => any::<usize>().prop_map(Act::Write),
        2 => any::<usize>().prop_map(Act::GiveBack),
        4 => (0..400_u64).prop_map(Act::Pass),
        3 => Just(Act::Reload),
        2 => Just(Act::End),
    ];
    prop::collection::vec(act, 1..300)
}

/// When each refused request could have passed, and when calls were written, by app.
type Outcome = (Vec<Option<Duration>>, Vec<(u64, u64)>);

fn act(acts: &[Act], limits: &[Limit], reloads: bool) -> Outcome {
    let (mut queues, hasher) = (WaitQueues::new(), RandomState::new());
    let configuration = |queues: &mut WaitQueues, limits: Vec<Limit>, now| {
        let mut rules = LimitMatcher::new(limits, vec![]);
        rules.bind(&queues.bind(&rules, true, now), hasher.clone());
        rules
    };
    let mut living = vec![configuration(&mut queues, limits.to_vec(), 0)];
    let mut reserved: Vec<(u64, Keys)> = Vec::new();
    let (mut verdicts, mut written, mut now) = (Vec::new(), Vec::new(), 0);
    for act in acts {
        match *act {
            Act::Arrive { app, under } => {
                let keys = living[under % living.len()].applying(&request_key(app, "1"));
                verdicts.push(match queues.enqueue(keys, app, now) {
                    Arrival::Passed(passed) => {
                        reserved.push((app, passed.reserved));
                        None
                    }
                    Arrival::Refused(refused) => Some(refused.retry_after),
                    Arrival::Waits(_) => panic!("these limits have no wait"),
                });
            }
            Act::Write(which) if !reserved.is_empty() => {
                let (app, call) = reserved.swap_remove(which % reserved.len());
                queues.write(&call, now);
                written.push((app, now));
            }
            Act::GiveBack(which) if !reserved.is_empty() => {
                queues.give_back(&reserved.swap_remove(which % reserved.len()).1);
            }
            Act::Pass(ms) => now += ms * MS,
            Act::Reload if reloads => {
                // Slots are found by what the limits are, not by their order.
                let mut next = limits.to_vec();
                if living.len() % 2 == 1 {
                    next.reverse();
                }
                let next = configuration(&mut queues, next, now);
                living.push(next);
            }
            Act::End if living.len() > 1 && reserved.is_empty() => {
                queues.release(living.remove(0).slots());
            }
            Act::Write(_) | Act::GiveBack(_) | Act::Reload | Act::End => {}
        }
    }
    assert_eq!(queues.slots(), (limits.len(), limits.len()));
    (verdicts, written)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// With any number of reloads, and under whichever configuration a request begins and ends, exactly those requests
    /// pass that pass without a reload, and no window sees more than its figure.
    #[test]
    fn reloads_of_the_same_limits_let_pass_exactly_what_one_configuration_does(
        acts in acts(),
        interval in 1..600_u64,
        burst in 1..6_u32,
        calls in prop_oneof![1..6_u32, 251..253_u32],
    ) {
        let bucket = limit(Key::App, interval, burst, 0);
        let quota = Quota::Window { calls: NonZeroU32::new(calls).unwrap(), length: Duration::from_secs(1) };
        let limits = [bucket.clone(), Limit { name: "window".into(), quota, ..bucket }];
        let without = act(&acts, &limits, false);
        let (verdicts, written) = act(&acts, &limits, true);
        prop_assert_eq!((&verdicts, &written), (&without.0, &without.1));
        for app in 0..3 {
            let of_it: Vec<u64> = written.iter().filter(|(of, _)| *of == app).map(|(_, at)| *at).collect();
            for from in &of_it {
                let within = of_it.iter().filter(|at| *at >= from && **at - from <= 1_000 * MS).count();
                prop_assert!(within <= calls as usize);
            }
        }
    }
}
