use super::*;

use crate::limits::selector::Selector;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation_pattern::Pattern;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;

const CLASS: Class = Class::General;

fn at(text: &str) -> SystemTime {
    text.parse::<Timestamp>().unwrap().try_into().unwrap()
}

fn noon() -> SystemTime {
    at("2026-11-25T12:00:00Z")
}

fn budget(name: &str, key: Key, calls: u64, per: Period) -> Budget {
    let calls = NonZeroU64::new(calls).unwrap();
    Budget { name: name.into(), key, on: vec![], calls, per, when_spent: WhenSpent::Reject, enforce: true }
}

/// A call of this app and identity.
fn call_of(ledger: &BudgetLedger, app: usize, identity: usize) -> Call {
    let operation = Operation { method: &http::Method::GET, path: "/2.0/users/me" };
    ledger.call(AppId::new(app), IdentityId::new(identity), CLASS, operation)
}

fn counts() -> Arc<CallCounts> {
    Arc::new(CallCounts::new(Timestamp::UNIX_EPOCH, []))
}

fn over(counts: &Arc<CallCounts>, budgets: Vec<Budget>, apps: &[&str]) -> BudgetLedger {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    BudgetLedger::new(budgets, names(apps), names(&["service", "other"]), counts.clone(), noon())
}

fn ledger(budgets: Vec<Budget>) -> BudgetLedger {
    over(&counts(), budgets, &["a", "b"])
}

fn used(ledger: &BudgetLedger, name: &str, value: &str, now: SystemTime) -> u64 {
    let snapshot = ledger.snapshot(now);
    snapshot.budgets.iter().find(|state| &*state.name == name && &*state.value == value).unwrap().used
}

#[test]
fn a_spent_budget_refuses_until_its_period_ends() {
    let ledger = ledger(vec![budget("plan", Key::Global, 2, Period::Month)]);
    ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
    ledger.try_spend(&call_of(&ledger, 1, 1), noon()).unwrap();
    let refused = ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap_err();
    assert_eq!(refused.to_string(), "the budget \"plan\" is spent until 2026-12-01T00:00:00Z");
    let state = &ledger.snapshot(noon()).budgets[0];
    assert_eq!((state.used, state.refused, state.calls), (2, 1, 2));
    ledger.try_spend(&call_of(&ledger, 0, 0), at("2026-11-30T23:59:59.9Z")).unwrap_err();
    ledger.try_spend(&call_of(&ledger, 0, 0), at("2026-12-01T00:00:00Z")).unwrap();
    assert_eq!(used(&ledger, "plan", "", at("2026-12-01T00:00:00Z")), 1);
}

#[test]
fn every_key_value_has_its_own_count() {
    let ledger = ledger(vec![
        budget("apps", Key::App, 1, Period::Day),
        budget("accounts", Key::Identity, 2, Period::Day),
    ]);
    ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
    assert_eq!(&*ledger.try_spend(&call_of(&ledger, 0, 1), noon()).unwrap_err().name, "apps");
    ledger.try_spend(&call_of(&ledger, 1, 0), noon()).unwrap();
    let used = |name, value| used(&ledger, name, value, noon());
    assert_eq!((used("apps", "a"), used("apps", "b")), (1, 1));
    assert_eq!((used("accounts", "service"), used("accounts", "other")), (2, 0));
}

#[test]
fn all_budgets_are_charged_or_none() {
    let ledger = ledger(vec![
        budget("month", Key::Global, 100, Period::Month),
        budget("app", Key::App, 1, Period::Day),
        Budget { enforce: false, ..budget("shadow", Key::Global, 1, Period::Month) },
    ]);
    ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
    for _ in 0..5 {
        let refused = ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap_err();
        assert_eq!((&*refused.name, refused.until.to_string().as_str()), ("app", "2026-11-26T00:00:00Z"));
    }
    let snapshot = ledger.snapshot(noon());
    let seen: Vec<(u64, u64)> = snapshot.budgets.iter().map(|state| (state.used, state.refused)).collect();
    assert_eq!(seen, [(1, 0), (1, 5), (0, 0), (1, 0)]);
    assert_eq!(snapshot.spent.iter().map(|row| row.calls).sum::<u64>(), 1);
}

#[test]
fn budgets_that_only_warn_or_do_not_enforce_let_calls_pass_and_count_them() {
    let ledger = ledger(vec![
        Budget { when_spent: WhenSpent::Warn, ..budget("warn", Key::Global, 1, Period::Month) },
        Budget { enforce: false, ..budget("shadow", Key::Global, 2, Period::Month) },
    ]);
    let shadows: Vec<Option<String>> = (0..4)
        .map(|_| {
            let spent = ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
            spent.would_have_been_refused_by().map(str::to_owned)
        })
        .collect();
    assert_eq!(shadows, [None, None, Some("shadow".into()), Some("shadow".into())]);
    let snapshot = ledger.snapshot(noon());
    let seen: Vec<(u64, u64)> = snapshot.budgets.iter().map(|state| (state.used, state.refused)).collect();
    assert_eq!(seen, [(4, 0), (4, 2)]);
}

