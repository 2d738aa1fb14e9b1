//! The view Now: what `/status.json` says, what needs attention first.

mod apps; // who calls, and how it goes
mod hosts; // Box
mod identities; // tokens, and renewing them
mod limits; // limits and pauses
mod budgets; // calls of a day or a month
mod process; // connections, tunnels, Redis, the configuration
mod summary; // one line for each question

use maud::{Markup, html};

use super::Asked;
use crate::admin::Overview;
use crate::admin::page::requests::last_errors;
use crate::admin::page::usage::month_section;
use crate::admin::status::Status;

/// How many rows a table has unless all are asked for.
const SOME: usize = 50;
/// How many of the last errors are shown.
const ERRORS: usize = 5;

/// The content of the view. `all=1` in the query: tables have all their rows.
pub(super) fn view(overview: &Overview, asked: &Asked) -> Markup {
    let status = Status::of(overview);
    let most = if asked.get("all") == Some("1") { usize::MAX } else { SOME };
    html! {
        (summary::summary(&status))
        div.columns {
            div {
                (hosts::section(overview, &status))
                (apps::section(&status, most))
                (last_errors(overview, asked, ERRORS))
            }
            div {
                (identities::section(&status, most))
                (limits::section(&status, most))
                (limits::pauses(&status, most))
                (budgets::section(&status, most))
                (month_section(overview))
                (process::section(&status))
            }
        }
    }
}

/// A link to all rows, where some are left out.
fn all_link(shown: usize, count: usize, what: &str) -> Markup {
    html! {
        @if shown < count {
            p { (shown) " of " (count) " " (what) " are shown. " a href="/?view=now&all=1" { "All " (count) } }
        }
    }
}

/// Words below a row, over its whole width.
fn words_row(columns: usize, class: &str, words: &str) -> Markup {
    html! { tr.words { td colspan=(columns) class=(class) { (words) } } }
}

/// The names of what is not in use; nothing without any.
fn unused_names(id: &str, names: Vec<String>) -> Markup {
    html! {
        @if !names.is_empty() {
            details id=(id) {
                summary { (names.len()) " unused" }
                p { (names.join(", ")) }
            }
        }
    }
}
