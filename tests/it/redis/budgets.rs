use std::time::SystemTime;

use boxgate::limits::budget::call::Call;
use boxgate::limits::budget::counts::CallCounts;
use boxgate::limits::budget::spending::BudgetLedger;
use boxgate::limits::selector::Selector;
use boxgate::routing::operation_class::Class;
use jiff::Timestamp;

use super::*;
use boxgate::oauth::identity::IdentityId;
use boxgate::routing::app::AppId;
use boxgate::routing::operation::Operation;

pub fn budget(name: &str, calls: u64, when_spent: WhenSpent) -> Budget {
    Budget {
        name: name.into(),
        key: definition::Key::Global,
        on: vec![],
        calls: NonZeroU64::new(calls).unwrap(),
        per: Period::Month,
        when_spent,
        enforce: true,
    }
}

pub fn call(budget: &Budget) -> Spend<'_> {
    Spend { budget, key: "", period: "2026-11", ends_in: HOUR, at_least: 0, made: 0, batch: 0 }
}

#[tokio::test]
async fn three_replicas_spend_a_budget_to_the_last_call() {
    let server = Server::start().await;
    let plan = budget("plan", 100, WhenSpent::Reject);
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let side = Arc::new(Side::join(&server.url()).await);
        for _ in 0..60 {
            let (side, plan) = (side.clone(), plan.clone());
            calls.spawn(async move { side.replicas.spend(&[call(&plan)]).await.unwrap() });
        }
    }
    let answers = calls.join_all().await;
    let mut spent: Vec<u64> =
        answers.iter().filter(|spent| spent.refused.is_none()).map(|spent| spent.counts[0]).collect();
    spent.sort_unstable();
    assert_eq!(spent, (1..=100).collect::<Vec<u64>>());
    assert!(answers.iter().filter(|spent| spent.refused.is_some()).all(|spent| spent.counts == [100]));
}

#[tokio::test]
async fn a_call_is_charged_to_all_budgets_or_to_none() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let (plan, app) = (budget("plan", 10, WhenSpent::Reject), budget("app", 2, WhenSpent::Reject));
    let watched = budget("watched", 1, WhenSpent::Warn);
    let all = [call(&plan), call(&app), call(&watched)];
    for count in 1..=2 {
        let spent = side.replicas.spend(&all).await.unwrap();
        assert_eq!((spent.refused, spent.counts), (None, vec![count; 3]), "a warning is no refusal");
    }
    let spent = side.replicas.spend(&all).await.unwrap();
    assert_eq!((spent.refused, spent.counts), (Some(1), vec![2, 2, 2]));
    let next = Spend { period: "2026-12", ..call(&app) };
    assert_eq!(side.replicas.spend(&[next]).await.unwrap().counts, [1], "a period of its own");
    for key in server.keys("*}b:*").await {
        let life: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut server.other().await).await.unwrap();
        assert!(life > 3_600_000 && life <= 7_200_000, "{key}: {life}");
    }
}

#[tokio::test]
async fn counts_that_redis_has_lost_or_missed_are_corrected() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let plan = budget("plan", 50, WhenSpent::Reject);
    let spend = async |at_least, made| {
        let spent = side
            .replicas
            .spend(&[Spend { at_least, made, batch: fastrand::u64(..), ..call(&plan) }])
            .await
            .unwrap();
        (spent.refused, spent.counts[0])
    };
    assert_eq!(spend(30, 0).await, (None, 31));
    server.run(&["FLUSHALL"]).await;
    assert_eq!(spend(31, 0).await, (None, 32));
    assert_eq!(spend(0, 7).await, (None, 40));
    assert_eq!(spend(0, 12).await, (Some(0), 52), "made is made");
    let key = server.key("b").await;
    for absent in ["", "abc", "-5", "1e3", "1.5", "99999999999999999999", "nan"] {
        server.run(&["SET", &key, absent]).await;
        assert_eq!(spend(3, 0).await, (None, 4), "{absent:?}");
    }
    server.run(&["DEL", &key]).await;
    server.run(&["LPUSH", &key, "1"]).await;
    assert_eq!(spend(0, 0).await, (None, 1));
}

fn at(text: &str) -> SystemTime {
    text.parse::<Timestamp>().unwrap().try_into().unwrap()
}

