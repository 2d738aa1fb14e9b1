//! The apps: who calls, how many get errors, and who waits long.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{all_link, words_row};
use crate::admin::page::figures::{bar, count, fault, milliseconds, number};
use crate::admin::page::link;
use crate::admin::status::{App, Login, Status};
use crate::oauth::login_lookup::FIRST;

const COLUMNS: usize = 10;

/// The apps: those with errors first, then the busiest.
pub(super) fn section(status: &Status, most: usize) -> Markup {
    let mut apps: Vec<&App> = status.apps.iter().collect();
    apps.sort_by_key(|app| {
        let requests = &app.last_5_minutes;
        Reverse((
            requests.status_5xx,
            requests.status_429,
            requests.requests,
            app.in_flight,
            app.calls_this_month,
        ))
    });
    let all = apps.len();
    apps.truncate(most);
    let slowest = apps.iter().filter_map(|app| app.last_5_minutes.p95_ms).fold(0.0, f64::max);
    let strays = &status.requests_of_no_app;
    html! {
        section #s-apps aria-labelledby="t-apps" {
            header {
                h2 #t-apps { "Apps" }
                p { "requests of the last 5 minutes; errors first, then the busiest" }
                @if let Some(link) = link("history", &[]) { a.to href=(link) { "Over time" } }
            }
            div.scroll tabindex="0" role="group" aria-labelledby="t-apps" {
                table {
                    thead { tr {
                        th scope="col" { "App" } th.n scope="col" { "Requests" } th.n scope="col" { "4xx" }
                        th.n scope="col" { "429" } th.n scope="col" { "5xx" } th.n scope="col" { "p50" }
                        th.n scope="col" { "p95" } th scope="col" { span.unseen { "p95 as a bar" } }
                        th.n scope="col" { "In flight" } th.n scope="col" { "This month" }
                    } }
                    tbody {
                        @for app in &apps { (rows(app, slowest)) }
                        @if strays.requests > 0 {
                            tr id="a-" {
                                th scope="row" { i { "of no app" } }
                                td.n { (number(strays.requests)) } td.n { (fault(strays.status_4xx, "warn")) }
                                td.n { (fault(strays.status_429, "warn")) } td.n { (fault(strays.status_5xx, "bad")) }
                                td.n { (milliseconds(strays.p50_ms)) } td.n { (milliseconds(strays.p95_ms)) }
                                td {} td.n {} td.n {}
                            }
                        }
                    }
                }
            }
            (all_link(apps.len(), all, "apps"))
            @if status.redis.is_some() { p.dim { "This month: calls of this replica." } }
        }
    }
}

fn rows(app: &App, slowest: f64) -> Markup {
    let requests = &app.last_5_minutes;
    let words = match (app.configured, app.enabled) {
        (false, _) => Some("removed from the configuration"),
        (true, false) => Some("off: enabled = false, callers get 503"),
        (true, true) => None,
    };
    let share = requests.p95_ms.filter(|_| slowest > 0.0).map_or(0.0, |p95| p95 / slowest);
    html! {
        tr id={ "a-" (app.name) } {
            th scope="row" {
                @if let Some(link) = link("requests", &[("app", &app.name)]) { a href=(link) { (app.name) } }
                @else { (app.name) }
                @if let Some(identity) = &app.identity { span.as-whom title="its identity" { (identity) } }
            }
            td.n { (number(requests.requests)) }
            td.n { (fault(requests.status_4xx, "warn")) }
            td.n { (fault(requests.status_429, "warn")) }
            td.n { (fault(requests.status_5xx, "bad")) }
            td.n { (milliseconds(requests.p50_ms)) }
            td.n {
                @match (requests.p95_ms, link("history", &[("app", &app.name)])) {
                    (Some(_), Some(link)) => a href=(link) { (milliseconds(requests.p95_ms)) },
                    _ => (milliseconds(requests.p95_ms)),
                }
            }
            td { @if share > 0.0 { (bar(share, "fill")) } }
            td.n { (number(app.in_flight)) }
            td.n { @if app.calls_this_month == 0 { (number(0)) } @else { (count(app.calls_this_month)) } }
        }
        @if let Some(words) = words { (words_row(COLUMNS, "warn", words)) }
        @if !app.as_user_logins.is_empty() { (logins(app)) }
    }
}

/// The logins in `as_user`: those without an id with the reason, and the others on request.
fn logins(app: &App) -> Markup {
    let (found, missing): (Vec<&Login>, Vec<&Login>) =
        app.as_user_logins.iter().partition(|login| login.id.is_some());
    html! {
        @for login in &missing {
            @let why = login.reason.as_deref().unwrap_or(FIRST);
            (words_row(COLUMNS, "warn", &format!("as_user {}: {}; {why}", login.login, login.state)))
        }
        @if !found.is_empty() {
            tr.words { td colspan=(COLUMNS) {
                details id={ "as-user-" (app.name) } {
                    summary { (found.len()) @if found.len() == 1 { " login" } @else { " logins" } " in as_user" }
                    @for login in &found {
                        p { (login.login) ": user " (login.id.as_deref().unwrap_or_default()) }
                    }
                }
            } }
        }
    }
}
