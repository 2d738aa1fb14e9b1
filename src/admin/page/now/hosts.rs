//! The hosts of Box: does each answer, and how fast?

use maud::{Markup, html};

use super::words_row;
use crate::admin::Overview;
use crate::admin::page::chart::{Unit, sparkline};
use crate::admin::page::figures::{ago, at, milliseconds, number};
use crate::admin::page::link;
use crate::admin::status::{BoxHost, Requests, Status};
use crate::telemetry::history::{Of, slot_beginnings};

const COLUMNS: usize = 6;
/// The slots of the last hour, of five minutes each.
const HOUR: usize = 12;

/// Whether calls to a host fail at the proxy that `[upstream] proxy` or the environment names, so that nothing is known of Box.
/// The connector begins such a reason with these words.
pub(super) fn fails_at_proxy(host: &BoxHost) -> bool {
    host.reason.as_deref().is_some_and(|reason| reason.contains("through the proxy "))
}

/// The hosts, those that do not answer first.
pub(super) fn section(overview: &Overview, status: &Status) -> Markup {
    let mut hosts: Vec<&BoxHost> = status.hosts.iter().collect();
    hosts.sort_by_key(|host| host.up);
    html! {
        section #s-hosts aria-labelledby="t-hosts" {
            header { h2 #t-hosts { "Box" } p { "answers of the last 5 minutes" } }
            div.scroll tabindex="0" role="group" aria-labelledby="t-hosts" {
                table {
                    thead { tr {
                        th scope="col" { "Host" } th scope="col" { "State" }
                        th.n scope="col" { "Answers" } th.n scope="col" { "p50" } th.n scope="col" { "p95" }
                        th.n scope="col" { "p95 of the last hour" }
                    } }
                    tbody { @for host in hosts { (row(overview, status, host)) } }
                }
            }
        }
    }
}

fn row(overview: &Overview, status: &Status, host: &BoxHost) -> Markup {
    let answers = &host.last_5_minutes;
    html! {
        tr {
            th scope="row" { (host.host) }
            td {
                @if !host.up { span.mark.bad { @if fails_at_proxy(host) { "NOT REACHED" } @else { "DOWN" } } }
                @else if answers.requests > 0 { span.mark.good { "up" } }
                // No outage was noticed, since nothing was asked.
                @else { span.mark.dim { "no calls" } }
            }
            td.n { (number(answers.requests)) }
            td.n { (milliseconds(answers.p50_ms)) }
            td.n { (milliseconds(answers.p95_ms)) }
            td.n { (last_hour(overview, &host.host)) }
        }
        @if let (false, Some(since)) = (host.up, &host.since) {
            tr.words {
                td.bad colspan=(COLUMNS) {
                    "since " (at(since, &status.now)) " (" (ago(since, &status.now)) "): "
                    (host.reason.as_deref().unwrap_or("the gateway's log has the reason"))
                }
            }
        } @else if !host.up {
            (words_row(COLUMNS, "bad", host.reason.as_deref().unwrap_or("the gateway's log has the reason")))
        }
    }
}

/// How fast the host was in each five minutes of the last hour; a link to its view.
fn last_hour(overview: &Overview, host: &str) -> Markup {
    let gateway = overview.gateway.load();
    let label = gateway.host_labels.iter().find(|(known, _)| known.as_str() == host).map(|(_, label)| *label);
    let Some(label) = label else { return html! { "–" } };
    let now = overview.process.clock.now();
    let slots = overview.history.last_slots(&overview.metrics, Of::Host(label), now, HOUR);
    let p95 = |begins| {
        let (_, counts) = slots.iter().find(|(slot, _)| *slot == begins)?;
        Requests::of(counts).p95_ms
    };
    let values: Vec<Option<f64>> = slot_beginnings(now.wall, HOUR).into_iter().map(p95).collect();
    let slowest = values
        .iter()
        .flatten()
        .copied()
        .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))));
    let Some(slowest) = slowest else { return html! { "–" } };
    let words = format!("{host}: p95 of the last hour at most {}", Unit::Millis.exact(slowest));
    html! { a href=[link("history", &[("host", host)])] { (sparkline(&values, &words)) } }
}
