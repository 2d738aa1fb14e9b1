use super::*;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU64;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::limits::budget::call::Call;
use crate::limits::budget::definition::{Budget, Key, WhenSpent};
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::budget::store::tests::{Folder, unless_in_use};
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

fn started(folder: &Path, needed: bool, clock: Clock) -> (Arc<CallCounts>, CountsWriter) {
    unless_in_use(|| start(folder, needed, clock.clone())).unwrap()
}

fn ledger(counts: &Arc<CallCounts>, apps: &[&str], now: SystemTime) -> BudgetLedger {
    let rule = |name: &str, key, calls, per| Budget {
        name: name.into(),
        key,
        on: vec![],
        calls: NonZeroU64::new(calls).unwrap(),
        per,
        when_spent: WhenSpent::Reject,
        enforce: true,
    };
    let budgets = vec![
        rule("plan", Key::Global, 1_000_000, Period::Month),
        rule("day", Key::App, 1_000_000, Period::Day),
    ];
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    BudgetLedger::new(budgets, names(apps), names(&["service"]), counts.clone(), now)
}

/// A call of this app and identity.
fn call_of(ledger: &BudgetLedger, app: usize, identity: usize) -> Call {
    let operation = Operation { method: &http::Method::GET, path: "/2.0/search" };
    ledger.call(AppId::new(app), IdentityId::new(identity), Class::Search, operation)
}

fn used(ledger: &BudgetLedger, name: &str, value: &str, now: SystemTime) -> u64 {
    let snapshot = ledger.snapshot(now);
    snapshot.budgets.iter().find(|state| &*state.name == name && &*state.value == value).unwrap().used
}

#[test]
fn counts_survive_a_restart_and_end_with_their_period() {
    let folder = Folder::new();
    let clock = Clock::adjustable();
    let (counts, writer) = started(&folder.0, true, clock.clone());
    let before = ledger(&counts, &["a", "b"], clock.wall());
    for app in [0, 0, 1] {
        before.try_spend(&call_of(&before, app, 0), clock.wall()).unwrap();
    }
    let wall = clock.wall();
    writer.stop();
    // With apps in another order, and one renamed.
    let (counts, writer) = started(&folder.0, true, clock.clone());
    let after = ledger(&counts, &["c", "a"], clock.wall());
    after.try_spend(&call_of(&after, 1, 0), wall).unwrap();
    let counts =
        [("plan", ""), ("day", "a"), ("day", "c")].map(|(name, value)| used(&after, name, value, wall));
    assert_eq!(counts, [4, 3, 0]);
    let spent = |now| -> Vec<(String, u64)> {
        after.snapshot(now).spent.iter().map(|row| (row.app.to_string(), row.calls)).collect()
    };
    assert_eq!(spent(wall), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    // A new month begins during the run; the previous one stays readable, also after a restart.
    let next = Period::Month.at(timestamp(wall)).ends();
    clock.advance(SystemTime::try_from(next).unwrap().duration_since(clock.wall()).unwrap());
    assert_eq!(used(&after, "plan", "", clock.wall()), 0);
    after.try_spend(&call_of(&after, 0, 0), clock.wall()).unwrap();
    writer.stop();
    let (counts, _writer) = started(&folder.0, true, clock.clone());
    let later = ledger(&counts, &["c"], clock.wall());
    assert_eq!(used(&later, "plan", "", clock.wall()), 1);
    assert_eq!(used(&later, "day", "c", clock.wall()), 1);
    assert_eq!(later.snapshot(clock.wall()).spent.len(), 3);
    // After the clock is set back into the previous month, its count is there.
    assert_eq!(used(&later, "plan", "", wall), 4);
}

#[test]
fn without_a_budget_an_unusable_folder_is_not_an_error() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.parent().unwrap()).unwrap();
    fs::write(&folder.0, "a file").unwrap();
    assert!(start(&folder.0, true, Clock::real()).is_err());
    let (counts, writer) = started(&folder.0, false, Clock::real());
    assert!(counts.file.in_memory.load(Ordering::Relaxed));
    let now = Clock::real().wall();
    let ledger = ledger(&counts, &["a"], now);
    ledger.try_spend(&call_of(&ledger, 0, 0), now).unwrap();
    writer.stop();
    assert_eq!(fs::read(&folder.0).unwrap(), b"a file");
}

#[test]
fn a_renamed_corrupt_file_is_counted() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("budgets.redb"), "not at all").unwrap();
    let (counts, _writer) = started(&folder.0, true, Clock::real());
    assert_eq!(counts.file.set_aside.load(Ordering::Relaxed), 1);
    assert!(!counts.file.in_memory.load(Ordering::Relaxed));
}

const CHILD: &str = "BOXGATE_TEST_BUDGET_CHILD";

/// Not a test: the process that [`a_kill_loses_the_last_second_at_most`] kills.
#[test]
#[ignore = "a child process of another test"]
fn spends_till_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let clock = Clock::real();
    let (counts, _writer) = started(Path::new(&folder), true, clock.clone());
    let ledger = ledger(&counts, &["a"], clock.wall());
    for count in used(&ledger, "plan", "", clock.wall()) + 1.. {
        ledger.try_spend(&call_of(&ledger, 0, 0), clock.wall()).unwrap();
        writeln!(std::io::stdout(), "\nspent {count}").unwrap();
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_kill_loses_the_last_second_at_most() {
    let folder = Folder::new();
    let clock = Clock::real();
    let mut floor = 0;
    for run in [2710, 3240] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "limits::budget::writer::tests::spends_till_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(count) = line.strip_prefix("spent ") else { continue };
            if seen.is_empty() {
                let other = start(&folder.0, true, clock.clone());
                assert!(matches!(other, Err(OpenError::InUse(_))), "another process has the file");
            }
            seen.push((clock.mono(), count.parse::<u64>().unwrap()));
            if clock.mono() - seen[0].0 > Duration::from_millis(run) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = clock.mono();
        let (counts, writer) = started(&folder.0, true, clock.clone());
        let ledger = ledger(&counts, &["a"], clock.wall());
        let calls: u64 = ledger.snapshot(clock.wall()).spent.iter().map(|row| row.calls).sum();
        let found = used(&ledger, "plan", "", clock.wall());
        assert_eq!(calls, found, "calls and budgets are written together");
        writer.stop();
        // One second more than promised, for busy machines.
        let old = Duration::from_millis(2000);
        let safe = seen.iter().filter(|(at, _)| killed - *at > old).map(|(_, count)| *count).max();
        assert!(found >= safe.unwrap_or(floor), "{found} of {safe:?}");
        assert!(found > floor, "something was written");
        assert_eq!(counts.file.set_aside.load(Ordering::Relaxed), 0);
        floor = found;
    }
}
