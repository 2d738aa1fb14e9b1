//! Waiting for a turn with a clock set by the test, and reservations.

use super::super::limit::{Key, Quota};
use super::super::matcher::User;
use super::*;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use http::Method;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const HOUR: Duration = Duration::from_secs(3600);
const TEN_SECONDS: Duration = Duration::from_secs(10);

fn limits(limits: Vec<Limit>) -> (Arc<Limits>, Clock) {
    let clock = Clock::adjustable();
    (Arc::new(of(limits, clock.clone())), clock)
}

/// The first configuration.
fn of(limits: Vec<Limit>, clock: Clock) -> Limits {
    let tallies = Tallies::new(limits.iter().map(|limit| &limit.name));
    Limits::new(LimitMatcher::new(limits, vec![]), tallies, clock)
}

fn limit(interval: Duration, wait: Duration, enforce: bool) -> Limit {
    let quota = Quota::Bucket { interval, burst: NonZeroU32::MIN };
    Limit { name: "a".into(), key: Key::Global, on: vec![], quota, wait, enforce }
}

fn request_key() -> RequestKey<'static> {
    RequestKey {
        operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
        class: Class::General,
        client: std::net::IpAddr::from([10, 0, 0, 1]).into(),
        app: AppId::new(0),
        identity: IdentityId::new(0),
        app_number: 0,
        identity_number: 0,
        user: User::Service,
        enterprise: 0,
        counted_by_box: true,
    }
}

async fn others_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_waits_for_its_turn_and_then_the_next_one_is_woken() {
    let (limits, clock) = limits(vec![limit(TEN_SECONDS, Duration::from_secs(25), true)]);
    limits.admit(&request_key()).await.unwrap();
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let limits = Arc::clone(&limits);
            tokio::spawn(async move { limits.admit(&request_key()).await })
        })
        .collect();
    others_run().await;
    assert_eq!(limits.queued(), 2);
    let refused = limits.admit(&request_key()).await.unwrap_err();
    assert!(refused.retry_after > Duration::from_secs(29) && refused.retry_after <= Duration::from_secs(30));
    for (left, task) in [1, 0].into_iter().zip(tasks) {
        clock.advance(TEN_SECONDS);
        assert!(task.await.unwrap().unwrap().waited >= TEN_SECONDS);
        assert_eq!(limits.queued(), left);
    }
    assert_eq!(limits.figures()[0], Figures { limit: "a".into(), refused: 1, shadow: 0, queued: 0 });
}

#[tokio::test]
async fn the_turn_of_a_request_dropped_just_before_it_goes_to_the_next() {
    let (limits, clock) = limits(vec![limit(TEN_SECONDS, Duration::from_secs(25), true)]);
    limits.admit(&request_key()).await.unwrap();
    let first = request_key();
    let second = request_key();
    let mut first = Box::pin(limits.admit(&first));
    let mut second = pin!(limits.admit(&second));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    clock.advance(TEN_SECONDS);
    // Its turn has come, and it is not polled again.
    drop(first);
    assert_eq!(limits.queued(), 1);
    assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(limits.queued(), 0);
    assert!(limits.lock().waiting.is_empty());
}

#[test]
fn turns_go_from_thread_to_thread() {
    let (limits, clock) = limits(vec![limit(Duration::from_secs(1), Duration::from_secs(30), true)]);
    let one = |limits: Arc<Limits>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { limits.admit(&request_key()).await.is_ok() })
    };
    assert!(one(Arc::clone(&limits)));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let limits = Arc::clone(&limits);
            std::thread::spawn(move || one(limits))
        })
        .collect();
    while limits.queued() < 8 {
        std::thread::yield_now();
    }
    for left in (0..8).rev() {
        clock.advance(Duration::from_secs(1));
        while limits.queued() > left {
            std::thread::yield_now();
        }
    }
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert!(limits.lock().waiting.is_empty());
}

#[tokio::test]
async fn a_shadow_limit_is_counted() {
    let (limits, _clock) = limits(vec![limit(HOUR, Duration::ZERO, false)]);
    assert!(limits.admit(&request_key()).await.unwrap().shadow.is_empty());
    assert_eq!(limits.admit(&request_key()).await.unwrap().shadow.len(), 1);
    assert_eq!(limits.figures()[0].shadow, 1);
}

mod reload;
