//! The view "Over time": requests, errors and latencies of the last hour or day, of all requests, an app or a host of Box, and
//! every app and host beside the others: which one is slow?

mod query; // what is asked for, and links that ask for something else
mod table; // apps and hosts beside each other

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;
use maud::{Markup, html};

use self::query::{Question, Subject};
use super::Asked;
use super::chart::{Chart, Column, Missing, Series, Shape, Unit};
use crate::admin::Overview;
use crate::net::clock::Moment;
use crate::telemetry::history::{Counts, Of, SLOT, slot_beginnings};
use crate::telemetry::words::grouped;

/// The content of the view.
pub(super) fn view(overview: &Overview, asked: &Asked) -> Markup {
    let question = Question::read(overview, asked);
    let now = overview.process.clock.now();
    let slots = slots(overview, &question, now);
    html! {
        h1.unseen { "Over time" }
        (query::form(overview, &question))
        @if let Some(problem) = &question.problem { p.bad.card role="alert" { (problem) } }
        section #s-history {
            header {
                h2 { (question.title()) }
                p { (question.range.words()) ", by five minutes, in UTC" }
                p.to { a href=(question.json()) { "JSON" } }
            }
            (figures(&question, &slots))
            div.charts { (charts(&question, &slots)) }
        }
        (table::tables(overview, &question, now))
    }
}

/// Five minutes.
struct Slot {
    begins: SystemTime,
    /// `None`: the process did not run yet.
    counts: Option<Counts>,
}

/// The slots of the stretch, the oldest first. A slot without requests has zeros, one from before the start nothing.
fn slots(overview: &Overview, question: &Question, now: Moment) -> Vec<Slot> {
    let counted = overview.history.day(&overview.metrics, question.of(), now);
    let slot = |begins: SystemTime| {
        let counts = counted.iter().find(|(at, _)| *at == begins).map(|(_, counts)| counts.clone());
        let ran = begins + Duration::from_secs(SLOT.unsigned_abs()) > overview.started;
        Slot { begins, counts: counts.or_else(|| ran.then(Counts::default)) }
    };
    slot_beginnings(now.wall, question.range.slots()).into_iter().map(slot).collect()
}

fn total(slots: &[Slot]) -> Counts {
    slots.iter().filter_map(|slot| slot.counts.as_ref()).fold(Counts::default(), |mut total, counts| {
        total.add(counts);
        total
    })
}

/// The sums of the stretch.
fn figures(question: &Question, slots: &[Slot]) -> Markup {
    let total = total(slots);
    let share = |count: u64| {
        let share = count as f64 * 100.0 / total.requests.max(1) as f64;
        if count == 0 { String::new() } else { format!(" {share:.2} %") }
    };
    let failed = |name: &'static str, count: u64| {
        html! { div { dt { (name) } dd { (grouped(count)) small { (share(count)) } } } }
    };
    let latency = |name: &'static str, percent: u8| {
        let latency = total.durations.percentile_ms(percent);
        html! { div { dt { (name) } dd { (latency.map_or("–".to_owned(), |latency| Unit::Millis.exact(latency))) } } }
    };
    html! {
        dl.tiles {
            div { dt { (question.what()) } dd { (grouped(total.requests)) } }
            @if !question.is_of_a_host() {
                (failed("4xx", total.status_4xx))
                (failed("of them 429", total.status_429))
                (failed("5xx", total.status_5xx))
                (failed("caller left", total.caller_left))
            }
            (latency("p50", 50)) (latency("p95", 95)) (latency("p99", 99))
        }
    }
}

