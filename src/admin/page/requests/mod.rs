//! The view Requests: the last requests, which of them are shown, and all that is known of each.

mod details; // what an open row has
mod filters; // the form above the rows, and links that set it
mod repeat; // the command that repeats a request
mod timeline; // with what a request spent its time

use std::time::SystemTime;

use jiff::Timestamp;
use maud::{Markup, html};

use self::details::details;
use self::repeat::Callers;
use super::Asked;
use super::figures::{NONE, latency};
use crate::admin::Overview;
use crate::admin::recent_requests::admitted;
use crate::admin::request_entry::Entry;
use crate::admin::request_filter::Filter;
use crate::http::error::Refusal;
use crate::net::secret_filter::{self, Audience};
use crate::telemetry::labels::CALLER_LEFT;

/// How many rows there are unless `max` says so.
const SHOWN: usize = 100;
/// The most rows, so that a page stays small enough to be fetched every two seconds.
const MOST: usize = 200;

/// How many rows more there may be, if they ended at the very time of the last.
const AT_ONCE: usize = 50;

/// The content of the view. The query has the parameters of `/requests.json`.
pub(super) fn view(overview: &Overview, asked: &Asked) -> Markup {
    let content = if asked.sees_requests {
        shown(overview, asked)
    } else {
        html! { p { (Refusal::OnlyOnThisMachine.message()) } }
    };
    html! {
        section #s-requests aria-labelledby="requests-title" {
            header {
                h1 #requests-title { "Requests" }
                p { "The last ones that have ended, the newest first. Bodies, queries and credentials are never kept." }
                p.to { a href=(filters::data(asked)) { "As data" } }
            }
            (content)
        }
    }
}

fn shown(overview: &Overview, asked: &Asked) -> Markup {
    match Filter::read(asked.parameters.iter().cloned(), &["view"]) {
        Ok(filter) => requests(overview, asked, &filter),
        Err(problem) => html! {
            (filters::form(&overview.gateway.load().config, asked, &[]))
            p.bad role="alert" { (blank(&problem)) }
        },
    }
}

fn requests(overview: &Overview, asked: &Asked, filter: &Filter) -> Markup {
    let gateway = overview.gateway.load();
    if gateway.config.recent_requests == 0 {
        return html! {
            p {
                "No requests are kept, since " code { "requests" } " of " code { "[admin]" } " is 0. Set it to 500, say, and reload: \
                 requests that end from then on are kept."
            }
        };
    }
    let most = filter.max.unwrap_or(SHOWN).min(MOST);
    let found = admitted(overview, filter, most + AT_ONCE + 1);
    let (found, has_older) = first_page(found, most, |request| request.facts.ended.wall);
    let entries: Vec<Entry<'_>> = found.iter().map(Entry::of).collect();
    let older = entries.last().filter(|_| has_older).and_then(|last| Timestamp::try_from(last.ended).ok());
    let callers = Callers::of(overview, &gateway.config.apps, asked);
    html! {
        (filters::form(&gateway.config, asked, &entries))
        @if entries.is_empty() { (nothing(&callers, filter)) } @else {
            div.requests-head aria-hidden="true" {
                span { "Ended" } span.n { "Status" } span { "Method" } span { "Path" } span { "App" } span.n { "Took" } span { "Why" }
            }
            ol #requests.requests data-hold {
                @for entry in &entries { (row(entry, asked, &callers)) }
            }
            p.held { "The rows stand still while the pointer or the focus is on them." }
        }
        nav.pages aria-label="Older and newer requests" {
            @if filter.until.is_some() {
                a href=(filters::with(asked, "until", "")) { "The newest" }
            }
            @if let Some(until) = older {
                a href=(filters::with(asked, "until", &until.to_string())) { "Older requests" }
            } @else if !entries.is_empty() {
                span.dim { "No older ones. The last " (gateway.config.recent_requests) " requests are kept." }
            }
        }
    }
}

/// The first `most` of what was found, with those behind them that ended at the very time of the last one: the page of older
/// ones has what ended before that time, and would leave them out. The second is whether there are others.
fn first_page<T>(mut found: Vec<T>, most: usize, ended: impl Fn(&T) -> SystemTime) -> (Vec<T>, bool) {
    let last = most.checked_sub(1).and_then(|nth| found.get(nth)).map(&ended);
    let at_once = found.iter().skip(most).take_while(|one| Some(ended(one)) == last).count();
    let has_others = found.len() > most + at_once;
    found.truncate(most + at_once);
    (found, has_others)
}

/// The words that are shown if there are no rows.
fn nothing(callers: &Callers<'_>, filter: &Filter) -> Markup {
    let command = format!("curl {}/2.0/users/me", callers.base);
    html! {
        @if filter.is_empty() && filter.since.is_none() && filter.until.is_none() {
            p.empty { "No requests yet. Try:" }
            p.curl { code { (command) } button.scripted type="button" data-copy=(command) { "Copy" } (callers.words()) }
        } @else {
            p.empty { "No request that is kept matches these filters. " a href=(filters::address(&[])) { "Remove them" } }
        }
    }
}

