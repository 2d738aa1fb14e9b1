//! The same where replicas share limits and pauses: one question to Redis, under keys that are alike in all of them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Method;

use super::{Identity, Limiter, Permit, Reservation, Tally, asked, exceeded, rules, wait_of};
use crate::http::error::Refusal;
use crate::limits::pauses;
use crate::limits::rate::headers::RateLimitHeaders;
use crate::limits::rate::limit::{Key, Limit};
use crate::limits::rate::matcher::{Keys, RequestKey, User};
use crate::limits::rate::waiting::Limits;
use crate::limits::redis::replicas::{self, PauseKey, Replicas, Verdict};
use crate::limits::redis::reservation as shared;
use crate::net::client_address::ClientAddress;

/// A request that waits for its turn, counted until dropped.
struct Queued<'t>(&'t AtomicUsize);

impl<'t> Queued<'t> {
    fn begin(tally: &'t Tally) -> Self {
        tally.queued.fetch_add(1, Ordering::Relaxed);
        Self(&tally.queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    /// `None`: Redis has no say.
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
        let counted = self.counted(rules.applying(request_key), request_key);
        let cells: Vec<replicas::Cell<'_>> =
            counted.iter().map(|(_, limit, key)| replicas::Cell { limit, key }).collect();
        let pauses = self.pause_keys(request_key);
        // Again where a pause that another replica was told of ends within the wait; that is waited for once.
        loop {
            let Ok((answer, reservation)) = shared::ask(replicas, &cells, &pauses).await else {
                return Ok(None);
            };
            let name = |index: &usize| counted.get(*index).map(|(_, limit, _)| limit.name.clone());
            for (rule, ..) in answer.shadow.iter().filter_map(|index| counted.get(*index)) {
                self.tally(*rule, |tally| &tally.shadow);
            }
            match answer.verdict {
                Verdict::Pass { after } => {
                    if !after.is_zero() {
                        let of = answer.tightest.and_then(|tightest| counted.get(tightest.cell));
                        let tally = of.and_then(|(rule, ..)| self.together.get(*rule as usize));
                        let _queued = tally.map(Queued::begin);
                        self.clock.sleep_until(self.clock.now().after(after)).await;
                    }
                    let shadow = answer.shadow.iter().filter_map(name).collect();
                    let reservation = reservation.map(Reservation::shared);
                    return Ok(Some(Permit { reservation, slots: None, waited: after, shadow }));
                }
                Verdict::Refused { cell, after } => {
                    let Some((rule, limit, _)) = counted.get(cell) else { return Ok(None) };
                    return Err(self.exceeded_together(*rule, limit, after));
                }
                Verdict::Paused { pause, left } => {
                    // Here too, so that requests come back at a growing pace.
                    if let Some(scope) = self.pauses.scopes(asked(request_key)).get(pause) {
                        self.pauses.pause(*scope, left.min(self.settings.max_pause), self.pauses.now());
                    }
                    self.pass_pause(request_key, std::mem::take(&mut wait)).await?;
                }
            }
        }
    }

    /// One more call of a request that was admitted before. `None`: Redis has no say.
    pub(super) async fn reserve_together(
        &self,
        replicas: &Arc<Replicas>,
        request_key: &RequestKey<'_>,
    ) -> Result<Option<Option<Reservation>>, Refusal> {
        let counted = self.counted(self.limits.rules().windows(request_key), request_key);
        let cells: Vec<replicas::Cell<'_>> =
            counted.iter().map(|(_, limit, key)| replicas::Cell { limit, key }).collect();
        let Ok((answer, reservation)) = shared::ask(replicas, &cells, &[]).await else { return Ok(None) };
        match answer.verdict {
            Verdict::Pass { .. } => Ok(Some(reservation.map(Reservation::shared))),
            Verdict::Refused { cell, after } => match counted.get(cell) {
                Some((rule, limit, _)) => Err(self.exceeded_together(*rule, limit, after)),
                None => Ok(None),
            },
            // No pause was asked about.
            Verdict::Paused { .. } => Ok(None),
        }
    }

    /// Limits by their index, with what of each is counted.
    fn counted(&self, keys: Keys, request_key: &RequestKey<'_>) -> Vec<(u32, &Limit, String)> {
        let rules = self.limits.rules();
        let of = |rule: u32| rules.get(rule).map(|limit| (rule, limit, self.key(limit.key, request_key)));
        keys.iter().filter_map(|counted| of(counted.rule)).collect()
    }

    fn exceeded_together(&self, rule: u32, limit: &Limit, after: Duration) -> Refusal {
        self.tally(rule, |tally| &tally.refused);
        exceeded(&rate_limit_headers(limit, after), after)
    }

    /// The limits that hold while Redis has no say.
    pub(super) fn divided(&self, share: NonZeroU32) -> Arc<Limits> {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        match &*alone {
            Some((of, limits)) if *of == share => limits.clone(),
            _ => {
                let limits = Arc::new(Limits::new(rules(&self.settings, share), self.clock.clone()));
                *alone = Some((share, limits.clone()));
                limits
            }
        }
    }

    /// What has a count of its own, alike in all replicas.
    fn key(&self, key: Key, request_key: &RequestKey<'_>) -> String {
        let identity = self.settings.identities.get(request_key.identity.index());
        let of_identity = |of: fn(&Identity) -> &str| identity.map(of).unwrap_or_default().to_owned();
        match key {
            Key::Client => match request_key.client {
                ClientAddress::Known(IpAddr::V6(address)) => format!("{:x}/64", address.to_bits() >> 64),
                other => other.to_string(),
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

    /// In the order of `Pauses::scopes`.
    pub(super) fn pause_keys(&self, request_key: &RequestKey<'_>) -> [PauseKey; 2] {
        let identity = self.key(Key::Identity, request_key);
        let user = self.key(Key::User, request_key);
        let method: &Method = request_key.operation.method;
        let template = pauses::template(request_key.operation.path);
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
