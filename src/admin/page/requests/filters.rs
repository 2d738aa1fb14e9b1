//! The form above the rows, and the addresses that set its filters. They are all in the query, so that a link or a bookmark
//! shows the same requests.

use maud::{Markup, html};

use super::super::Asked;
use super::blank;
use crate::admin::request_entry::Entry;
use crate::config::Config;
use crate::http::error_codes::ERROR_CODES;
use crate::routing::operation_class::Class;
use url::form_urlencoded::Serializer;

/// The most names that a field suggests.
const SUGGESTED: usize = 50;
/// What can be chosen as a status, in words.
const STATUSES: [(&str, &str); 7] = [
    ("", "any"),
    ("2xx", "2xx"),
    ("3xx", "3xx"),
    ("4xx", "4xx"),
    ("429", "429 limited"),
    ("499", "499 left"),
    ("5xx", "5xx"),
];

/// The address of the view with these filters alone.
pub(super) fn address(filters: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("view", "requests").extend_pairs(filters);
    format!("/?{}", query.finish())
}

/// The address of the same view with another value of one filter; empty: without it.
pub(super) fn with(asked: &Asked, name: &str, value: &str) -> String {
    let set = asked.parameters.iter().map(|(name, value)| (&**name, &**value));
    let others = set.filter(|(other, value)| *other != "view" && *other != name && !value.is_empty());
    let all: Vec<(&str, &str)> = others.chain(Some((name, value)).filter(|_| !value.is_empty())).collect();
    address(&all)
}

/// The address of the same requests as JSON.
pub(super) fn data(asked: &Asked) -> String {
    let set = asked.parameters.iter().filter(|(name, value)| name != "view" && !value.is_empty());
    let query = Serializer::new(String::new()).extend_pairs(set).finish();
    if query.is_empty() { "/requests.json".to_owned() } else { format!("/requests.json?{query}") }
}

/// The form. `shown`: the rows, whose values are suggested besides those of the configuration.
pub(super) fn form(config: &Config, asked: &Asked, shown: &[Entry<'_>]) -> Markup {
    let of =
        |entries: Vec<Option<&str>>| entries.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>();
    let apps = config.apps.iter().map(|app| app.name.clone()).collect();
    let identities = config.identities.iter().map(|identity| identity.name.clone()).collect();
    let mut codes: Vec<String> = ERROR_CODES.iter().map(|known| known.code.to_owned()).collect();
    codes.extend(of(shown.iter().map(|entry| entry.box_code).collect()));
    let limits = config.limits.iter().map(|limit| limit.name.to_string());
    let limits = limits.chain(config.budgets.iter().map(|budget| budget.name.to_string()));
    let limits = limits.chain(of(shown.iter().map(|entry| entry.limit).collect())).collect();
    let classes = Class::ALL.iter().map(|class| class.as_str().to_owned());
    let operations =
        classes.chain(of(shown.iter().map(|entry| entry.operation.as_deref()).collect())).collect();
    let is_set = asked.parameters.iter().any(|(name, value)| name != "view" && !value.is_empty());
    html! {
        // The refresh leaves the form alone, in which somebody may be typing.
        form.request-filters method="get" action="/" data-keep role="search" aria-label="Filter the requests" {
            input type="hidden" name="view" value="requests";
            (field(asked, "app", "App", apps))
            (field(asked, "identity", "Identity", identities))
            label { span { "Status" } select name="status" { (statuses(asked.get("status").unwrap_or_default())) } }
            (field(asked, "code", "Code", codes))
            (field(asked, "limit", "Limit", limits))
            (field(asked, "operation", "Operation", operations))
            (field(asked, "q", "Path, client or id", Vec::new()))
            div.buttons {
                button type="submit" { "Filter" }
                @if is_set { a href=(address(&[])) { "Remove filters" } }
            }
        }
    }
}

fn statuses(chosen: &str) -> Markup {
    let is_other = STATUSES.iter().all(|(value, _)| !value.eq_ignore_ascii_case(chosen));
    html! {
        @for (value, words) in STATUSES {
            option value=(value) selected[value.eq_ignore_ascii_case(chosen)] { (words) }
        }
        @if is_other { option value=(blank(chosen)) selected { (blank(chosen)) } }
    }
}

/// A text field with suggestions.
fn field(asked: &Asked, name: &str, label: &str, mut suggested: Vec<String>) -> Markup {
    suggested.sort();
    suggested.dedup();
    suggested.truncate(SUGGESTED);
    let list = (!suggested.is_empty()).then(|| format!("known-{name}"));
    html! {
        label {
            span { (label) }
            input type="text" name=(name) value=(blank(asked.get(name).unwrap_or_default())) list=[&list] autocomplete="off" spellcheck="false";
        }
        @if let Some(list) = &list {
            datalist id=(list) { @for text in &suggested { option value=(blank(text)) {} } }
        }
    }
}
