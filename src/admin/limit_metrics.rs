//! Metrics of limits, budgets and tunnels, as Prometheus text.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::limits::budget::spending::{BudgetLedger, BudgetState};
use crate::limits::limiter::{Figures, Limiter};
use crate::proxy::forward_proxy::Counts;
use crate::telemetry::exposition::Exposition;

/// Adds the metrics of the forward proxy's tunnels.
pub(super) fn tunnels(text: &mut Exposition, counts: &Counts) {
    text.head("tunnels_total", "counter", "Tunnels opened, to Box's hosts and to others.");
    for (to, count) in [("box", &counts.to_box), ("other", &counts.blind)] {
        text.line("tunnels_total", &format!("to=\"{to}\""), count.load(Ordering::Relaxed) as f64);
    }
    let help = "TLS handshakes in tunnels that failed, for example because a program does not trust the CA.";
    let failed = counts.failed_handshakes.load(Ordering::Relaxed);
    text.simple("tunnel_handshakes_failed_total", "counter", help, failed);
}

/// Adds the metrics of the limits and of Redis.
pub(super) fn limits(text: &mut Exposition, limiter: &Limiter) {
    let figures = limiter.figures();
    let mut column = |name, kind, help, of: fn(&Figures) -> u64| {
        text.head(name, kind, help);
        for limit in &figures {
            text.line(name, &format!("limit=\"{}\"", limit.limit), of(limit) as f64);
        }
    };
    column("limited_total", "counter", "Requests that a limit refused.", |limit| limit.refused);
    let help = "Requests that a limit with enforce = false would have refused.";
    column("would_limit_total", "counter", help, |limit| limit.shadow);
    column("limit_queued", "gauge", "Requests that wait for a limit.", |limit| limit.queued as u64);
    let help = "Pauses that Box asked for, in force or just ended.";
    text.simple("pauses", "gauge", help, limiter.paused() as u64);
    let help = "Pauses that Box asked this process for, by the identity and the class of the request.";
    text.head("pauses_total", "counter", help);
    for ((identity, class), count) in limiter.pauses_begun() {
        let labels = format!("identity=\"{identity}\",class=\"{}\"", class.as_str());
        text.line("pauses_total", &labels, count as f64);
    }
    let Some(replicas) = limiter.replicas() else { return };
    let shared = replicas.snapshot();
    let help =
        "1 while limits, pauses and budgets are shared through Redis, 0 while this process counts alone.";
    text.simple("redis_shared", "gauge", help, shared.shared.into());
    text.simple("redis_operations_total", "counter", "Operations sent to Redis.", shared.operations);
    text.simple(
        "redis_errors_total",
        "counter",
        "Operations that failed at Redis or took too long.",
        shared.errors,
    );
    text.simple("redis_losses_total", "counter", "How often Redis was lost.", shared.losses);
    text.simple(
        "redis_replicas",
        "gauge",
        "Number of replicas, as last known from Redis.",
        u64::from(shared.replicas),
    );
    text.head("redis_seconds_total", "counter", "Time that Redis took to answer.");
    text.plain("redis_seconds_total", shared.latency.as_secs_f64());
}

/// Adds the metrics of budgets, and the calls of this month and the last.
pub(super) fn budgets(text: &mut Exposition, ledger: &BudgetLedger, now: SystemTime) {
    let snapshot = ledger.snapshot(now);
    let labels = |state: &BudgetState| {
        let (name, key, value) = (&state.name, state.key.as_str(), &state.value);
        format!("budget=\"{name}\",key=\"{key}\",value=\"{value}\"")
    };
    let mut column = |name, kind, help, of: fn(&BudgetState) -> u64| {
        text.head(name, kind, help);
        for state in &snapshot.budgets {
            text.line(name, &labels(state), of(state) as f64);
        }
    };
    column("budget_calls", "gauge", "Calls that a budget allows in its day or month.", |state| state.calls);
    column("budget_used_calls", "gauge", "Calls made in the budget's current day or month.", |state| {
        state.used
    });
    column(
        "budget_forecast_calls",
        "gauge",
        "Calls expected by the end of the period at the current rate.",
        |state| state.forecast,
    );
    column(
        "budget_refused_total",
        "counter",
        "Calls that a budget refused, or with enforce = false would have refused.",
        |state| state.refused,
    );
    text.head(
        "box_calls",
        "gauge",
        "Calls of Box's API in this month and the last (UTC), by app, identity and class; class token has no app.",
    );
    for spent in &snapshot.spent {
        let (month, app, identity, class) = (&spent.month, &spent.app, &spent.identity, &spent.class);
        let labels = format!("month=\"{month}\",app=\"{app}\",identity=\"{identity}\",class=\"{class}\"");
        text.line("box_calls", &labels, spent.calls as f64);
    }
    let file = &ledger.counts().file;
    text.simple(
        "state_in_memory",
        "gauge",
        "1 if counts of calls have no file and are lost when the process ends.",
        file.in_memory.load(Ordering::Relaxed).into(),
    );
    text.simple(
        "state_set_aside_total",
        "counter",
        "State files that were found corrupt and set aside.",
        file.set_aside.load(Ordering::Relaxed),
    );
    text.simple(
        "state_write_failures_total",
        "counter",
        "How often writing the counts of calls failed.",
        file.failed_writes.load(Ordering::Relaxed),
    );
}
