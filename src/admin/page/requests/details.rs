//! What an open row has: the time, what decided, everything that is known, and a command that repeats the request.

use maud::{Markup, html};

use super::super::Asked;
use super::super::figures::count;
use super::repeat::{Callers, command};
use super::timeline::timeline;
use super::{blank, ended, filters};
use crate::admin::request_entry::Entry;
use crate::http::error_codes::{ERROR_CODES, PAGES};

/// The content of an open row.
pub(super) fn details(entry: &Entry<'_>, asked: &Asked, callers: &Callers<'_>) -> Markup {
    html! {
        div.details {
            (timeline(&entry.times, entry.attempts))
            (decided(entry, asked))
            (facts(entry, asked))
            (command(entry, callers))
        }
    }
}

/// What decided the answer, and what to do about it.
fn decided(entry: &Entry<'_>, asked: &Asked) -> Markup {
    let known = entry.code.and_then(|code| ERROR_CODES.iter().find(|known| known.code == code));
    html! {
        div.decided {
            @if let Some(known) = known {
                p { strong { (known.code) } ": " (plain(known.meaning)) }
                p.todo {
                    (plain(known.operator))
                    @if let Some(base) = &asked.help_base { " " a href={ (base) (PAGES) (known.code) } { "More about " (known.code) } }
                }
            }
            @if let Some(rule) = entry.rule {
                p { "The rule of " code { "deny" } " that refused it: " code { (blank(rule)) } }
            }
            @if let Some(limit) = entry.limit {
                p { "The limit or budget that refused it: " strong { (limit) } ". " a href="/#s-limits" { "How full limits are" } }
            }
            @if let Some(limits) = entry.would_refuse {
                p { "It passed, but these would have refused it if they were enforced: " strong { (limits) } }
            }
            @if entry.answered_by == "box" && entry.status >= 400 {
                p {
                    "Box itself answered " strong { (entry.status) }
                    @if let Some(code) = entry.box_code { ": " strong { (blank(code)) } }
                    "."
                    @if let Some(id) = entry.box_request_id { " Give Box's support this request id: " code { (blank(id)) } }
                }
            }
            @if let Some(cause) = entry.cause { p { "Cause: " (blank(cause)) } }
            @if let Some(ended) = ended(entry) { p { "It did not come to its end: " (ended) "." } }
        }
    }
}

/// The texts have keys in backticks.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// Everything that is known, with links that show the requests which have the same.
fn facts(entry: &Entry<'_>, asked: &Asked) -> Markup {
    let texts = [
        ("Request id", Some(blank(entry.request_id)), None),
        ("Trace id", entry.trace_id.map(blank), None),
        ("Client", Some(entry.client.clone()), Some(("q", entry.client.as_str()))),
        ("User agent", entry.user_agent.map(blank), None),
        ("App", entry.app.map(str::to_owned), entry.app.map(|app| ("app", app))),
        (
            "Identity",
            entry.identity.map(str::to_owned),
            entry.identity.map(|identity| ("identity", identity)),
        ),
        ("As user", entry.as_user.map(str::to_owned), None),
        (
            "Operation",
            entry.operation.as_deref().map(blank),
            entry.operation.as_deref().map(|operation| ("operation", operation)),
        ),
        ("Class", entry.class.map(str::to_owned), entry.class.map(|class| ("operation", class))),
        (
            "Code",
            entry.code.or(entry.box_code).map(blank),
            entry.code.or(entry.box_code).map(|code| ("code", code)),
        ),
        ("Limit", entry.limit.map(str::to_owned), entry.limit.map(|limit| ("limit", limit))),
        ("Answered by", Some(entry.answered_by.to_owned()), None),
        ("Attempts at Box", Some(entry.attempts.to_string()), None),
        ("Host of Box", entry.host.map(str::to_owned), None),
        ("Box's request id", entry.box_request_id.map(blank), None),
        ("Bytes", Some(format!("{} in, {} out", count(entry.bytes_in), count(entry.bytes_out))), None),
    ];
    html! {
        dl.facts {
            @for (name, text, filter) in &texts {
                @if let Some(text) = text {
                    div {
                        dt { (name) }
                        dd {
                            (text)
                            @if let Some((parameter, value)) = filter {
                                " " a.only href=(filters::with(asked, parameter, &blank(value))) {
                                    "only this" span.unseen { " " (name) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