/// The ledger of one replica.
fn ledger(budgets: &[&Budget]) -> BudgetLedger {
    let book = Arc::new(CallCounts::new(Timestamp::UNIX_EPOCH, []));
    let budgets = budgets.iter().map(|budget| (*budget).clone()).collect();
    BudgetLedger::new(budgets, vec!["a".into()], vec!["service".into()], book, at("2026-11-25T12:00:00Z"))
}

/// A call of this app and identity.
fn call_of(ledger: &BudgetLedger, app: usize, identity: usize) -> Call {
    let operation = Operation { method: &http::Method::GET, path: "/2.0/users/me" };
    ledger.call(AppId::new(app), IdentityId::new(identity), Class::General, operation)
}

async fn spend(ledger: &BudgetLedger, side: &Side, now: &str) -> Result<spending::Spent, String> {
    let spent = ledger.spend_together(&side.replicas, &call_of(ledger, 0, 0), at(now)).await;
    spent.map_err(|spent| spent.name.to_string())
}

/// A call of a search, which a budget of its own is about.
fn search_of(ledger: &BudgetLedger) -> Call {
    let operation = Operation { method: &http::Method::GET, path: "/2.0/search" };
    ledger.call(AppId::new(0), IdentityId::new(0), Class::Search, operation)
}

/// As the replica knows it, by budget.
fn used(ledger: &BudgetLedger, now: &str) -> Vec<u64> {
    ledger.snapshot(at(now)).budgets.iter().map(|state| state.used).collect()
}

async fn counts(server: &Server, period: &str) -> Vec<u64> {
    let mut counts = Vec::new();
    for key in server.keys(&format!("*}}b:*:{period}:*")).await {
        counts.push(redis::cmd("GET").arg(key).query_async(&mut server.other().await).await.unwrap());
    }
    counts
}

#[tokio::test]
async fn locally_counted_calls_belong_to_their_own_period() {
    let mut server = Server::start().await;
    let (month, day) = (budget("month", 100, WhenSpent::Reject), budget("day", 100, WhenSpent::Reject));
    let day = Budget { per: Period::Day, ..day };
    let ledger = ledger(&[&month, &day]);
    let side = Side::join(&server.url()).await;
    spend(&ledger, &side, "2026-11-28T23:00:00Z").await.unwrap();
    server.kill();
    side.local().await;
    for now in ["2026-11-28T23:59:00Z", "2026-11-29T00:01:00Z", "2026-11-29T00:02:00Z"] {
        spend(&ledger, &side, now).await.unwrap();
    }
    assert!(server.launch().await);
    let side = side.shared().await;
    // After the turn of the day: the month's calls are reported, those of the previous day are not.
    spend(&ledger, &side, "2026-11-30T08:00:00Z").await.unwrap();
    assert_eq!((counts(&server, "2026-11").await, counts(&server, "2026-11-30").await), (vec![5], vec![1]));
    server.kill();
    side.local().await;
    spend(&ledger, &side, "2026-11-30T23:59:59Z").await.unwrap();
    assert!(server.launch().await);
    let side = side.shared().await;
    // After the turn of the month: none are reported.
    spend(&ledger, &side, "2026-12-01T00:00:00Z").await.unwrap();
    assert_eq!((counts(&server, "2026-12").await, counts(&server, "2026-12-01").await), (vec![1], vec![1]));
    assert_eq!(used(&ledger, "2026-12-01T00:00:00Z"), [1, 1]);
}

#[tokio::test]
async fn locally_counted_calls_are_added_once_even_if_the_reply_is_lost() {
    let mut server = Server::start().await;
    let plan = budget("plan", 100, WhenSpent::Reject);
    let ledger = ledger(&[&plan]);
    let now = "2026-11-25T12:00:00Z";
    let side = Side::new(&server.url(), Duration::from_millis(500), MAX_PAUSE, &[]).shared().await;
    server.kill();
    side.local().await;
    for _ in 0..20 {
        spend(&ledger, &side, now).await.unwrap();
    }
    assert!(server.launch().await);
    let side = side.shared().await;
    // The operation is executed, but too late for its caller.
    server.signal("STOP");
    spend(&ledger, &side, now).await.unwrap();
    side.local().await;
    server.signal("CONT");
    let side = side.shared().await;
    for _ in 0..2 {
        spend(&ledger, &side, now).await.unwrap();
    }
    let count = counts(&server, "2026-11").await[0];
    // 23 calls were made. The one whose answer was lost may count once more; of the twenty none.
    assert!((23..=24).contains(&count), "{count}");
}

