//! Figures of limits and budgets, as Prometheus text: who spent what, what is left, what was refused.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::budget::ledger::{BudgetState, Ledger};
use crate::metrics::Text;

/// Adds the budgets and the calls of this month and the last.
pub fn budgets(text: &mut Text, ledger: &Ledger, now: SystemTime) {
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
    column("budget_calls", "gauge", "Calls that a budget has in its day or month.", |state| state.calls);
    column("budget_used_calls", "gauge", "Calls made in the budget's current day or month.", |state| {
        state.used
    });
    column(
        "budget_forecast_calls",
        "gauge",
        "Calls that will have been made at the period's end, if they go on as till now.",
        |state| state.forecast,
    );
    column(
        "budget_refused_total",
        "counter",
        "Calls refused by a budget, or with enforce = false those that would have been.",
        |state| state.refused,
    );
    text.head("box_calls", "gauge", "Calls of Box's API in this month and the last (UTC), by who made them.");
    for spent in &snapshot.spent {
        let (month, app, identity, class) = (&spent.month, &spent.app, &spent.identity, &spent.class);
        let labels = format!("month=\"{month}\",app=\"{app}\",identity=\"{identity}\",class=\"{class}\"");
        text.line("box_calls", &labels, spent.calls as f64);
    }
    let file = &ledger.book().file;
    text.simple(
        "state_in_memory",
        "gauge",
        "1 where counts of calls are lost when the process ends, as there is no file for them.",
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
        "Times that counts of calls could not be written down.",
        file.failed_writes.load(Ordering::Relaxed),
    );
}
