use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::limits::pauses::Asked;
use crate::limits::rate::matcher::User;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

const MS: u64 = SECOND / 1000;
const MINUTE: u64 = 60 * SECOND;
const CLASS: Scope = Scope(1);
const OPERATION: Scope = Scope(2);
const OTHER_OPERATION: Scope = Scope(3);
/// A request of the class, and one of another operation of it.
const ONE: [Scope; 2] = [CLASS, OPERATION];
const OTHER: [Scope; 2] = [CLASS, OTHER_OPERATION];

impl Slots {
    fn pause_for(&mut self, scope: Scope, length: u64, now: u64) -> bool {
        let operation = Operation { method: &Method::GET, path: "/2.0/users/me" };
        let asked = Asked { identity: 0, user: User::Service, class: Class::of(operation), operation };
        self.pause(scope, Paused::new(asked, false), now + length, now)
    }

    /// When a new request goes that may wait for this long.
    fn slot(&mut self, scopes: [Scope; 2], now: u64, wait: u64) -> Option<u64> {
        match self.enqueue(scopes, now, now.saturating_add(wait)) {
            Arrival::Passed => Some(now),
            Arrival::Waits { slot, .. } => Some(slot),
            Arrival::Refused(_) => None,
        }
    }

    /// A new request that has to wait.
    fn waits(&mut self, scopes: [Scope; 2], now: u64, wait: u64) -> u64 {
        match self.enqueue(scopes, now, now + wait) {
            Arrival::Waits { number, .. } => number,
            other => panic!("{other:?}"),
        }
    }

    /// Sleeps and polls for all that wait: when each of them goes or is refused, in this order. A request wakes at the
    /// time of the slot that it was told, not at the one that it got since.
    fn outcomes(&mut self, mut told: BTreeSet<(u64, u64)>) -> Vec<(u64, u64, Polled)> {
        let mut outcomes = Vec::new();
        while let Some((now, number)) = told.pop_first() {
            match self.poll(number, now) {
                Polled::Until(later) => {
                    assert!(later > now, "{number} would be polled for ever");
                    told.insert((later, number));
                }
                outcome => outcomes.push((now, number, outcome)),
            }
        }
        outcomes
    }

    /// The requests that wait now, as they would have been told.
    fn told(&self) -> BTreeSet<(u64, u64)> {
        self.waiting.iter().map(|(number, waiter)| (waiter.slot, *number)).collect()
    }

    /// When the waiting requests go: the milliseconds, and who.
    fn going(&mut self, told: BTreeSet<(u64, u64)>) -> Vec<(u64, u64)> {
        let outcomes = self.outcomes(told).into_iter();
        outcomes.filter(|(.., polled)| *polled == Polled::Passed).map(|(at, who, _)| (at / MS, who)).collect()
    }
}

/// Three requests learn one after the other from Redis that their class is paused, each with an end of its own.
#[test]
fn a_pause_that_grows_while_requests_wait_gives_no_slot_twice() {
    for ends in [[1000, 1000, 1001], [1000, 1001, 1000], [1000, 1001, 1002], [1002, 1001, 1000]] {
        let mut slots = Slots::default();
        let mut told = BTreeSet::new();
        for end in ends {
            slots.pause_for(CLASS, end * MS, 0);
            let number = slots.waits(ONE, 0, MINUTE);
            told.insert((slots.waiting[&number].slot, number));
        }
        let end = ends.into_iter().max().unwrap();
        assert_eq!(slots.going(told), [(end, 0), (end + 250, 1), (end + 500, 2)], "{ends:?}");
    }
}

/// The first request has gone before the pause becomes longer by a millisecond.
#[test]
fn a_pause_that_grows_after_its_end_gives_no_slot_twice() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    let first = slots.waits(ONE, 0, MINUTE);
    slots.waits(ONE, 0, MINUTE);
    slots.waits(ONE, 0, MINUTE);
    let told = slots.told();
    assert_eq!(slots.poll(first, SECOND), Polled::Passed);
    slots.pause_for(CLASS, MS, SECOND);
    assert_eq!(slots.slot(ONE, SECOND, MINUTE), Some(1750 * MS), "after those that wait");
    let told = told.into_iter().filter(|(_, number)| *number != first).collect();
    assert_eq!(slots.going(told), [(1250, 1), (1500, 2)]);
    assert_eq!(slots.slot(ONE, 1501 * MS, MINUTE), Some(2000 * MS));
}

