//! What goes through: hosts of Box and apps, with what was counted of them in the last five minutes.

use std::collections::HashMap;

use serde::Serialize;

use crate::admin::Overview;
use crate::admin::configured_hosts::configured_hosts;
use crate::admin::readiness::one_line;
use crate::limits::budget::spending::Snapshot;
use crate::oauth::login_lookup::{LoginLookup, LoginStatus};
use crate::proxy::gateway::Gateway;
use crate::telemetry::history::{Counts, Of, Recent};
use crate::telemetry::outages::{Outage, Outages};
use crate::telemetry::words::rfc_3339;

/// Counts of requests.
#[derive(Serialize)]
pub(in crate::admin) struct Requests {
    pub requests: u64,
    pub caller_left: u64,
    pub status_4xx: u64,
    pub status_429: u64,
    pub status_5xx: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}

impl Requests {
    pub(in crate::admin) fn of(counts: &Counts) -> Self {
        Self {
            requests: counts.requests,
            caller_left: counts.caller_left,
            status_4xx: counts.status_4xx,
            status_429: counts.status_429,
            status_5xx: counts.status_5xx,
            p50_ms: counts.durations.percentile_ms(50),
            p95_ms: counts.durations.percentile_ms(95),
        }
    }
}

/// A configured host of Box.
#[derive(Serialize)]
pub(in crate::admin) struct BoxHost {
    pub host: String,
    pub up: bool,
    pub since: Option<String>,
    pub reason: Option<String>,
    pub last_5_minutes: Answers,
}

/// Answers of a host.
#[derive(Serialize)]
pub(in crate::admin) struct Answers {
    pub requests: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}

/// An app of the configuration, or one that was removed and had requests in the last five minutes.
#[derive(Serialize)]
pub(in crate::admin) struct App {
    pub name: String,
    pub configured: bool,
    pub identity: Option<String>,
    pub enabled: bool,
    pub as_user_logins: Vec<Login>,
    pub in_flight: u64,
    pub last_5_minutes: Requests,
    pub calls_this_month: u64,
}

/// A login in `as_user`.
#[derive(Serialize)]
pub(in crate::admin) struct Login {
    pub login: String,
    pub state: &'static str,
    pub id: Option<String>,
    pub reason: Option<String>,
    pub next_attempt: Option<String>,
}

impl Login {
    fn of(lookup: &LoginLookup) -> Self {
        let LoginStatus { state, id, reason, next_attempt } = lookup.status();
        Self {
            login: lookup.login().to_string(),
            state,
            id,
            reason: reason.as_deref().map(one_line),
            next_attempt: next_attempt.map(rfc_3339),
        }
    }
}

/// The configured hosts of Box.
pub(super) fn hosts(gateway: &Gateway, outages: &Outages, recent: &Recent) -> Vec<BoxHost> {
    let of_host = |(authority, outage): (&str, _)| {
        let label = gateway.host_labels.iter().find(|(known, _)| known.as_str() == authority);
        // Requests to the token endpoint are not measured.
        let Requests { requests, p50_ms, p95_ms, .. } = match label {
            Some((_, label)) => Requests::of(&recent.of(Of::Host(*label))),
            None => Requests::of(&Counts::default()),
        };
        let (since, reason) = match outage {
            Some(Outage { since, reason }) => (Some(rfc_3339(since)), Some(one_line(&reason))),
            None => (None, None),
        };
        let last_5_minutes = Answers { requests, p50_ms, p95_ms };
        BoxHost { host: authority.to_owned(), up: since.is_none(), since, reason, last_5_minutes }
    };
    configured_hosts(&gateway.config.hosts, outages).into_iter().map(of_host).collect()
}

/// The apps of the configuration, then removed ones by name.
pub(super) fn apps(
    overview: &Overview,
    gateway: &Gateway,
    recent: &Recent,
    spending: &Snapshot,
    month: &str,
) -> Vec<App> {
    let mut calls: HashMap<&str, u64> = HashMap::new();
    for spent in spending.spent.iter().filter(|spent| spent.month == month) {
        *calls.entry(&*spent.app).or_default() += spent.calls;
    }
    let in_flight = overview.metrics.in_flight();
    let calls_of = |name: &str| calls.get(name).copied().unwrap_or(0);
    let apps = gateway.config.apps.iter().zip(&gateway.app_labels).zip(&gateway.logins);
    let configured = apps.map(|((app, label), lookups)| App {
        name: app.name.clone(),
        configured: true,
        identity: gateway.identity_name(app.identity).map(str::to_owned),
        enabled: app.enabled,
        as_user_logins: lookups.iter().map(|lookup| Login::of(lookup)).collect(),
        in_flight: label.and_then(|label| in_flight.get(&label).copied()).unwrap_or(0),
        // One without a label is counted with the requests of no app.
        last_5_minutes: Requests::of(&label.map(|label| recent.of(Of::App(Some(label)))).unwrap_or_default()),
        calls_this_month: calls_of(&app.name),
    });
    let removed = recent.apps().filter(|label| !gateway.app_labels.contains(&Some(*label))).map(|label| {
        let name = overview.process.app_labels.name(label);
        App {
            configured: false,
            identity: None,
            enabled: false,
            as_user_logins: Vec::new(),
            in_flight: in_flight.get(&label).copied().unwrap_or(0),
            last_5_minutes: Requests::of(&recent.of(Of::App(Some(label)))),
            calls_this_month: calls_of(&name),
            name: name.to_string(),
        }
    });
    let mut removed: Vec<App> = removed.collect();
    removed.sort_by(|one, other| one.name.cmp(&other.name));
    configured.chain(removed).collect()
}
