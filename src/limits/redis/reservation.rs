//! A call that is counted in windows shared by replicas, from its admission until its head is written.
//!
//! The operation that admits a call stamps it with the server's time. If the call is written within the first half of
//! the window's margin, which is the rule, that stamp suffices. A call that is written later gets a new stamp then, and
//! one that is not made is removed; no request waits for either. While a call waits for a token, a connection or its
//! turn, its stamp is renewed, so that no window forgets it.

use std::cell::Cell as Slot;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::replicas::{Answer, Cell, PauseKey, Replicas, Stamp, Unavailable, Verdict};
use crate::limits::rate::limit::{Limit, Quota, margin};

/// A reserved call. Dropping it before it is written removes the call from its windows.
#[derive(Debug)]
#[must_use = "a call that is dropped is given back"]
pub(crate) struct Reservation(Rc<State>);

#[derive(Debug, Default)]
struct State {
    written: Slot<Option<Instant>>,
    changed: Notify,
}

/// The task that renews a reservation and settles it at the end.
struct Keeper {
    replicas: Arc<Replicas>,
    windows: Vec<(Limit, String)>,
    stamp: Stamp,
    /// The stamp was set at or after this time.
    since: Instant,
}

/// Asks whether a request may pass. Returns its reservation if it passes and is counted in windows.
///
/// # Errors
/// Redis is unavailable.
pub(crate) async fn ask(
    replicas: &Arc<Replicas>,
    cells: &[Cell<'_>],
    pauses: &[PauseKey],
) -> Result<(Answer, Option<Reservation>), Unavailable> {
    let since = Instant::now();
    let answer = replicas.ask(cells, pauses).await?;
    let passes = matches!(answer.verdict, Verdict::Pass { .. });
    let charged = |index: &usize| passes && !answer.shadow.contains(index);
    let windows: Vec<(Limit, String)> = cells
        .iter()
        .enumerate()
        .filter(|(index, cell)| cell.limit.quota.is_window() && charged(index))
        .map(|(_, cell)| (cell.limit.clone(), cell.key.to_owned()))
        .collect();
    if windows.is_empty() {
        return Ok((answer, None));
    }
    let state = Rc::new(State::default());
    let keeper = Keeper { replicas: replicas.clone(), windows, stamp: answer.stamp, since };
    tokio::task::spawn_local(keeper.keep(state.clone()));
    Ok((answer, Some(Reservation(state))))
}

impl Reservation {
    /// The call's head is being written to Box now.
    pub(crate) fn written(self) {
        self.0.written.set(Some(Instant::now()));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.changed.notify_one();
    }
}

impl Keeper {
    async fn keep(mut self, state: Rc<State>) {
        let lengths = self.windows.iter().filter_map(|(limit, _)| match limit.quota {
            Quota::Window { length, .. } => Some(length),
            Quota::Bucket { .. } => None,
        });
        let shortest = lengths.min().unwrap_or(Duration::MAX);
        let mut next = self.since + shortest / 3;
        loop {
            tokio::select! {
                biased;
                () = state.changed.notified() => break,
                () = sleep_until(next) => {
                    // On an error this process counts alone; the next renewal after Redis is back counts the call there
                    // again.
                    let _ = self.restamp().await;
                    next = Instant::now() + shortest / 3;
                }
            }
        }
        match state.written.get() {
            Some(at) if at.saturating_duration_since(self.since) <= margin(shortest) / 2 => {}
            Some(_) => drop(self.restamp().await),
            None => drop(self.replicas.give_back(&self.cells(), self.stamp).await),
        }
    }

    async fn restamp(&mut self) -> Result<(), Unavailable> {
        let since = Instant::now();
        self.stamp = self.replicas.restamp(&self.cells(), self.stamp).await?;
        self.since = since;
        Ok(())
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        self.windows.iter().map(|(limit, key)| Cell { limit, key }).collect()
    }
}
