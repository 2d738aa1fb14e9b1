//! The apps and the hosts of Box beside each other: requests, errors and latencies in the stretch, and a small chart of requests.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::query::{Question, Range, Sort, Subject};
use crate::admin::Overview;
use crate::admin::page::chart::{Unit, sparkline};
use crate::admin::page::figures::bar;
use crate::net::clock::Moment;
use crate::telemetry::history::{Counts, Of, SLOT, Sums, slot_beginnings};
use crate::telemetry::words::grouped;

/// The most rows, unless all are asked for …
const ROWS: usize = 50;
/// … and then.
const MOST_ROWS: usize = 2_000;

/// An app or a host.
struct Row {
    subject: Subject,
    name: String,
    counts: Counts,
    requests: Vec<u64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// Both tables.
pub(super) fn tables(overview: &Overview, question: &Question, now: Moment) -> Markup {
    let (slots, points) = (question.range.slots(), question.range.points());
    let (mut apps, mut hosts) = (Vec::new(), Vec::new());
    let gateway = overview.gateway.load();
    for (of, sums) in overview.history.sums(&overview.metrics, now, slots, points) {
        match of {
            Of::All => {}
            Of::App(label) => {
                let name = label
                    .map(|label| overview.process.app_labels.name(label).to_string())
                    .unwrap_or_default();
                apps.push(Row::of(Subject::App { name: name.clone(), of }, name, sums));
            }
            Of::Host(label) => {
                let known = gateway.host_labels.iter().find(|(_, known)| label.is_some() && *known == label);
                // Others are of an earlier configuration.
                if let Some((name, _)) = known {
                    let name = name.as_str().to_owned();
                    hosts.push(Row::of(Subject::Host { name: name.clone(), of }, name, sums));
                }
            }
        }
    }
    let known = known_points(overview.started, now.wall, slots, points);
    html! {
        (table(Kind::Apps, apps, question, &known))
        (table(Kind::Hosts, hosts, question, &known))
    }
}

/// Whether the process ran in each part of the stretch.
fn known_points(started: SystemTime, now: SystemTime, slots: usize, points: usize) -> Vec<bool> {
    let beginnings = slot_beginnings(now, slots);
    let of_each = slots / points.max(1);
    let last_of_each = beginnings.chunks(of_each.max(1)).filter_map(<[SystemTime]>::last);
    last_of_each.map(|begins| *begins + Duration::from_secs(SLOT.unsigned_abs()) > started).collect()
}

impl Row {
    fn of(subject: Subject, name: String, sums: Sums) -> Self {
        let percentile = |percent| sums.counts.durations.percentile_ms(percent);
        let (p50, p95, p99) = (percentile(50), percentile(95), percentile(99));
        Self { subject, name, counts: sums.counts, requests: sums.requests, p50, p95, p99 }
    }

    /// The number by which it is sorted.
    fn number(&self, sort: Sort) -> f64 {
        match sort {
            Sort::Name => 0.0,
            Sort::Requests => self.counts.requests as f64,
            Sort::Status4xx => self.counts.status_4xx as f64,
            Sort::Status429 => self.counts.status_429 as f64,
            Sort::Status5xx => self.counts.status_5xx as f64,
            Sort::CallerLeft => self.counts.caller_left as f64,
            Sort::P50 => self.p50.unwrap_or(-1.0),
            Sort::P95 => self.p95.unwrap_or(-1.0),
            Sort::P99 => self.p99.unwrap_or(-1.0),
        }
    }
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Apps,
    Hosts,
}

impl Kind {
    /// Id, heading, heading of the first column, and what is counted.
    fn words(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Apps => ("s-apps", "Which app is slow, which one fails?", "App", "requests"),
            Self::Hosts => ("s-hosts", "Which host of Box is slow?", "Host", "answers"),
        }
    }

    fn columns(self) -> &'static [Sort] {
        use Sort::{CallerLeft, Name, P50, P95, P99, Requests, Status4xx, Status5xx, Status429};
        match self {
            // The answer to the heading is beside the name, where a phone shows it too.
            Self::Apps => &[Name, P95, P50, P99, Requests, Status4xx, Status429, Status5xx, CallerLeft],
            Self::Hosts => &[Name, P95, P50, P99, Requests],
        }
    }
}

