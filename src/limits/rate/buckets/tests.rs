//! Which requests pass, what they are charged to, and which counts are kept.

use std::net::IpAddr;

use super::super::limit::{Key, Limit, Quota};
use super::super::matcher::{RequestKey, User};
use super::*;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use http::Method;
use proptest::prelude::*;
use std::num::NonZeroU32;

const SECOND: u64 = 1_000_000_000;

fn limit(name: &str, key: Key, interval: u64, burst: u32) -> Limit {
    Limit {
        name: name.into(),
        key,
        on: vec![],
        quota: Quota::Bucket {
            interval: Duration::from_nanos(interval),
            burst: NonZeroU32::new(burst).unwrap(),
        },
        wait: Duration::ZERO,
        enforce: true,
    }
}

fn request_key(client: IpAddr) -> RequestKey<'static> {
    RequestKey {
        operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
        class: Class::General,
        client: client.into(),
        app: AppId::new(0),
        identity: IdentityId::new(0),
        app_number: 0,
        identity_number: 0,
        user: User::Service,
        enterprise: 0,
        counted_by_box: true,
    }
}

fn client(text: &str) -> RequestKey<'static> {
    request_key(text.parse().unwrap())
}

/// The verdict of the limits on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It passed and was charged.
    Pass(Passed),
    /// It was refused and not charged to any limit.
    Refused(Refused),
}

impl Table {
    /// Charges a request to all its limits or to none.
    fn check(&mut self, keys: &Keys, now: u64) -> Verdict {
        self.stage(keys, now);
        if self.passes() {
            return Verdict::Pass(self.charge(now));
        }
        let left = self.staged().map(|staged| staged.left()).max().unwrap_or(0);
        let first = self.staged().find(|staged| staged.left() > 0);
        Verdict::Refused(self.refusal(first.map(|staged| staged.counted).unwrap_or_default(), left))
    }
}

/// The table of a single configuration, whose limits have their indices as slots.
fn table_of(rules: &LimitMatcher) -> Table {
    let mut table = Table::new();
    table.bind(rules, true, 0);
    table
}

fn passed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Pass(_))
}

/// Whether every closed window keeps to the limit, including those that begin and end with a call.
fn keeps_to(admitted: &[u64], burst: u64, interval: u64) -> bool {
    admitted.iter().enumerate().all(|(i, from)| {
        admitted[i..].iter().zip(1..).all(|(to, calls)| calls <= burst + (to - from) / interval)
    })
}

