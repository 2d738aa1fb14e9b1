//! The hosts of Box: does each answer, and how fast?

use maud::{Markup, html};

use super::words_row;
use crate::admin::page::figures::{ago, at, milliseconds, number};
use crate::admin::status::{BoxHost, Status};

const COLUMNS: usize = 5;

/// The hosts, those that do not answer first.
pub(super) fn section(status: &Status) -> Markup {
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
                    } }
                    tbody { @for host in hosts { (row(status, host)) } }
                }
            }
        }
    }
}

fn row(status: &Status, host: &BoxHost) -> Markup {
    let answers = &host.last_5_minutes;
    html! {
        tr {
            th scope="row" { (host.host) }
            td {
                @if !host.up { span.mark.bad { "DOWN" } }
                @else if answers.requests > 0 { span.mark.good { "up" } }
                // No outage was noticed, since nothing was asked.
                @else { span.mark.dim { "no calls" } }
            }
            td.n { (number(answers.requests)) }
            td.n { (milliseconds(answers.p50_ms)) }
            td.n { (milliseconds(answers.p95_ms)) }
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
