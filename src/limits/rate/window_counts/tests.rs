//! No window has more calls than allowed, nearly all of them can be used over time, and old calls are dropped.

use super::super::box_limits;
use super::super::limit::Quota;
use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const KEYS: usize = 1000;

/// The most calls in any window of this length, both its ends included.
fn most_in_a_window(written: &[u64], length: u64) -> usize {
    let mut written = written.to_vec();
    written.sort_unstable();
    let in_window = |from: &u64| written.iter().filter(|at| *at >= from && *at - from <= length).count();
    written.iter().map(in_window).max().unwrap_or(0)
}

/// A step of a caller.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request of this key reserves a call.
    Arrive(u64),
    /// A reserved call (the one of this number) is written.
    Write(usize),
    /// A reserved call is given back.
    Leave(usize),
    /// Time passes, in thousandths of the window.
    Pass(u64),
    Sweep,
}

fn steps(keys: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..keys).prop_map(Step::Arrive),
        8 => (0..100_usize).prop_map(Step::Write),
        1 => (0..100_usize).prop_map(Step::Leave),
        3 => (0..20_u64).prop_map(Step::Pass),
        1 => (0..1500_u64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..2_000)
}

/// The calls that were written: key and time.
fn run(counts: &mut WindowCounts, length: u64, keys_max: usize, steps: &[Step]) -> Vec<(u64, u64)> {
    let (mut now, mut waiting, mut written) = (0, Vec::new(), Vec::new());
    for step in steps {
        match *step {
            Step::Arrive(key) => {
                if counts.ask(key, now, keys_max).is_ok() {
                    counts.reserve(key, now, keys_max);
                    waiting.push(key);
                }
            }
            Step::Write(which) if !waiting.is_empty() => {
                let key = waiting.swap_remove(which % waiting.len());
                counts.write(key, now);
                written.push((key, now));
            }
            Step::Leave(which) if !waiting.is_empty() => {
                counts.give_back(waiting.swap_remove(which % waiting.len()));
            }
            Step::Pass(part) => now += length / 1000 * part,
            Step::Sweep => counts.sweep(now),
            Step::Write(_) | Step::Leave(_) => {}
        }
    }
    // All reserved calls are written at once.
    for key in waiting {
        counts.write(key, now);
        written.push((key, now));
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_window_has_more_calls_than_allowed(steps in steps(1), calls in prop_oneof![1..20_u32, 240..300_u32]) {
        let mut counts = WindowCounts::new(calls, Duration::from_secs(60));
        let written: Vec<u64> =
            run(&mut counts, 60 * SECOND, KEYS, &steps).into_iter().map(|(_, at)| at).collect();
        prop_assert!(most_in_a_window(&written, 60 * SECOND) <= calls as usize);
    }

    /// This also holds if keys share a window for a while and get their own later.
    #[test]
    fn no_window_of_many_keys_has_more_calls_than_allowed(steps in steps(6), calls in 1..8_u32, keys_max in 1..5_usize) {
        let mut counts = WindowCounts::new(calls, Duration::from_secs(1));
        let written = run(&mut counts, SECOND, keys_max, &steps);
        for key in 0..6 {
            let of_it: Vec<u64> = written.iter().filter(|(of, _)| *of == key).map(|(_, at)| *at).collect();
            prop_assert!(most_in_a_window(&of_it, SECOND) <= calls as usize);
        }
        prop_assert!(counts.size().0 <= keys_max);
    }

    #[test]
    fn the_remaining_calls_are_exact(steps in prop::collection::vec(0..400_u64, 1..200), calls in prop_oneof![1..9_u32, 251..253_u32]) {
        let mut counts = WindowCounts::new(calls, Duration::from_secs(1));
        let mut now = 0;
        for step in steps {
            now += step * SECOND / 1000;
            for _ in 0..calls {
                if counts.ask(7, now, KEYS).is_ok() {
                    counts.reserve(7, now, KEYS);
                    counts.write(7, now);
                }
            }
            if let Err(left) = counts.ask(7, now, KEYS) {
                prop_assert!(counts.ask(7, now + left - 1, KEYS).is_err());
                // Asking drops expired calls, so it comes first.
                prop_assert!(counts.ask(7, now + left, KEYS).is_ok());
                now += left;
            }
        }
    }
}

/// Callers call continuously; each call is reserved for a while before it is written.
#[test]
fn at_least_98_percent_of_each_limit_of_box_can_be_used_over_time() {
    for limit in box_limits::limits() {
        let Quota::Window { calls, length } = limit.quota else { panic!("{}", limit.name) };
        let window = nanos(length);
        let mut random = fastrand::Rng::with_seed(17);
        let mut counts = WindowCounts::new(calls.get(), length);
        let (mut now, mut written, mut waiting) = (0, Vec::new(), VecDeque::new());
        // Up to a millisecond between reservation and writing, over 40 windows.
        while now < 40 * window {
            while waiting.front().is_some_and(|at| *at <= now) {
                waiting.pop_front();
                counts.write(7, now);
                written.push(now);
            }
            while counts.ask(7, now, KEYS).is_ok() {
                counts.reserve(7, now, KEYS);
                waiting.push_back(now + random.u64(0..1_000_000));
            }
            now += 1 + random.u64(0..window / 2_500);
        }
        let usable = u64::from(calls.get()) * 40;
        assert!(written.len() as u64 * 100 >= usable * 98, "{}: {} of {usable}", limit.name, written.len());
        let most = (0..written.len())
            .map(|from| written[from..].iter().take_while(|at| **at - written[from] <= window).count())
            .max();
        assert!(most <= Some(calls.get() as usize), "{}: {most:?} in a window", limit.name);
    }
}

#[test]
fn a_reserved_call_counts_as_long_as_it_is_reserved() {
    let mut counts = WindowCounts::new(1, Duration::from_secs(1));
    counts.reserve(7, 0, KEYS);
    assert_eq!(
        counts.ask(7, 100 * SECOND, KEYS),
        Err(SECOND + SECOND / 100 + 1),
        "if the reserved call is written now"
    );
    counts.write(7, 100 * SECOND);
    assert!(counts.ask(7, 101 * SECOND + SECOND / 100, KEYS).is_err());
    assert!(counts.ask(7, 101 * SECOND + SECOND / 100 + 1, KEYS).is_ok());
    counts.reserve(7, 110 * SECOND, KEYS);
    counts.give_back(7);
    assert!(counts.ask(7, 110 * SECOND, KEYS).is_ok(), "the call was not made");
}

#[test]
fn a_window_takes_4_kib_at_most_and_nothing_once_it_is_empty() {
    for limit in box_limits::limits() {
        let Quota::Window { calls, length } = limit.quota else { panic!("{}", limit.name) };
        let mut counts = WindowCounts::new(calls.get(), length);
        for i in 0..20_000 {
            let now = i * (nanos(length) / 2_000);
            if counts.ask(7, now, KEYS).is_ok() {
                counts.reserve(7, now, KEYS);
                counts.write(7, now);
            }
        }
        let entries = counts.windows[&7].written.capacity();
        assert!(entries * size_of::<(u64, u32)>() <= 4096, "{}: {entries}", limit.name);
        // Not while a call is reserved.
        counts.reserve(8, 0, KEYS);
        counts.sweep(nanos(length) * 100);
        assert_eq!(counts.size().0, 1);
        counts.give_back(8);
        counts.sweep(nanos(length) * 100);
        assert_eq!(counts.size().0, 0);
    }
}

#[test]
fn a_flood_of_keys_shares_one_window_and_leaves_nothing() {
    let mut counts = WindowCounts::new(10, Duration::from_secs(1));
    let mut passed = 0;
    for key in 0..100_000_u64 {
        if counts.ask(key, 0, 100).is_ok() {
            counts.reserve(key, 0, 100);
            passed += 1;
            if key % 2 == 0 {
                counts.write(key, 0);
            } else {
                counts.give_back(key);
            }
        }
    }
    // A call that was given back makes room for the next new key, and so does a window that is empty.
    assert!((110..=250).contains(&passed), "{passed}");
    assert!(counts.size().0 <= 100 && counts.overflow_keys.is_empty());
    counts.sweep(10 * SECOND);
    assert_eq!(counts.size().0, 0);
    assert!(counts.overflow.is_empty());
}
