//! The process: connections, tunnels, the audit log, Redis, and the configuration in use.

use maud::{Markup, html};

use crate::admin::page::figures::{ago, at, count};
use crate::admin::page::link;
use crate::admin::status::{Audit, Status};

/// The section.
pub(super) fn section(status: &Status) -> Markup {
    html! {
        section #s-process aria-labelledby="t-process" {
            header { h2 #t-process { "This gateway" } p { "started " (at(&status.started, &status.now)) } }
            dl.facts {
                div { dt { "Connections" } dd { (connections(status)) } }
                @if let Some(tunnels) = &status.tunnels {
                    div { dt { "Tunnels" } dd { (count(tunnels.to_box)) " to Box, " (count(tunnels.other)) " to other hosts since the start" } }
                }
                @if let Some(audit) = &status.audit { div { dt { "Audit log" } dd { (audit_log(audit)) } } }
                @if status.redis.is_some() { div { dt { "Redis" } dd { (redis(status)) } } }
                div {
                    dt { "Configuration" }
                    dd {
                        (status.config.file.as_deref().unwrap_or("no file"))
                        ", in use since " (at(&status.config.in_use_since, &status.now))
                    }
                }
                div { dt { "Last reload" } dd { (reload(status)) } }
                div { dt { "Hardened with" } dd { (hardening(status)) } }
            }
        }
    }
}

fn connections(status: &Status) -> Markup {
    let connections = &status.connections;
    html! {
        (count(connections.open)) " open of " (count(connections.max as u64))
        @if connections.refused > 0 {
            ", " strong.warn { (count(connections.refused)) " refused" } " since the start"
        }
    }
}

fn hardening(status: &Status) -> String {
    let hardening = status.hardening;
    let on = [
        (hardening.no_new_privileges, "no new privileges"),
        (hardening.system_calls_filtered, "filtered system calls"),
        (hardening.memory_locked, "locked memory"),
    ];
    let on: Vec<&str> = on.iter().filter(|(is_on, _)| *is_on).map(|(_, what)| *what).collect();
    if on.is_empty() { "nothing".to_owned() } else { on.join(", ") }
}

fn audit_log(audit: &Audit) -> Markup {
    html! {
        (audit.file) ", " (count(audit.written)) " lines since the start"
        @if audit.lost > 0 { ", " strong.warn { (count(audit.lost)) " lost" } }
    }
}

fn redis(status: &Status) -> Markup {
    let Some(redis) = &status.redis else { return html! {} };
    html! {
        @if redis.shared {
            span.mark.good {
                @if redis.replicas == 1 { "shared, 1 replica" } @else { "shared by " (count(redis.replicas.into())) " replicas" }
            }
        } @else {
            strong.mark.bad { "NOT USABLE" }
            @if let Some(since) = &redis.since { " since " (at(since, &status.now)) " (" (ago(since, &status.now)) ")" }
            ": " (redis.reason.as_deref().unwrap_or("the gateway's log has the reason"))
        }
    }
}

fn reload(status: &Status) -> Markup {
    let Some(reload) = &status.config.reload else { return html! { "none since the start" } };
    html! {
        @if reload.result == "ok" { span.mark.good { "taken over" } } @else { strong.mark.bad { "REFUSED" } }
        " " (ago(&reload.time, &status.now)) ", at " (at(&reload.time, &status.now)) " (" (reload.cause) ")"
        @for problem in reload.problems.iter().take(3) { div.bad { (problem) } }
        @if reload.problems.len() > 3 { div { (reload.problems.len() - 3) " more problems" } }
        @for note in reload.notes.iter().take(3) { div.warn { (note) } }
        @if let Some(link) = link("configuration", &[]) { div { a href=(link) { "Configuration" } } }
    }
}
