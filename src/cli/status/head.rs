//! The first lines: is it ready, since when does it run, with which configuration, and what is to do.

use super::document::{Status, Text};
use super::line::{Line, Span, cut_middle, hanging, parts};
use crate::admin::advice;
use crate::telemetry::figures::{duration, time};
use crate::telemetry::terminal::Colour;

/// Before further lines of the same.
const INDENT: usize = 2;

/// What the first line says, and below it each reason and note, with what to do. `most`: so many reasons and notes are
/// shown; `None`: all.
pub(super) fn head(status: &Status, width: Option<usize>, most: Option<usize>) -> Vec<Line> {
    let mut lines = parts(first_line(status, width), INDENT, width);
    let shown = most.unwrap_or(usize::MAX);
    lines.extend(reason_lines(status, width, shown).into_iter().flatten());
    lines.extend(note_lines(status, width, shown).into_iter().flatten());
    let hidden = status.reasons.len().saturating_sub(shown) + status.notes.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(dim(format!("… {hidden} more: --json")));
    }
    lines
}

/// The same for a window in which there is not room for all: reasons have a third of its height, notes a fifth.
pub(super) fn low_head(status: &Status, width: Option<usize>, height: usize) -> Vec<Line> {
    let mut lines = parts(first_line(status, width), INDENT, width);
    // Each has a line or more: further ones would not fit.
    let reasons = reason_lines(status, width, height);
    let count = if status.ready { 0 } else { status.reasons.len() };
    lines.extend(some_of(reasons, count, height / 3, "reason"));
    let notes = note_lines(status, width, height);
    lines.extend(some_of(notes, status.notes.len(), height / 5, "note"));
    lines
}

/// The first ones that have room in so many lines, at least a line of the first one, and how many there are besides.
fn some_of(texts: Vec<Vec<Line>>, count: usize, room: usize, what: &str) -> Vec<Line> {
    let room = room.max(1);
    let (mut lines, mut shown, mut is_cut) = (Vec::new(), 0, false);
    for text in texts {
        if shown > 0 && lines.len() + text.len() > room {
            break;
        }
        is_cut |= text.len() > room;
        lines.extend(text.into_iter().take(room));
        shown += 1;
    }
    match count.saturating_sub(shown) {
        0 if is_cut => lines.push(dim("… cut: --json".to_owned())),
        0 => {}
        1 => lines.push(dim(format!("… 1 more {what}: --json"))),
        hidden => lines.push(dim(format!("… {hidden} more {what}s: --json"))),
    }
    lines
}

fn dim(words: String) -> Line {
    Line::of([indent(), Span::coloured(words, Colour::Dim)])
}

fn indent() -> Span {
    Span::plain(" ".repeat(INDENT))
}

/// The lines of each of the first reasons why it is not ready.
fn reason_lines(status: &Status, width: Option<usize>, most: usize) -> Vec<Vec<Line>> {
    if status.ready {
        return Vec::new();
    }
    if status.reasons.is_empty() {
        let words = with_advice("the gateway gives no reason", "its log says more");
        return vec![hanging(vec![indent()], &Span::plain(words), width)];
    }
    let lines = |reason: &Text| {
        let words = with_advice(reason, advice(status, reason));
        hanging(vec![indent()], &Span::coloured(words, Colour::Red), width)
    };
    status.reasons.iter().take(most).map(lines).collect()
}

/// The lines of each of the first notes.
fn note_lines(status: &Status, width: Option<usize>, most: usize) -> Vec<Vec<Line>> {
    let lines = |note: &String| {
        let mark = vec![indent(), Span::coloured("note:", Colour::Yellow), Span::plain(" ")];
        hanging(mark, &Span::plain(note), width)
    };
    notes(status).iter().take(most).map(lines).collect()
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

/// What to do about a reason of `/readyz`.
fn advice(status: &Status, reason: &str) -> &'static str {
    let identities = status.identities.iter().map(|identity| (&*identity.name, &*identity.state));
    advice::of_reason(reason, identities)
}

/// The gateway's notes, with what to do.
fn notes(status: &Status) -> Vec<String> {
    let mut notes: Vec<String> = status.notes.iter().map(|note| note.to_string()).collect();
    let is_refused = status.config.reload.as_ref().is_some_and(|reload| &*reload.result == "refused");
    let is_alone = status.redis.as_ref().is_some_and(|redis| !redis.shared);
    let Some(advice) = advice::of_notes(is_refused, is_alone) else { return notes };
    match notes.last_mut() {
        Some(last) => *last = with_advice(last, advice),
        None => notes.push(advice.to_owned()),
    }
    notes
}

fn with_advice(words: &str, advice: &str) -> String {
    format!("{words}; {advice}")
}
