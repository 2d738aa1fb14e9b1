//! One configuration follows another: counts, reservations and queues stay.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn named(name: &str, quota: Quota) -> Limit {
    Limit { name: name.into(), key: Key::App, on: vec![], quota, wait: Duration::ZERO, enforce: true }
}

fn bucket(interval: Duration, burst: u32) -> Quota {
    Quota::Bucket { interval, burst: NonZeroU32::new(burst).unwrap() }
}

fn window(calls: u32, length: Duration) -> Quota {
    Quota::Window { calls: NonZeroU32::new(calls).unwrap(), length }
}

/// The next configuration.
fn next(limits: &Arc<Limits>, new: Vec<Limit>) -> Arc<Limits> {
    let tallies = limits.tallies.successor(new.iter().map(|limit| &limit.name));
    Arc::new(limits.successor(LimitMatcher::new(new, vec![]), tallies))
}

fn of_app(app: u64) -> RequestKey<'static> {
    RequestKey { app_number: app, ..request_key() }
}

/// Whether a request passes now, with its reservation if it has one.
fn enter(limits: &Arc<Limits>, app: u64) -> Result<Option<Reservation>, Refused> {
    match limits.enter(&of_app(app)) {
        Entered::Passed(admitted) => Ok(admitted.reservation),
        Entered::Refused(refused) => Err(refused),
        Entered::Waits(_) => panic!("these limits have no wait"),
    }
}

/// The number of requests that pass now. Their calls are written at once.
fn free(limits: &Arc<Limits>) -> usize {
    let mut calls = 0;
    while let Ok(reservation) = enter(limits, 0) {
        if let Some(reservation) = reservation {
            reservation.written();
        }
        calls += 1;
    }
    calls
}

/// The number of slots, and of those in use.
fn slots(limits: &Limits) -> (usize, usize) {
    limits.lock().queues.slots()
}

#[test]
fn a_limit_keeps_its_counts_in_any_order_of_the_limits() {
    let (old, _clock) = limits(vec![named("a", bucket(HOUR, 3)), named("b", bucket(HOUR, 5))]);
    assert!(enter(&old, 0).is_ok());
    let new = next(
        &old,
        vec![named("b", bucket(HOUR, 5)), named("c", bucket(HOUR, 9)), named("a", bucket(HOUR, 3))],
    );
    assert!(enter(&new, 0).is_ok() && enter(&old, 0).is_ok());
    let refused = enter(&new, 0).unwrap_err();
    assert_eq!(&*refused.headers.limit, "a");
    assert!(enter(&old, 0).is_err() && enter(&new, 1).is_ok());
    // Refusals are counted under the limit's name, whichever index it has.
    let figures = new.figures();
    let of: Vec<(&str, u64)> = figures.iter().map(|figures| (&*figures.limit, figures.refused)).collect();
    assert_eq!(of, [("b", 0), ("c", 0), ("a", 2)]);
}

#[test]
fn a_limit_with_another_key_or_other_operations_begins_at_zero() {
    let (old, _clock) = limits(vec![named("a", bucket(HOUR, 1))]);
    assert!(enter(&old, 0).is_ok());
    let by_user = Limit { key: Key::User, ..named("a", bucket(HOUR, 1)) };
    let new = next(&old, vec![by_user]);
    assert!(enter(&new, 0).is_ok());
    assert!(enter(&new, 0).is_err() && enter(&old, 0).is_err());
    assert_eq!(new.figures()[0].refused, 2, "its refusals are shown under its name");
}

#[test]
fn what_is_spent_of_a_burst_stays_spent_at_another_rate() {
    for (interval, burst, free_now) in [
        (HOUR, 10, 4),
        (HOUR * 100, 10, 4),
        // Six are spent: fourteen of twenty are left, none of four.
        (HOUR * 10, 20, 14),
        (HOUR * 10, 4, 0),
    ] {
        let (old, clock) = limits(vec![named("a", bucket(HOUR * 10, 10))]);
        (0..6).for_each(|_| assert!(enter(&old, 0).is_ok()));
        let new = next(&old, vec![named("a", bucket(interval, burst))]);
        assert_eq!(free(&new), free_now, "{interval:?} {burst}");
        let refused = enter(&old, 0).unwrap_err();
        assert_eq!(refused.headers.quota, burst, "the new figures apply to both");
        assert!(refused.retry_after <= interval && refused.retry_after > interval - HOUR / 10);
        clock.advance(interval);
        assert_eq!(free(&old), 1);
    }
}