fn charts(question: &Question, slots: &[Slot]) -> Markup {
    let columns = columns(slots);
    let when = question.range.words();
    let counts = |name: &'static str, class: &'static str, count: fn(&Counts) -> u64| {
        Series::counts(name, class, slots.iter().map(|slot| slot.counts.as_ref().map(count)))
    };
    let errors = [
        counts("other 4xx", "s-4xx", |counts| counts.status_4xx.saturating_sub(counts.status_429)),
        counts("429", "s-429", |counts| counts.status_429),
        counts("5xx", "s-5xx", |counts| counts.status_5xx),
        counts("caller left", "s-left", |counts| counts.caller_left),
    ];
    let passed = |counts: &Counts| {
        counts.requests.saturating_sub(counts.status_4xx + counts.status_5xx + counts.caller_left)
    };
    let all = match question.is_of_a_host() {
        true => vec![counts("answers", "s-ok", |counts| counts.requests)],
        false => [counts("ok", "s-ok", passed)].into_iter().chain(errors.clone()).collect(),
    };
    let percentile = |name: &'static str, percent: u8| {
        let of =
            |slot: &Slot| slot.counts.as_ref().and_then(|counts| counts.durations.percentile_ms(percent));
        Series { name: name.to_owned(), class: name, values: slots.iter().map(of).collect() }
    };
    let latencies = [percentile("p50", 50), percentile("p95", 95), percentile("p99", 99)];
    let chart = Chart {
        id: "c-requests",
        title: question.what(),
        when,
        column: "Begins (UTC)",
        shape: Shape::StackedBars,
        unit: Unit::Count,
        columns: &columns,
        series: &all,
    };
    html! {
        (chart.markup())
        @if !question.is_of_a_host() {
            (Chart { id: "c-errors", title: "Errors", series: &errors, ..chart }.markup())
        }
        (Chart {
            id: "c-latency",
            title: question.latency(),
            shape: Shape::Lines,
            unit: Unit::Millis,
            series: &latencies,
            ..chart
        }.markup())
    }
}

/// The names of the slots, and a label at whole quarters of an hour, or every four hours.
fn columns(slots: &[Slot]) -> Vec<Column> {
    let every = if slots.len() <= 12 { 15 * 60 } else { 4 * 60 * 60 };
    let utc = |time: SystemTime| Offset::UTC.to_datetime(Timestamp::try_from(time).unwrap_or_default());
    let today = slots.last().map(|slot| utc(slot.begins).date());
    let first_known = slots.iter().position(|slot| slot.counts.is_some());
    let column = |(index, slot): (usize, &Slot)| {
        let begins = utc(slot.begins);
        let time = begins.strftime("%H:%M").to_string();
        let is_whole = (i64::from(begins.hour()) * 3600 + i64::from(begins.minute()) * 60) % every == 0;
        let partial = if index + 1 == slots.len() {
            Some("so far")
        } else {
            // Before the first whole slot the process did not run for all of it.
            (first_known == Some(index) && index > 0).then_some("since the start")
        };
        let name = match Some(begins.date()) == today {
            true => time.clone(),
            false => begins.strftime("%Y-%m-%d %H:%M").to_string(),
        };
        let missing = if slot.counts.is_none() { Missing::NotCounted } else { Missing::Nothing };
        Column { name, tick: is_whole.then_some(time), partial, missing }
    };
    slots.iter().enumerate().map(column).collect()
}

impl Question {
    /// What the charts are of.
    fn title(&self) -> String {
        match &self.subject {
            Subject::All => "All requests".to_owned(),
            Subject::App { name, .. } if name.is_empty() => "Requests of no app".to_owned(),
            Subject::App { name, .. } => format!("App {name}"),
            Subject::Host { name, .. } => format!("Host {name}"),
        }
    }

    /// What is counted.
    fn what(&self) -> &'static str {
        if self.is_of_a_host() { "Answers" } else { "Requests" }
    }

    /// What is measured.
    fn latency(&self) -> &'static str {
        if self.is_of_a_host() { "Time to the head of the answer" } else { "Time to the end of the answer" }
    }

    fn is_of_a_host(&self) -> bool {
        matches!(self.of(), Of::Host(_))
    }
}