#[test]
fn calls_that_did_not_reach_box_are_given_back() {
    let ledger = ledger(vec![budget("plan", Key::Global, 1, Period::Month)]);
    let spent = ledger.try_spend(&call_of(&ledger, 0, 0), noon()).unwrap();
    ledger.give_back(spent);
    assert_eq!(ledger.snapshot(noon()).spent, []);
    // After the turn of a month it is taken off the month in which it was charged.
    let late = ledger.try_spend(&call_of(&ledger, 0, 0), at("2026-11-30T23:59:59Z")).unwrap();
    ledger.try_spend(&call_of(&ledger, 0, 0), at("2026-12-01T00:00:00Z")).unwrap();
    ledger.give_back(late);
    assert_eq!(used(&ledger, "plan", "", noon()), 0);
    assert_eq!(used(&ledger, "plan", "", at("2026-12-01T00:00:00Z")), 1);
}

#[test]
fn a_clock_set_back_finds_its_old_counts() {
    let ledger = ledger(vec![
        budget("day", Key::Global, 2, Period::Day),
        budget("month", Key::Global, 9, Period::Month),
    ]);
    let (today, next_year) = (noon(), at("2027-11-25T12:00:00Z"));
    ledger.try_spend(&call_of(&ledger, 0, 0), today).unwrap();
    for now in [next_year, at("2026-11-24T12:00:00Z")] {
        ledger.try_spend(&call_of(&ledger, 0, 0), now).unwrap();
        ledger.try_spend(&call_of(&ledger, 0, 0), now).unwrap();
        ledger.try_spend(&call_of(&ledger, 0, 0), now).unwrap_err();
    }
    ledger.try_spend(&call_of(&ledger, 0, 0), today).unwrap();
    ledger.try_spend(&call_of(&ledger, 0, 0), today).unwrap_err();
    assert_eq!((used(&ledger, "month", "", today), used(&ledger, "month", "", next_year)), (4, 2));
}

#[test]
fn token_requests_and_lookups_are_counted_but_not_by_budgets() {
    let counts = counts();
    let spent = |budgets: Vec<Budget>| {
        let ledger = over(&counts, budgets, &["a", "b"]);
        counts.count_token_call("other".into(), noon());
        counts.count_lookup("other".into(), noon());
        ledger.snapshot(noon())
    };
    let of = |class: &str| SpentCalls {
        month: "2026-11".into(),
        app: "".into(),
        identity: "other".into(),
        class: class.into(),
        calls: 1,
    };
    assert_eq!(spent(vec![]).spent, [of("lookup"), of("token")]);
    // A budget that is added later counts earlier calls of the month, but neither of these.
    let later = [Key::Global, Key::Identity].map(|key| budget(key.as_str(), key, 10, Period::Month));
    let snapshot = spent(later.to_vec());
    assert!(snapshot.budgets.iter().all(|state| state.used == 0), "{:?}", snapshot.budgets);
    assert!(snapshot.spent.iter().all(|spent| spent.calls == 2), "{:?}", snapshot.spent);
}

#[test]
fn calls_are_counted_by_app_without_a_budget() {
    let ledger = ledger(Vec::new());
    ledger
        .try_spend(&Call { class: Class::Search, ..call_of(&ledger, 0, 0) }, at("2026-10-31T12:00:00Z"))
        .unwrap();
    for _ in 0..3 {
        ledger.try_spend(&Call { class: Class::Upload, ..call_of(&ledger, 1, 1) }, noon()).unwrap();
    }
    ledger.try_spend(&Call { class: Class::Search, ..call_of(&ledger, 0, 0) }, noon()).unwrap();
    let row = |month: &str, app: &str, identity: &str, class: &str, calls| SpentCalls {
        month: month.into(),
        app: app.into(),
        identity: identity.into(),
        class: class.into(),
        calls,
    };
    assert_eq!(
        ledger.snapshot(noon()).spent,
        [
            row("2026-10", "a", "service", "search", 1),
            row("2026-11", "a", "service", "search", 1),
            row("2026-11", "b", "other", "upload", 3),
        ]
    );
    assert_eq!(ledger.snapshot(at("2027-01-01T00:00:00Z")).spent, []);
    // A call with an unknown index counts only for global budgets.
    ledger.try_spend(&call_of(&ledger, 7, 7), noon()).unwrap();
}

