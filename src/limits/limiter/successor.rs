//! A reload: the limiter of the next configuration continues the counts, queues, pauses and requests in flight.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Alone, Limiter, Settings, rules};
use crate::limits::rate::tally::Tallies;

impl Limiter {
    /// The limiter of the next configuration. Create it when that configuration takes over: from then on its figures
    /// apply to requests of both. Requests that began before keep this limiter until they end; both limiters count
    /// together, and their requests wait in the same queues.
    ///
    /// - A limit with the same name, key and operations keeps its counts and queues. If its rate or burst
    ///   changes, the calls already spent of a key's burst stay spent, and the first in each queue checks again. A
    ///   limit with another key or other operations is another limit: it begins at zero.
    /// - Apps are identified by name, identities by name, client id and subject, enterprises by the client id,
    ///   whatever their order. So a renamed app begins at zero, and an identity with a new client id or subject has
    ///   no pauses.
    /// - `max_in_flight` counts requests that began while their app had such a limit; so do Box's limits on zip
    ///   downloads.
    /// - In Redis a limit with another rate begins at zero: its rate is part of its name there.
    pub(crate) fn successor(&self, settings: Settings) -> Self {
        let new_rules = rules(&settings, NonZeroU32::MIN);
        let tallies = self.tallies.successor(new_rules.iter().map(|limit| &limit.name));
        let limits = Arc::new(self.limits.successor(new_rules, tallies.clone()));
        Self {
            limits,
            alone: self.alone.as_ref().map(|alone| successor_alone(alone, &settings, &tallies)),
            pauses: self.pauses.clone(),
            pause_counts: self.pause_counts.clone(),
            in_flight: self.in_flight.clone(),
            replicas: self.replicas.clone(),
            tallies,
            numbers: self.numbers.successor(&settings.apps, &settings.identities),
            settings,
            repeats: self.repeats.clone(),
            clock: self.clock.clone(),
        }
    }
}

fn successor_alone(alone: &Mutex<Alone>, settings: &Settings, tallies: &Tallies) -> Mutex<Alone> {
    let alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = alone.limits.successor(rules(settings, alone.share), tallies.clone());
    Mutex::new(Alone { share: alone.share, limits: Arc::new(limits) })
}

#[cfg(test)]
mod tests;
