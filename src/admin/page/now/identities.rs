//! The identities: is there a token, how long is it valid, why was it refused, and the button that renews it.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::all_link;
use crate::admin::page::figures::{at, count, countdown};
use crate::admin::status::{Identity, Status};

const COLUMNS: usize = 4;

/// The identities, those without a valid token first.
pub(super) fn section(status: &Status, most: usize) -> Markup {
    let mut identities: Vec<&Identity> = status.identities.iter().collect();
    identities.sort_by_key(|identity| (identity.state == "valid", identity.reason.is_none()));
    let all = identities.len();
    identities.truncate(most);
    html! {
        section #s-identities aria-labelledby="t-identities" {
            header { h2 #t-identities { "Identities" } p { "accounts at Box, and their tokens" } }
            div.scroll tabindex="0" role="group" aria-labelledby="t-identities" {
                table {
                    thead { tr {
                        th scope="col" { "Identity" } th scope="col" { "Token" } th.n scope="col" { "Ends in" }
                        th scope="col" { span.unseen { "Renewal" } }
                    } }
                    tbody { @for identity in &identities { (rows(status, identity)) } }
                }
            }
            (all_link(identities.len(), all, "identities"))
        }
    }
}

fn rows(status: &Status, identity: &Identity) -> Markup {
    let (class, word) = match identity.state {
        "valid" => ("good", "valid"),
        "waiting" => ("warn", "waiting"),
        "refused" => ("bad", "REFUSED"),
        "unavailable" => ("bad", "UNAVAILABLE"),
        other => ("warn", other),
    };
    let is_valid = identity.state == "valid";
    html! {
        tr id={ "i-" (identity.name) } {
            th scope="row" {
                (identity.name)
                div.under { (identity.subject) }
                @if let Some(downscope) = &identity.downscope { div.under.wraps { "downscoped to " (downscope) } }
            }
            td {
                span.mark.(class) { (word) }
                @if let Some(renewed) = &identity.renewed { div.under { "renewed " (at(renewed, &status.now)) } }
                @if identity.failed > 0 { div.under { (count(identity.failed)) " failed since the start" } }
            }
            td.n { @if let Some(expires) = &identity.expires { (countdown(expires, &status.now)) } @else { "–" } }
            td.n { (renewal(status, identity)) }
        }
        @if let Some(reason) = &identity.reason {
            tr.words id={ "why-" (identity.name) } {
                td.(if is_valid { "warn" } else { "bad" }) colspan=(COLUMNS) {
                    @if is_valid { "renewal failed: " }
                    (reason)
                    @if let Some(next) = &identity.next_attempt { "; next attempt in " (countdown(next, &status.now)) }
                }
            }
        }
    }
}

/// The button that asks Box for a new token. Without the script, its form leads back to this view.
fn renewal(status: &Status, identity: &Identity) -> Markup {
    let action = format!("/identities/{}/renew", utf8_percent_encode(&identity.name, NON_ALPHANUMERIC));
    let why_not = match (status.draining, identity.state) {
        (true, _) => Some("the gateway stops"),
        (false, "waiting") => Some("Box is being asked"),
        (false, _) => None,
    };
    html! {
        form id={ "renew-" (identity.name) } method="post" action=(action) data-post data-doing="Box is asked for a token" {
            button disabled[why_not.is_some()] aria-label={ "Renew now: the token of " (identity.name) } { "Renew now" }
            @if let Some(why_not) = why_not { div.under { (why_not) } }
            div id={ "renewed-" (identity.name) } role="status" data-keep {}
        }
    }
}
