//! Which of the last requests are asked for: the query of `/requests.json` and of the page's view of them.

use std::time::SystemTime;

use jiff::Timestamp;

use super::request_entry::Entry;
use crate::http::query;
use crate::telemetry::labels::CALLER_LEFT;
use crate::telemetry::recent_requests::{RecentRequest, Text};

/// The parameters that filter; an empty one does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) app: Option<String>,
    pub(super) identity: Option<String>,
    pub(super) status: Option<Statuses>,
    /// A code of the gateway or of Box.
    pub(super) code: Option<String>,
    /// A limit or budget that refused, or would have.
    pub(super) limit: Option<String>,
    /// A class of operations; or a template, with or without its method.
    pub(super) operation: Option<String>,
    /// Any part of the path, the client's address, the request id, or Box's.
    pub(super) text: Option<String>,
    /// Requests that ended then or later.
    pub(super) since: Option<Timestamp>,
    /// Requests that ended before.
    pub(super) until: Option<Timestamp>,
    /// The most requests of the answer.
    pub(super) max: Option<usize>,
}

/// One status, or all that begin with the same digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statuses {
    /// From 100 to 599.
    One(u16),
    /// From 1 to 5: `4xx` for example.
    Class(u16),
}

/// The names of all parameters.
const PARAMETERS: &str = "app, identity, status, code, limit, operation, q, since, until and max";
const A_STATUS: &str = "a status such as 429, or one of 1xx, 2xx, 3xx, 4xx and 5xx";
const A_TIME: &str = "a time by RFC 3339 such as 2026-11-26T09:10:00Z";
const A_MAXIMUM: &str = "a whole number from 1 to 10000";

impl Filter {
    /// Reads the parameters of a query. `others`: those that are not this filter's, but allowed beside it.
    ///
    /// # Errors
    /// A message that names the parameter, its value and what is allowed: one is unknown, malformed or there twice.
    pub(super) fn read(
        parameters: impl Iterator<Item = (String, String)>,
        others: &[&str],
    ) -> Result<Self, String> {
        let mut filter = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in parameters {
            if others.contains(&name.as_str()) {
                continue;
            }
            if seen.contains(&name) {
                return Err(query::twice(&name));
            }
            filter.set(&name, &value)?;
            seen.push(name);
        }
        Ok(filter)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_set = !value.trim().is_empty();
        let text = || is_set.then(|| value.trim().to_owned());
        let wrong = |allowed| query::wrong(name, value, allowed);
        match name {
            "app" => self.app = text(),
            "identity" => self.identity = text(),
            "code" => self.code = text(),
            "limit" => self.limit = text(),
            "operation" => self.operation = text(),
            "q" => self.text = text(),
            "status" => {
                self.status = text().map(|text| statuses(&text).ok_or(wrong(A_STATUS))).transpose()?
            }
            "since" => self.since = text().map(|text| text.parse().map_err(|_| wrong(A_TIME))).transpose()?,
            "until" => self.until = text().map(|text| text.parse().map_err(|_| wrong(A_TIME))).transpose()?,
            "max" => self.max = text().map(|text| maximum(&text).ok_or(wrong(A_MAXIMUM))).transpose()?,
            _ => return Err(query::unknown(name, PARAMETERS)),
        }
        Ok(())
    }

    /// Whether it lets every request pass, whatever `max` and the times are.
    pub(super) fn is_empty(&self) -> bool {
        let times = Self { since: self.since, until: self.until, max: self.max, ..Self::default() };
        *self == times
    }

    /// Whether the request is asked for. What costs nothing is compared first: there may be ten thousand requests.
    pub(super) fn admits(&self, request: &RecentRequest) -> bool {
        let facts = &request.facts;
        let is = |wanted: &Option<String>, value: Option<&str>| match wanted {
            None => true,
            Some(wanted) => value == Some(wanted),
        };
        let at = |time: &Option<Timestamp>| (*time).and_then(|time| SystemTime::try_from(time).ok());
        at(&self.since).is_none_or(|since| facts.ended.wall >= since)
            && at(&self.until).is_none_or(|until| facts.ended.wall < until)
            && self.status.is_none_or(|status| status.admits(facts.status))
            && (is(&self.code, facts.code) || is(&self.code, request.text(Text::BoxCode)))
            && is(&self.app, request.text(Text::App))
            && is(&self.identity, request.text(Text::Identity))
            && self.admits_limit(request)
            && self.admits_operation(request)
            && self.admits_text(request)
    }

