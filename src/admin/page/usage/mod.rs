//! The view "Box calls": who spent them in a month, day by day, and where the month is heading.

mod curve; // the month's calls as they add up
mod question; // what is asked for, and links that ask for something else

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

pub(super) use self::curve::month_section;
pub(super) use self::question::Question;
use super::Asked;
use super::chart::{Chart, Column, Missing, Series, Shape, Unit, sparkline};
use super::figures::bar;
use crate::admin::Overview;
use crate::admin::usage::Answer;
use crate::limits::budget::definition::Period;
use crate::limits::budget::period::Span;
use crate::limits::budget::spending::BudgetState;
use crate::limits::budget::usage::{Column as By, Usage};
use crate::telemetry::words::grouped;

/// The most names with a colour of their own, which are the classes of their series.
const COLOURS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
/// The class of all others together.
const OTHERS: &str = "s-others";
/// The most rows, unless all are asked for …
const ROWS: usize = 50;
/// … and then.
const MOST_ROWS: usize = 2_000;
/// The most budgets that are listed.
const BUDGETS: usize = 20;

/// The calls of one app, identity or class.
struct Spender {
    name: Arc<str>,
    calls: u64,
    /// By day of the month, from 0.
    days: Vec<u64>,
    class: &'static str,
}

/// The content of the view, once the calls are known by what is asked for and by day.
pub(super) fn view(overview: &Overview, asked: &Asked) -> Markup {
    let question = &Question::read(overview, asked);
    let Some(answer) = &asked.calls else { return html! {} };
    let usage = &answer.usage;
    let days: Vec<Span> = usage.month.days().collect();
    let (spenders, of_no_day) = spenders(usage, &days);
    html! {
        h1.unseen { "Box calls" }
        (question.form(&usage.months))
        @if let Some(problem) = &question.problem { p.bad.card role="alert" { (problem) } }
        section #s-calls {
            header {
                h2 { "Calls at Box in " (usage.month) }
                p { (whose(answer)) }
                p.to { (question.downloads()) }
            }
            @match usage.uncounted {
                Some(why) => p.notice { "Unknown, not zero: " (why) "." },
                None => (month(question, usage, &days, &spenders, of_no_day)),
            }
        }
        @if usage.uncounted.is_none() {
            (table(question, usage, &spenders))
            (budgets(question))
        }
    }
}

/// Whose calls these are.
fn whose(answer: &Answer) -> String {
    let mut words = match &answer.why_alone {
        None => {
            "of all replicas, as Redis has them; what the others counted just now may be missing".to_owned()
        }
        Some(why) if answer.are_many => format!("of this process only, not of all replicas: {why}"),
        Some(_) => "of this gateway".to_owned(),
    };
    if answer.usage.in_memory {
        words.push_str("; in memory only: there is no file for them, they end with the process");
    }
    words
}

/// Total, forecast and charts.
fn month(question: &Question, usage: &Usage, days: &[Span], spenders: &[Spender], of_no_day: u64) -> Markup {
    let begins_within = usage.since > usage.month.begins();
    let is_current = question.is_current();
    html! {
        dl.tiles {
            div { dt { @if is_current { "Calls so far" } @else { "Calls" } } dd { (grouped(usage.calls)) } }
            @if is_current {
                @let forecast = usage.month.forecast(usage.calls, usage.since, question.now);
                div { dt { "At this rate by its end" } dd { (grouped(forecast)) } }
                @let today = days.iter().position(|day| *day == Period::Day.at(question.now));
                @if let Some(today) = today {
                    @let calls: u64 = spenders.iter().filter_map(|spender| spender.days.get(today)).sum();
                    div { dt { "Today" } dd { (grouped(calls)) } }
                }
            }
        }
        @if begins_within {
            p.notice { "Calls before " (minute(usage.since)) " are unknown: counting began then." }
        }
        @if of_no_day > 0 {
            p.notice { (grouped(of_no_day)) " of them are of no known day, so they are not in the chart: an earlier version counted by month." }
        }
        (chart(question, usage, days, spenders))
    }
}

