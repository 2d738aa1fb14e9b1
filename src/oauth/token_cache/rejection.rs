//! A 401 from Box retires exactly the token that got it, never a newer one. If Box answers 401 to the fresh token too,
//! the renewal did not help; after [`UNHELPFUL`] of these in [`UNHELPFUL_WINDOW`] no token is retired until Box has
//! accepted one again or the window is over: a path where Box always answers 401 must not cause a storm of token calls,
//! and a token that Box has really revoked must be replaced at once, every time.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::info;

use super::{Token, Tokens};

/// The most renewals forced by 401s for one identity that do not help …
const UNHELPFUL: usize = 3;
/// … within this time.
pub(super) const UNHELPFUL_WINDOW: Duration = Duration::from_secs(30);
/// The same if Box accepts tokens in between. Beyond it no renewal is forced.
const UNHELPFUL_KNOWN: usize = 6;

/// What was done with a token that Box answered with 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It is no longer the current one: it was just retired, or a newer one had replaced it. Use the current one.
    Retired,
    /// It was kept: a fresh token has just failed, or too many failed recently.
    Spared,
}

/// A forced renewal that did not help.
#[derive(Debug)]
pub(super) struct Unhelpful {
    at: Instant,
    /// The kind of request that got the 401.
    kind: u64,
}

impl Tokens {
    /// Handles a 401 to this token. `kind`: the same for requests that differ only in ids. `replayed`: the request
    /// had been sent with another token before.
    pub(crate) fn reject(&self, token: &Token, kind: u64, replayed: bool) -> Rejected {
        let mut unhelpful = self.unhelpful.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.mono();
        while unhelpful.front().is_some_and(|first| now.duration_since(first.at) >= UNHELPFUL_WINDOW) {
            unhelpful.pop_front();
        }
        let accepted = token.accepted.load(Ordering::Relaxed);
        let did_not_help = replayed || token.forced && !accepted;
        if did_not_help && unhelpful.len() < UNHELPFUL_KNOWN && !token.unhelpful.swap(true, Ordering::Relaxed)
        {
            unhelpful.push_back(Unhelpful { at: now, kind });
        }
        if replayed {
            return Rejected::Spared;
        }
        let current = self.current.load();
        if current.as_ref().is_none_or(|current| current.number != token.number) {
            return Rejected::Retired;
        }
        // If Box has accepted the token for other requests, spare it only for kinds that no fresh token has helped.
        let may_help = unhelpful.len() < UNHELPFUL
            || accepted
                && unhelpful.len() < UNHELPFUL_KNOWN
                && unhelpful.iter().all(|unhelpful| unhelpful.kind != kind);
        if !may_help {
            return Rejected::Spared;
        }
        self.forced.store(true, Ordering::Relaxed);
        // Only this token: if the task has stored a newer one meanwhile, that one stays.
        self.current.compare_and_swap(&*current, None);
        self.missed.notify_one();
        if let Some(left_out) = self.repeats.note("retired") {
            info!(
                identity = self.name(),
                "Box answered 401 to the current token; it is retired and a fresh one is requested{left_out}"
            );
        }
        Rejected::Retired
    }
}
