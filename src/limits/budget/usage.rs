//! Who spent Box's calls: the calls of a month, summed by app, identity, class or day.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::account::Account;
use super::counts::{CALL_MONTHS, CallCounts};
use super::definition::Period;
use super::period::Span;
use super::telling::Others;

/// By what calls are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    /// The app of the configuration; empty for requests for tokens.
    App,
    /// The identity of the configuration.
    Identity,
    /// The class of the operation, or `token`.
    Class,
    /// The day in UTC; empty for calls that were counted before days were.
    Day,
}

impl Column {
    pub(crate) const ALL: [Self; 4] = [Self::App, Self::Identity, Self::Class, Self::Day];
    /// Where none are chosen.
    pub(crate) const USUAL: [Self; 3] = [Self::App, Self::Identity, Self::Class];

    /// The name in queries, options and answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Identity => "identity",
            Self::Class => "class",
            Self::Day => "day",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == name)
    }
}

/// Columns in the order in which they were written: `app,day`. Each occurs once, and there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// What [`Columns::read`] accepts, for messages.
    pub(crate) const ALLOWED: &str =
        "one or more of app, identity, class and day, each once, separated by commas";

    /// Parses a list such as `app,day`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let columns: Vec<Column> = text.split(',').map(Column::named).collect::<Option<_>>()?;
        let is_twice =
            |(nth, column): (usize, &Column)| columns.iter().take(nth).any(|other| other == column);
        (!columns.iter().enumerate().any(is_twice)).then_some(Self(columns))
    }

    /// A column and the days.
    pub(crate) fn with_days(column: Column) -> Self {
        Self(if column == Column::Day { vec![Column::Day] } else { vec![column, Column::Day] })
    }

    pub(crate) fn as_slice(&self) -> &[Column] {
        &self.0
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self(Column::USUAL.to_vec())
    }
}

/// As [`Columns::read`] reads it.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|column| column.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

/// What a month must be, for messages.
pub(crate) const A_MONTH: &str = "a month as YYYY-MM, such as 2026-11";

/// The calls of one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) month: Span,
    pub(crate) by: Columns,
    /// In the order of their values; none has 0 calls.
    pub(crate) rows: Vec<UsageRow>,
    /// All calls of the month.
    pub(crate) calls: u64,
    /// The months of which there are calls, in order.
    pub(crate) months: Vec<Span>,
    /// When counting began; earlier calls are unknown.
    pub(crate) since: Timestamp,
    /// Counts are lost when the process ends, as there is no file for them.
    pub(crate) in_memory: bool,
    /// Why nothing is known of the month, which has no rows then.
    pub(crate) uncounted: Option<Uncounted>,
}

/// Why nothing is known of a month. Its `Display` is for operators, without a full stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncounted {
    /// It was over when counting began.
    Before(Timestamp),
    /// It is older than what is kept.
    Dropped,
    /// It has not begun.
    ToCome,
}

impl Uncounted {
    /// For a month without calls. `since`: when counting began.
    fn of(month: Span, since: Timestamp, now: Timestamp) -> Option<Self> {
        let current = Period::Month.at(now);
        let oldest = (1..CALL_MONTHS).fold(current, |month, _| month.previous());
        if month.begins() > now {
            Some(Self::ToCome)
        } else if month.ends() <= since && since <= now {
            // A beginning in the future is ignored: the clock was ahead then.
            Some(Self::Before(since))
        } else {
            // It may be kept for longer, while months after it have no calls; then it has none itself, or is dropped.
            (month < oldest).then_some(Self::Dropped)
        }
    }
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(since) => {
                write!(f, "counting began after it, on {}", since.strftime("%Y-%m-%d %H:%M"))
            }
            Self::Dropped => write!(f, "calls are kept for {CALL_MONTHS} months, and it is older"),
            Self::ToCome => f.write_str("it has not begun"),
        }
    }
}