    fn admits_limit(&self, request: &RecentRequest) -> bool {
        let Some(wanted) = self.limit.as_deref() else { return true };
        request.text(Text::Limit) == Some(wanted)
            || request
                .text(Text::WouldRefuse)
                .is_some_and(|limits| limits.split(',').any(|limit| limit == wanted))
    }

    fn admits_operation(&self, request: &RecentRequest) -> bool {
        let Some(wanted) = self.operation.as_deref() else { return true };
        let entry = Entry::of(request);
        let template = |operation: &String| {
            operation == wanted || operation.split_once(' ').is_some_and(|(_, path)| path == wanted)
        };
        entry.class == Some(wanted) || entry.operation.as_ref().is_some_and(template)
    }

    fn admits_text(&self, request: &RecentRequest) -> bool {
        let Some(wanted) = self.text.as_deref() else { return true };
        let has = |text: &str| contains_ignoring_case(text, wanted);
        [Text::Path, Text::RequestId, Text::BoxRequestId]
            .into_iter()
            .filter_map(|of| request.text(of))
            .any(has)
            || has(&request.facts.client.to_string())
    }
}

/// Whether one text is in another, whatever the case of ASCII letters.
fn contains_ignoring_case(text: &str, wanted: &str) -> bool {
    text.as_bytes().windows(wanted.len().max(1)).any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

impl Statuses {
    fn admits(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            // As in /status.json, a caller that left is no error of anybody: 499 is asked for by itself.
            Self::Class(class) => status / 100 == class && status != CALLER_LEFT,
        }
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(status) => status.fmt(f),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

fn statuses(text: &str) -> Option<Statuses> {
    let of_class =
        |text: &str| text.parse().ok().filter(|class| (1..=5).contains(class)).map(Statuses::Class);
    match text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        Some(class) => of_class(class),
        None if text.len() == 3 => {
            text.parse().ok().filter(|status| (100..600).contains(status)).map(Statuses::One)
        }
        None => None,
    }
}

fn maximum(text: &str) -> Option<usize> {
    text.parse().ok().filter(|most| (1..=10_000).contains(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_empty_values_do_not_filter() {
        let read = |query| Filter::read(query::parameters(query), &["view"]).unwrap();
        assert_eq!(
            read("app=&identity=&status=&code=&limit=&operation=+&q=&since=&until=&max="),
            Filter::default()
        );
        assert!(read("view=requests&max=5&since=2026-11-26T09:10:00Z").is_empty());
        assert!(!read("q=a").is_empty());
        let filter = read("view=requests&operation=GET+/2.0/files/*&status=4XX&max=7");
        assert_eq!(filter.operation.as_deref(), Some("GET /2.0/files/*"));
        assert_eq!((filter.status, filter.max), (Some(Statuses::Class(4)), Some(7)));
        assert_eq!(read("status=429").status, Some(Statuses::One(429)));
    }

    #[test]
    fn what_is_no_filter_is_named_with_what_is_allowed() {
        for (query, parts) in [
            ("status=4", ["status", "\"4\"", "429"]),
            ("status=6xx", ["status", "\"6xx\"", "5xx"]),
            ("status=%2B42", ["status", "\"+42\"", "5xx"]),
            ("status=600", ["status", "\"600\"", "5xx"]),
            ("since=yesterday", ["since", "\"yesterday\"", "RFC 3339"]),
            ("until=2026-11-26", ["until", "\"2026-11-26\"", "RFC 3339"]),
            ("max=0", ["max", "\"0\"", "1 to 10000"]),
            ("max=10001", ["max", "\"10001\"", "1 to 10000"]),
            ("ap=web", ["\"ap\"", "not known", "identity"]),
            ("view=requests", ["\"view\"", "not known", "identity"]),
            ("app=a&app=a", ["app", "twice", "once"]),
            ("app=&app=a", ["app", "twice", "once"]),
        ] {
            let why = Filter::read(query::parameters(query), &[]).unwrap_err();
            assert!(parts.iter().all(|part| why.contains(part)), "{query}: {why}");
        }
    }

    #[test]
    fn a_text_is_found_whatever_its_case() {
        for (text, wanted, is_there) in [
            ("/2.0/Files/1", "files", true),
            ("ab", "abc", false),
            ("", "a", false),
            ("Ünïcode", "ÜNÏ", false),
        ] {
            assert_eq!(contains_ignoring_case(text, wanted), is_there, "{text} {wanted}");
        }
    }

    #[test]
    fn a_class_of_statuses_leaves_out_callers_that_left() {
        let four = Statuses::Class(4);
        assert!(four.admits(429) && four.admits(404) && !four.admits(499) && !four.admits(503));
        assert!(Statuses::One(499).admits(499));
    }
}
