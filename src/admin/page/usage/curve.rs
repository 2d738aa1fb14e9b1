//! The calls of this month as they add up day by day, against a plan.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::admin::Overview;
use crate::limits::budget::definition::{Key, Period};
use crate::limits::budget::period::{Span, timestamp};
use crate::limits::budget::spending::BudgetState;
use crate::telemetry::words::grouped;

/// The units of the drawing; a day is one unit wide.
const HEIGHT: f64 = 100.0;

/// The section of the view Now: how the calls of the month add up. Cheap: it asks no other replica.
pub(in crate::admin::page) fn month_section(overview: &Overview) -> Markup {
    let gateway = overview.gateway.load();
    let wall = overview.process.clock.wall();
    let (counts, now) = (gateway.ledger.counts(), timestamp(wall));
    let month = Period::Month.at(now);
    // The calls of one replica are not to be compared with a budget of all of them.
    let is_alone = gateway.limiter.replicas().is_none();
    let plan = gateway.ledger.snapshot(wall).budgets.into_iter().filter(|_| is_alone).filter(is_plan);
    let plan = plan.min_by_key(|budget| budget.calls);
    let by_day = counts.calls_by_day(month);
    let calls: u64 = by_day.iter().map(|(_, calls)| *calls).fold(0, u64::saturating_add);
    html! {
        section #s-month aria-labelledby="t-month" {
            header {
                h2 #t-month { "Calls to Box in " (month) }
                p {
                    (grouped(calls)) " so far, " (grouped(month.forecast(calls, counts.since(), now))) " by its end at this rate"
                    @if !is_alone { ", of this replica alone" }
                }
                a.to href="/?view=usage" { "Who spent them" }
            }
            (curve(month, &by_day, counts.since(), now, plan.as_ref().map(|plan| plan.calls)))
            @if let Some(plan) = &plan {
                p.dim { "The upper line is the budget " (plan.name) ": " (grouped(plan.calls)) " calls." }
            }
        }
    }
}

/// Whether it is a budget of all calls of a month. The one with the fewest calls is the plan.
fn is_plan(budget: &BudgetState) -> bool {
    budget.per == Period::Month && budget.key == Key::Global && budget.of_all_calls && budget.enforce
}

/// `by_day`: in the order of the days; calls of no known day are those of the month itself.
fn curve(month: Span, by_day: &[(Span, u64)], since: Timestamp, now: Timestamp, plan: Option<u64>) -> Markup {
    let calls: u64 = by_day.iter().map(|(_, calls)| *calls).fold(0, u64::saturating_add);
    let forecast = month.forecast(calls, since, now);
    let top = [calls, forecast, plan.unwrap_or(0), 1].into_iter().max().unwrap_or(1) as f64;
    let days = month.days().count() as f64;
    let y = |calls: u64| HEIGHT - calls as f64 / top * HEIGHT;
    let at = |time: Timestamp| (time.as_second() - month.begins().as_second()) as f64 / 86_400.0;
    let mut sum: u64 =
        by_day.iter().filter(|(span, _)| span.period() == Period::Month).map(|(_, calls)| *calls).sum();
    let begins = at(since.max(month.begins()).min(now));
    let mut line = format!("M{begins:.2} {:.2}", y(sum));
    for (day, calls) in by_day.iter().filter(|(span, _)| span.period() == Period::Day) {
        sum = sum.saturating_add(*calls);
        // Writing to a `String` cannot fail.
        let _ = write!(line, "L{:.2} {:.2}", at(day.ends().min(now)).max(begins), y(sum));
    }
    let _ = write!(line, "L{:.2} {:.2}", at(now), y(calls));
    let mut words =
        format!("{} calls in {month} so far, {} by its end at this rate", grouped(calls), grouped(forecast));
    if let Some(plan) = plan {
        words.push_str(&format!("; the plan has {}", grouped(plan)));
    }
    html! {
        svg.month-curve viewBox=(format!("0 0 {days} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
            title { (words) }
            @if let Some(plan) = plan { path.plan d=(format!("M0 {:.2}H{days}", y(plan))) {} }
            path.forecast d=(format!("M{:.2} {:.2}L{days} {:.2}", at(now), y(calls), y(forecast))) {}
            path.line d=(line) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::budget::definition::WhenSpent;

    fn drawn(by_day: &[(&str, u64)], since: &str, plan: Option<u64>) -> String {
        let by_day: Vec<(Span, u64)> =
            by_day.iter().map(|(span, calls)| (Span::read(span).unwrap(), *calls)).collect();
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        curve(Span::read("2026-11").unwrap(), &by_day, at(since), at("2026-11-11T00:00:00Z"), plan)
            .into_string()
    }

    #[test]
    fn calls_add_up_to_now_and_go_on_at_their_rate() {
        let html = drawn(&[("2026-11-02", 400), ("2026-11-10", 600)], "2026-01-01T00:00:00Z", Some(6_000));
        // A sixth of the plan by now, a half by the end.
        assert!(html.contains("d=\"M0.00 100.00L2.00 93.33L10.00 83.33L10.00 83.33\""), "{html}");
        assert!(html.contains("d=\"M10.00 83.33L30 50.00\""), "{html}");
        assert!(html.contains("d=\"M0 0.00H30\""), "{html}");
        assert!(
            html.contains("1,000 calls in 2026-11 so far, 3,000 by its end at this rate; the plan has 6,000"),
            "{html}"
        );
    }

    #[test]
    fn it_begins_where_counting_began_and_with_calls_of_no_known_day() {
        let html = drawn(&[("2026-11", 50), ("2026-11-10", 50)], "2026-11-09T12:00:00Z", None);
        assert!(html.contains("class=\"line\" d=\"M8.50 "), "{html}");
        assert!(!html.contains("NaN") && !html.contains("class=\"plan\""), "{html}");
        let empty = drawn(&[], "2026-12-01T00:00:00Z", Some(0));
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }

    #[test]
    fn the_plan_is_a_budget_of_all_calls_of_a_month() {
        let budget = |per, key, of_all_calls, enforce| BudgetState {
            name: "plan".into(),
            key,
            value: "".into(),
            of_all_calls,
            per,
            when_spent: WhenSpent::Reject,
            enforce,
            calls: 1,
            used: 0,
            forecast: 0,
            refused: 0,
            ends: Timestamp::UNIX_EPOCH,
        };
        assert!(is_plan(&budget(Period::Month, Key::Global, true, true)));
        for other in [
            budget(Period::Day, Key::Global, true, true),
            budget(Period::Month, Key::App, true, true),
            budget(Period::Month, Key::Global, false, true),
            budget(Period::Month, Key::Global, true, false),
        ] {
            assert!(!is_plan(&other), "{other:?}");
        }
    }
}
