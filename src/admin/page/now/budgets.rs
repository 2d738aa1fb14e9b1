//! Budgets: how much of the plan is spent, and what the forecast is.

use maud::{Markup, html};

use super::{all_link, limits, unused_names};
use crate::admin::page::figures::{at, bar, count, percent};
use crate::admin::page::link;
use crate::admin::status::{Budget, Status};

const COLUMNS: usize = 5;

/// A part of the calls of a budget. A budget without calls is spent.
#[expect(clippy::cast_precision_loss, reason = "a share in per cent needs no more")]
pub(super) fn share_of(calls: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { calls as f64 / of as f64 }
}

/// The part of its calls that a budget has used.
pub(super) fn spent(budget: &Budget) -> f64 {
    share_of(budget.used, budget.calls)
}

/// The class of its bar.
pub(super) fn class(budget: &Budget) -> &'static str {
    if budget.used >= budget.calls {
        "bad"
    } else if budget.forecast > budget.calls {
        "warn"
    } else {
        limits::class(spent(budget))
    }
}

/// Its name, with the app or identity whose count it is.
pub(super) fn name(budget: &Budget) -> String {
    match &*budget.value {
        "" => budget.name.clone(),
        value => format!("{} ({value})", budget.name),
    }
}

/// The budgets, those of which most is spent first.
pub(super) fn worst_first(status: &Status) -> Vec<&Budget> {
    let mut budgets: Vec<&Budget> = status.budgets.iter().collect();
    budgets.sort_by(|one, other| spent(other).total_cmp(&spent(one)));
    budgets
}

/// The section, without those that are not used; nothing without budgets.
pub(super) fn section(status: &Status, most: usize) -> Markup {
    let is_used = |budget: &&Budget| budget.used > 0 || budget.refused > 0 || budget.calls == 0;
    let (mut budgets, unused): (Vec<&Budget>, Vec<&Budget>) =
        worst_first(status).into_iter().partition(is_used);
    let all = budgets.len();
    budgets.truncate(most);
    html! {
        @if !status.budgets.is_empty() {
            section #s-budgets aria-labelledby="t-budgets" {
                header {
                    h2 #t-budgets { "Budgets" }
                    p { "calls to Box" @if status.redis.is_some() { ", of all replicas" } }
                    @if let Some(link) = link("usage", &[]) { a.to href=(link) { "Who spent them" } }
                }
                @if all > 0 {
                    div.scroll tabindex="0" role="group" aria-labelledby="t-budgets" {
                        table {
                            thead { tr {
                                th scope="col" { "Budget" } th scope="col" { span.unseen { "Spent as a bar" } }
                                th.n scope="col" { "Spent" } th.n scope="col" { "Forecast" } th.n scope="col" { "Ends" }
                            } }
                            tbody { @for budget in &budgets { (rows(status, budget)) } }
                        }
                    }
                }
                (all_link(budgets.len(), all, "budgets in use"))
                (unused_names("unused-budgets", unused.iter().map(|budget| name(budget)).collect()))
            }
        }
    }
}

fn rows(status: &Status, budget: &Budget) -> Markup {
    let class = class(budget);
    let refuses = budget.when_spent == "reject" && budget.enforced;
    let words = if budget.used >= budget.calls && refuses {
        Some(match budget.refused {
            0 => "SPENT: calls get 403".to_owned(),
            refused => format!("SPENT: calls get 403, {} so far", count(refused)),
        })
    } else if budget.used >= budget.calls {
        Some("SPENT: calls go on, and are only counted".to_owned())
    } else if budget.forecast > budget.calls {
        Some(format!("OVER PLAN: heading for {}", percent(share_of(budget.forecast, budget.calls))))
    } else {
        None
    };
    html! {
        tr id={ "b-" (name(budget)) } {
            th scope="row" {
                (name(budget))
                div.under { (count(budget.used)) " of " (count(budget.calls)) " a " (budget.per) }
            }
            td { (bar(spent(budget), class)) }
            td.n { span.(class) { (percent(spent(budget))) } }
            td.n { span.(class) { (count(budget.forecast)) } }
            td.n { (at(&budget.ends, &status.now)) }
        }
        @if let Some(words) = words { tr.words { td.(class) colspan=(COLUMNS) { (words) } } }
    }
}
