//! The screen: the head and the parts below it, as many of their rows as fit.

use super::document::Status;
use super::head::{head, low_head};
use super::line::{Line, Span, parts};
use super::sections::{Section, sections};
use super::table::Layout;
use crate::telemetry::figures::count;
use crate::telemetry::terminal::Colour;

/// Rows of each part in the smallest window.
const LEAST: usize = 2;
/// Rows of each part before any of them has more …
const FEW: usize = 5;
/// … and before those that may be long have all the rest.
const SOME: usize = 10;
/// A window so many lines high has room for one reason and one note.
const PER_REASON: usize = 8;

/// What it is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Columns; `None`: as many as a line needs.
    pub(super) width: Option<usize>,
    /// Lines; `None`: as many as there are.
    pub(super) height: Option<usize>,
}

/// All lines. They are more than the height only in a window that is too low even for the head and the titles of the parts.
pub(super) fn screen(status: &Status, size: Size) -> Vec<Line> {
    let lines = ordinary(status, size);
    match size.height {
        Some(height) if lines.len() > height => low(status, size.width, height),
        _ => lines,
    }
}

/// Of each part at least a few rows.
fn ordinary(status: &Status, size: Size) -> Vec<Line> {
    let mut lines = head(status, size.width, size.height.map(|height| (height / PER_REASON).max(1)));
    let mut parts: Vec<Part> =
        sections(status).into_iter().map(|section| Part::new(section, size.width)).collect();
    let is_spaced = match size.height {
        Some(height) => {
            let spaces = parts.len();
            let used = lines.len() + parts.iter().map(Part::height).sum::<usize>();
            let is_spaced = used + spaces <= height;
            grow(&mut parts, height.saturating_sub(if is_spaced { used + spaces } else { used }));
            is_spaced
        }
        None => {
            parts.iter_mut().for_each(|part| part.shown = usize::MAX);
            true
        }
    };
    for part in parts {
        if is_spaced {
            lines.push(Line::default());
        }
        lines.extend(part.lines());
    }
    lines
}

/// Of each part at least its title; those in which something is wrong have rows first.
fn low(status: &Status, width: Option<usize>, height: usize) -> Vec<Line> {
    let mut lines = low_head(status, width, height);
    let mut parts: Vec<Part> =
        sections(status).into_iter().map(|section| Part::new(section, width)).collect();
    parts.iter_mut().for_each(|part| part.shown = 0);
    let used = lines.len() + parts.iter().map(Part::height).sum::<usize>();
    let mut room = height.saturating_sub(used);
    for (is_wrong, most) in
        [(true, LEAST), (true, FEW), (false, LEAST), (true, usize::MAX), (false, usize::MAX)]
    {
        for part in parts.iter_mut().filter(|part| part.is_wrong == is_wrong) {
            part.grow(most, &mut room);
        }
    }
    lines.extend(parts.into_iter().flat_map(Part::lines));
    lines
}

/// Gives the parts more rows while there is room.
fn grow(parts: &mut [Part], mut room: usize) {
    for (is_long, most) in [(false, FEW), (true, FEW), (false, SOME), (true, usize::MAX), (false, usize::MAX)]
    {
        for part in parts.iter_mut().filter(|part| part.is_long == is_long) {
            part.grow(most, &mut room);
        }
    }
}

/// A section laid out, and how many of its rows are shown.
struct Part {
    layout: Layout,
    shown: usize,
    is_long: bool,
    /// Its first line is a value of its own, not the heading of a table.
    is_words: bool,
    /// It has red words.
    is_wrong: bool,
}

impl Part {
    fn new(section: Section, width: Option<usize>) -> Self {
        match section {
            Section::Table { table, is_long } => {
                let layout = table.layout(width);
                let shown = layout.rows.len().min(LEAST);
                let is_wrong = layout.rows.iter().flatten().any(Line::is_alarming);
                Self { layout, shown, is_long, is_words: false, is_wrong }
            }
            Section::Words(words) => {
                let mut lines = parts(words, 2, width).into_iter();
                let heading = lines.next().unwrap_or_default();
                let rows: Vec<Vec<Line>> = lines.map(|line| vec![line]).collect();
                let is_wrong = heading.is_alarming() || rows.iter().flatten().any(Line::is_alarming);
                let shown = rows.len();
                let layout = Layout { heading, rows, footers: Vec::new() };
                Self { layout, shown, is_long: false, is_words: true, is_wrong }
            }
        }
    }

    /// Shows more rows, at most so many, while there is room.
    fn grow(&mut self, most: usize, room: &mut usize) {
        while self.shown < self.layout.rows.len().min(most) {
            let before = self.height();
            self.shown += 1;
            match room.checked_sub(self.height().saturating_sub(before)) {
                Some(rest) => *room = rest,
                None => {
                    self.shown -= 1;
                    break;
                }
            }
        }
    }

    /// Only the title is shown.
    fn is_folded(&self) -> bool {
        self.shown == 0 && !self.layout.rows.is_empty()
    }

    fn hidden(&self) -> usize {
        self.layout.rows.len().saturating_sub(self.shown)
    }

    fn height(&self) -> usize {
        if self.is_folded() {
            return 1;
        }
        let rows: usize = self.layout.rows.iter().take(self.shown).map(Vec::len).sum();
        1 + rows + usize::from(self.hidden() > 0) + self.layout.footers.len()
    }

    fn lines(self) -> Vec<Line> {
        let hidden = self.hidden();
        let more =
            |hidden: usize| Span::coloured(format!("  … {} more: --json", count(hidden as u64)), Colour::Dim);
        if self.is_folded() {
            let title = self.layout.heading.first().cloned();
            let hidden = hidden + usize::from(self.is_words);
            return vec![Line::of(title.into_iter().chain([more(hidden)]))];
        }
        let Layout { heading, rows, footers } = self.layout;
        let mut lines = vec![heading];
        lines.extend(rows.into_iter().take(self.shown).flatten());
        if hidden > 0 {
            lines.push(Line::of([more(hidden)]));
        }
        lines.extend(footers);
        lines
    }
}