#[tokio::test]
async fn locally_counted_calls_are_not_lost_when_a_caller_leaves() {
    let mut server = Server::start().await;
    let plan = budget("plan", 100, WhenSpent::Reject);
    let (ledger, other) = (ledger(&[&plan]), ledger(&[&plan]));
    let now = "2026-11-25T12:00:00Z";
    let side = Side::join(&server.url()).await;
    server.kill();
    side.local().await;
    for _ in 0..20 {
        spend(&ledger, &side, now).await.unwrap();
    }
    assert!(server.launch().await);
    let side = side.shared().await;
    for _ in 0..10 {
        spend(&other, &side, now).await.unwrap();
    }
    server.signal("STOP");
    assert!(tokio::time::timeout(Duration::ZERO, spend(&ledger, &side, now)).await.is_err());
    server.signal("CONT");
    spend(&ledger, &side, now).await.unwrap();
    let count = counts(&server, "2026-11").await[0];
    // 31 calls were made. The one that was given up may have been counted.
    assert!((31..=32).contains(&count), "{count}");
}

#[tokio::test]
async fn calls_that_could_not_be_sent_leave_the_budget_for_others() {
    let server = Server::start().await;
    let plan = budget("plan", 3, WhenSpent::Reject);
    let ledger = ledger(&[&plan]);
    let now = "2026-11-25T12:00:00Z";
    let side = Side::join(&server.url()).await;
    spend(&ledger, &side, now).await.unwrap();
    for _ in 0..10 {
        ledger.give_back(spend(&ledger, &side, now).await.unwrap());
    }
    spend(&ledger, &side, now).await.unwrap();
    ledger.give_back(spend(&ledger, &side, now).await.unwrap());
    assert!(ledger.look(&call_of(&ledger, 0, 0), at(now)).is_ok(), "the last is paid for");
    spend(&ledger, &side, now).await.unwrap();
    assert!(ledger.look(&call_of(&ledger, 0, 0), at(now)).is_err());
    assert_eq!(spend(&ledger, &side, now).await.unwrap_err(), "plan");
    assert_eq!(counts(&server, "2026-11").await, [3]);
    let spent = ledger.snapshot(at(now)).spent;
    assert_eq!(spent.iter().map(|spent| spent.calls).sum::<u64>(), 3);
}

#[tokio::test]
async fn a_budget_for_some_operations_is_not_affected_by_other_calls() {
    let server = Server::start().await;
    let plan = budget("plan", 10, WhenSpent::Reject);
    let searches =
        Budget { on: vec![Selector::Class(Class::Search)], ..budget("searches", 2, WhenSpent::Reject) };
    let (one, other) = (ledger(&[&plan, &searches]), ledger(&[&plan, &searches]));
    let now = "2026-11-25T12:00:00Z";
    let (side, next) = (Side::join(&server.url()).await, Side::join(&server.url()).await);
    spend(&one, &side, now).await.unwrap();
    // A charged call that was not made does not pay for a search.
    one.give_back(spend(&one, &side, now).await.unwrap());
    let find = async |ledger: &BudgetLedger, side: &Side| {
        let spent = ledger.spend_together(&side.replicas, &search_of(ledger), at(now)).await;
        spent.map_err(|spent| spent.name.to_string())
    };
    find(&one, &side).await.unwrap();
    find(&other, &next).await.unwrap();
    assert_eq!(find(&one, &side).await.unwrap_err(), "searches");
    assert_eq!(find(&other, &next).await.unwrap_err(), "searches");
    assert_eq!(used(&other, now), [4, 2]);
    spend(&one, &side, now).await.unwrap();
    spend(&other, &next, now).await.unwrap();
    assert_eq!(used(&other, now), [5, 2], "one of these was paid for");
    // The one without `on` has the key that it had before there was such a key.
    assert_eq!(server.keys("{boxgate:}b:plan:2026-11:*").await.len(), 1);
}
