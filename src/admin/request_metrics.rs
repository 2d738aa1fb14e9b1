//! Metrics of requests, connections, tokens, reloads and logs, as Prometheus text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::configured_hosts::configured_hosts;
use super::reloads::Reloads;
use crate::net::connection_limit::ConnectionLimit;
use crate::net::tls_server::Tls;
use crate::oauth::token_cache::Tokens;
use crate::proxy::gateway::Gateway;
use crate::routing::box_hosts::BoxHosts;
use crate::routing::operation_class::Class;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::audit_log::AuditLog;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::labels::{AppLabel, AppLabels, ClassLabel};
use crate::telemetry::latency::Histogram;
use crate::telemetry::log;
use crate::telemetry::metrics::{Durations, Metrics};
use crate::telemetry::outages::Outages;

/// Adds the running version.
pub(super) fn build(text: &mut Exposition) {
    text.head("build_info", "gauge", "The running version.");
    text.line("build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1.0);
}

/// Adds whether the gateway is ready, in the sense of `/readyz`.
pub(super) fn ready(text: &mut Exposition, is_ready: bool) {
    text.simple("ready", "gauge", "1 while /readyz answers 200, 0 while it answers 503.", is_ready.into());
}

/// Adds how many requests of each configured app Box refused for a missing scope.
pub(super) fn scope_refusals(text: &mut Exposition, metrics: &Metrics, gateway: &Gateway) {
    let help = "Requests that Box refused with 403 insufficient_scope: the app at Box lacks a scope, or As-User its right.";
    by_app(text, "scope_refusals_total", help, &metrics.scope_refusals(), gateway);
}

/// Adds how many requests of each configured app acted as a user whom `As-User` names.
pub(super) fn as_user(text: &mut Exposition, metrics: &Metrics, gateway: &Gateway) {
    let help = "Requests that were let pass and act as the user whom As-User names.";
    by_app(text, "as_user_requests_total", help, &metrics.as_user(), gateway);
}

/// Adds a counter with a series for each configured app.
fn by_app(
    text: &mut Exposition,
    name: &str,
    help: &str,
    counts: &BTreeMap<AppLabel, u64>,
    gateway: &Gateway,
) {
    text.head(name, "counter", help);
    // From 0, since Prometheus sees no increase in a series that begins with 1.
    for (app, label) in gateway.config.apps.iter().zip(&gateway.app_labels) {
        let count = label.and_then(|label| counts.get(&label).copied()).unwrap_or(0);
        text.line(name, &format!("app=\"{}\"", app.name), count as f64);
    }
}

/// Adds the metrics of requests.
pub(super) fn requests(text: &mut Exposition, metrics: &Metrics, apps: &AppLabels) {
    let name = |app: Option<AppLabel>| app.map(|app| apps.name(app)).unwrap_or_default();
    let totals = metrics.totals();
    let help = "Requests by app, method, status (499: the caller disconnected) and origin of the response.";
    text.head("requests_total", "counter", help);
    for (labels, count) in &totals.requests {
        let (app, method, status) = (name(labels.app), labels.method(), labels.status);
        let by = labels.answered_by.as_str();
        let labels = format!("app=\"{app}\",method=\"{method}\",status=\"{status}\",answered_by=\"{by}\"");
        text.line("requests_total", &labels, *count as f64);
    }
    let by_app = || totals.by_app.iter().map(|(app, durations)| (name(*app), durations));
    let by_class = || totals.by_class.iter().map(|(class, durations)| (class_name(*class), durations));
    let help = "Time from the head of a request to the end of its response.";
    text.histogram("request_duration_seconds", help, "app", by_app().map(total));
    let help = "As request_duration_seconds, of requests that are operations of Box, by their class.";
    text.histogram("class_request_duration_seconds", help, "class", by_class().map(total));
    let help = "Time from sending a request to Box to the head of the response.";
    text.histogram("upstream_duration_seconds", help, "app", by_app().map(upstream));
    let help = "As upstream_duration_seconds, by the class of the operation.";
    text.histogram("class_upstream_duration_seconds", help, "class", by_class().map(upstream));
    text.head("errors_total", "counter", "Errors that the gateway itself answered callers with, by code.");
    for (code, count) in metrics.errors() {
        text.line("errors_total", &format!("code=\"{code}\""), count as f64);
    }
    text.simple("retries_total", "counter", "Requests that were sent to Box again.", metrics.retries());
    let help = "Header fields of callers that were not sent to Box.";
    text.simple("request_headers_dropped_total", "counter", help, metrics.fields_dropped());
}

fn class_name(class: ClassLabel) -> Arc<str> {
    Class::ALL.get(usize::from(class.0)).map_or("", |class| class.as_str()).into()
}

fn total<T>((label, durations): (T, &Durations)) -> (T, &Histogram) {
    (label, &durations.total)
}

fn upstream<T>((label, durations): (T, &Durations)) -> (T, &Histogram) {
    (label, &durations.upstream)
}

/// Adds whether the configured hosts of Box answer.
pub(super) fn upstream_up(text: &mut Exposition, hosts: &BoxHosts, outages: &Outages) {
    let help = "1 while a configured host of Box answers, 0 while it is known to be unreachable or to give no tokens.";
    text.head("upstream_up", "gauge", help);
    for (authority, outage) in configured_hosts(hosts, outages) {
        let is_up = if outage.is_some() { 0.0 } else { 1.0 };
        text.line("upstream_up", &format!("host=\"{authority}\""), is_up);
    }
}

/// Adds the identities' tokens.
pub(super) fn tokens(text: &mut Exposition, tokens: &[Arc<Tokens>]) {
    text.head("token_refreshes_total", "counter", "Renewals of tokens.");
    for tokens in tokens {
        let (obtained, failed) = tokens.outcomes();
        for (outcome, count) in [("obtained", obtained), ("failed", failed)] {
            let labels = format!("identity=\"{}\",outcome=\"{outcome}\"", tokens.name());
            text.line("token_refreshes_total", &labels, count as f64);
        }
    }
    let help = "Exchanges of tokens for ones with fewer rights; of downscoped identities.";
    text.head("token_exchanges_total", "counter", help);
    for tokens in tokens {
        let Some((exchanged, failed)) = tokens.exchanges() else { continue };
        for (outcome, count) in [("exchanged", exchanged), ("failed", failed)] {
            let labels = format!("identity=\"{}\",outcome=\"{outcome}\"", tokens.name());
            text.line("token_exchanges_total", &labels, count as f64);
        }
    }
    text.head(
        "token_expires_in_seconds",
        "gauge",
        "Time until the current token expires; 0 without a token.",
    );
    for tokens in tokens {
        let labels = format!("identity=\"{}\"", tokens.name());
        let seconds = tokens.expires_in().unwrap_or_default().as_secs_f64();
        text.line("token_expires_in_seconds", &labels, seconds);
    }
    let help = "1 while Box refuses the identity's credentials or downscope, also while an earlier token is valid; else 0.";
    text.head("credentials_refused", "gauge", help);
    for tokens in tokens {
        let refused = if tokens.are_refused() { 1.0 } else { 0.0 };
        text.line("credentials_refused", &format!("identity=\"{}\"", tokens.name()), refused);
    }
}

/// Adds the metrics of callers' connections.
pub(super) fn connections(text: &mut Exposition, metrics: &Metrics, limit: &ConnectionLimit) {
    text.simple("connections", "gauge", "Open connections of callers.", metrics.connections());
    let help = "Open HTTP/1.1 connections of callers that are idle and hold next to no memory.";
    text.simple("connections_parked", "gauge", help, metrics.parked());
    let most = u64::try_from(limit.most()).unwrap_or(u64::MAX);
    text.simple(
        "connections_max",
        "gauge",
        "The most connections of callers that may be open at once.",
        most,
    );
    let help = "Connections of callers closed at once because the limit was reached.";
    text.simple("connections_refused_total", "counter", help, limit.refused());
}

/// Adds the number of reloads, and when the configuration in use was taken over.
pub(super) fn reloads(text: &mut Exposition, reloads: &Reloads) {
    let (taken_over, refused) = reloads.counts();
    let help = "How often the configuration and its files were read again, and whether they were taken over.";
    text.head("config_reloads_total", "counter", help);
    for (result, count) in [("ok", taken_over), ("refused", refused)] {
        text.line("config_reloads_total", &format!("result=\"{result}\""), count as f64);
    }
    let help = "1 while the configuration in use is the one last read, 0 since a reload was refused.";
    let successful = reloads.last_refused().is_none();
    text.simple("config_last_reload_successful", "gauge", help, successful.into());
    let name = "config_last_reload_success_timestamp_seconds";
    let help = "When the configuration in use was taken over, in seconds since 1970; the start counts.";
    text.head(name, "gauge", help);
    let since_1970 = reloads.last_taken_over().duration_since(SystemTime::UNIX_EPOCH);
    text.plain(name, since_1970.unwrap_or_default().as_secs_f64());
}

/// Adds the expiry of the certificates in files, by the configuration key that names the file.
pub(super) fn certificates(text: &mut Exposition, certificates: &[(&str, Arc<Tls>)]) {
    let help =
        "When the certificate expires, in seconds since 1970; by the configuration key that names its file.";
    text.head("certificate_not_after_timestamp_seconds", "gauge", help);
    for (key, tls) in certificates {
        text.line("certificate_not_after_timestamp_seconds", &format!("key=\"{key}\""), tls.ends() as f64);
    }
}

/// Adds the number of lines that could not be written.
pub(super) fn lines_lost(text: &mut Exposition, access: &AccessLog) {
    let help = "Access lines that standard output did not accept.";
    text.simple("access_lines_lost_total", "counter", help, access.lost());
    let help = "Log lines that standard error did not accept.";
    text.simple("log_lines_lost_total", "counter", help, log::lost());
}

/// Adds what became of audit lines.
pub(super) fn audit(text: &mut Exposition, audit: &AuditLog) {
    let help = "Lines of requests in the audit log.";
    text.simple("audit_lines_written_total", "counter", help, audit.written());
    let help = "Lines of requests that could not be written to the audit log.";
    text.simple("audit_lines_lost_total", "counter", help, audit.lost());
}
