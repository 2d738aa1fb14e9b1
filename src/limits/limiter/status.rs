//! The state of limits and pauses, for operators. It is computed when it is asked for; a request that passes costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Limiter;
use crate::limits::concurrency::{Kind, ZIPS_OF_ENTERPRISE, ZIPS_OF_USER};
use crate::limits::pauses::{self, PausedRequests};
use crate::limits::rate::fullest::{KeyUse, SHOWN};
use crate::limits::rate::limit::{Key, Limit};
use crate::limits::rate::matcher::LimitMatcher;
use crate::limits::rate::waiting::Limits;
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;

/// The state of one limit.
#[derive(Debug)]
pub(crate) struct LimitStatus {
    pub name: Arc<str>,
    /// What has a count of its own; `None`: what Box paused.
    pub key: Option<Key>,
    /// As in the configuration; `None`: it limits how many requests are in flight, or it is a pause.
    pub rate: Option<String>,
    /// The most calls at once, or requests in flight where that is the same for all keys.
    pub burst: Option<u64>,
    pub enforced: bool,
    /// Requests that it refused since the start; not enforced, would have refused.
    pub limited: u64,
    /// Requests that wait for it in this process.
    pub waiting: usize,
    /// By how much `fullest` is divided: with Redis this process knows only its own count, against its share of the limit.
    pub share: u32,
    /// The fullest keys, the fullest first.
    pub fullest: Vec<NamedUse>,
    /// The requests that wait, by the name of their app; `None` where that is not known.
    pub waiting_apps: Vec<(Option<Arc<str>>, usize)>,
}

/// What one key has used of a limit.
#[derive(Debug)]
pub(crate) struct NamedUse {
    /// The name of an app or identity, a client id, an address, a user's id; empty for a global limit; `None`: a client or user that no
    /// limit has refused or let wait.
    pub key: Option<String>,
    /// From 0 to 1, which is full.
    pub used: f64,
    /// Requests that wait.
    pub waiting: usize,
}

/// A pause in force.
#[derive(Debug)]
pub(crate) struct PauseStatus {
    /// The identity's name; `None` of one that is no longer configured.
    pub identity: Option<String>,
    /// The user's id; `None`: the service account.
    pub user: Option<String>,
    pub requests: PausedRequests,
    pub left: Duration,
}

impl Limiter {
    /// The state of the limits, in the order of [`Limiter::figures`].
    pub(crate) fn status(&self) -> Vec<LimitStatus> {
        // With Redis this process counts in the limits for the time without Redis, at its share.
        let (counting, share) = match &self.alone {
            None => (self.limits.clone(), 1),
            Some(alone) => {
                let alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
                (alone.limits.clone(), alone.share.get())
            }
        };
        let names = Names::new(self, counting.rules());
        let mut states = Vec::new();
        let mut figures = self.figures().into_iter();
        for ((index, limit), figures) in self.limits.rules().iter().enumerate().zip(&mut figures) {
            let status = LimitStatus {
                name: figures.limit,
                key: Some(limit.key),
                rate: Some(limit.quota.to_string()),
                burst: Some(u64::from(limit.quota.at_once().0)),
                enforced: limit.enforce,
                limited: figures.refused + figures.shadow,
                waiting: figures.queued,
                share,
                ..LimitStatus::default()
            };
            states.push(names.with_fullest(status, limit, &counting, index));
        }
        // What is left: requests in flight, and Box's pauses.
        for figures in figures {
            let mut status = LimitStatus {
                enforced: true,
                limited: figures.refused,
                waiting: figures.queued,
                ..LimitStatus::default()
            };
            if &*figures.limit != pauses::NAME {
                self.add_in_flight(&mut status, &figures.limit);
            } else if figures.queued > 0 {
                status.waiting_apps.push((None, figures.queued));
            }
            states.push(LimitStatus { name: figures.limit, ..status });
        }
        states
    }

