//! One line for each question that brings an operator here: are we ready, does Box answer, whose token fails, why 429, who
//! is over plan, did the reload take?

use maud::{Markup, html};

use super::limits::fullness;
use super::{budgets, hosts};
use crate::admin::advice;
use crate::admin::page::figures::{ago, at, count, latency, percent};
use crate::admin::page::link;
use crate::admin::status::{BoxHost, Budget, Limit, Status};

/// The most budgets that are named above everything else.
const BUDGETS: usize = 3;

/// The answer to one question.
struct Tile {
    title: &'static str,
    /// The section or view with the details.
    link: &'static str,
    class: &'static str,
    value: String,
    detail: Markup,
}

/// What the page begins with.
pub(super) fn summary(status: &Status) -> Markup {
    let tiles = [
        gateway(status),
        of_box(status),
        tokens(status),
        requests(status),
        errors(status),
        refused(status),
        plan(status),
        reload(status),
    ];
    html! {
        h1.unseen { "Now" }
        (verdict(status))
        ul #summary {
            @for tile in tiles.into_iter().flatten() {
                li.(tile.class) {
                    a href=(tile.link) { (tile.title) }
                    strong { (tile.value) }
                    span { (tile.detail) }
                }
            }
        }
    }
}

/// Each reason why it is not ready, each host that does not answer, each budget that refuses, and each note, with what to do.
fn verdict(status: &Status) -> Markup {
    let identities = || status.identities.iter().map(|identity| (&*identity.name, identity.state));
    let is_refused = status.config.reload.as_ref().is_some_and(|reload| reload.result == "refused");
    let is_alone = status.redis.as_ref().is_some_and(|redis| !redis.shared);
    let advice_of_notes = advice::of_notes(is_refused, is_alone);
    let down: Vec<&BoxHost> = status.hosts.iter().filter(|host| !host.up).collect();
    let refuses = |budget: &&Budget| {
        budget.enforced && budget.when_spent == "reject" && budget.refused > 0 && budget.used >= budget.calls
    };
    let mut refusing: Vec<&Budget> = status.budgets.iter().filter(refuses).collect();
    let more = refusing.len().saturating_sub(BUDGETS);
    refusing.truncate(BUDGETS);
    html! {
        @if !status.reasons.is_empty() || !status.notes.is_empty() || !down.is_empty() || !refusing.is_empty() {
            ul #verdict {
                @for reason in &status.reasons {
                    li.bad {
                        strong { "Not ready: " } (reason)
                        span.todo {
                            (advice::of_reason(reason, identities()))
                            @if reason != "draining" { " – " a href="#s-identities" { "Identities" } }
                        }
                    }
                }
                @for host in down {
                    li.bad {
                        strong {
                            @if hosts::fails_at_proxy(host) { "The egress proxy fails, so Box is not reached: " } @else { "Box does not answer: " }
                        }
                        (host.host)
                        @if let Some(since) = &host.since { " since " (at(since, &status.now)) " (" (ago(since, &status.now)) ")" }
                        @if let Some(reason) = &host.reason { ": " (reason) }
                        span.todo { "boxgate check says how far connections come – " a href="#s-hosts" { "Box" } }
                    }
                }
                @for budget in refusing {
                    li.bad {
                        strong { "Budget spent: " }
                        (budgets::name(budget)) " has used its " (count(budget.calls)) " calls; further ones get 403 until " (at(&budget.ends, &status.now))
                        span.todo { "who spent them: " a href="/?view=usage" { "Box calls" } }
                    }
                }
                @if more > 0 { li.bad { (more) " more budgets are spent: " a href="#s-budgets" { "Budgets" } } }
                @for (index, note) in status.notes.iter().enumerate() {
                    li.warn {
                        strong { "Note: " } (note)
                        @if index + 1 == status.notes.len() {
                            @if let Some(advice) = advice_of_notes {
                                span.todo {
                                    (advice)
                                    @if let (true, Some(link)) = (is_refused, link("configuration", &[])) { " – " a href=(link) { "Configuration" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn gateway(status: &Status) -> Option<Tile> {
    let (class, value) = match (status.ready, status.draining) {
        (true, _) => ("good", "ready"),
        (false, true) => ("warn", "stopping"),
        (false, false) => ("bad", "not ready"),
    };
    let detail = html! { "up since " (at(&status.started, &status.now)) };
    Some(Tile { title: "This gateway", link: "#s-process", class, value: value.to_owned(), detail })
}

fn of_box(status: &Status) -> Option<Tile> {
    let down: Vec<&BoxHost> = status.hosts.iter().filter(|host| !host.up).collect();
    let word = if down.iter().all(|host| hosts::fails_at_proxy(host)) { "not reached" } else { "DOWN" };
    let asked = status.hosts.iter().any(|host| host.last_5_minutes.requests > 0);
    let slowest = status.hosts.iter().filter_map(|host| host.last_5_minutes.p95_ms).max_by(f64::total_cmp);
    let (class, value, detail) = match (&*down, asked) {
        ([], false) => ("calm", "not asked", html! { "no calls in 5 min" }),
        ([], true) => ("good", "answers", html! { "p95 " (latency(slowest)) }),
        ([one], _) => ("bad", word, html! { (one.host) }),
        (more, _) => ("bad", word, html! { (more.len()) " of " (status.hosts.len()) " hosts" }),
    };
    Some(Tile { title: "Box", link: "#s-hosts", class, value: value.to_owned(), detail })
}

fn tokens(status: &Status) -> Option<Tile> {
    let all = status.identities.len();
    let valid = status.identities.iter().filter(|identity| identity.state == "valid").count();
    let first_bad = status.identities.iter().find(|identity| identity.state != "valid");
    let failing =
        status.identities.iter().find(|identity| identity.state == "valid" && identity.reason.is_some());
    let (class, detail) = match (first_bad, failing) {
        (Some(bad), _) => {
            (if bad.state == "waiting" { "warn" } else { "bad" }, html! { (bad.name) ": " (bad.state) })
        }
        (None, Some(failing)) => ("warn", html! { "renewal of " (failing.name) " failed" }),
        (None, None) => ("good", html! { @if all == 1 { "of one identity" } @else { "of all identities" } }),
    };
    let value = if valid == all { "valid".to_owned() } else { format!("{valid} of {all} valid") };
    Some(Tile { title: "Tokens", link: "#s-identities", class, value, detail })
}

fn requests(status: &Status) -> Option<Tile> {
    let requests = &status.requests;
    let detail = html! { "p95 " (latency(requests.p95_ms)) };
    let value = count(requests.requests);
    Some(Tile { title: "Requests in 5 min", link: "#s-apps", class: "calm", value, detail })
}

fn errors(status: &Status) -> Option<Tile> {
    let errors = status.requests.status_5xx;
    let worst = status.apps.iter().filter(|app| app.last_5_minutes.status_5xx > 0);
    let worst = worst.max_by_key(|app| app.last_5_minutes.status_5xx);
    let detail = html! {
        @if let Some(worst) = worst { "most to " (worst.name) } @else if errors > 0 { "to no app" } @else { "none" }
    };
    let class = if errors > 0 { "bad" } else { "calm" };
    let link = if errors > 0 { "/?view=requests&status=5xx" } else { "#s-apps" };
    Some(Tile { title: "5xx in 5 min", link, class, value: count(errors), detail })
}

fn refused(status: &Status) -> Option<Tile> {
    let refused = status.requests.status_429;
    let pauses = status.pauses_in_force;
    let by = |limit: &&Limit| (limit.waiting, limit.limited);
    let full = status.limits.iter().filter(|limit| fullness(limit) >= 1.0).max_by_key(by);
    let most = status.limits.iter().filter(|limit| limit.enforced && limit.limited > 0);
    let most = most.max_by_key(|limit| limit.limited);
    let detail = html! {
        @if pauses == 1 { "Box asked for a pause" }
        @else if pauses > 1 { "Box asked for " (count(pauses as u64)) " pauses" }
        @else if let Some(full) = full { (full.name) " is full" }
        @else if let (Some(most), true) = (most, refused > 0) { "most by " (most.name) }
        @else { "no limit is full" }
    };
    let class = if refused > 0 || pauses > 0 { "warn" } else { "calm" };
    // The requests say who was refused, also when the limit has room again.
    let link = if refused > 0 { "/?view=requests&status=429" } else { "#s-limits" };
    Some(Tile { title: "429 in 5 min", link, class, value: count(refused), detail })
}

fn plan(status: &Status) -> Option<Tile> {
    let worst = budgets::worst_first(status).into_iter().next()?;
    let share = budgets::spent(worst);
    let class = budgets::class(worst);
    let detail = html! { (budgets::name(worst)) ", forecast " (percent(budgets::share_of(worst.forecast, worst.calls))) };
    Some(Tile {
        title: "Budget",
        link: "#s-budgets",
        class: if class == "fill" { "calm" } else { class },
        value: format!("{} spent", percent(share)),
        detail,
    })
}

fn reload(status: &Status) -> Option<Tile> {
    let (class, value, moment) = match &status.config.reload {
        None => ("calm", "unchanged", &status.config.in_use_since),
        Some(reload) if reload.result == "ok" => ("good", "taken over", &reload.time),
        Some(reload) => ("bad", "REFUSED", &reload.time),
    };
    let detail = html! {
        @if status.config.reload.is_none() { "since the start, " }
        (at(moment, &status.now))
        @if let Some(reload) = &status.config.reload { " (" (reload.cause) ")" }
    };
    Some(Tile {
        title: "Configuration",
        link: "/?view=configuration",
        class,
        value: value.to_owned(),
        detail,
    })
}