#[test]
fn a_request_that_has_gone_keeps_its_distance_when_the_pause_grows() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    assert_eq!(slots.slot(ONE, SECOND, 0), Some(SECOND));
    slots.pause_for(CLASS, MS, SECOND);
    assert_eq!(slots.slot(ONE, SECOND, MINUTE), Some(1250 * MS));
}

/// Waiting requests had slots seconds after the old end, close to each other; the longer pause ends among them.
#[test]
fn the_rate_after_a_longer_pause_grows_from_its_own_end() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    for _ in 0..40 {
        slots.waits(ONE, 0, MINUTE);
    }
    let told = slots.told();
    slots.pause_for(CLASS, 3 * SECOND, 0);
    for _ in 0..40 {
        slots.waits(ONE, 0, MINUTE);
    }
    let told = slots.told().into_iter().filter(|(_, number)| *number >= 40).chain(told).collect();
    let went = slots.going(told);
    assert_eq!(went.iter().map(|(_, number)| *number).collect::<Vec<_>>(), (0..80).collect::<Vec<_>>());
    for (second, calls) in [(3, 4), (4, 8), (5, 16), (6, 32)] {
        let of_it = went.iter().filter(|(at, _)| at / 1000 == second).count();
        assert!((calls..=calls + 1).contains(&of_it), "{of_it} in second {second}");
    }
}

/// A class is paused and requests wait; then Box also pauses an operation of that class.
#[test]
fn a_pause_that_begins_while_requests_wait_for_another_gives_no_slot_twice() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    for scopes in [ONE, OTHER, ONE] {
        slots.waits(scopes, 0, MINUTE);
    }
    let told = slots.told();
    slots.pause_for(OPERATION, 1400 * MS, 0);
    // The request of the other operation does not wait behind those of the operation that is paused for longer.
    assert_eq!(slots.going(told), [(1250, 1), (1500, 0), (1750, 2)]);
}

#[test]
fn who_can_no_longer_wait_is_refused_and_takes_no_slot() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    slots.waits(ONE, 0, 2 * SECOND);
    slots.waits(ONE, 0, MINUTE);
    let told = slots.told();
    slots.pause_for(CLASS, 3 * SECOND, 0);
    let refused = Polled::Refused(Duration::from_secs(2));
    assert_eq!(slots.outcomes(told), [(SECOND, 0, refused), (3 * SECOND, 1, Polled::Passed)]);
    assert_eq!(slots.live().1, 0);
}

#[test]
fn only_so_many_requests_wait() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    let numbers: Vec<u64> = (0..WAITING_MAX).map(|_| slots.waits(ONE, 0, MINUTE)).collect();
    assert!(matches!(slots.enqueue(ONE, 0, MINUTE), Arrival::Refused(left) if left > Duration::from_secs(1)));
    slots.leave(numbers[0]);
    assert!(matches!(slots.enqueue(ONE, 0, MINUTE), Arrival::Waits { .. }));
}

#[test]
fn the_ramp_is_as_fast_as_allowed_and_ends() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, SECOND, 0);
    assert_eq!(slots.enqueue(ONE, 0, 0), Arrival::Refused(Duration::from_secs(1)));
    // All arrive at once and may wait as long as needed.
    let went: Vec<u64> = (0..100).map(|_| slots.slot(ONE, SECOND, MINUTE).unwrap()).collect();
    for (second, calls) in [(1, 4), (2, 8), (3, 16), (4, 32)] {
        let of_it = went.iter().filter(|at| **at / SECOND == second).count();
        assert!((calls..=calls + 1).contains(&of_it), "{of_it} in second {second}");
    }
    // A single request does not wait during the ramp, and after it the pause is forgotten.
    assert_eq!(slots.slot(ONE, 8 * SECOND, 0), Some(8 * SECOND));
    for _ in 0..1000 {
        assert_eq!(slots.slot(ONE, 11 * SECOND, 0), Some(11 * SECOND));
    }
    assert_eq!(slots.live().0, 0);
}

#[test]
fn a_pause_begins_where_none_holds() {
    let mut slots = Slots::default();
    let mut begins = |at: u64, seconds: u64| slots.pause_for(CLASS, seconds * SECOND, at * SECOND);
    assert_eq!([(0, 10), (1, 1), (2, 10)].map(|(at, seconds)| begins(at, seconds)), [true, false, false]);
    assert!(begins(12, 5), "the one before has ended, though requests come back slowly");
    assert!(!begins(13, 5));
}

#[test]
fn a_shorter_pause_does_not_end_a_longer_one() {
    let mut slots = Slots::default();
    slots.pause_for(CLASS, MINUTE, 0);
    slots.pause_for(CLASS, SECOND, 0);
    assert_eq!(slots.slot(ONE, 0, MINUTE), Some(MINUTE));
}