    fn add_in_flight(&self, status: &mut LimitStatus, name: &str) {
        let apps = || {
            let limited = self.settings.apps.iter().enumerate();
            limited.filter_map(|(index, app)| {
                let most = u64::from(app.max_in_flight?.get());
                Some((app.name.clone(), Kind::App(self.numbers.app(AppId::new(index))), most))
            })
        };
        let identities = || (0..).map(IdentityId::new).zip(&self.settings.identities);
        let users = || {
            let kind = |identity| Kind::ZipOfUser(self.numbers.identity(identity));
            identities().map(move |(id, identity)| (identity.name.clone(), kind(id), ZIPS_OF_USER as u64))
        };
        let enterprises = || {
            let kind = |identity| Kind::ZipOfEnterprise(self.numbers.enterprise(identity));
            identities()
                .map(move |(id, identity)| (identity.client_id.clone(), kind(id), ZIPS_OF_ENTERPRISE as u64))
        };
        let (key, burst, kinds): (_, _, Vec<(String, Kind, u64)>) = match name {
            name if name == Kind::App(0).name() => (Key::App, None, apps().collect()),
            name if name == Kind::ZipOfUser(0).name() => {
                (Key::Identity, Some(ZIPS_OF_USER as u64), users().collect())
            }
            _ => (Key::Enterprise, Some(ZIPS_OF_ENTERPRISE as u64), enterprises().collect()),
        };
        let mut used: Vec<NamedUse> = Vec::new();
        for (name, kind, most) in kinds {
            let count = self.in_flight.count(kind);
            // Identities may have the same client id.
            if count > 0 && used.iter().all(|other| other.key.as_ref() != Some(&name)) {
                let part = (count as f64 / most as f64).min(1.0);
                used.push(NamedUse { key: Some(name), used: part, waiting: 0 });
            }
        }
        used.sort_by(|one, other| other.used.total_cmp(&one.used));
        used.truncate(SHOWN);
        (status.key, status.burst, status.fullest) = (Some(key), burst, used);
    }

    /// The pauses in force, those that end last first.
    pub(crate) fn pauses_in_force(&self) -> Vec<PauseStatus> {
        let identities = || (0..).map(IdentityId::new).zip(&self.settings.identities);
        let named = |number: u64| {
            let mut identities = identities();
            identities.find(|(id, _)| self.numbers.identity(*id) == number).map(|(_, of)| of.name.clone())
        };
        let status = |(paused, left): (Arc<pauses::Paused>, Duration)| PauseStatus {
            identity: named(paused.identity),
            user: paused.user.as_deref().map(str::to_owned),
            requests: paused.requests.clone(),
            left,
        };
        self.pauses.in_force().into_iter().map(status).collect()
    }
}

impl Default for LimitStatus {
    fn default() -> Self {
        Self {
            name: "".into(),
            key: None,
            rate: None,
            burst: None,
            enforced: true,
            limited: 0,
            waiting: 0,
            share: 1,
            fullest: Vec::new(),
            waiting_apps: Vec::new(),
        }
    }
}

/// The names that the configuration gives to keys of counts.
struct Names {
    keys: HashMap<u64, String>,
    apps: HashMap<u64, Arc<str>>,
}

impl Names {
    fn new(limiter: &Limiter, rules: &LimitMatcher) -> Self {
        let mut keys = HashMap::from([(rules.key_of(Key::Global, 0), String::new())]);
        let mut apps = HashMap::new();
        for (id, app) in (0..).map(AppId::new).zip(&limiter.settings.apps) {
            let number = limiter.numbers.app(id);
            keys.insert(rules.key_of(Key::App, number), app.name.clone());
            apps.insert(number, app.name.as_str().into());
        }
        for (id, identity) in (0..).map(IdentityId::new).zip(&limiter.settings.identities) {
            let enterprise = limiter.numbers.enterprise(id);
            keys.insert(rules.key_of(Key::Identity, limiter.numbers.identity(id)), identity.name.clone());
            keys.insert(rules.key_of(Key::Enterprise, enterprise), identity.client_id.clone());
            let service = || format!("service account of {}", identity.name);
            keys.entry(rules.key_of(Key::User, enterprise)).or_insert_with(service);
            if let Subject::User(user) = &identity.subject {
                keys.insert(rules.key_of_user(user), user.clone());
            }
        }
        Self { keys, apps }
    }

    fn with_fullest(
        &self,
        mut status: LimitStatus,
        limit: &Limit,
        counting: &Limits,
        index: usize,
    ) -> LimitStatus {
        debug_assert_eq!(limit.name, status.name, "figures come in the order of the limits");
        let fullness = counting.fullness(index);
        let named = |KeyUse { key, name, used, waiting }| NamedUse {
            key: self.keys.get(&key).cloned().or_else(|| name.map(|name: Arc<str>| name.to_string())),
            used,
            waiting,
        };
        status.fullest = fullness.fullest.into_iter().map(named).collect();
        let waiting = fullness.waiting.into_iter();
        status.waiting_apps = waiting.map(|(app, count)| (self.apps.get(&app).cloned(), count)).collect();
        // Requests that wait until Redis lets them go are counted by limit alone.
        let known: usize = status.waiting_apps.iter().map(|(_, count)| count).sum();
        if let Some(others) = status.waiting.checked_sub(known).filter(|others| *others > 0) {
            status.waiting_apps.push((None, others));
        }
        status
    }
}

#[cfg(test)]
mod tests;
