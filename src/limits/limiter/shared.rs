//! The same when replicas share limits and pauses: one request to Redis, under keys that are the same in all of them.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Method;

use super::{Alone, Identity, Limiter, Permit, Reservation, asked, exceeded, rules, wait_of};
use crate::http::error::Refusal;
use crate::limits::rate::headers::RateLimitHeaders;
use crate::limits::rate::limit::{Key, Limit};
use crate::limits::rate::matcher::{RequestKey, User, first_64_bits};
use crate::limits::rate::tally::Tally;
use crate::limits::rate::waiting::Limits;
use crate::limits::redis::replicas::{self, PauseKey, Replicas, Verdict};
use crate::limits::redis::reservation as shared;
use crate::routing::operation_template;

/// The index of the operation's pause in [`Limiter::pause_keys`].
const PAUSE_OF_OPERATION: usize = 1;

impl Limiter {
    /// `None`: Redis is unavailable.
    pub(super) async fn admit_together(
        &self,
        replicas: &Arc<Replicas>,
        request_key: &RequestKey<'_>,
    ) -> Result<Option<Permit>, Refusal> {
        let rules = self.limits.rules();
        let mut wait = wait_of(rules, request_key);
        if self.paused() > 0 {
            self.pass_pause(request_key, wait).await?;
        }
        let counted = self.counted(request_key, |_| true);
        let cells: Vec<replicas::Cell<'_>> =
            counted.iter().map(|(_, limit, key)| replicas::Cell { limit, key }).collect();
        let pauses = self.pause_keys(request_key);
        // Repeated once, if another replica's pause ends within the wait.
        loop {
            let Ok((answer, reservation)) = shared::ask(replicas, &cells, &pauses).await else {
                return Ok(None);
            };
            let name = |index: &usize| counted.get(*index).map(|(_, limit, _)| limit.name.clone());
            for (rule, ..) in answer.shadow.iter().filter_map(|index| counted.get(*index)) {
                self.tallies.count_shadow(*rule);
            }
            match answer.verdict {
                Verdict::Pass { after } => {
                    if !after.is_zero() {
                        let of = answer.tightest.and_then(|tightest| counted.get(tightest.cell));
                        let tally = of.and_then(|(rule, ..)| self.tallies.get(*rule));
                        let _queued = tally.map(Tally::queue);
                        self.clock.sleep_until(self.clock.now().after(after)).await;
                    }
                    let shadow = answer.shadow.iter().filter_map(name).collect();
                    let reservation = reservation.map(Reservation::shared);
                    return Ok(Some(Permit { reservation, slots: None, waited: after, shadow }));
                }
                Verdict::Refused { cell, after } => {
                    let Some((rule, limit, _)) = counted.get(cell) else { return Ok(None) };
                    self.divided(replicas).remember(request_key);
                    return Err(self.exceeded_together(*rule, limit, after));
                }
                Verdict::Paused { pause, left } => {
                    // Record the pause here too, so that requests resume at a growing rate.
                    let alone = pause == PAUSE_OF_OPERATION;
                    self.pauses.begin(asked(request_key), alone, left.min(self.settings.max_pause));
                    self.pass_pause(request_key, std::mem::take(&mut wait)).await?;
                }
            }
        }
    }

    /// One more call of an admitted request. `None`: Redis is unavailable.
    pub(super) async fn reserve_together(
        &self,
        replicas: &Arc<Replicas>,
        request_key: &RequestKey<'_>,
    ) -> Result<Option<Option<Reservation>>, Refusal> {
        let counted = self.counted(request_key, |limit| limit.quota.is_window());
        let cells: Vec<replicas::Cell<'_>> =
            counted.iter().map(|(_, limit, key)| replicas::Cell { limit, key }).collect();
        let Ok((answer, reservation)) = shared::ask(replicas, &cells, &[]).await else { return Ok(None) };
        match answer.verdict {
            Verdict::Pass { .. } => Ok(Some(reservation.map(Reservation::shared))),
            Verdict::Refused { cell, after } => match counted.get(cell) {
                Some((rule, limit, _)) => Err(self.exceeded_together(*rule, limit, after)),
                None => Ok(None),
            },
            // The call did not check pauses.
            Verdict::Paused { .. } => Ok(None),
        }
    }

    /// The wanted limits that count the request, by index, each with the key under which it counts.
    fn counted(
        &self,
        request_key: &RequestKey<'_>,
        wanted: impl Fn(&Limit) -> bool,
    ) -> Vec<(usize, &Limit, String)> {
        let about = self.limits.rules().about(request_key).filter(|(_, limit)| wanted(limit));
        about.map(|(rule, limit)| (rule, limit, self.key(limit.key, request_key))).collect()
    }

    fn exceeded_together(&self, rule: usize, limit: &Limit, after: Duration) -> Refusal {
        self.tallies.count_refused(rule);
        exceeded(&rate_limit_headers(limit, after), after)
    }

    /// The limits that apply while Redis is unavailable. If the number of replicas changes, they keep their counts.
    pub(super) fn divided(&self, replicas: &Replicas) -> Arc<Limits> {
        // Always set if there are replicas.
        let Some(alone) = &self.alone else { return self.limits.clone() };
        let share = replicas.share();
        let mut alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        if alone.share != share {
            let limits = Arc::new(alone.limits.with_figures(rules(&self.settings, share)));
            *alone = Alone { share, limits };
        }
        alone.limits.clone()
    }

    /// The key of a count, the same in all replicas.
    pub(super) fn key(&self, key: Key, request_key: &RequestKey<'_>) -> String {
        let identity = self.settings.identities.get(request_key.identity.index());
        let of_identity = |of: fn(&Identity) -> &str| identity.map(of).unwrap_or_default().to_owned();
        match key {
            Key::Client => match request_key.client.ip() {
                Some(IpAddr::V6(address)) => format!("{:x}/64", first_64_bits(address)),
                _ => request_key.client.to_string(),
            },
            Key::App => self
                .settings
                .apps
                .get(request_key.app.index())
                .map(|app| app.name.clone())
                .unwrap_or_default(),
            Key::Identity => of_identity(|identity| &identity.name),
            Key::Enterprise => of_identity(|identity| &identity.client_id),
            Key::Global => String::new(),
            Key::User => match request_key.user {
                User::Id(id) => id.to_owned(),
                User::Service => format!("service of {}", of_identity(|identity| &identity.client_id)),
            },
        }
    }

    /// The keys of the pauses of its class and of its operation.
    pub(super) fn pause_keys(&self, request_key: &RequestKey<'_>) -> [PauseKey; 2] {
        // Not only by name: another client id or subject under the same name is not paused.
        let identity = self.settings.identities.get(request_key.identity.index());
        let identity = identity.map_or(String::new(), |identity| {
            format!("{:?} {:?} {:?}", identity.name, identity.client_id, identity.subject)
        });
        let user = self.key(Key::User, request_key);
        let method: &Method = request_key.operation.method;
        let template = operation_template::below_version(request_key.operation.path);
        [
            PauseKey::new(&[&identity, &user, request_key.class.as_str()]),
            PauseKey::new(&[&identity, &user, method.as_str(), &template]),
        ]
    }
}

fn rate_limit_headers(limit: &Limit, after: Duration) -> RateLimitHeaders {
    let (quota, window) = limit.quota.at_once();
    RateLimitHeaders { limit: limit.name.clone(), quota, window, reset: after }
}