#[test]
fn apps_may_be_reordered_or_renamed() {
    let counts = counts();
    let budgets =
        || vec![budget("apps", Key::App, 5, Period::Month), budget("all", Key::Global, 99, Period::Month)];
    let before = over(&counts, budgets(), &["a", "b"]);
    before.try_spend(&call_of(&before, 0, 0), noon()).unwrap();
    let after = over(&counts, budgets(), &["b", "new", "a"]);
    after.try_spend(&call_of(&after, 2, 0), noon()).unwrap();
    // A request that is still served with the previous configuration.
    before.try_spend(&call_of(&before, 1, 0), noon()).unwrap();
    let used = |name, value| used(&after, name, value, noon());
    assert_eq!((used("apps", "a"), used("apps", "b"), used("apps", "new"), used("all", "")), (2, 1, 0, 3));
    // Calls of an app that is no longer configured stay readable and part of the total.
    let without = over(&counts, budgets(), &["new"]);
    let snapshot = without.snapshot(noon());
    assert_eq!(snapshot.spent.iter().map(|row| &*row.app).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(snapshot.budgets[1].used, 3);
}

#[test]
fn each_threshold_is_logged_once() {
    let marks = |calls: u64, up_to: u64| (1..=up_to).filter(|used| is_mark(*used, calls)).collect::<Vec<_>>();
    assert_eq!(marks(50_000, 60_000), [40_000, 50_000, 55_000, 60_000]);
    assert_eq!(marks(10, 45), [8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 40]);
    assert_eq!(marks(3, 6), [3, 4, 5, 6]);
    assert_eq!(marks(1, 20), [1, 2, 4, 8, 16]);
    assert_eq!(marks(7, 7), [6, 7]);
    assert!(is_mark(u64::MAX, u64::MAX));
}

/// Many threads exhaust several budgets: exactly as many calls pass as the budgets allow.
#[test]
fn budgets_are_exact_under_concurrency() {
    for (budgets, passing) in [
        (vec![budget("all", Key::Global, 7001, Period::Month)], 7001),
        (
            vec![budget("all", Key::Global, 7001, Period::Month), budget("day", Key::App, 3000, Period::Day)],
            6000,
        ),
        (
            vec![budget("all", Key::Global, 5501, Period::Month), budget("app", Key::App, 3000, Period::Day)],
            5501,
        ),
        (
            vec![
                budget("all", Key::Global, 6500, Period::Month),
                budget("app", Key::App, 3300, Period::Month),
                budget("id", Key::Identity, 3200, Period::Day),
                Budget { enforce: false, ..budget("shadow", Key::Global, 1, Period::Day) },
            ],
            6400,
        ),
    ] {
        let ledger = ledger(budgets);
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (ledger, passed) = (&ledger, &passed);
                scope.spawn(move || {
                    for _ in 0..4000 {
                        let index = number % 2;
                        if ledger.try_spend(&call_of(ledger, index, index), noon()).is_ok() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), passing);
        let snapshot = ledger.snapshot(noon());
        assert_eq!(snapshot.spent.iter().map(|row| row.calls).sum::<u64>(), passing);
        for name in snapshot.budgets.iter().map(|state| state.name.clone()) {
            let of_name = snapshot.budgets.iter().filter(|state| state.name == name);
            assert!(of_name.clone().all(|state| !state.enforce || state.used <= state.calls));
            assert_eq!(of_name.map(|state| state.used).sum::<u64>(), passing, "{name}");
        }
    }
}

/// Random calls, refunds and times on several threads, compared with a simple model.
#[test]
fn random_calls_match_the_model() {
    let times = ["2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-11-30T10:00:00Z"].map(at);
    let ledger = ledger(vec![
        budget("app", Key::App, 900, Period::Day),
        budget("all", Key::Global, 1500, Period::Month),
    ]);
    let kept = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for seed in 0..4 {
            let (ledger, kept) = (&ledger, &kept);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut mine = Vec::new();
                for _ in 0..3000 {
                    let (app, time) = (random.usize(0..2), times[random.usize(0..3)]);
                    match ledger.try_spend(&call_of(ledger, app, 0), time) {
                        Ok(spent) if random.u8(0..4) == 0 => ledger.give_back(spent),
                        Ok(_) => mine.push((app, time)),
                        Err(_) => {}
                    }
                }
                kept.lock().unwrap().extend(mine);
            });
        }
    });
    let kept = kept.into_inner().unwrap();
    for now in times {
        let count = |period: Period, app: Option<usize>| {
            let same = |(of, time): &&(usize, SystemTime)| {
                period.at(timestamp(*time)) == period.at(timestamp(now)) && app.is_none_or(|app| app == *of)
            };
            kept.iter().filter(same).count() as u64
        };
        assert_eq!(used(&ledger, "all", "", now), count(Period::Month, None));
        assert_eq!(used(&ledger, "app", "a", now), count(Period::Day, Some(0)));
        assert_eq!(used(&ledger, "app", "b", now), count(Period::Day, Some(1)));
        assert!(count(Period::Month, None) <= 1500);
    }
}