/// Text that may hold a secret, blanked before HTML escapes it and makes it another text.
fn blank(text: &str) -> String {
    secret_filter::blanked_text(text.to_owned(), Audience::Operators)
}

fn row(entry: &Entry<'_>, asked: &Asked, callers: &Callers<'_>) -> Markup {
    let id = row_id(entry);
    html! {
        li id=(id) {
            details id={ "d-" (id) } {
                summary {
                    (clock(entry))
                    " " span.n { (status(entry)) }
                    " " span.method { (blank(entry.method)) }
                    " " span.path title=(blank(entry.path)) { (blank(entry.path)) }
                    " " span.app { (entry.app.unwrap_or(NONE)) }
                    " " span.n { (latency(Some(entry.times.total.as_secs_f64() * 1000.0))) }
                    " " span.why { (blank(&why(entry))) }
                }
                (details(entry, asked, callers))
            }
        }
    }
}

/// Callers choose request ids, which may be there twice, and hold what no attribute should; the time tells them apart.
fn row_id(entry: &Entry<'_>) -> String {
    let nanos = Timestamp::try_from(entry.ended).unwrap_or_default().as_nanosecond();
    format!("r-{nanos:x}-{}", entry.request_id)
}

fn clock(entry: &Entry<'_>) -> Markup {
    html! { time datetime=(entry.time) title=(entry.time) { (entry.time.get(11..23).unwrap_or(&entry.time)) } }
}

/// The status, in a colour that repeats its first digit.
fn status(entry: &Entry<'_>) -> Markup {
    let class = match entry.status {
        CALLER_LEFT => "dim",
        500.. => "bad",
        400.. => "warn",
        300.. => "dim",
        _ => "good",
    };
    html! { strong.(class) { (entry.status) } }
}

/// What decided the answer, in few words; empty where all went well.
fn why(entry: &Entry<'_>) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(entry.code.map(str::to_owned));
    words.extend(entry.rule.map(|rule| format!("deny “{rule}”")));
    words.extend(entry.limit.map(|limit| format!("limit {limit}")));
    words.extend(entry.box_code.map(|code| format!("Box: {code}")));
    words.extend(ended(entry).map(str::to_owned));
    if entry.attempts > 1 {
        words.push(format!("{} attempts", entry.attempts));
    }
    words.join(", ")
}

/// How it ended, if not well.
fn ended(entry: &Entry<'_>) -> Option<&'static str> {
    match entry.end {
        "caller_left" => Some("the caller left"),
        "box_broke" => Some("the answer broke off"),
        "stopped" => Some("cut off by the stop"),
        _ => None,
    }
}

/// The last requests that failed, for the view Now: errors of the gateway and of Box, and answers that broke off. Callers
/// that left are none.
pub(super) fn last_errors(overview: &Overview, asked: &Asked, most: usize) -> Markup {
    if !asked.sees_requests {
        return html! {};
    }
    let kept = overview.gateway.load().config.recent_requests;
    let is_error = |status: u16, end: &str| (status >= 400 && status != CALLER_LEFT) || end == "box_broke";
    let failed = overview.recent.newest(kept).filter(|one| is_error(one.facts.status, one.facts.end));
    let failed: Vec<_> = failed.take(most).collect();
    html! {
        section #s-errors aria-labelledby="errors-title" {
            header {
                h2 #errors-title { "Last errors" }
                p.to { a href=(filters::address(&[])) { "All requests" } }
            }
            @if kept == 0 {
                p { "No requests are kept: " code { "[admin] requests" } " is 0." }
            } @else if failed.is_empty() {
                p { "None of the requests that are kept failed." }
            } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="errors-title" {
                    table {
                        thead { tr {
                            th scope="col" { "Ended" } th scope="col" { "Status" } th scope="col" { "Request" } th scope="col" { "App" }
                            th scope="col" { "Why" }
                        } }
                        tbody {
                            @for entry in failed.iter().map(Entry::of) {
                                tr id={ "e" (row_id(&entry)) } {
                                    th scope="row" { (clock(&entry)) }
                                    td { (status(&entry)) }
                                    td.path title=(blank(entry.path)) {
                                        a href=(filters::address(&[("q", entry.request_id)])) { (blank(entry.method)) " " (blank(entry.path)) }
                                    }
                                    td { (entry.app.unwrap_or(NONE)) }
                                    td.why title=(blank(&why(&entry))) { (blank(&why(&entry))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_that_ended_at_the_same_time_are_on_the_same_page() {
        let page = |times: &[u64], most| {
            first_page(times.to_vec(), most, |time| SystemTime::UNIX_EPOCH + Duration::from_nanos(*time))
        };
        assert_eq!(page(&[5, 4, 3], 2), (vec![5, 4], true));
        assert_eq!(page(&[5, 4, 4, 4, 3], 2), (vec![5, 4, 4, 4], true));
        assert_eq!(page(&[5, 5, 4, 4], 2), (vec![5, 5], true));
        assert_eq!(page(&[5, 4, 4], 2), (vec![5, 4, 4], false));
        assert_eq!(page(&[5, 4], 2), (vec![5, 4], false));
        assert_eq!(page(&[], 2), (vec![], false));
    }
}
