//! The screen: the head and the parts below it, as many of their rows as fit.

use super::document::Status;
use super::head::head;
use super::line::{Line, Span, parts};
use super::sections::{Section, sections};
use super::table::Layout;
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

/// All lines. They may be more than the height, where even the smallest selection of rows is.
pub(super) fn screen(status: &Status, size: Size) -> Vec<Line> {
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

/// Gives the parts more rows while there is room.
fn grow(parts: &mut [Part], mut room: usize) {
    for (is_long, most) in [(false, FEW), (true, FEW), (false, SOME), (true, usize::MAX), (false, usize::MAX)]
    {
        for part in parts.iter_mut().filter(|part| part.is_long == is_long) {
            while part.shown < part.layout.rows.len().min(most) {
                let before = part.height();
                part.shown += 1;
                match room.checked_sub(part.height().saturating_sub(before)) {
                    Some(rest) => room = rest,
                    None => {
                        part.shown -= 1;
                        break;
                    }
                }
            }
        }
    }
}

/// A section laid out, and how many of its rows are shown.
struct Part {
    layout: Layout,
    shown: usize,
    is_long: bool,
}

impl Part {
    fn new(section: Section, width: Option<usize>) -> Self {
        match section {
            Section::Table { table, is_long } => {
                let layout = table.layout(width);
                let shown = layout.rows.len().min(LEAST);
                Self { layout, shown, is_long }
            }
            Section::Words(words) => {
                let mut lines = parts(words, 2, width).into_iter();
                let heading = lines.next().unwrap_or_default();
                let layout = Layout { heading, rows: Vec::new(), footers: lines.collect() };
                Self { layout, shown: 0, is_long: false }
            }
        }
    }

    fn hidden(&self) -> usize {
        self.layout.rows.len().saturating_sub(self.shown)
    }

    fn height(&self) -> usize {
        let rows: usize = self.layout.rows.iter().take(self.shown).map(Vec::len).sum();
        1 + rows + usize::from(self.hidden() > 0) + self.layout.footers.len()
    }

    fn lines(self) -> Vec<Line> {
        let hidden = self.hidden();
        let Layout { heading, rows, footers } = self.layout;
        let mut lines = vec![heading];
        lines.extend(rows.into_iter().take(self.shown).flatten());
        if hidden > 0 {
            let more = format!("  … {} more: --json", super::figures::count(hidden as u64));
            lines.push(Line::of([Span::coloured(more, Colour::Dim)]));
        }
        lines.extend(footers);
        lines
    }
}
