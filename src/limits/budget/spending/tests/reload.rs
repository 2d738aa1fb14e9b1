//! One configuration follows another: budgets keep their counts, whichever ledger charges them.

use super::*;
use crate::telemetry::log::captured;

fn next(old: &BudgetLedger, budgets: Vec<Budget>, apps: &[&str]) -> BudgetLedger {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    old.successor(budgets, names(apps), names(&["other", "service"]), noon())
}

fn refused(ledger: &BudgetLedger, name: &str, value: &str) -> u64 {
    let snapshot = ledger.snapshot(noon());
    snapshot.budgets.iter().find(|state| &*state.name == name && &*state.value == value).unwrap().refused
}

#[test]
fn calls_before_and_after_a_reload_are_charged_to_the_same_counts() {
    let plan = || budget("plan", Key::Global, 4, Period::Month);
    let apps = |calls| budget("apps", Key::App, calls, Period::Day);
    let old = ledger(vec![plan(), apps(1)]);
    old.try_spend(&call_of(&old, 0, 0), noon()).unwrap();
    old.try_spend(&call_of(&old, 0, 0), noon()).unwrap_err();
    // The apps in another order, one more in front, a new budget and a larger one.
    let new = next(&old, vec![budget("new", Key::Global, 9, Period::Day), apps(2), plan()], &["c", "b", "a"]);
    assert_eq!((used(&new, "apps", "a", noon()), refused(&new, "apps", "a")), (1, 1));
    assert_eq!((used(&new, "apps", "c", noon()), refused(&new, "apps", "c")), (0, 0));
    new.try_spend(&call_of(&new, 2, 1), noon()).unwrap();
    assert_eq!(&*new.try_spend(&call_of(&new, 2, 1), noon()).unwrap_err().name, "apps");
    old.try_spend(&call_of(&old, 1, 0), noon()).unwrap();
    assert_eq!(&*old.try_spend(&call_of(&old, 1, 0), noon()).unwrap_err().name, "apps");
    new.try_spend(&call_of(&new, 0, 0), noon()).unwrap();
    assert_eq!(&*new.try_spend(&call_of(&new, 0, 0), noon()).unwrap_err().name, "plan");
    // Both ledgers report the refusals of either.
    for ledger in [&old, &new] {
        assert_eq!((used(ledger, "plan", "", noon()), refused(ledger, "plan", "")), (4, 1));
        assert_eq!((refused(ledger, "apps", "a"), refused(ledger, "apps", "b")), (2, 1));
    }
}

#[test]
fn a_refund_by_the_previous_ledger_counts_in_the_next() {
    let old = ledger(vec![budget("apps", Key::App, 1, Period::Day)]);
    let spent = old.try_spend(&call_of(&old, 0, 0), noon()).unwrap();
    let new = next(&old, vec![budget("apps", Key::App, 1, Period::Day)], &["b", "a"]);
    assert!(new.look(&call_of(&new, 1, 1), noon()).is_err());
    old.give_back(spent);
    assert_eq!((used(&new, "apps", "a", noon()), used(&new, "apps", "b", noon())), (0, 0));
    new.try_spend(&call_of(&new, 1, 1), noon()).unwrap();
    let snapshot = new.snapshot(noon());
    assert_eq!(snapshot.spent.len(), 1, "{:?}", snapshot.spent);
    assert_eq!(
        (&*snapshot.spent[0].app, &*snapshot.spent[0].identity, snapshot.spent[0].calls),
        ("a", "service", 1)
    );
}

/// A call that was charged for all replicas and not made pays for the next one, in either configuration.
#[test]
fn a_paid_call_stays_paid_while_the_same_budgets_are_charged() {
    let budgets =
        || vec![budget("apps", Key::App, 1, Period::Day), budget("plan", Key::Global, 1, Period::Month)];
    let old = ledger(budgets());
    let spent = old.try_spend(&call_of(&old, 0, 0), noon()).unwrap();
    let mut reordered = budgets();
    reordered.reverse();
    let new = next(&old, reordered, &["b", "a"]);
    let call = call_of(&new, 1, 1);
    assert!(new.look(&call, noon()).is_err());
    old.give_back(Spent { together: true, ..spent });
    new.look(&call, noon()).unwrap();
    assert!(new.look(&call_of(&new, 0, 1), noon()).is_err(), "it pays for app a");
    // With one more budget, a call is charged to more than was paid.
    let mut more = budgets();
    more.push(budget("more", Key::Global, 9, Period::Month));
    let newer = next(&new, more, &["a"]);
    assert!(newer.look(&call_of(&newer, 0, 1), noon()).is_err());
    let newest = next(&newer, budgets(), &["a"]);
    newest.look(&call_of(&newest, 0, 1), noon()).unwrap();
    // The day's budget has a new count, of which nothing is paid.
    let tomorrow = at("2026-11-26T00:00:00Z");
    assert_eq!(&*newest.look(&call_of(&newest, 0, 1), tomorrow).unwrap_err().name, "plan");
    assert!(newest.look(&call_of(&newest, 0, 1), noon()).is_err());
}

/// A log line is due when a count reaches a threshold, which exactly one call does.
#[test]
fn a_threshold_is_not_logged_again_after_a_reload() {
    // If another test reaches the log line first, tracing may cache that no subscriber wants it, until the next
    // subscriber registers.
    let line = || {
        let ledger = ledger(vec![budget("plan", Key::Global, 1, Period::Month)]);
        ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
    };
    while captured(line).is_empty() {
        thread::yield_now();
    }
    let plan = || vec![budget("plan", Key::Global, 10, Period::Month)];
    let lines = captured(|| {
        let mut current = ledger(plan());
        for _ in 0..10 {
            current.try_spend(&call_of(&current, 0, 0), noon()).unwrap();
            current = next(&current, plan(), &["a"]);
            current.look(&call_of(&current, 0, 0), noon()).ok();
            current.snapshot(noon());
        }
        current.try_spend(&call_of(&current, 0, 0), noon()).unwrap_err();
    });
    let of = |percent: &str| lines.iter().filter(|line| line.contains(percent)).count();
    assert_eq!((of("80 % used"), of("90 % used"), of("100 % used"), lines.len()), (1, 0, 1, 2), "{lines:?}");
}