/// A call of this operation by the first app and identity.
fn call_to(ledger: &BudgetLedger, method: &http::Method, path: &str) -> Call {
    let operation = Operation { method, path };
    ledger.call(AppId::new(0), IdentityId::new(0), Class::of(operation), operation)
}

fn on(budget: Budget, selectors: Vec<Selector>) -> Budget {
    Budget { on: selectors, ..budget }
}

fn ai() -> Vec<Selector> {
    vec![Selector::Pattern(Pattern::parse("POST /2.0/ai/**").unwrap())]
}

#[test]
fn a_budget_counts_and_refuses_only_the_operations_it_applies_to() {
    let ledger = ledger(vec![
        on(budget("ai", Key::Global, 1, Period::Month), ai()),
        on(budget("finding", Key::App, 2, Period::Day), vec![Selector::Class(Class::Search)]),
        Budget { enforce: false, ..on(budget("watch", Key::Global, 1, Period::Month), ai()) },
        budget("plan", Key::Global, 5, Period::Month),
    ]);
    let (get, post) = (http::Method::GET, http::Method::POST);
    let me = call_to(&ledger, &get, "/2.0/users/me");
    // In any spelling, as for a limit.
    let ask = [call_to(&ledger, &post, "/2.0/ai/ask"), call_to(&ledger, &post, "/2.0/AI/%61sk;x=1/")];
    let search = call_to(&ledger, &get, "/2.0/search");
    ledger.look(&ask[0], noon()).unwrap();
    ledger.try_spend(&ask[0], noon()).unwrap();
    for ask in &ask {
        assert_eq!(&*ledger.look(ask, noon()).unwrap_err().name, "ai");
        assert_eq!(&*ledger.try_spend(ask, noon()).unwrap_err().name, "ai");
    }
    ledger.look(&me, noon()).unwrap();
    ledger.try_spend(&me, noon()).unwrap();
    ledger.try_spend(&search, noon()).unwrap();
    let given_back = ledger.try_spend(&search, noon()).unwrap();
    let used = |name, value| used(&ledger, name, value, noon());
    assert_eq!((used("ai", ""), used("watch", ""), used("finding", "a"), used("plan", "")), (1, 1, 2, 4));
    assert_eq!(&*ledger.try_spend(&search, noon()).unwrap_err().name, "finding");
    ledger.give_back(given_back);
    assert_eq!((used("ai", ""), used("finding", "a"), used("plan", "")), (1, 1, 3));
    ledger.try_spend(&me, noon()).unwrap();
    ledger.try_spend(&me, noon()).unwrap();
    assert_eq!(&*ledger.try_spend(&search, noon()).unwrap_err().name, "plan");
    assert_eq!(used("finding", "a"), 1, "what one refuses is charged to none");
}

#[test]
fn a_budget_without_on_keeps_its_account_and_a_changed_on_begins_a_new_one() {
    let counts = counts();
    let plan = budget("plan", Key::Global, 100, Period::Month);
    let search = on(plan.clone(), vec![Selector::Class(Class::Search)]);
    let both = on(plan.clone(), [ai(), vec![Selector::Class(Class::Search)]].concat());
    assert_eq!(&*plan.account(), "plan", "as it was before there was such a key");
    assert_eq!(&*both.account(), "plan[POST /2.0/ai/**, search]");
    let reordered = on(plan.clone(), [vec![Selector::Class(Class::Search)], ai(), ai()].concat());
    assert_eq!(reordered.account(), both.account());
    let spent = |budget: &Budget, paths: &[&str]| {
        let ledger = over(&counts, vec![budget.clone()], &["a", "b"]);
        for path in paths {
            ledger.try_spend(&call_to(&ledger, &http::Method::GET, path), noon()).unwrap();
        }
        used(&ledger, "plan", "", noon())
    };
    assert_eq!(spent(&plan, &["/2.0/users/me", "/2.0/search", "/2.0/search"]), 3);
    // It begins with the calls of this month that are known to be of its class.
    assert_eq!(spent(&search, &["/2.0/search", "/2.0/users/me"]), 3);
    assert_eq!(spent(&both, &[]), 3);
    assert_eq!(spent(&on(plan.clone(), ai()), &["/2.0/users/me"]), 0);
    assert_eq!(spent(&plan, &[]), 6);
}

mod reload;
