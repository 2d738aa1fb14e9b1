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
/// A longer detail pushes the rest of its line to the right.
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
    let word = verdict.split_once(':').map_or(verdict.as_str(), |(word, _)| word);
    let colour = match explanation.verdict {
        Verdict::Passes(_) | Verdict::Answered(..) => Colour::Green,
        Verdict::Refused { .. } | Verdict::OtherApp { .. } => Colour::Red,
    };
    // The colour does not count as columns.
    let lines = indented(&verdict, 0, width);
    let (word, lines) = lines.split_at_checked(word.len()).unwrap_or((lines.as_str(), ""));
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

#[cfg(test)]
mod tests {
    use super::super::explanation::Step;
    use super::*;

    fn explanation() -> Explanation {
        let detail = |what: &str, found: &str, decides| Detail {
            what: what.to_owned(),
            found: found.to_owned(),
            decides,
        };
        let details = vec![
            detail("deny \"DELETE /**\"", "matches", true),
            detail("allow \"GET /2.0/enterprises/*/device_pinners/**\"", "does not match", false),
        ];
        let words = "a sentence that has more words than fit on one line of a terminal with eighty columns"
            .to_owned();
        let steps = vec![
            Step { name: "listener", state: State::Ok, words, details: vec![] },
            Step { name: "rules", state: State::Refused, words: "deny".to_owned(), details },
        ];
        let verdict = Verdict::Refused {
            status: 403,
            code: "operation_not_allowed",
            rule: None,
            by: Some("deny \"DELETE /**\"".to_owned()),
            message: String::new(),
            advice: "to allow it, take that rule out of deny of app \"intranet\"".to_owned(),
        };
        Explanation { request: "DELETE /2.0/files/17".to_owned(), steps, verdict, facts: vec![] }
    }

    #[test]
    fn without_a_terminal_a_step_is_one_line_and_the_verdict_the_last() {
        assert_eq!(
            page(&explanation(), None, false),
            "DELETE /2.0/files/17\n\
             \n\
             listener    ok       a sentence that has more words than fit on one line of a terminal with eighty columns\n\
             rules       refused  deny\n\
             \x20          > deny \"DELETE /**\"               matches (decides)\n\
             \x20            allow \"GET /2.0/enterprises/*/device_pinners/**\"  does not match\n\
             \n\
             refused: 403 operation_not_allowed, by deny \"DELETE /**\"; to allow it, take that rule out of deny of app \"intranet\"\n"
        );
    }

    #[test]
    fn lines_fit_the_terminal_and_go_on_in_their_column() {
        for width in [80, 140] {
            let text = page(&explanation(), Some(width), false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
        let text = page(&explanation(), Some(80), false);
        assert!(text.contains("\n                     terminal with eighty columns\n"), "{text}");
        assert!(text.contains("\"; to allow it, take that\nrule out"), "{text}");
    }

    #[test]
    fn colour_changes_no_column() {
        let coloured = page(&explanation(), Some(80), true);
        assert!(coloured.contains("\u{1b}[31mrefused\u{1b}[0m  deny\n"), "{coloured}");
        assert!(coloured.contains("\n\u{1b}[31mrefused\u{1b}[0m: 403 "), "{coloured}");
        let mut without = coloured;
        for code in ["\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[0m"] {
            without = without.replace(code, "");
        }
        assert_eq!(without, page(&explanation(), Some(80), false));
    }
}
