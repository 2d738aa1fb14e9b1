//! `/usage.json` and `/usage.csv`: who spent Box's calls in a month.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::csv;
use crate::http::error::Refusal;
use crate::http::query;
use crate::limits::budget::counts::CallCounts;
use crate::limits::budget::definition::Period;
use crate::limits::budget::period::{Span, timestamp};
use crate::limits::budget::telling;
use crate::limits::budget::usage::{A_MONTH, Column, Columns, Usage, UsageRow};
use crate::limits::redis::replicas::Replicas;
use crate::proxy::gateway::Gateway;

/// The document of `/usage.json`.
#[derive(Serialize)]
struct Document<'u> {
    /// As `2026-11`, in UTC.
    month: String,
    by: Vec<&'static str>,
    /// RFC 3339.
    since: String,
    in_memory: bool,
    /// Why nothing is known of the month, where it has no rows for that reason.
    uncounted: Option<String>,
    /// Whose calls these are: `all` replicas, or `this process only`.
    replicas: &'static str,
    /// Why they are not those of all replicas.
    replicas_reason: Option<&'u str>,
    months: Vec<String>,
    calls: u64,
    rows: Vec<Row<'u>>,
}

/// An object with a member for each column, and `calls`.
struct Row<'u> {
    columns: &'u [Column],
    row: &'u UsageRow,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len() + 1))?;
        for (column, value) in self.columns.iter().zip(&self.row.values) {
            match column {
                // A day that is not known.
                Column::Day if value.is_empty() => object.serialize_entry(column.as_str(), &None::<&str>)?,
                _ => object.serialize_entry(column.as_str(), &**value)?,
            }
        }
        object.serialize_entry("calls", &self.row.calls)?;
        object.end()
    }
}

/// The header field of `/usage.csv` that says whose calls are missing.
pub(crate) const REPLICAS: HeaderName = HeaderName::from_static("x-boxgate-replicas");

/// What is asked for, until Redis has answered.
pub(super) struct Question {
    month: Span,
    by: Columns,
    counts: Arc<CallCounts>,
    replicas: Option<Arc<Replicas>>,
    now: Timestamp,
}

impl Question {
    /// What is asked of this gateway's counts, and of those of its replicas.
    pub(super) fn new(gateway: &Gateway, month: Span, by: Columns, now: Timestamp) -> Self {
        let (counts, replicas) = (gateway.ledger.counts().clone(), gateway.limiter.replicas().cloned());
        Self { month, by, counts, replicas, now }
    }

    /// The calls of all replicas if Redis says them, else those of this process.
    pub(super) async fn ask(self) -> Answer {
        let Self { month, by, counts, replicas, now } = self;
        let are_many = replicas.is_some();
        let others = match replicas {
            Some(replicas) => telling::others(&counts, &replicas, month).await,
            None => Err("[state] redis is not set".to_owned()),
        };
        let (others, why_alone) = match others {
            Ok(others) => (Some(others), None),
            Err(why) => (None, Some(why)),
        };
        Answer { usage: Usage::of(&counts, others, month, by, now), why_alone, are_many }
    }
}

