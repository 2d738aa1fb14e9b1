//! Limits: how full each is, who waits, what was refused; and the pauses that Box asked for.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{all_link, unused_names, words_row};
use crate::admin::page::figures::{at, bar, count, countdown, fault, number, percent};
use crate::admin::status::{Limit, Pause, Status};

const COLUMNS: usize = 5;

/// How full the fullest count is, from 0 to 1.
pub(super) fn fullness(limit: &Limit) -> f64 {
    limit.fullest.iter().map(|count| count.used).fold(0.0, f64::max)
}

/// The class of a bar that is so full.
pub(super) fn class(share: f64) -> &'static str {
    match share {
        1.0.. => "bad",
        0.8.. => "warn",
        _ => "fill",
    }
}

/// The limits that are in use, the fullest first; others by name only.
pub(super) fn section(status: &Status, most: usize) -> Markup {
    let is_used = |limit: &&Limit| fullness(limit) > 0.0 || limit.waiting > 0 || limit.limited > 0;
    let (mut used, unused): (Vec<&Limit>, Vec<&Limit>) = status.limits.iter().partition(is_used);
    used.sort_by(|one, other| {
        fullness(other).total_cmp(&fullness(one)).then(other.limited.cmp(&one.limited))
    });
    let all = used.len();
    used.truncate(most);
    html! {
        section #s-limits aria-labelledby="t-limits" {
            header { h2 #t-limits { "Limits" } p { "the fullest first; refused since the start" } }
            @if all > 0 {
                div.scroll tabindex="0" role="group" aria-labelledby="t-limits" {
                    table {
                        thead { tr {
                            th scope="col" { "Limit" } th scope="col" { span.unseen { "Fullest key as a bar" } }
                            th.n scope="col" { "Full" } th.n scope="col" { "Waiting" } th.n scope="col" { "Refused" }
                        } }
                        tbody { @for limit in &used { (rows(status, limit)) } }
                    }
                }
                (all_link(used.len(), all, "limits in use"))
            } @else { p { "No limit has counted anything yet." } }
            (unused_names("unused-limits", unused.iter().map(|limit| limit.name.clone()).collect()))
        }
    }
}

fn rows(status: &Status, limit: &Limit) -> Markup {
    let share = fullness(limit);
    let waiting = status.waiting.iter().filter(|waiting| waiting.limit == limit.name && waiting.requests > 0);
    let waiting: Vec<String> = waiting
        .map(|waiting| {
            let app = waiting.app.as_deref().unwrap_or("app not known");
            format!("{app} {}", count(waiting.requests as u64))
        })
        .collect();
    let fullest: Vec<String> = limit
        .fullest
        .iter()
        .filter(|of| of.used > 0.0)
        .filter_map(|of| {
            let key = of.key.as_deref().filter(|key| !key.is_empty())?;
            Some(match of.waiting {
                0 => format!("{key} {}", percent(of.used)),
                waiting => format!("{key} {} ({} waiting)", percent(of.used), count(waiting as u64)),
            })
        })
        .collect();
    let refused_class = if limit.enforced { "warn" } else { "dim" };
    html! {
        tr id={ "l-" (limit.name) } {
            th scope="row" { (limit.name) @if let Some(rate) = &limit.rate { span.as-whom { (rate) } } }
            // Pauses have no rate, and are never full.
            @if limit.rate.is_some() {
                td { (bar(share, class(share))) }
                td.n { span.(class(share)) { (percent(share)) } }
            } @else { td {} td.n { "–" } }
            td.n { (fault(limit.waiting as u64, "warn")) }
            td.n { @if limit.limited == 0 { (number(0)) } @else { span.(refused_class) { (count(limit.limited)) } } }
        }
        @if !limit.enforced { (words_row(COLUMNS, "warn", "enforce = false: these were let pass")) }
        @if !waiting.is_empty() { (words_row(COLUMNS, "", &format!("waiting: {}", waiting.join(", ")))) }
        @if !fullest.is_empty() {
            (words_row(COLUMNS, "dim", &format!("fullest {}: {}", limit.key.unwrap_or("key"), fullest.join(", "))))
        }
    }
}

/// The pauses that Box asked for, the longest first; nothing if there are none.
pub(super) fn pauses(status: &Status, most: usize) -> Markup {
    let mut pauses: Vec<&Pause> = status.pauses.iter().collect();
    pauses.sort_by_key(|pause| Reverse(pause.seconds_left));
    pauses.truncate(most);
    let others = status.pauses_in_force.saturating_sub(pauses.len());
    html! {
        @if !pauses.is_empty() {
            section #s-pauses aria-labelledby="t-pauses" {
                header { h2 #t-pauses { "Pauses by Box" } p { "Box answered 429 or 503 and asked to be left alone" } }
                div.scroll tabindex="0" role="group" aria-labelledby="t-pauses" {
                    table {
                        thead { tr {
                            th scope="col" { "Identity" } th.n scope="col" { "Left" } th.n scope="col" { "Until" }
                            th scope="col" { "As-User" } th scope="col" { "What pauses" }
                        } }
                        tbody {
                            @for pause in &pauses {
                                tr {
                                    th scope="row" { (pause.identity.as_deref().unwrap_or("–")) }
                                    td.n.warn { (countdown(&pause.until, &status.now)) }
                                    td.n { (at(&pause.until, &status.now)) }
                                    td { (pause.as_user.as_deref().unwrap_or("–")) }
                                    td { (what(pause)) }
                                }
                            }
                        }
                    }
                }
                @if others > 0 { p { (count(others as u64)) " more, which end sooner" } }
            }
        }
    }
}

fn what(pause: &Pause) -> String {
    match (&pause.operation, &pause.class) {
        (Some(operation), _) => operation.clone(),
        (None, Some(class)) => format!("{class} calls"),
        (None, None) => "all calls".to_owned(),
    }
}