/// The spenders, the most calls first, and the calls of no known day. The first ones get colours by their names, so that a
/// refresh that changes their order does not change their colours.
fn spenders(usage: &Usage, days: &[Span]) -> (Vec<Spender>, u64) {
    let days: BTreeMap<String, usize> =
        days.iter().enumerate().map(|(nth, day)| (day.to_string(), nth)).collect();
    let mut by_name: BTreeMap<Arc<str>, Spender> = BTreeMap::new();
    let mut of_no_day: u64 = 0;
    for row in &usage.rows {
        let [name, day] = &*row.values else { continue };
        let spender = by_name.entry(name.clone()).or_insert_with(|| Spender {
            name: name.clone(),
            calls: 0,
            days: vec![0; days.len()],
            class: OTHERS,
        });
        spender.calls = spender.calls.saturating_add(row.calls);
        match days.get(&**day).and_then(|nth| spender.days.get_mut(*nth)) {
            Some(of_day) => *of_day = of_day.saturating_add(row.calls),
            None => of_no_day = of_no_day.saturating_add(row.calls),
        }
    }
    let mut spenders: Vec<Spender> = by_name.into_values().collect();
    spenders.sort_by(|one, other| other.calls.cmp(&one.calls).then_with(|| one.name.cmp(&other.name)));
    let mut first: Vec<&mut Spender> = spenders.iter_mut().take(COLOURS.len()).collect();
    first.sort_by(|one, other| one.name.cmp(&other.name));
    first.into_iter().zip(COLOURS).for_each(|(spender, class)| spender.class = class);
    (spenders, of_no_day)
}

fn chart(question: &Question, usage: &Usage, days: &[Span], spenders: &[Spender]) -> Markup {
    let today = Period::Day.at(question.now);
    let counted_from = Period::Day.at(usage.since);
    // Days to come have no calls yet, and those before counting began are unknown.
    let is_known = |day: &Span| *day >= counted_from && *day <= today;
    let column = |(nth, day): (usize, &Span)| Column {
        name: day.to_string(),
        tick: (nth == 0 || (nth + 1) % 5 == 0).then(|| (nth + 1).to_string()),
        partial: match day {
            day if *day == today => Some("so far"),
            day if *day == counted_from => Some("since counting began"),
            _ => None,
        },
        missing: match day {
            day if *day > today => Missing::ToCome,
            day if *day < counted_from => Missing::NotCounted,
            _ => Missing::Nothing,
        },
    };
    let columns: Vec<Column> = days.iter().enumerate().map(column).collect();
    let of = |spender: &Spender, nth: usize| spender.days.get(nth).copied().unwrap_or(0);
    let known = |day: &Span, calls: u64| (is_known(day) || calls > 0).then_some(calls);
    let (mut first, others) = (Vec::new(), spenders.get(COLOURS.len()..).unwrap_or_default());
    for spender in spenders.iter().take(COLOURS.len()) {
        let calls = days.iter().enumerate().map(|(nth, day)| known(day, of(spender, nth)));
        first.push(Series::counts(question.name(&spender.name), spender.class, calls));
    }
    if !others.is_empty() {
        let sum = |nth: usize| others.iter().map(|spender| of(spender, nth)).fold(0, u64::saturating_add);
        let calls = days.iter().enumerate().map(|(nth, day)| known(day, sum(nth)));
        first.push(Series::counts(format!("{} others", grouped(others.len() as u64)), OTHERS, calls));
    }
    let (title, when) =
        (format!("Calls by {} and day", question.by.as_str()), format!("{}, days in UTC", usage.month));
    Chart {
        id: "c-calls",
        title: &title,
        when: &when,
        column: "Day (UTC)",
        shape: Shape::StackedBars,
        unit: Unit::Count,
        columns: &columns,
        series: &first,
    }
    .markup()
}

/// How much of the budgets of a month is used, and where they are heading.
fn budgets(question: &Question) -> Markup {
    let budgets = &question.budgets;
    html! {
        @if question.is_current() && !budgets.is_empty() {
            section #s-month-budgets {
                header {
                    h2 { "Budgets of the month" }
                    p { "used so far, and at the rate so far by the end of the month" }
                    @if budgets.len() > BUDGETS { p.to { (BUDGETS) " of " (budgets.len()) ", the fullest" } }
                }
                div.scroll tabindex="0" role="region" aria-label="Budgets of the month" {
                    table {
                        thead { tr {
                            th scope="col" { "Budget" } th scope="col" { "Of" } th.n scope="col" { "Used" }
                            th.n scope="col" { "Of calls" } th.n scope="col" { "By the end" } th scope="col" { "Heading for" }
                        } }
                        tbody { @for budget in budgets.iter().take(BUDGETS) { (budget_row(budget)) } }
                    }
                }
            }
        }
    }
}