/// The calls of a month, and whose they are.
pub(super) struct Answer {
    pub(super) usage: Usage,
    /// Why they are not those of all replicas.
    pub(super) why_alone: Option<String>,
    /// There may be other replicas.
    pub(super) are_many: bool,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

impl Form {
    /// The form that is served at this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/usage.json" => Some(Self::Json),
            "/usage.csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Reads a query.
///
/// # Errors
/// A parameter is unknown, malformed or there twice.
pub(super) fn question(gateway: &Gateway, query: &str, now: SystemTime) -> Result<Question, Refusal> {
    let Asked { month, by } = Asked::read(query).map_err(Refusal::BadQuery)?;
    let now = timestamp(now);
    let month = month.unwrap_or_else(|| Period::Month.at(now));
    Ok(Question::new(gateway, month, by.unwrap_or_default(), now))
}

/// The answer in this form.
pub(super) fn response(form: Form, answer: &Answer) -> Response<Bytes> {
    let why_alone = answer.why_alone.as_deref();
    match form {
        Form::Json => json(&answer.usage, why_alone),
        Form::Csv => csv(&answer.usage, why_alone.filter(|_| answer.are_many)),
    }
}

/// `why_alone`: why these are not the calls of all replicas.
fn json(usage: &Usage, why_alone: Option<&str>) -> Response<Bytes> {
    let document = Document {
        month: usage.month.to_string(),
        by: usage.by.as_slice().iter().map(|column| column.as_str()).collect(),
        since: usage.since.to_string(),
        in_memory: usage.in_memory,
        uncounted: usage.uncounted.map(|why| why.to_string()),
        replicas: if why_alone.is_none() { "all" } else { "this process only" },
        replicas_reason: why_alone,
        months: usage.months.iter().map(Span::to_string).collect(),
        calls: usage.calls,
        rows: usage.rows.iter().map(|row| Row { columns: usage.by.as_slice(), row }).collect(),
    };
    let text = serde_json::to_vec(&document).expect("strings and numbers always serialize");
    page(text, HeaderValue::from_static("application/json"))
}

/// A line with the names of the columns, and one for each row. `month` is the first column and `calls` the last.
/// `why_partial`: why the calls of other replicas are missing. A table has no place for it, so a header field says it.
fn csv(usage: &Usage, why_partial: Option<&str>) -> Response<Bytes> {
    let month = usage.month.to_string();
    let names = usage.by.as_slice().iter().map(|column| column.as_str());
    let mut text = csv::line(["month"].into_iter().chain(names).chain(["calls"]));
    for row in &usage.rows {
        let calls = row.calls.to_string();
        let values = row.values.iter().map(|value| &**value);
        text.push_str(&csv::line([&*month].into_iter().chain(values).chain([&*calls])));
    }
    let mut response = page(text.into(), HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    let name = format!("attachment; filename=\"boxgate-calls-{month}.csv\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    if let Some(why) = why_partial {
        let said = format!("this process only; {}", why.replace(|c: char| !(' '..='~').contains(&c), " "));
        let said = HeaderValue::from_str(&said).unwrap_or(HeaderValue::from_static("this process only"));
        response.headers_mut().insert(REPLICAS, said);
    }
    response
}

fn page(text: Vec<u8>, kind: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// What a query asks for. `None`: the default.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    month: Option<Span>,
    by: Option<Columns>,
}

impl Asked {
    /// # Errors
    /// A message that names the parameter, its value and what is allowed.
    fn read(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in query::parameters(query) {
            let is_twice = match name.as_str() {
                "month" => {
                    let month =
                        Span::read_month(&value).ok_or_else(|| query::wrong(&name, &value, A_MONTH))?;
                    asked.month.replace(month).is_some()
                }
                "by" => {
                    let by =
                        Columns::read(&value).ok_or_else(|| query::wrong(&name, &value, Columns::ALLOWED))?;
                    asked.by.replace(by).is_some()
                }
                _ => {
                    return Err(query::unknown(&name, "month and by"));
                }
            };
            if is_twice {
                return Err(query::twice(&name));
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_month_and_by_once_at_most() {
        let read = |query| Asked::read(query).unwrap();
        assert_eq!(read(""), Asked::default());
        let both = Asked { month: Span::read_month("2026-11"), by: Columns::read("day,app") };
        assert_eq!(read("by=day%2Capp&month=2026-11"), both);
        for (query, parts) in [
            ("month=11", ["month", "\"11\"", "YYYY-MM"]),
            ("month=", ["month", "\"\"", "YYYY-MM"]),
            ("by=user", ["by", "\"user\"", "app, identity, class and day"]),
            ("mnth=2026-11", ["\"mnth\"", "allowed", "month and by"]),
            ("by=app&by=day", ["by", "twice", "once"]),
            ("month=2026-11&month=2026-11", ["month", "twice", "once"]),
        ] {
            let why = Asked::read(query).unwrap_err();
            assert!(parts.iter().all(|part| why.contains(part)), "{query}: {why}");
        }
        let long = format!("by={}", "é".repeat(5000));
        assert!(Asked::read(&long).unwrap_err().chars().count() < 250);
    }
}