#[test]
fn only_a_pause_that_is_known_is_prolonged() {
    let mut slots = Slots::default();
    slots.prolong(CLASS, MINUTE);
    assert_eq!(slots.slot(ONE, 0, 0), Some(0));
    slots.pause_for(CLASS, SECOND, 0);
    slots.waits(ONE, 0, MINUTE);
    slots.waits(ONE, 0, MINUTE);
    let told = slots.told();
    slots.prolong(CLASS, 1001 * MS);
    slots.prolong(CLASS, 999 * MS);
    assert_eq!(slots.going(told), [(1001, 0), (1251, 1)]);
}

#[test]
fn pauses_are_bounded() {
    let mut slots = Slots::default();
    for nth in 0..10_000 {
        slots.pause_for(Scope(nth), (1 + nth) * SECOND, 0);
    }
    assert_eq!(slots.live().0, SCOPES_MAX);
    assert_eq!(slots.enqueue([Scope(9_999), CLASS], 0, 0), Arrival::Refused(Duration::from_secs(10_000)));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrives {
        scopes: [Scope; 2],
        wait: u64,
    },
    /// One of those that wait hangs up.
    Leaves(usize),
    Pauses {
        scope: Scope,
        length: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let scope = prop::sample::select(vec![CLASS, OPERATION, OTHER_OPERATION]);
    let scopes = prop::sample::select(vec![ONE, OTHER]);
    prop_oneof![
        8 => (scopes, 0..8_000_u64).prop_map(|(scopes, wait)| Event::Arrives { scopes, wait: wait * MS }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Event::Leaves(nth.index(1 << 16))),
        1 => (scope, 1..1_500_u64).prop_map(|(scope, length)| Event::Pauses { scope, length: length * MS }),
    ]
}

proptest! {
    /// Whatever happens meanwhile: no request goes during its pauses, and after one each goes at a distance from the one before.
    #[test]
    fn requests_do_not_resume_all_at_once(events in prop::collection::vec((0..60_u64, event()), 1..1_000)) {
        let mut slots = Slots::default();
        slots.pause_for(CLASS, SECOND, 0);
        let mut told = BTreeSet::new();
        // When the next request may go, by those that have gone.
        let mut earliest: HashMap<Scope, u64> = HashMap::new();
        let mut goes = |slots: &Slots, scopes: [Scope; 2], now: u64| {
            for (scope, pause) in scopes.iter().filter_map(|scope| Some((scope, slots.pauses.get(scope)?))) {
                prop_assert!(now >= pause.until);
                let earliest = earliest.insert(*scope, pause.after(now));
                prop_assert!(earliest.is_none_or(|earliest| earliest <= now), "{earliest:?} {now}");
            }
            Ok(())
        };
        let mut now = 0;
        // In the end all that wait have their turns.
        let end = (2 * MINUTE / MS, Event::Leaves(0));
        for (step, event) in events.into_iter().chain([end]) {
            now += step * MS;
            while let Some((at, number)) = told.first().copied().filter(|(at, _)| *at <= now) {
                told.pop_first();
                let Some(Waiter { scopes, by, .. }) = slots.waiting.get(&number) else { continue };
                let (scopes, by) = (*scopes, *by);
                match slots.poll(number, at) {
                    Polled::Passed => {
                        prop_assert!(at <= by);
                        goes(&slots, scopes, at)?;
                    }
                    Polled::Refused(left) => prop_assert!(at + left.as_nanos() as u64 > by),
                    Polled::Until(later) => {
                        prop_assert!(later > at && later <= by);
                        told.insert((later, number));
                    }
                }
            }
            match event {
                Event::Arrives { scopes, wait } => match slots.enqueue(scopes, now, now + wait) {
                    Arrival::Passed => goes(&slots, scopes, now)?,
                    Arrival::Refused(left) => prop_assert!(left > Duration::from_nanos(wait)),
                    Arrival::Waits { number, slot } => {
                        prop_assert!(slot > now && slot - now <= wait);
                        told.insert((slot, number));
                    }
                },
                Event::Leaves(nth) => {
                    let waiting: Vec<u64> = slots.waiting.keys().copied().collect();
                    if let Some(number) = waiting.get(nth % waiting.len().max(1)) {
                        slots.leave(*number);
                    }
                }
                Event::Pauses { scope, length } => {
                    slots.pause_for(scope, length, now);
                }
            }
        }
        prop_assert_eq!(slots.live().1, 0);
    }
}
