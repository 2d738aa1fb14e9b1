//! What may go to Box: limits and who waits for them, pauses, budgets.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use crate::limits::budget::definition::{Period, WhenSpent};
use crate::limits::budget::spending::BudgetState;
use crate::limits::limiter::{LimitStatus, PauseStatus};
use crate::limits::pauses::PausedRequests;
use crate::telemetry::words::rfc_3339;

/// The most pauses that are listed: thousands may be in force, one for each user.
pub(super) const PAUSES: usize = 100;

/// A limit.
#[derive(Serialize)]
pub(in crate::admin) struct Limit {
    pub name: String,
    pub key: Option<&'static str>,
    pub rate: Option<String>,
    pub burst: Option<u64>,
    pub enforced: bool,
    pub limited: u64,
    pub waiting: usize,
    pub share: u32,
    pub fullest: Vec<KeyUse>,
}

/// What one key has used of a limit.
#[derive(Serialize)]
pub(in crate::admin) struct KeyUse {
    pub key: Option<String>,
    pub used: f64,
    pub waiting: usize,
}

/// Requests of an app that wait for a limit.
#[derive(Serialize)]
pub(in crate::admin) struct Waiting {
    pub limit: String,
    pub app: Option<String>,
    pub requests: usize,
}

/// A pause in force.
#[derive(Serialize)]
pub(in crate::admin) struct Pause {
    pub identity: Option<String>,
    pub as_user: Option<String>,
    pub class: Option<&'static str>,
    pub operation: Option<String>,
    pub until: String,
    pub seconds_left: u64,
}

/// A budget and one value of its key.
#[derive(Serialize)]
pub(in crate::admin) struct Budget {
    pub name: String,
    pub key: &'static str,
    pub value: String,
    pub per: &'static str,
    pub calls: u64,
    pub used: u64,
    pub forecast: u64,
    pub refused: u64,
    pub ends: String,
    pub when_spent: &'static str,
    pub enforced: bool,
}

/// The limits, and who waits for them.
pub(super) fn limits(states: Vec<LimitStatus>) -> (Vec<Limit>, Vec<Waiting>) {
    let mut waiting = Vec::new();
    let mut limits = Vec::new();
    for state in states {
        let name = state.name.to_string();
        waiting.extend(state.waiting_apps.iter().map(|(app, requests)| Waiting {
            limit: name.clone(),
            app: app.as_deref().map(str::to_owned),
            requests: *requests,
        }));
        let fullest = state.fullest.into_iter().map(|of| {
            let used = (of.used * 1000.0).round() / 1000.0;
            KeyUse { key: of.key, used, waiting: of.waiting }
        });
        limits.push(Limit {
            name,
            key: state.key.map(|key| key.as_str()),
            rate: state.rate,
            burst: state.burst,
            enforced: state.enforced,
            limited: state.limited,
            waiting: state.waiting,
            share: state.share,
            fullest: fullest.collect(),
        });
    }
    (limits, waiting)
}

/// The pauses, in the same order.
pub(super) fn pauses(in_force: Vec<PauseStatus>, now: SystemTime) -> Vec<Pause> {
    let pause = |pause: PauseStatus| {
        let (class, operation) = match pause.requests {
            PausedRequests::Class(class) => (Some(class.as_str()), None),
            PausedRequests::Operation(operation) => (None, Some(operation.into())),
        };
        Pause {
            identity: pause.identity,
            as_user: pause.user,
            class,
            operation,
            until: rfc_3339(now + pause.left),
            seconds_left: pause.left.as_secs_f64().ceil() as u64,
        }
    };
    in_force.into_iter().map(pause).collect()
}

impl Budget {
    pub(super) fn of(state: &BudgetState) -> Self {
        Self {
            name: state.name.to_string(),
            key: state.key.as_str(),
            value: state.value.to_string(),
            per: match state.per {
                Period::Day => "day",
                Period::Month => "month",
            },
            calls: state.calls,
            used: state.used,
            forecast: state.forecast,
            refused: state.refused,
            ends: time(state.ends),
            when_spent: match state.when_spent {
                WhenSpent::Reject => "reject",
                WhenSpent::Warn => "warn",
            },
            enforced: state.enforce,
        }
    }
}

/// By RFC 3339, in whole seconds.
pub(super) fn time(time: Timestamp) -> String {
    rfc_3339(SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH))
}