fn times() -> impl Strategy<Value = Vec<u64>> {
    // Bursts at one instant, steps around an interval, long breaks.
    let step = prop_oneof![4 => Just(0_u64), 4 => 0..2_000_u64, 1 => 0..100_000_u64];
    prop::collection::vec(step, 1..200).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|step| {
                now += step;
                now
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_window_sees_more_than_burst_and_refill(times in times(), interval in 1..3_000_u64, burst in 1..20_u32) {
        let rules = LimitMatcher::new(vec![limit("a", Key::Global, interval, burst)], vec![]);
        let mut table = table_of(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        let admitted: Vec<u64> = times.into_iter().filter(|now| passed(&table.check(&keys, *now))).collect();
        prop_assert!(keeps_to(&admitted, u64::from(burst), interval));
        prop_assert!(!admitted.is_empty());
    }

    #[test]
    fn all_are_charged_or_none(times in times(), intervals in [1..3_000_u64, 1..3_000_u64, 1..3_000_u64], bursts in [1..8_u32, 1..8_u32, 1..8_u32]) {
        let one = |i: usize| limit("a", Key::Global, intervals[i], bursts[i]);
        let rules = LimitMatcher::new((0..3).map(one).collect(), vec![]);
        let mut table = table_of(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        // The expected counts are those of limits that have seen only the requests that all of them let pass.
        let alone: Vec<LimitMatcher> = (0..3).map(|i| LimitMatcher::new(vec![one(i)], vec![])).collect();
        let mut apart: Vec<Table> = alone.iter().map(table_of).collect();
        for now in times {
            let says: Vec<bool> = alone.iter().zip(&mut apart).map(|(rules, table)| {
                table.stage(&rules.applying(&client("10.0.0.1")), now);
                table.passes()
            }).collect();
            match table.check(&keys, now) {
                Verdict::Pass(_) => {
                    prop_assert!(says.iter().all(|passes| *passes));
                    for table in &mut apart {
                        table.charge(now);
                    }
                }
                Verdict::Refused(refused) => {
                    // The refusal names the first limit that refuses.
                    prop_assert_eq!(Some(refused.slot as usize), says.iter().position(|passes| !passes));
                }
            }
        }
    }

    #[test]
    fn retry_after_is_exact(times in times(), intervals in [1..3_000_u64, 1..3_000_u64], bursts in [1..8_u32, 1..8_u32]) {
        let rules = LimitMatcher::new((0..2).map(|i| limit("a", Key::Global, intervals[i], bursts[i])).collect(), vec![]);
        let mut table = table_of(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        for now in times {
            if let Verdict::Refused(refused) = table.check(&keys, now) {
                let then = now + u64::try_from(refused.retry_after.as_nanos()).unwrap();
                table.stage(&keys, then - 1);
                prop_assert!(!table.passes());
                table.stage(&keys, then);
                prop_assert!(table.passes());
            }
        }
    }
}

#[test]
fn each_key_has_its_count() {
    let one = |key| LimitMatcher::new(vec![limit("a", key, SECOND, 1)], vec![]);
    let base = client("10.0.0.1");
    let [id, other_id] = [User::Id("1"), User::Id("2")];
    for (key, same, other) in [
        (Key::Client, RequestKey { app_number: 1, ..base }, client("10.0.0.2")),
        (Key::App, RequestKey { identity_number: 1, ..base }, RequestKey { app_number: 1, ..base }),
        (Key::Identity, RequestKey { app_number: 1, ..base }, RequestKey { identity_number: 1, ..base }),
        (Key::Enterprise, RequestKey { identity_number: 1, ..base }, RequestKey { enterprise: 1, ..base }),
        (Key::User, RequestKey { identity_number: 1, ..base }, RequestKey { user: id, ..base }),
    ] {
        let rules = one(key);
        let mut table = table_of(&rules);
        assert!(passed(&table.check(&rules.applying(&base), 0)), "{key:?}");
        assert!(!passed(&table.check(&rules.applying(&same), 0)), "{key:?}");
        assert!(passed(&table.check(&rules.applying(&other), 0)), "{key:?}");
    }
    // A user has one count over all identities that act for it.
    let rules = one(Key::User);
    let mut table = table_of(&rules);
    assert!(passed(&table.check(&rules.applying(&RequestKey { user: id, ..base }), 0)));
    assert!(!passed(
        &table.check(&rules.applying(&RequestKey { user: id, enterprise: 1, identity_number: 1, ..base }), 0)
    ));
    assert!(passed(&table.check(&rules.applying(&RequestKey { user: other_id, ..base }), 0)));
    let rules = one(Key::Global);
    let mut table = table_of(&rules);
    assert!(passed(&table.check(&rules.applying(&base), 0)));
    assert!(!passed(
        &table.check(&rules.applying(&RequestKey { app_number: 1, user: id, ..client("::1") }), 0)
    ));
}

#[test]
fn ipv6_addresses_are_grouped_by_64_bits() {
    let rules = LimitMatcher::new(vec![limit("a", Key::Client, SECOND, 1)], vec![]);
    let key = |text: &str| rules.applying(&client(text)).iter().next().unwrap();
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
}

#[test]
fn boxs_own_limits_count_only_what_box_counts() {
    let of_box = vec![limit("box", Key::User, SECOND, 1)];
    let rules = LimitMatcher::new(vec![limit("own", Key::User, SECOND, 1)], of_box);
    let presigned = RequestKey { counted_by_box: false, ..client("10.0.0.1") };
    assert_eq!(rules.applying(&presigned).iter().map(|counted| counted.slot).collect::<Vec<_>>(), [0]);
    assert_eq!(rules.applying(&client("10.0.0.1")).iter().count(), 2);
}

#[test]
fn a_shadow_limit_counts_and_lets_pass() {
    let shadow = Limit { enforce: false, ..limit("shadow", Key::Global, SECOND, 1) };
    let rules = LimitMatcher::new(vec![shadow, limit("real", Key::Global, SECOND, 3)], vec![]);
    let mut table = table_of(&rules);
    let keys = rules.applying(&client("10.0.0.1"));
    let shadows: Vec<Option<usize>> = (0..4)
        .map(|_| match table.check(&keys, 0) {
            Verdict::Pass(passed) => Some(passed.shadow.len()),
            Verdict::Refused(_) => None,
        })
        .collect();
    assert_eq!(shadows, [Some(0), Some(1), Some(1), None]);
}

#[test]
fn a_shadow_limit_with_a_queue_counts_requests_that_would_wait_too_long() {
    let wait = Duration::from_secs(3);
    let shadow = Limit { enforce: false, wait, ..limit("shadow", Key::Global, SECOND, 2) };
    let rules = LimitMatcher::new(vec![shadow], vec![]);
    let mut table = table_of(&rules);
    let keys = rules.applying(&client("10.0.0.1"));
    let refused = |verdict| matches!(verdict, Verdict::Pass(Passed { shadow, .. }) if !shadow.is_empty());
    // Two at once, one each after 1, 2 and 3 s; the sixth would wait 4 s.
    assert_eq!((0..7).filter(|_| refused(table.check(&keys, 0))).count(), 2);
    assert!(!refused(table.check(&keys, SECOND)));
}

#[test]
fn the_fields_show_the_state_of_the_limit() {
    let rules = LimitMatcher::new(vec![limit("a \"b\"", Key::Global, SECOND / 10, 20)], vec![]);
    let mut table = table_of(&rules);
    let keys = rules.applying(&client("10.0.0.1"));
    for _ in 0..20 {
        assert!(passed(&table.check(&keys, 0)));
    }
    let Verdict::Refused(refused) = table.check(&keys, 0) else { panic!() };
    assert_eq!(refused.headers.policy(), "\"a _b_\";q=20;w=2");
    assert_eq!(refused.headers.state(), "\"a _b_\";r=0;t=1");
    assert_eq!(refused.retry_after, Duration::from_millis(100));
}

#[test]
fn extreme_settings_do_no_harm() {
    for (interval, burst) in [(u64::MAX, u32::MAX), (1, u32::MAX), (1 << 61, 9), (86_400 * SECOND, u32::MAX)]
    {
        let rules = LimitMatcher::new(vec![limit("a", Key::Global, interval, burst)], vec![]);
        let mut table = table_of(&rules);
        let keys = rules.applying(&client("10.0.0.1"));
        for now in [0, SECOND, 1 << 61] {
            table.check(&keys, now);
        }
    }
}

#[test]
fn a_flood_of_addresses_takes_bounded_memory_and_gives_it_back() {
    let limits = vec![limit("a", Key::Client, SECOND, 2)];
    let rules = LimitMatcher::new(limits, vec![]);
    let mut table = Table { keys_max: 1000, ..table_of(&rules) };
    let known = rules.applying(&client("192.0.2.1"));
    assert!(passed(&table.check(&known, 0)));
    // A hundred times as many addresses as fit, within 2 s; an earlier one that goes on keeps its count.
    let mut admitted = 0;
    for i in 0..100_000_u32 {
        let now = u64::from(i) * 20_000;
        let keys = rules.applying(&request_key(IpAddr::from((0x0a00_0000 + i).to_be_bytes())));
        admitted += u32::from(passed(&table.check(&keys, now)));
        assert!(table.size().0 <= 1000 && table.size().1 <= 4000);
        if i % 40_000 == 39_999 {
            assert!(passed(&table.check(&known, now)));
        }
    }
    assert!(admitted < 3100, "{admitted}");
    // A minute later only the addresses that call then have counts.
    table.check(&known, 60 * SECOND);
    table.check(&known, 120 * SECOND);
    assert!(table.size().0 <= 1 && table.size().1 < 100, "{:?}", table.size());
}

#[test]
fn ten_million_keys_leave_no_trace() {
    let rules = LimitMatcher::new(vec![limit("a", Key::Client, 1000, 1)], vec![]);
    let mut table = table_of(&rules);
    let mut most = 0;
    // Uses hashes directly; hashing addresses is tested above. With one call each 10 ns, every count lives for only 100
    // steps, so expired ones are searched for again and again.
    let millions = if cfg!(debug_assertions) { 1 } else { 10 };
    for i in 0..millions * 1_000_000_u64 {
        let mut keys = Keys::default();
        keys.push(Counted { slot: 0, key: i.wrapping_mul(0x9e37_79b9_7f4a_7c15) });
        table.check(&keys, i * 10);
        most = most.max(table.size().0);
    }
    assert!(most <= KEYS_MAX);
    let mut keys = Keys::default();
    keys.push(Counted { slot: 0, key: 1 });
    table.check(&keys, 1000 * SECOND);
    table.check(&keys, 1010 * SECOND);
    assert!(table.size().1 < 100, "{:?}", table.size());
}

#[test]
fn a_new_key_inherits_the_count_that_new_keys_shared() {
    let rules = LimitMatcher::new(vec![limit("a", Key::Client, SECOND, 1)], vec![]);
    let mut table = Table { keys_max: 1, ..table_of(&rules) };
    let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|text| rules.applying(&client(text)));
    assert!(passed(&table.check(&first, 0)));
    assert!(passed(&table.check(&second, SECOND / 2)));
    // The first one's count expires at 1 s and makes room; the second one's call at 0.5 s still counts.
    assert!(!passed(&table.check(&second, SECOND + SECOND / 4)));
    assert!(passed(&table.check(&second, SECOND + SECOND / 2)));
}