/// The calls of one app, for example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageRow {
    /// The values of the columns, in their order.
    pub(crate) values: Vec<Arc<str>>,
    pub(crate) calls: u64,
}

impl Usage {
    /// Sums the calls of a month, those of other replicas included. So are apps and identities that are no longer
    /// configured.
    pub(crate) fn of(
        counts: &CallCounts,
        others: Option<Others>,
        month: Span,
        by: Columns,
        now: Timestamp,
    ) -> Self {
        let (mut months, mut since) = (counts.months(), counts.since());
        let mut entries = counts.calls(month);
        if let Some(others) = others {
            months.extend(others.months);
            since = since.min(others.since.unwrap_or(since));
            entries.extend(others.entries);
        }
        // Sorted at the end: a month of a thousand apps has tens of thousands of entries.
        let mut sums: HashMap<Vec<Arc<str>>, u64> = HashMap::new();
        let mut total = 0;
        let mut day_names: BTreeMap<Span, Arc<str>> = BTreeMap::new();
        for ((span, account), calls) in entries {
            let Account::Calls { app, identity, class } = account else { continue };
            let day = day_names.entry(span).or_insert_with(|| match span.period() {
                Period::Day => span.to_string().into(),
                Period::Month => Arc::default(),
            });
            let value = |column: &Column| match column {
                Column::App => app.clone(),
                Column::Identity => identity.clone(),
                Column::Class => class.clone(),
                Column::Day => day.clone(),
            };
            let sum = sums.entry(by.as_slice().iter().map(value).collect()).or_default();
            // Another program may have written any number to Redis.
            *sum = sum.saturating_add(calls);
            total = u64::saturating_add(total, calls);
        }
        let mut rows: Vec<UsageRow> =
            sums.into_iter().map(|(values, calls)| UsageRow { values, calls }).collect();
        rows.sort_unstable_by(|one, other| one.values.cmp(&other.values));
        Self {
            month,
            rows,
            calls: total,
            months: months.into_iter().collect(),
            since,
            in_memory: counts.is_in_memory(),
            uncounted: if total == 0 { Uncounted::of(month, since, now) } else { None },
            by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> CallCounts {
        let entry = |span: &str, app: &str, identity: &str, class: &str, calls| {
            let (app, identity, class) = (app.into(), identity.into(), class.into());
            ((Span::read(span).unwrap(), Account::Calls { app, identity, class }), calls)
        };
        CallCounts::new(
            Timestamp::UNIX_EPOCH,
            [
                entry("2026-10-31", "a", "i", "general", 1000),
                entry("2026-11", "a", "i", "general", 50),
                entry("2026-11-01", "a", "i", "general", 1),
                entry("2026-11-01", "a", "j", "search", 2),
                entry("2026-11-30", "b", "i", "general", 4),
                entry("2026-11-30", "b", "i", "upload", 0),
                entry("2026-11-30", "", "i", "token", 8),
                entry("2026-12-01", "a", "i", "general", 1000),
                entry("2027-01-01", "a", "i", "general", 0),
            ],
        )
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn rows(by: &str) -> Vec<String> {
        let by = Columns::read(by).unwrap();
        let usage =
            Usage::of(&counts(), None, Span::read("2026-11").unwrap(), by, at("2026-12-01T00:00:00Z"));
        assert_eq!(usage.calls, 65);
        assert_eq!(usage.rows.iter().map(|row| row.calls).sum::<u64>(), 65);
        usage.rows.iter().map(|row| format!("{}:{}", row.values.join("|"), row.calls)).collect()
    }

    #[test]
    fn calls_of_a_month_are_summed_by_the_columns_in_their_order() {
        assert_eq!(rows("app"), [":8", "a:53", "b:4"]);
        assert_eq!(rows("class,app"), ["general|a:51", "general|b:4", "search|a:2", "token|:8"]);
        assert_eq!(rows("day"), [":50", "2026-11-01:3", "2026-11-30:12"]);
        assert_eq!(
            rows("app,identity,class"),
            ["|i|token:8", "a|i|general:51", "a|j|search:2", "b|i|general:4"]
        );
        assert_eq!(rows("day,identity,app,class").len(), 5);
    }

    #[test]
    fn months_without_calls_have_no_rows_and_are_not_listed() {
        let month = Span::read("2027-01").unwrap();
        let usage = Usage::of(&counts(), None, month, Columns::default(), at("2027-01-02T00:00:00Z"));
        assert_eq!((usage.rows.len(), usage.calls), (0, 0));
        let months: Vec<String> = usage.months.iter().map(Span::to_string).collect();
        assert_eq!(months, ["2026-10", "2026-11", "2026-12"]);
    }

    #[test]
    fn a_month_of_which_nothing_is_known_says_why_and_one_without_calls_does_not() {
        let now = at("2026-11-26T12:00:00Z");
        let counts = |since: &str, month: &str, calls: u64| {
            let account = Account::Calls { app: "a".into(), identity: "i".into(), class: "general".into() };
            CallCounts::new(at(since), [((Span::read(month).unwrap(), account), calls)])
        };
        let why = |counts: &CallCounts, month: &str| {
            let month = Span::read(month).unwrap();
            Usage::of(counts, None, month, Columns::default(), now).uncounted.map(|why| why.to_string())
        };
        let young = counts("2026-10-02T09:05:59Z", "2026-11", 1);
        assert_eq!(why(&young, "2026-11"), None);
        assert_eq!(why(&young, "2026-10"), None, "it was counted from its second day on, and had no calls");
        let before = "counting began after it, on 2026-10-02 09:05";
        assert_eq!(why(&young, "2026-09").as_deref(), Some(before));
        assert_eq!(why(&young, "2026-12").as_deref(), Some("it has not begun"));
        let old = counts("2020-01-01T00:00:00Z", "2025-01", 1);
        assert_eq!(why(&old, "2025-11"), None, "the thirteenth month");
        assert_eq!(why(&old, "2025-10").as_deref(), Some("calls are kept for 13 months, and it is older"));
        assert_eq!(why(&old, "2025-01"), None, "it is kept as long as no month takes its place");
        // Counting began exactly when the month was over.
        assert!(why(&counts("2026-10-01T00:00:00Z", "2026-11", 1), "2026-09").is_some());
        assert_eq!(
            why(&counts("2027-10-01T00:00:00Z", "2026-11", 1), "2026-10"),
            None,
            "the clock was ahead"
        );
        // Another replica's counts are older than when this one began.
        let others = Others {
            entries: vec![],
            months: [Span::read("2026-08").unwrap()].into(),
            since: Some(at("2026-08-01T00:00:00Z")),
        };
        let month = Span::read("2026-09").unwrap();
        assert_eq!(Usage::of(&young, Some(others), month, Columns::default(), now).uncounted, None);
    }

    #[test]
    fn days_of_a_month_are_summed_without_names() {
        let days = counts().calls_by_day(Span::read("2026-11").unwrap());
        let days: Vec<String> = days.iter().map(|(span, calls)| format!("{span}:{calls}")).collect();
        assert_eq!(days, ["2026-11:50", "2026-11-01:3", "2026-11-30:12"]);
        assert!(counts().calls_by_day(Span::read("2027-01").unwrap()).is_empty());
    }

    #[test]
    fn columns_are_known_names_each_once() {
        for good in ["app", "day,app", "app,identity,class,day"] {
            assert_eq!(Columns::read(good).unwrap().to_string(), good);
        }
        assert_eq!(Columns::default().to_string(), "app,identity,class");
        for bad in ["", "app,", ",app", "App", "app,app", "app, day", "user", "app;day", "month"] {
            assert_eq!(Columns::read(bad), None, "{bad:?}");
        }
    }
}
