//! Lines of the screen: texts with colours, as wide as a terminal shows them.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cli::columns;
use crate::telemetry::terminal::{Colour, Painted};

/// Between two parts of a line.
const GAP: usize = 3;

/// One line.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(Vec<Span>);

/// A text in one colour.
#[derive(Debug, Clone)]
pub(super) struct Span {
    text: String,
    colour: Option<Colour>,
}

impl Span {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: None }
    }

    pub(super) fn coloured(text: impl Into<String>, colour: Colour) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }

    pub(super) fn width(&self) -> usize {
        self.text.width()
    }

    /// The same colour, another text.
    pub(super) fn with(&self, change: impl FnOnce(&str) -> String) -> Self {
        Self { text: change(&self.text), colour: self.colour }
    }
}

impl Line {
    pub(super) fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        Self(spans.into_iter().collect())
    }

    pub(super) fn push(&mut self, span: Span) {
        self.0.push(span);
    }

    /// The title of a heading.
    pub(super) fn first(&self) -> Option<&Span> {
        self.0.first()
    }

    /// It says in red that something is wrong.
    pub(super) fn is_alarming(&self) -> bool {
        self.0.iter().any(|span| matches!(span.colour, Some(Colour::Red | Colour::BoldRed)))
    }

    /// Adds spaces up to this column.
    pub(super) fn pad_to(&mut self, column: usize) {
        let missing = column.saturating_sub(self.width());
        self.0.push(Span::plain(" ".repeat(missing)));
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(Span::width).sum()
    }

    /// As printed, at most so wide, without a line break.
    pub(super) fn text(&self, width: Option<usize>, has_colours: bool) -> String {
        let is_cut = width.is_some_and(|width| self.width() > width);
        let mut room = width.unwrap_or(usize::MAX);
        let mut text = String::new();
        for span in &self.0 {
            let shown = if is_cut { cut_end(&span.text, room) } else { span.text.clone() };
            room = room.saturating_sub(shown.width());
            // Spaces at the end would wrap in a narrower window; a colour of nothing shows nothing.
            match span.colour {
                Some(colour) if !shown.is_empty() => {
                    text.push_str(&Painted::new(&shown, colour, has_colours).to_string());
                }
                _ => text.push_str(&shown),
            }
            if is_cut && shown.width() < span.width() {
                break;
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// At most so wide; what does not fit is `…` at the end.
pub(super) fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    match width.checked_sub(1) {
        Some(room) => format!("{}…", beginning(text.chars(), room)),
        None => String::new(),
    }
}

/// At most so wide; what does not fit is `…` in the middle, since names often differ at their ends.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let end: String = beginning(text.chars().rev(), room / 2).chars().rev().collect();
    format!("{}…{end}", beginning(text.chars(), room - room / 2))
}

/// The first characters that are at most so wide together.
fn beginning(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut room = width;
    characters
        .take_while(|character| match room.checked_sub(character.width().unwrap_or(0)) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        })
        .collect()
}

/// A text in lines that are at most so wide, broken between words, or within a word that is longer. `None`: one line.
pub(super) fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines = Vec::new();
    for line in columns::wrapped(text, width).split('\n') {
        let mut rest = line;
        while rest.width() > width {
            let part = beginning(rest.chars(), width);
            // A character that is wider than the line.
            let part = if part.is_empty() { rest.chars().take(1).collect() } else { part };
            rest = rest.get(part.len()..).unwrap_or_default();
            lines.push(part);
        }
        lines.push(rest.to_owned());
    }
    lines
}

/// Parts with gaps between them, in as many lines as they need; further lines are indented.
pub(super) fn parts(parts: Vec<Vec<Span>>, indent: usize, width: Option<usize>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for part in parts {
        let part_width: usize = part.iter().map(Span::width).sum();
        match lines.last_mut() {
            Some(line) if width.is_none_or(|width| line.width() + GAP + part_width <= width) => {
                line.push(Span::plain(" ".repeat(GAP)));
                line.0.extend(part);
            }
            Some(_) => {
                let mut line = Line::of([Span::plain(" ".repeat(indent))]);
                line.0.extend(part);
                lines.push(line);
            }
            None => lines.push(Line(part)),
        }
    }
    lines
}

/// A text with something in front of it; further lines begin below the text.
pub(super) fn hanging(mark: Vec<Span>, text: &Span, width: Option<usize>) -> Vec<Line> {
    let indent: usize = mark.iter().map(Span::width).sum();
    let words = wrapped(&text.text, width.map(|width| width.saturating_sub(indent)));
    let words = words.into_iter().map(|words| text.with(|_| words));
    let mut mark = Some(mark);
    words
        .map(|words| {
            let mut line = Line(mark.take().unwrap_or_else(|| vec![Span::plain(" ".repeat(indent))]));
            line.push(words);
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_in_the_middle_and_texts_at_the_end() {
        for (text, width, middle, end) in [
            ("intranet", 8, "intranet", "intranet"),
            ("customer-0042", 9, "cust…0042", "customer…"),
            ("customer-0042", 2, "c…", "c…"),
            ("customer-0042", 1, "…", "…"),
            ("customer-0042", 0, "", ""),
            ("日本語の名前", 8, "日本…前", "日本語…"),
        ] {
            assert_eq!((cut_middle(text, width), cut_end(text, width)), (middle.to_owned(), end.to_owned()));
        }
    }

    #[test]
    fn lines_are_broken_between_words_and_within_long_ones() {
        let lines = |text: &str, width| wrapped(text, Some(width)).join("|");
        assert_eq!(lines("one two three", 8), "one two|three");
        assert_eq!(lines("abcdefghij kl", 4), "abcd|efgh|ij|kl");
        assert_eq!(lines("a bcdefghij", 4), "a|bcde|fghi|j");
        assert_eq!(lines("日本語 a", 3), "日|本|語|a");
        assert_eq!(lines("日本", 1), "日|本|");
        assert_eq!(lines("", 4), "");
        assert_eq!(wrapped("one two", None), ["one two"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_once() {
        let line = Line::of([Span::coloured("READY", Colour::Green), Span::plain("  and more")]);
        assert_eq!(line.text(None, true), "\u{1b}[32mREADY\u{1b}[0m  and more");
        assert_eq!(line.text(Some(9), false), "READY  a…");
        assert_eq!(line.text(Some(3), true), "\u{1b}[32mRE…\u{1b}[0m");
        assert_eq!(Line::of([Span::plain("a  ")]).text(None, false), "a");
    }
}
