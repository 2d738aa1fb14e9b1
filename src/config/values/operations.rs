//! Entries that say which operations: of `on` of limits and budgets, of `allow` and `deny` of apps.

use crate::config::diagnostics::nearest;
use crate::limits::selector::Selector;
use crate::routing::operation_class::Class;
use crate::routing::operation_group::Group;
use crate::routing::operation_pattern::Pattern;
use crate::routing::operation_policy::Rule;

/// Parses an entry of `on`: a class, or, if it contains a space, a pattern.
pub(in crate::config) fn selector(text: &str) -> Result<Selector, String> {
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    let entry = named_or_pattern(text, &classes, "a class of requests", "POST /2.0/sign_requests")?;
    Ok(match entry {
        NamedOrPattern::Named(class) => Selector::Class(class),
        NamedOrPattern::Pattern(pattern) => Selector::Pattern(pattern),
    })
}

/// Parses an entry of `allow` or `deny`: a group, or, if it contains a space, a pattern.
pub(in crate::config) fn rule(text: &str) -> Result<Rule, String> {
    let groups = Group::ALL.map(|group| (group.as_str(), group));
    let entry = named_or_pattern(text, &groups, "a group of operations", "GET /2.0/files/*/content")?;
    Ok(match entry {
        NamedOrPattern::Named(group) => Rule::Group(group),
        NamedOrPattern::Pattern(pattern) => Rule::Pattern(pattern),
    })
}

enum NamedOrPattern<T> {
    Named(T),
    Pattern(Pattern),
}

/// `what`: what the names are.
fn named_or_pattern<T: Copy>(
    text: &str,
    names: &[(&'static str, T)],
    what: &str,
    example: &str,
) -> Result<NamedOrPattern<T>, String> {
    if text.contains(' ') {
        return Pattern::parse(text).map(NamedOrPattern::Pattern);
    }
    if let Some((_, named)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(NamedOrPattern::Named(*named));
    }
    let words = || names.iter().map(|(name, _)| *name);
    let quoted: Vec<String> = words().map(|word| format!("\"{word}\"")).collect();
    let allowed = format!("allowed: {}, or a pattern such as \"{example}\"", quoted.join(", "));
    Err(match nearest(text, words()) {
        Some(word) => format!("{text:?} is not {what}; did you mean \"{word}\"? {allowed}"),
        None if text.starts_with('/') => {
            format!("{text:?} has no method; did you mean {:?}? {allowed}", format!("* {text}"))
        }
        None => format!("{text:?} is not {what}; {allowed}"),
    })
}
