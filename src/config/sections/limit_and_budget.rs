//! `[[limit]]`, `[limits]` and `[[budget]]`.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::super::diagnostics::{Location, Notes};
use super::super::raw::{self, Entry, Table};
use super::super::values;
use super::{names, reader};
use crate::limits::budget::definition::{self, Budget, Period, WhenSpent};
use crate::limits::rate::limit::{self, Limit, Quota, WAIT_MAX};
use crate::limits::selector::Selector;

/// The largest `burst`.
const MOST_AT_ONCE: u32 = 1_000_000;
/// The largest `calls`. JavaScript can represent it exactly.
const MOST_CALLS: u64 = 1_000_000_000_000_000;

/// Reads `[[limit]]`, in the order of the file.
pub(super) fn read(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Vec<Limit> {
    let written = names::tables(entry, "limit", notes);
    written.into_iter().filter_map(|(location, table)| limit(&location, table, notes)).collect()
}

/// `None` if a required key is missing or wrong.
fn limit<'d>(location: &Location, table: &'d DeTable<'d>, notes: &mut Notes<'_>) -> Option<Limit> {
    let written = raw::Limit::of(table, &location.key, notes);
    let keys = [
        ("client", limit::Key::Client),
        ("app", limit::Key::App),
        ("user", limit::Key::User),
        ("identity", limit::Key::Identity),
        ("global", limit::Key::Global),
    ];
    let name = required(&written.name, location, "name", "each limit has a name of its own", notes);
    let key = required(&written.key, location, "key", &one_of(&keys), notes);
    let rate = required(&written.rate, location, "rate", &format!("expected {}", values::A_RATE), notes);
    let name = reader::parsed(name, "a name", |text| values::limit_name(text).map(|()| text.into()), notes);
    let rate = reader::parsed(rate, values::A_RATE, values::rate, notes);
    let burst = rate.as_ref().map_or(1, |rate| rate.in_a_second()).clamp(1, u64::from(MOST_AT_ONCE));
    let burst = u32::try_from(burst).unwrap_or(MOST_AT_ONCE);
    let limit = Limit {
        name: name.unwrap_or_else(|| Arc::from("")),
        key: reader::choice(key, &keys, limit::Key::Global, notes),
        on: selectors(written.on.as_ref(), "limit", notes),
        quota: Quota::Bucket {
            interval: rate.as_ref().map_or(Duration::ZERO, |rate| rate.interval()),
            burst: NonZeroU32::new(reader::integer(written.burst.as_ref(), 1..=MOST_AT_ONCE, burst, notes))?,
        },
        wait: reader::duration_within(
            written.wait.as_ref(),
            Duration::ZERO..=WAIT_MAX,
            "up to 30s, since Box's SDKs give up a call after 60 s",
            Duration::ZERO,
            notes,
        ),
        enforce: reader::boolean(written.enforce.as_ref(), true, notes),
    };
    rate.map(|_| limit)
}

/// Reads `on`. `what`: "limit" or "budget", for messages.
fn selectors(entry: Option<&Entry<'_>>, what: &str, notes: &mut Notes<'_>) -> Vec<Selector> {
    if let Some(Entry { location, value: DeValue::Array(items) }) = entry
        && items.is_empty()
    {
        notes.problem(
            location,
            format_args!(
                "an empty list: the {what} would apply to no request; leave the key out for all requests"
            ),
        );
    }
    reader::list(entry, "[\"search\", \"POST /2.0/sign_requests\"]", notes)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| notes.take(&item.location, values::selector(item.text)))
        .collect()
}

/// Reads `[limits] box_defaults`.
pub(super) fn box_defaults(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> bool {
    let written: raw::Limits<'_> = raw::read(entry, notes);
    reader::boolean(written.box_defaults.as_ref(), true, notes)
}

/// Reads `[[budget]]`, in the order of the file.
pub(super) fn budgets(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Vec<Budget> {
    let written = names::tables(entry, "budget", notes);
    written.into_iter().filter_map(|(location, table)| budget(&location, table, notes)).collect()
}

fn budget<'d>(location: &Location, table: &'d DeTable<'d>, notes: &mut Notes<'_>) -> Option<Budget> {
    let written = raw::Budget::of(table, &location.key, notes);
    let keys = [
        ("identity", definition::Key::Identity),
        ("app", definition::Key::App),
        ("global", definition::Key::Global),
    ];
    let periods = [("day", Period::Day), ("month", Period::Month)];
    let ends = [("reject", WhenSpent::Reject), ("warn", WhenSpent::Warn)];
    let name = required(&written.name, location, "name", "each budget has a name of its own", notes);
    let key = required(&written.key, location, "key", &one_of(&keys), notes);
    let calls = required(&written.calls, location, "calls", "expected an integer such as 50_000", notes);
    let name = reader::parsed(name, "a name", |text| values::budget_name(text).map(|()| text.into()), notes);
    Some(Budget {
        name: name.unwrap_or_else(|| Arc::from("")),
        key: reader::choice(key, &keys, definition::Key::Global, notes),
        on: selectors(written.on.as_ref(), "budget", notes),
        calls: NonZeroU64::new(reader::integer(calls, 1..=MOST_CALLS, 1, notes))?,
        per: reader::choice(written.per.as_ref(), &periods, Period::Month, notes),
        when_spent: reader::choice(written.when_spent.as_ref(), &ends, WhenSpent::Reject, notes),
        enforce: reader::boolean(written.enforce.as_ref(), true, notes),
    })
}

fn required<'e, 'd>(
    entry: &'e Option<Entry<'d>>,
    table: &Location,
    key: &str,
    what: &str,
    notes: &mut Notes<'_>,
) -> Option<&'e Entry<'d>> {
    if entry.is_none() {
        notes.problem(&table.below(key), format_args!("is missing; {what}"));
    }
    entry.as_ref()
}

fn one_of<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    format!("allowed: {}", words.join(", "))
}
