//! Time comes from a [`Clock`], so that tests can set it. `clippy.toml` bans the system clocks everywhere but here.
//!
//! A token expires by whichever of two clocks is first: the monotonic clock stands still while a laptop sleeps, and the
//! wall clock can be set back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub mono: Instant,
    /// Wall clock.
    pub wall: SystemTime,
}

impl Moment {
    /// The moment later by this duration, on both clocks.
    pub fn after(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: self.wall + by }
    }

    /// From `self` to `now`, by the monotonic clock; zero where `self` is later.
    pub(crate) fn elapsed(&self, now: Moment) -> Duration {
        now.mono.saturating_duration_since(self.mono)
    }

    /// Whether `self` is at or before `now` on either clock.
    pub fn has_come(&self, now: Moment) -> bool {
        self.mono <= now.mono || self.wall <= now.wall
    }

    /// The time left until `self`, on the clock that reaches it first; zero if it has come.
    pub fn left(&self, now: Moment) -> Duration {
        let mono = self.mono.saturating_duration_since(now.mono);
        let wall = self.wall.duration_since(now.wall).unwrap_or_default();
        mono.min(wall)
    }
}

/// The source of time.
#[derive(Debug, Clone)]
pub struct Clock {
    turned: Option<Arc<Turned>>,
}

#[derive(Debug)]
struct Turned {
    by_nanos: AtomicU64,
    changed: watch::Sender<()>,
}

impl Clock {
    /// The system clocks.
    pub fn real() -> Self {
        Self { turned: None }
    }

    /// The system clocks plus what [`Clock::advance`] adds.
    pub fn adjustable() -> Self {
        Self {
            turned: Some(Arc::new(Turned { by_nanos: AtomicU64::new(0), changed: watch::Sender::new(()) })),
        }
    }

    /// Moves both clocks ahead and wakes all that sleep by this clock. Does nothing to the real clock.
    pub fn advance(&self, by: Duration) {
        if let Some(turned) = &self.turned {
            turned.by_nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
            turned.changed.send_replace(());
        }
    }

    /// Now, on both clocks.
    pub fn now(&self) -> Moment {
        Moment { mono: self.mono(), wall: self.wall() }
    }

    /// The monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    pub fn mono(&self) -> Instant {
        Instant::now() + self.turned_by()
    }

    /// The wall clock.
    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    pub fn wall(&self) -> SystemTime {
        SystemTime::now() + self.turned_by()
    }

    fn turned_by(&self) -> Duration {
        match &self.turned {
            None => Duration::ZERO,
            Some(turned) => Duration::from_nanos(turned.by_nanos.load(Ordering::SeqCst)),
        }
    }

    /// Returns once the moment has come on either clock. Checks at least every 15 s, since monotonic timers do not
    /// count the time during which the machine was suspended.
    pub async fn sleep_until(&self, moment: Moment) {
        const LOOK: Duration = Duration::from_secs(15);
        let mut changed = self.turned.as_ref().map(|turned| turned.changed.subscribe());
        loop {
            let left = moment.left(self.now());
            if left.is_zero() {
                return;
            }
            let nap = tokio::time::sleep(left.min(LOOK));
            match &mut changed {
                None => nap.await,
                Some(changed) => tokio::select! {
                    () = nap => {}
                    _ = changed.changed() => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_come_when_either_clock_has_reached_it() {
        let now = Clock::real().now();
        let end = now.after(Duration::from_secs(10));
        assert!(!end.has_come(now));
        let slept = Moment { mono: now.mono, wall: now.wall + Duration::from_secs(11) };
        let set_back =
            Moment { mono: now.mono + Duration::from_secs(11), wall: now.wall - Duration::from_secs(60) };
        assert!(end.has_come(slept) && end.has_come(set_back));
        assert_eq!(end.left(slept), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_is_advanced() {
        let clock = Clock::adjustable();
        let end = clock.now().after(Duration::from_secs(3600));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(end).await }
        });
        clock.advance(Duration::from_secs(3601));
        sleeper.await.unwrap();
    }
}
