//! The explanation for people: a line for each step, below it what the step looked at, and at the end the verdict.

use std::fmt::Write as _;

use super::explanation::{Detail, Explanation, State, Verdict, shown};
use crate::cli::columns::wrapped;
use crate::telemetry::terminal::{Colour, Painted};

/// The width of the column with the names of steps.
const NAME: usize = 10;
/// The width of the column with `ok`, `refused` or `-`.
const LABEL: usize = 7;
/// Where words begin.
const WORDS: usize = NAME + LABEL + 4;
/// Where less than this is left for words, lines are not broken.
const NARROWEST_WORDS: usize = 24;
/// A longer detail has its words on the next line.
const WIDEST_DETAIL: usize = 30;

/// The text; `width`: the columns of the terminal, `None`: no line is broken.
pub(super) fn page(explanation: &Explanation, width: Option<usize>, has_colours: bool) -> String {
    let mut text = format!("{}\n\n", shown(&explanation.request));
    for step in &explanation.steps {
        let label = step.state.word();
        let colour = match step.state {
            State::Ok => Colour::Green,
            State::Refused => Colour::Red,
            State::Info => Colour::Dim,
        };
        let padding = " ".repeat(LABEL - label.len() + 2);
        let label = Painted::new(label, colour, has_colours);
        let words = indented(&shown(&step.words), WORDS, width);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", format!("{:NAME$}  {label}{padding}{words}", step.name).trim_end());
        let widest = step.details.iter().map(|detail| shown(&detail.what).chars().count()).max().unwrap_or(0);
        for detail in &step.details {
            text.push_str(&line(detail, widest.min(WIDEST_DETAIL), width));
        }
    }
    let verdict = explanation.verdict();
    let (word, rest) = verdict.split_once(':').unwrap_or((&verdict, ""));
    let colour = match explanation.verdict {
        Verdict::Passes(_) | Verdict::Answered(..) => Colour::Green,
        Verdict::Refused { .. } | Verdict::OtherApp { .. } => Colour::Red,
    };
    // The colour does not count as columns.
    let lines = indented(&format!("{word}:{rest}"), 0, width);
    let lines = lines.strip_prefix(word).unwrap_or(&lines);
    let _ = writeln!(text, "\n{}{lines}", Painted::new(word, colour, has_colours));
    text
}

/// A detail below its step; `>` marks the one that decides.
fn line(detail: &Detail, widest: usize, width: Option<usize>) -> String {
    let mark = if detail.decides { '>' } else { ' ' };
    let what = shown(&detail.what);
    let decides = if detail.decides { " (decides)" } else { "" };
    let found = format!("{}{decides}", shown(&detail.found));
    let begin = format!("           {mark} {what:widest$}  ");
    let column = begin.chars().count();
    format!("{begin}{}\n", indented(&found, column, width))
}

/// Words that begin in this column, and go on there in further lines.
fn indented(words: &str, column: usize, width: Option<usize>) -> String {
    match width.and_then(|width| width.checked_sub(column)).filter(|room| *room >= NARROWEST_WORDS) {
        Some(room) => wrapped(words, room).replace('\n', &format!("\n{}", " ".repeat(column))),
        None => words.to_owned(),
    }
}