#[test]
fn a_reservation_of_the_previous_configuration_counts_in_the_next() {
    let (old, clock) = limits(vec![named("w", window(3, HOUR))]);
    let [written, given_back, held] = [0; 3].map(|_| enter(&old, 0).unwrap().unwrap());
    let new = next(&old, vec![named("w", window(3, HOUR))]);
    drop(old);
    assert!(enter(&new, 0).is_err());
    drop(given_back);
    assert_eq!(free(&new), 1);
    clock.advance(HOUR / 2);
    written.written();
    clock.advance(HOUR / 2 + SECOND);
    // The call of the new configuration has expired, the one written late has not.
    assert_eq!(free(&new), 1);
    held.written();
    clock.advance(HOUR / 2);
    assert_eq!(free(&new), 1);
    assert_eq!(slots(&new), (1, 1));
}

#[test]
fn a_window_of_another_figure_or_length_keeps_its_calls() {
    let (old, clock) = limits(vec![named("w", window(2, HOUR))]);
    let held = enter(&old, 0).unwrap().unwrap();
    enter(&old, 0).unwrap().unwrap().written();
    let new = next(&old, vec![named("w", window(500, HOUR * 2))]);
    assert!(matches!(enter(&old, 0), Ok(Some(_))), "the new figure applies to both");
    let new = next(&new, vec![named("w", window(2, HOUR * 2))]);
    assert!(enter(&new, 0).is_err());
    drop(held);
    assert_eq!(free(&new), 1);
    clock.advance(HOUR + SECOND);
    assert!(enter(&new, 0).is_err(), "two hours are not over");
    clock.advance(HOUR + SECOND);
    assert_eq!(free(&new), 2);
}

/// The newest configuration's figures apply, even if an earlier one divides its limits again.
#[test]
fn an_older_configuration_does_not_set_figures_back() {
    let (old, _clock) = limits(vec![named("a", bucket(HOUR, 1))]);
    let new = next(&old, vec![named("a", bucket(HOUR, 5))]);
    let old = Arc::new(old.with_figures(LimitMatcher::new(vec![named("a", bucket(HOUR, 2))], vec![])));
    assert_eq!(free(&old), 5);
    let newer = Arc::new(new.with_figures(LimitMatcher::new(vec![named("a", bucket(HOUR, 7))], vec![])));
    assert_eq!(free(&newer), 2);
}

#[test]
fn a_thousand_configurations_leave_no_slots_behind() {
    let (mut limits, _clock) = limits(vec![named("a", bucket(HOUR, 1)), named("stays", window(9, HOUR))]);
    let held = enter(&limits, 0).unwrap();
    let first = Arc::downgrade(&limits);
    for number in 0..1000_u32 {
        let new = vec![named(&format!("a{number}"), bucket(HOUR, 1)), named("stays", window(9, HOUR))];
        limits = next(&limits, new);
        assert!(enter(&limits, u64::from(number)).is_ok());
    }
    // The first one still has a reserved call, so its slots are kept.
    let (all, occupied) = slots(&limits);
    assert!(all <= 4 && occupied == 3, "{all} {occupied}");
    drop(held);
    assert!(first.upgrade().is_none());
    assert_eq!(slots(&limits).1, 2);
    assert!(limits.lock().waiting.is_empty());
}

#[tokio::test]
async fn queued_requests_are_served_in_order_across_reloads() {
    let waits = |interval| vec![limit(interval, Duration::from_secs(30), true)];
    let (old, clock) = limits(waits(TEN_SECONDS));
    old.admit(&request_key()).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let spawn = |limits: &Arc<Limits>, who: &'static str| {
        let (limits, served) = (Arc::clone(limits), Arc::clone(&served));
        tokio::spawn(async move {
            let outcome = limits.admit(&request_key()).await;
            served.lock().unwrap().push(who);
            outcome.is_ok()
        })
    };
    let first = spawn(&old, "first");
    others_run().await;
    let second = spawn(&old, "second");
    others_run().await;
    let new = next(&old, waits(TEN_SECONDS));
    drop(old);
    let third = spawn(&new, "third");
    others_run().await;
    assert_eq!(new.figures()[0].queued, 3, "all wait in one queue");
    clock.advance(TEN_SECONDS);
    assert!(first.await.unwrap());
    // Nine seconds before the next one's time the rate becomes ten times as fast: it is woken.
    clock.advance(SECOND);
    let newer = next(&new, waits(SECOND));
    others_run().await;
    clock.advance(SECOND * 9 / 10);
    assert!(second.await.unwrap());
    clock.advance(SECOND);
    assert!(third.await.unwrap());
    assert_eq!(*served.lock().unwrap(), ["first", "second", "third"]);
    drop(new);
    assert_eq!(slots(&newer), (1, 1));
    assert!(newer.lock().waiting.is_empty());
}