fn budget_row(budget: &BudgetState) -> Markup {
    let heading = budget.forecast as f64 / budget.calls.max(1) as f64;
    let class = match heading {
        _ if budget.used >= budget.calls => "bad",
        1.0.. => "warn",
        _ => "fill",
    };
    html! {
        tr id=(format!("mb-{}-{}", budget.name, budget.value)) {
            th scope="row" { (budget.name) }
            td { @if budget.value.is_empty() { "all" } @else { (budget.value) } }
            td.n { (grouped(budget.used)) }
            td.n { (grouped(budget.calls)) }
            td.n { (grouped(budget.forecast)) }
            td {
                (bar(heading, class)) " "
                @if class == "fill" { (format!("{:.0} %", heading * 100.0)) }
                @else { strong.(class) { (format!("{:.0} %", heading * 100.0)) @if class == "bad" { ", used up" } @else { ", over" } } }
            }
        }
    }
}

fn table(question: &Question, usage: &Usage, spenders: &[Spender]) -> Markup {
    let by = question.by.as_str();
    let heading = match question.by {
        By::Identity => "Identity",
        By::Class => "Class",
        _ => "App",
    };
    let rows =
        spenders.get(..spenders.len().min(if question.all { MOST_ROWS } else { ROWS })).unwrap_or_default();
    html! {
        section #s-spenders {
            header {
                h2 { "Who spent them" }
                p { "by " (by) ", the most calls first" }
                @if spenders.len() > rows.len() {
                    p.to {
                        (rows.len()) " of " (grouped(spenders.len() as u64))
                        @if !question.all { ": " a href=(question.with_all(true).address()) { "show all" } }
                    }
                } @else if question.all && spenders.len() > ROWS {
                    p.to { a href=(question.with_all(false).address()) { "show the first " (ROWS) } }
                }
            }
            @if rows.is_empty() {
                p { "No calls were made in " (usage.month) "." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label=(format!("Calls by {by}")) {
                    table {
                        thead { tr {
                            th scope="col" { (heading) } th scope="col" { "By day" }
                            th.n scope="col" { "Calls" } th.n scope="col" { "Share" }
                        } }
                        tbody {
                            @for spender in rows { (row(question, usage, spender)) }
                            tr.total {
                                th scope="row" { "total" } td {}
                                td.n { (grouped(usage.calls)) } td.n { (share(usage.calls, usage.calls)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(question: &Question, usage: &Usage, spender: &Spender) -> Markup {
    let counted_from = Period::Day.at(usage.since);
    let (first, today) = (usage.month.days(), Period::Day.at(question.now));
    let days = first.zip(&spender.days);
    let days: Vec<Option<f64>> = days
        .map(|(day, calls)| (*calls > 0 || (day >= counted_from && day <= today)).then_some(*calls as f64))
        .collect();
    let most = spender.days.iter().max().copied().unwrap_or(0);
    let name = question.name(&spender.name);
    html! {
        tr id=(format!("u-{}", spender.name)) {
            th scope="row" {
                svg.swatch width="12" height="12" aria-hidden="true" { rect.(spender.class) width="12" height="12" {} }
                " " (name)
            }
            td { (sparkline(&days, &format!("{name}: at most {} a day", grouped(most)))) }
            td.n { (grouped(spender.calls)) }
            td.n { (share(spender.calls, usage.calls)) " " (bar(spender.calls as f64 / usage.calls.max(1) as f64, "fill")) }
        }
    }
}

/// As `boxgate usage` writes it.
fn share(calls: u64, all: u64) -> String {
    format!("{:.1} %", calls as f64 * 100.0 / all.max(1) as f64)
}

/// As `2026-11-02 09:05`.
fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}
