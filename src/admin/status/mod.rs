//! `GET /status.json`: what the gateway is doing, for `boxgate status` and other programs. Each field is described in
//! `docs/observability.md`; fields are added, never renamed.

mod identities; // whose tokens
mod limits; // limits, pauses, budgets
mod traffic; // hosts of Box, apps

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;

pub(super) use self::identities::Identity;
use self::limits::Waiting;
pub(super) use self::limits::{Budget, Limit, Pause};
pub(super) use self::traffic::{App, BoxHost, Login, Requests};
use super::Overview;
use super::hardening::Hardening;
use super::readiness::{Readiness, one_line};
use super::reloads::Outcome;
use crate::limits::budget::definition::Period;
use crate::limits::budget::period::timestamp;
use crate::limits::redis::replicas::{Health, Replicas};
use crate::proxy::forward_proxy::Counts;
use crate::telemetry::audit::audit_log::AuditLog;
use crate::telemetry::history::Of;
use crate::telemetry::words::rfc_3339;

/// The document.
#[derive(Serialize)]
pub(in crate::admin) struct Status {
    pub ready: bool,
    pub reasons: Vec<String>,
    pub notes: Vec<String>,
    pub version: &'static str,
    pub started: String,
    pub now: String,
    pub draining: bool,
    pub config: Config,
    #[serde(rename = "box")]
    pub hosts: Vec<BoxHost>,
    pub identities: Vec<Identity>,
    pub apps: Vec<App>,
    pub requests_of_no_app: Requests,
    pub requests: Requests,
    pub limits: Vec<Limit>,
    pub waiting: Vec<Waiting>,
    pub pauses: Vec<Pause>,
    pub pauses_in_force: usize,
    pub budgets: Vec<Budget>,
    pub counting_since: String,
    pub month: String,
    pub connections: Connections,
    pub tunnels: Option<Tunnels>,
    pub redis: Option<Redis>,
    pub hardening: Hardening,
    pub audit: Option<Audit>,
}

#[derive(Serialize)]
pub(in crate::admin) struct Config {
    pub file: Option<String>,
    pub in_use_since: String,
    pub reload: Option<Reload>,
}

#[derive(Serialize)]
pub(in crate::admin) struct Reload {
    pub time: String,
    pub result: &'static str,
    pub cause: &'static str,
    pub problems: Vec<String>,
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub(in crate::admin) struct Connections {
    pub open: u64,
    pub max: usize,
    pub refused: u64,
}

#[derive(Serialize)]
pub(in crate::admin) struct Tunnels {
    #[serde(rename = "box")]
    pub to_box: u64,
    pub other: u64,
}

#[derive(Serialize)]
pub(in crate::admin) struct Audit {
    pub file: String,
    pub written: u64,
    pub lost: u64,
    pub reason: Option<String>,
}

#[derive(Serialize)]
pub(in crate::admin) struct Redis {
    pub shared: bool,
    pub replicas: u32,
    pub since: Option<String>,
    pub reason: Option<String>,
}

impl Status {
    /// The state at this moment.
    pub(super) fn of(overview: &Overview) -> Self {
        let (process, gateway) = (&overview.process, overview.gateway.load());
        let now = process.clock.now();
        let readiness = Readiness::of(overview);
        let recent = overview.history.recent(&overview.metrics, now);
        let spending = gateway.ledger.snapshot(now.wall);
        let month = Period::Month.at(timestamp(now.wall)).to_string();
        let (limits, waiting) = limits::limits(gateway.limiter.status());
        let mut pauses = limits::pauses(gateway.limiter.pauses_in_force(), now.wall);
        let pauses_in_force = pauses.len();
        pauses.truncate(limits::PAUSES);
        Self {
            ready: readiness.is_ready(),
            reasons: readiness.reasons,
            notes: readiness.notes,
            version: env!("CARGO_PKG_VERSION"),
            started: rfc_3339(overview.started),
            now: rfc_3339(now.wall),
            draining: overview.process.draining.load(Ordering::Relaxed),
            config: Config::of(overview),
            hosts: traffic::hosts(&gateway, &process.outages, &recent),
            identities: gateway
                .config
                .identities
                .iter()
                .zip(&gateway.tokens)
                .map(|(identity, tokens)| Identity::of(identity, tokens))
                .collect(),
            apps: traffic::apps(overview, &gateway, &recent, &spending, &month),
            requests_of_no_app: Requests::of(&recent.of(Of::App(None))),
            requests: Requests::of(&recent.of(Of::All)),
            limits,
            waiting,
            pauses,
            pauses_in_force,
            budgets: spending.budgets.iter().map(Budget::of).collect(),
            counting_since: limits::time(spending.since),
            month,
            connections: Connections {
                open: overview.metrics.connections(),
                max: process.connection_limit.most(),
                refused: process.connection_limit.refused(),
            },
            tunnels: gateway.forward_proxy.as_ref().map(|proxy| Tunnels::of(&proxy.counts)),
            redis: gateway.limiter.replicas().map(|replicas| Redis::of(replicas, now.wall)),
            hardening: overview.hardening,
            audit: process.audit.as_ref().map(Audit::of),
        }
    }
}

impl Config {
    fn of(overview: &Overview) -> Self {
        let reload = overview.reloads.last().map(|last| {
            let (result, problems, notes) = match last.outcome {
                Outcome::TakenOver { notes } => ("ok", Vec::new(), notes),
                Outcome::Refused { problems } => ("refused", problems, Vec::new()),
            };
            let lines = |lines: Vec<String>| lines.iter().map(|line| one_line(line)).collect();
            let (problems, notes) = (lines(problems), lines(notes));
            Reload { time: rfc_3339(last.at), result, cause: last.why, problems, notes }
        });
        Self {
            file: overview.file.as_ref().map(|file| file.display().to_string()),
            in_use_since: rfc_3339(overview.reloads.last_taken_over()),
            reload,
        }
    }
}

impl Tunnels {
    fn of(counts: &Counts) -> Self {
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Self { to_box: count(&counts.to_box), other: count(&counts.blind) }
    }
}

impl Audit {
    fn of(audit: &AuditLog) -> Self {
        let reason = audit.trouble().map(|reason| one_line(&reason));
        Self { file: one_line(audit.file()), written: audit.written(), lost: audit.lost(), reason }
    }
}

impl Redis {
    fn of(replicas: &Replicas, now: SystemTime) -> Self {
        let (since, reason) = match replicas.health() {
            Health::Shared => (None, None),
            Health::Local { since, why } => (Some(since.elapsed()), Some(one_line(&why))),
        };
        let ago = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
        Self {
            shared: since.is_none(),
            replicas: replicas.share().get(),
            since: since.map(|since| rfc_3339(ago(since))),
            reason,
        }
    }
}
