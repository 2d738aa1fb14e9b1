//! A reload: the limiter of the next configuration goes on with the counts, lines, pauses and requests in flight.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Alone, Limiter, Settings, rules};
use crate::limits::rate::tally::Tallies;

impl Limiter {
    /// The limiter of the next configuration, to be made when that takes over: from then on its figures hold for
    /// everybody. Requests that began before keep this one, until they end; both count together, and wait in the same
    /// lines.
    ///
    /// - A limit with the same name, key and operations goes on with its counts. With another rate or burst, what is
    ///   spent of a key's burst stays spent ([`crate::limits::rate::bucket_counts`]); who waits looks again. A limit
    ///   that counts something else than before is another limit, and begins at zero.
    /// - What is counted goes by the names of apps, by the name, client id and subject of identities, and by client ids
    ///   for enterprises, whatever their order. So a renamed app begins at zero, and pauses of an identity end where its
    ///   client id or subject changes.
    /// - `max_in_flight` counts the requests that began while the app had such a limit; box's limits on zip downloads
    ///   likewise.
    /// - In Redis a limit with another rate begins at zero, as the replicas get the new configuration one by one.
    pub(crate) fn successor(&self, settings: Settings) -> Self {
        let new_rules = rules(&settings, NonZeroU32::MIN);
        let tallies = self.tallies.successor(new_rules.iter().map(|limit| &limit.name));
        let limits = Arc::new(self.limits.successor(new_rules, tallies.clone()));
        Self {
            limits,
            alone: self.alone.as_ref().map(|alone| successor_alone(alone, &settings, &tallies)),
            pauses: self.pauses.clone(),
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
