//! What limits, bounds on requests in flight, and budgets would count: asked from a limiter and a ledger that serve nobody
//! else.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::explanation::{Detail, Fact, State, Step, shown};
use crate::config::Config;
use crate::limits::budget::counts::CallCounts;
use crate::limits::budget::definition::{Budget, Period, WhenSpent};
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::limiter::{Charge, Limiter, Request};
use crate::limits::rate::limit::{Key, Quota};
use crate::net::clock::Clock;

/// What has a count, as a line for people and as a value for programs.
type Counted = (Detail, Value);

/// The steps for limits and budgets, and the same for programs.
pub(super) fn counted(config: &Config, request: Request<'_>) -> (Vec<Step>, Vec<Fact>) {
    let limiter = Limiter::new(config.limiter(), Clock::real(), None);
    let charges = limiter.charges(request);
    let words = match (
        charges.iter().any(|charge| !charge.of_box),
        charges.iter().any(|charge| charge.of_box),
    ) {
        (false, false) => "none counts the request",
        (true, false) => "each counts the request; one that is full makes it wait, or refuses it with 429",
        (_, true) => {
            "each counts the request; one that is full makes it wait, or refuses it with 429; box-* are Box's own"
        }
    };
    let (mut steps, mut facts) = (Vec::new(), Vec::new());
    let mut add = |name, words: &str, fact, counted: Vec<Counted>| {
        let (details, values): (Vec<_>, Vec<_>) = counted.into_iter().unzip();
        steps.push(Step { name, state: State::Info, words: words.to_owned(), details });
        facts.push((fact, Value::Array(values)));
    };
    add("limits", words, "limits", charges.iter().map(limit).collect());
    let bounds: Vec<_> = limiter.bounds(request).into_iter().map(bound).collect();
    let words =
        if bounds.is_empty() { "not bounded" } else { "it needs a free slot of each, else 503 or 429" };
    add("in flight", words, "in_flight", bounds);
    let budgets = if request.counted { budgets(config, request) } else { Vec::new() };
    let words = match (request.counted, budgets.is_empty()) {
        (false, _) => "none: Box's plans do not count this request",
        (true, true) => "none counts the call",
        (true, false) => "each is charged for every call that is sent to Box",
    };
    add("budgets", words, "budgets", budgets);
    (steps, facts)
}

fn limit(charge: &Charge<'_>) -> Counted {
    let limit = charge.limit;
    let (rate, key) = (rate(limit.quota), key(limit.key));
    let of = match limit.key {
        // Box does not say which enterprise it is; all accounts of an app belong to the same.
        Key::Enterprise => format!(" of client_id {}", charge.counted),
        _ if charge.counted.is_empty() => String::new(),
        _ => format!(" {}", charge.counted),
    };
    let lenient = if limit.enforce { "" } else { "; counts only (enforce = false)" };
    let found = format!("{rate}, key {key}{of}{lenient}");
    let value = json!({
        "name": &*limit.name, "key": key, "value": shown(&charge.counted), "rate": rate,
        "enforce": limit.enforce, "of_box": charge.of_box,
    });
    (Detail { what: limit.name.to_string(), found, decides: false }, value)
}

fn bound((name, most): (&'static str, usize)) -> Counted {
    let found = format!("at most {most} at the same time");
    (Detail { what: name.to_owned(), found, decides: false }, json!({"name": name, "most": most}))
}

fn budgets(config: &Config, request: Request<'_>) -> Vec<Counted> {
    let clock = Clock::real();
    let counts = Arc::new(CallCounts::new(jiff::Timestamp::UNIX_EPOCH, []));
    let apps = config.apps.iter().map(|app| app.name.as_str().into()).collect();
    let identities = config.identities.iter().map(|identity| identity.name.as_str().into()).collect();
    let ledger = BudgetLedger::new(config.budgets.clone(), apps, identities, counts, clock.wall());
    let call = ledger.call(request.app, request.identity, request.class, request.operation);
    ledger.charges_of(&call).map(|(rule, of)| budget(rule, &of)).collect()
}

fn budget(budget: &Budget, of: &str) -> Counted {
    let per = match budget.per {
        Period::Day => "day",
        Period::Month => "month",
    };
    let then = match (budget.when_spent, budget.enforce) {
        (WhenSpent::Reject, true) => "then 403 budget_spent",
        (WhenSpent::Reject, false) => "counts only (enforce = false)",
        (WhenSpent::Warn, _) => "then a warning in the log",
    };
    let key = budget.key.as_str();
    let space = if of.is_empty() { "" } else { " " };
    let found = format!("{} calls a {per}, key {key}{space}{of}; {then}", budget.calls);
    let value = json!({
        "name": &*budget.name, "key": key, "value": of, "calls": budget.calls, "per": per,
        "when_spent": if budget.when_spent == WhenSpent::Reject { "reject" } else { "warn" },
        "enforce": budget.enforce,
    });
    (Detail { what: budget.name.to_string(), found, decides: false }, value)
}

/// As `key` of a limit; Box's own may have the enterprise.
fn key(key: Key) -> &'static str {
    match key {
        Key::Client => "client",
        Key::App => "app",
        Key::User => "user",
        Key::Identity => "identity",
        Key::Enterprise => "enterprise",
        Key::Global => "global",
    }
}

/// `10/s, burst 20`, or `1000 in any 60 s`.
fn rate(quota: Quota) -> String {
    match quota {
        Quota::Bucket { interval, burst } => format!("{}, burst {burst}", per_unit(interval)),
        Quota::Window { calls, length } => format!("{calls} in any {} s", length.as_secs()),
    }
}

/// The rate whose interval, rounded up to whole nanoseconds, this is: in the shortest unit in which it is a whole number.
fn per_unit(interval: Duration) -> String {
    let interval = interval.as_nanos().max(1);
    for (unit, seconds) in [("s", 1_u128), ("min", 60), ("h", 3600), ("day", 86_400)] {
        let length = seconds * 1_000_000_000;
        let count = length.div_ceil(interval);
        if length.div_ceil(count) == interval {
            return format!("{count}/{unit}");
        }
    }
    format!("one in {interval} ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_as_they_are_written() {
        for (count, unit, seconds) in [
            (10, "s", 1),
            (3, "s", 1),
            (100, "min", 60),
            (1000, "min", 60),
            (1, "h", 3600),
            (7, "day", 86_400),
        ] {
            let interval = (Duration::from_secs(seconds).as_nanos()).div_ceil(count);
            let interval = Duration::from_nanos(interval.try_into().unwrap());
            let shown = rate(Quota::Bucket { interval, burst: std::num::NonZeroU32::MIN });
            assert_eq!(shown, format!("{count}/{unit}, burst 1"));
        }
    }
}
