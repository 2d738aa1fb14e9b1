//! One line for each question that brings an operator here: are we ready, does Box answer, whose token fails, why 429, who
//! is over plan, did the reload take?

use maud::{Markup, html};

use super::budgets;
use super::limits::fullness;
use crate::admin::advice;
use crate::admin::page::figures::{at, count, duration, latency, parsed, percent};
use crate::admin::status::Status;

/// The answer to one question.
struct Tile {
    title: &'static str,
    /// The section with the details.
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

/// Each reason why it is not ready, and each note, with what to do.
fn verdict(status: &Status) -> Markup {
    let identities = || status.identities.iter().map(|identity| (&*identity.name, identity.state));
    let is_refused = status.config.reload.as_ref().is_some_and(|reload| reload.result == "refused");
    let is_alone = status.redis.as_ref().is_some_and(|redis| !redis.shared);
    let advice_of_notes = advice::of_notes(is_refused, is_alone);
    html! {
        @if !status.reasons.is_empty() || !status.notes.is_empty() {
            ul #verdict {
                @for reason in &status.reasons {
                    li.bad {
                        strong { "Not ready: " } (reason)
                        span.todo { (advice::of_reason(reason, identities())) }
                    }
                }
                @for (index, note) in status.notes.iter().enumerate() {
                    li.warn {
                        strong { "Note: " } (note)
                        @if index + 1 == status.notes.len() {
                            @if let Some(advice) = advice_of_notes { span.todo { (advice) } }
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
    let up = match (parsed(&status.started), parsed(&status.now)) {
        (Some(started), Some(now)) => duration((now.as_second() - started.as_second()) / 60 * 60),
        _ => String::new(),
    };
    let detail = html! {
        @if up == "0 s" { "up for less than a minute" } @else { "up " (up) }
    };
    Some(Tile { title: "This gateway", link: "#s-process", class, value: value.to_owned(), detail })
}

fn of_box(status: &Status) -> Option<Tile> {
    let down: Vec<&str> = status.hosts.iter().filter(|host| !host.up).map(|host| &*host.host).collect();
    let asked = status.hosts.iter().filter(|host| host.last_5_minutes.requests > 0).count();
    let (class, value, detail) = match (&*down, asked) {
        ([], 0) => ("calm", "not asked".to_owned(), html! { "no calls in 5 min" }),
        ([], _) => ("good", "answers".to_owned(), html! { "all hosts that were asked" }),
        ([one], _) => ("bad", "DOWN".to_owned(), html! { (one) }),
        (more, _) => ("bad", "DOWN".to_owned(), html! { (more.len()) " of " (status.hosts.len()) " hosts" }),
    };
    Some(Tile { title: "Box", link: "#s-hosts", class, value, detail })
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
    let class = if requests.status_5xx > 0 { "bad" } else { "calm" };
    let detail = html! {
        @if requests.status_5xx > 0 { (count(requests.status_5xx)) " with 5xx, " }
        "p95 " (latency(requests.p95_ms))
    };
    Some(Tile { title: "Requests (5 min)", link: "#s-apps", class, value: count(requests.requests), detail })
}

fn refused(status: &Status) -> Option<Tile> {
    let refused = status.requests.status_429;
    let full = status.limits.iter().filter(|limit| fullness(limit) >= 1.0);
    let full =
        full.max_by(|one, other| one.waiting.cmp(&other.waiting).then(one.limited.cmp(&other.limited)));
    let detail = html! {
        @if status.pauses_in_force > 0 { "Box asked for " (count(status.pauses_in_force as u64)) @if status.pauses_in_force == 1 { " pause" } @else { " pauses" } }
        @else if let Some(full) = full { (full.name) " is full" }
        @else { "no limit is full" }
    };
    let class = if refused > 0 || status.pauses_in_force > 0 { "warn" } else { "calm" };
    Some(Tile { title: "Answers 429 (5 min)", link: "#s-limits", class, value: count(refused), detail })
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
        None => ("calm", "as at the start", &status.config.in_use_since),
        Some(reload) if reload.result == "ok" => ("good", "taken over", &reload.time),
        Some(reload) => ("bad", "REFUSED", &reload.time),
    };
    let detail = html! {
        (at(moment, &status.now))
        @if let Some(reload) = &status.config.reload { " (" (reload.cause) ")" }
    };
    Some(Tile { title: "Configuration", link: "#s-process", class, value: value.to_owned(), detail })
}