fn table(kind: Kind, mut rows: Vec<Row>, question: &Question, known: &[bool]) -> Markup {
    let (id, heading, first, what) = kind.words();
    // A sort by a column that this table does not have.
    let sort = if kind.columns().contains(&question.sort) { question.sort } else { Sort::P95 };
    rows.sort_by(|one, other| {
        other.number(sort).total_cmp(&one.number(sort)).then_with(|| one.name.cmp(&other.name))
    });
    let count = rows.len();
    rows.truncate(if question.all { MOST_ROWS } else { ROWS });
    let slowest = rows.iter().filter_map(|row| row.p95).fold(0.0, f64::max);
    html! {
        section id=(id) {
            header {
                h2 { (heading) }
                p { (question.range.words()) ", those with " (what) "; choose a column to sort by it" }
                @if count > rows.len() {
                    p.to {
                        (rows.len()) " of " (grouped(count as u64))
                        @if !question.all { ": " a href=(Question { all: true, ..question.clone() }.address()) { "show all" } }
                    }
                } @else if question.all && count > ROWS {
                    p.to { a href=(Question { all: false, ..question.clone() }.address()) { "show the first " (ROWS) } }
                }
            }
            @if rows.is_empty() {
                p.dim { "There were no " (what) " in this time." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label=(heading) {
                    table.compared {
                        thead { tr { @for column in kind.columns() { (head(*column, sort, first, question)) } } }
                        tbody { @for row in &rows { (line(kind, row, question, known, slowest)) } }
                    }
                }
            }
        }
    }
}

fn head(column: Sort, sort: Sort, first: &str, question: &Question) -> Markup {
    let words = match column {
        Sort::Name => first,
        Sort::Requests if first == "Host" => "Answers",
        Sort::Requests => "Requests",
        Sort::Status429 => "of them 429",
        Sort::CallerLeft => "caller left",
        other => other.as_str(),
    };
    let is_sorted = column == sort;
    let direction = if column == Sort::Name { "ascending" } else { "descending" };
    let address = Question { sort: column, ..question.clone() }.address();
    html! {
        th.n[column != Sort::Name] scope="col" aria-sort=[is_sorted.then_some(direction)] {
            a href=(address) { (words) }
            @if is_sorted { span aria-hidden="true" { (if column == Sort::Name { " ▴" } else { " ▾" }) } }
        }
    }
}

/// To the request. `class`: of what should be 0.
fn count(count: u64, class: &'static str) -> Markup {
    html! {
        @if count == 0 { span.zero { "0" } }
        @else if class.is_empty() { (grouped(count)) }
        @else { strong.(class) { (grouped(count)) } }
    }
}

fn line(kind: Kind, row: &Row, question: &Question, known: &[bool], slowest: f64) -> Markup {
    let (_, _, _, what) = kind.words();
    let counts = &row.counts;
    let points = row.requests.iter().zip(known);
    let points: Vec<Option<f64>> = points.map(|(count, known)| known.then_some(*count as f64)).collect();
    let most = row.requests.iter().max().copied().unwrap_or(0);
    let each = match question.range {
        Range::Hour => "5",
        Range::Day => "60",
    };
    let label = format!("{what}: {}, at most {} in {each} minutes", grouped(counts.requests), grouped(most));
    let name = if row.name.is_empty() { "no app" } else { &row.name };
    let is_chosen = row.subject == question.subject;
    let latency = |latency: Option<f64>| {
        html! {
            td.n { @match latency { Some(latency) => (Unit::Millis.exact(latency)), None => span.zero { "–" } } }
        }
    };
    html! {
        tr id=(format!("{}-{}", if kind == Kind::Apps { "t" } else { "h" }, row.name)) {
            th scope="row" {
                a href=(question.about(row.subject.clone()).address()) aria-current=[is_chosen.then_some("true")] { (name) }
            }
            td.n {
                @if let Some(p95) = row.p95 { (bar(p95 / slowest.max(0.01), "fill")) " " span.figure { (Unit::Millis.exact(p95)) } }
                @else { span.zero { "–" } }
            }
            (latency(row.p50))
            (latency(row.p99))
            td.n { (sparkline(&points, &label)) " " span.figure { (count(counts.requests, "")) } }
            @if kind == Kind::Apps {
                td.n { (count(counts.status_4xx, "")) }
                td.n { (count(counts.status_429, "warn")) }
                td.n { (count(counts.status_5xx, "bad")) }
                td.n { (count(counts.caller_left, "")) }
            }
        }
    }
}
