//! The first lines: is it ready, since when does it run, with which configuration, and what is to do.

use super::document::{Identity, Status};
use super::figures::{duration, time};
use super::line::{Line, Span, cut_middle, hanging, parts};
use crate::telemetry::terminal::Colour;

/// Before further lines of the same.
const INDENT: usize = 2;

/// What the first line says, and below it each reason and note, with what to do. `most`: so many reasons and notes are
/// shown; `None`: all.
pub(super) fn head(status: &Status, width: Option<usize>, most: Option<usize>) -> Vec<Line> {
    let mut lines = parts(first_line(status, width), INDENT, width);
    let indent = || Span::plain(" ".repeat(INDENT));
    let shown = most.unwrap_or(usize::MAX);
    if !status.ready {
        for reason in status.reasons.iter().take(shown) {
            let words = with_advice(reason, advice(status, reason));
            lines.extend(hanging(vec![indent()], &Span::coloured(words, Colour::Red), width));
        }
        if status.reasons.is_empty() {
            let words = with_advice("the gateway gives no reason", "its log says more");
            lines.extend(hanging(vec![indent()], &Span::plain(words), width));
        }
    }
    for note in notes(status).iter().take(shown) {
        let mark = vec![indent(), Span::coloured("note:", Colour::Yellow), Span::plain(" ")];
        lines.extend(hanging(mark, &Span::plain(note), width));
    }
    let hidden = status.reasons.len().saturating_sub(shown) + status.notes.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(Line::of([indent(), Span::coloured(format!("… {hidden} more: --json"), Colour::Dim)]));
    }
    lines
}

fn first_line(status: &Status, width: Option<usize>) -> Vec<Vec<Span>> {
    let program = format!("boxgate {}", &*status.version);
    let mut all = vec![vec![Span::coloured(program.trim_end(), Colour::Bold)]];
    all.push(match (status.ready, status.draining) {
        (true, _) => vec![Span::coloured("READY", Colour::Green)],
        (false, false) => vec![Span::coloured("NOT READY", Colour::BoldRed)],
        (false, true) => vec![Span::coloured("NOT READY, draining", Colour::BoldRed)],
    });
    if let Some(seconds) = status.seconds_since(status.started) {
        all.push(vec![Span::plain(format!("up {}", duration(seconds)))]);
    }
    if let Some(since) = status.config.in_use_since {
        let cause = match &status.config.reload {
            Some(reload) if &*reload.result == "ok" => format!(" ({})", &*reload.cause),
            // An earlier reload may have had another cause.
            Some(_) => String::new(),
            None => " (start)".to_owned(),
        };
        let rest = format!(" taken over {}{cause}", time(since.0, status.clock()));
        let file = status.config.file.as_deref().unwrap_or("configuration");
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(rest.len() + INDENT));
        all.push(vec![Span::plain(cut_middle(file, room.max(INDENT)) + &rest)]);
    }
    all
}

/// What to do about a reason of `/readyz`, which names an identity or says that the gateway stops.
fn advice(status: &Status, reason: &str) -> &'static str {
    if reason == "draining" {
        return "it ends once the requests in flight have; start it again, or ask the gateway that replaces it";
    }
    let names = |identity: &&Identity| {
        let rest = reason.strip_prefix("identity ").and_then(|rest| rest.strip_prefix(&*identity.name));
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    match status.identities.iter().find(names).map(|identity| &*identity.state) {
        Some("refused") => "boxgate check says what to change, and where in Box's consoles",
        Some("waiting") => "the answer of Box's token endpoint is awaited",
        Some("unavailable") => "boxgate check finds what fails on the way to Box",
        _ => "the gateway's log says more",
    }
}

/// The gateway's notes, with what to do.
fn notes(status: &Status) -> Vec<String> {
    let mut notes: Vec<String> = status.notes.iter().map(|note| note.to_string()).collect();
    let is_refused = status.config.reload.as_ref().is_some_and(|reload| &*reload.result == "refused");
    let is_alone = status.redis.as_ref().is_some_and(|redis| !redis.shared);
    let advice = match (is_refused, is_alone) {
        (true, true) => "boxgate check shows every problem of the file, and tries Redis",
        (true, false) => "boxgate check shows every problem of the file",
        (false, true) => "boxgate check tries Redis",
        (false, false) => return notes,
    };
    match notes.last_mut() {
        Some(last) => *last = with_advice(last, advice),
        None => notes.push(advice.to_owned()),
    }
    notes
}

fn with_advice(words: &str, advice: &str) -> String {
    format!("{words}; {advice}")
}
