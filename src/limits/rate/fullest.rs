//! How full limits are and who waits for them, for operators. Keys of counts are hashes, so only those that are known otherwise
//! have a name: apps, identities and enterprises by the configuration, and the clients and users that a limit refused or let
//! wait lately, which are remembered. A request that passes costs nothing here.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::limit::Key;

/// The most clients and users that are remembered; a new one replaces the one that was refused the longest ago.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// The most keys of a limit that are shown.
pub(crate) const SHOWN: usize = 5;

/// Clients and users that a limit refused or let wait, with their keys.
#[derive(Debug)]
pub(super) struct Remembered(Mutex<LruCache<u64, (Key, Arc<str>)>>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Remembered {
    /// Remembers a key of this kind; `name` is not called if it is known.
    pub(super) fn add(&self, key: u64, kind: Key, name: impl FnOnce() -> Arc<str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(key, || (kind, name()));
    }

    /// The keys of this kind.
    pub(super) fn of(&self, kind: Key) -> Vec<(u64, Arc<str>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, (of, _))| *of == kind).map(|(key, (_, name))| (*key, name.clone())).collect()
    }
}

/// How full a limit is.
#[derive(Debug, Default)]
pub(crate) struct Fullness {
    /// The fullest keys, the fullest first.
    pub fullest: Vec<KeyUse>,
    /// The requests that wait, by the number of their app.
    pub waiting: Vec<(u64, usize)>,
}

/// What one key has used of a limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyUse {
    /// The key of its count.
    pub key: u64,
    /// The client or the user, if it is remembered.
    pub name: Option<Arc<str>>,
    /// From 0 to 1, which is full.
    pub used: f64,
    /// Requests that wait.
    pub waiting: usize,
}

impl Fullness {
    /// `used`: what keys have used; one may occur twice. `waiting`: key, number of the app, how many. `names`: of keys.
    pub(super) fn new(
        mut used: Vec<(u64, f64)>,
        waiting: &[(u64, u64, usize)],
        names: &[(u64, Arc<str>)],
    ) -> Self {
        let mut by_key: HashMap<u64, usize> = HashMap::new();
        for (key, _, count) in waiting {
            *by_key.entry(*key).or_default() += count;
        }
        let waits = |key: u64| by_key.get(&key).copied().unwrap_or_default();
        used.retain(|(_, used)| *used > 0.0);
        used.sort_by(|(one, of_one), (other, of_other)| {
            of_other.total_cmp(of_one).then_with(|| waits(*other).cmp(&waits(*one))).then(one.cmp(other))
        });
        used.dedup_by_key(|(key, _)| *key);
        let fullest = used.into_iter().take(SHOWN).map(|(key, used)| {
            let name = names.iter().find(|(of, _)| *of == key).map(|(_, name)| name.clone());
            KeyUse { key, name, used, waiting: waits(key) }
        });
        let mut by_app: Vec<(u64, usize)> = Vec::new();
        for (_, app, count) in waiting {
            match by_app.iter_mut().find(|(of, _)| of == app) {
                Some((_, sum)) => *sum += count,
                None => by_app.push((*app, *count)),
            }
        }
        Self { fullest: fullest.collect(), waiting: by_app }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_come_first_and_each_once() {
        let used = vec![(1, 0.2), (2, 1.0), (3, 0.0), (4, 1.0), (2, 1.0), (5, 0.5), (6, 0.4), (7, 0.3)];
        let names = [(4, "10.0.0.4".into())];
        let fullness = Fullness::new(used, &[(4, 70, 2), (4, 71, 1), (2, 70, 1)], &names);
        let keys: Vec<_> = fullness.fullest.iter().map(|key| (key.key, key.waiting)).collect();
        assert_eq!(keys, [(4, 3), (2, 1), (5, 0), (6, 0), (7, 0)]);
        assert_eq!(fullness.fullest[0].name.as_deref(), Some("10.0.0.4"));
        assert_eq!(fullness.waiting, [(70, 3), (71, 1)]);
    }

    #[test]
    fn a_flood_of_clients_is_remembered_within_bounds() {
        let remembered = Remembered::default();
        remembered.add(0, Key::Client, || "0".into());
        for key in 1..5_000 {
            remembered.add(key, Key::Client, || key.to_string().into());
            remembered.add(0, Key::Client, || "it is known".into());
        }
        let known = remembered.of(Key::Client);
        assert_eq!(known.len(), REMEMBERED.get());
        assert!(known.contains(&(0, "0".into())) && remembered.of(Key::User).is_empty());
    }
}
