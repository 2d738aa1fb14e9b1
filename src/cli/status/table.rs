//! A table with a heading: columns are aligned, and give way where the terminal is too narrow for all.

use super::line::{Line, Span, cut_middle, hanging};
use crate::telemetry::terminal::Colour;

/// Before each row.
const INDENT: usize = 2;
/// Between columns.
const GAP: usize = 2;
/// Before a text below its row.
const BELOW: usize = 4;
/// Columns are left out rather than that names have less room.
const NAME: usize = 20;
/// The width that the first column keeps.
const NARROWEST_NAME: usize = 6;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    is_right: bool,
    /// Those with a higher number are left out first; 0: never.
    optional: u8,
}

impl Column {
    /// Of texts.
    pub(super) fn left(title: &'static str) -> Self {
        Self { title, is_right: false, optional: 0 }
    }

    /// Of numbers.
    pub(super) fn right(title: &'static str) -> Self {
        Self { title, is_right: true, optional: 0 }
    }

    /// Left out where there is no room. Those with a higher number go first.
    pub(super) fn optional(self, order: u8) -> Self {
        Self { optional: order, ..self }
    }
}

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The name, then a cell for each column.
    pub(super) cells: Vec<Span>,
    /// What else there is to say, behind the columns where there is room, else below them.
    pub(super) words: Vec<Span>,
}

/// A part of the screen.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Above the names.
    pub(super) title: String,
    /// Those behind the names.
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// Below the rows, one line each.
    pub(super) footers: Vec<String>,
}

/// A table for a terminal of some width.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) heading: Line,
    /// The lines of each row.
    pub(super) rows: Vec<Vec<Line>>,
    pub(super) footers: Vec<Line>,
}

impl Table {
    /// `width`: of the terminal; `None`: as wide as it is.
    pub(super) fn layout(&self, width: Option<usize>) -> Layout {
        let columns = self.fitting_columns(width);
        let widths: Vec<usize> = columns.iter().map(|column| self.widest(*column)).collect();
        let others: usize = widths.iter().map(|width| width + GAP).sum();
        let name = self.name_width();
        let name = width.map_or(name, |width| {
            name.min(width.saturating_sub(others).max(NARROWEST_NAME.max(width_of(&self.title))))
        });
        let row = |cells: Vec<Span>| {
            let mut cells = cells.into_iter();
            let mut line = Line::of(cells.next());
            let mut begin = name + GAP;
            for ((cell, width), column) in cells.zip(&widths).zip(&columns) {
                let is_right = self.column(*column).is_some_and(|column| column.is_right);
                line.pad_to(if is_right { begin + width.saturating_sub(cell.width()) } else { begin });
                line.push(cell);
                begin += width + GAP;
            }
            line
        };
        let titles = columns.iter().filter_map(|column| self.column(*column)).map(|column| column.title);
        let titles = titles.map(|title| Span::coloured(title, Colour::Dim));
        let heading = row(std::iter::once(Span::coloured(&self.title, Colour::Bold)).chain(titles).collect());
        let behind = name + others + GAP;
        let rows = self.rows.iter().map(|of| {
            let indented = |text: &str| format!("{}{text}", " ".repeat(INDENT));
            let shown = of
                .cells
                .first()
                .map(|cell| cell.with(|text| indented(&cut_middle(text, name.saturating_sub(INDENT)))));
            let cells = columns.iter().filter_map(|column| of.cells.get(column + 1)).cloned();
            let mut lines = vec![row(shown.into_iter().chain(cells).collect())];
            add_words(&mut lines, &of.words, behind, width);
            lines
        });
        let footers = self
            .footers
            .iter()
            .map(|text| Line::of([Span::coloured(format!("{}{text}", " ".repeat(INDENT)), Colour::Dim)]));
        Layout { heading, rows: rows.collect(), footers: footers.collect() }
    }

    fn column(&self, index: usize) -> Option<&Column> {
        self.columns.get(index)
    }

    fn widest(&self, column: usize) -> usize {
        let title = self.column(column).map_or(0, |column| width_of(column.title));
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column + 1));
        cells.map(Span::width).max().unwrap_or(0).max(title)
    }

    /// Of the widest name.
    fn name_width(&self) -> usize {
        let names = self.rows.iter().filter_map(|row| row.cells.first()).map(|name| INDENT + name.width());
        names.max().unwrap_or(0).max(width_of(&self.title))
    }

    /// The columns for which there is room beside the names.
    fn fitting_columns(&self, width: Option<usize>) -> Vec<usize> {
        let mut columns: Vec<usize> = (0..self.columns.len()).collect();
        let Some(width) = width else { return columns };
        let name = self.name_width().min(NAME.max(width_of(&self.title)));
        let optional = |index: usize| self.column(index).map_or(0, |column| column.optional);
        loop {
            let all: usize = columns.iter().map(|column| self.widest(*column) + GAP).sum();
            let last = columns.iter().copied().max_by_key(|column| optional(*column));
            match last.filter(|last| name + all > width && optional(*last) > 0) {
                Some(last) => columns.retain(|column| *column != last),
                None => return columns,
            }
        }
    }
}

/// All words behind the columns if they fit there, else below the row.
fn add_words(lines: &mut Vec<Line>, words: &[Span], behind: usize, width: Option<usize>) {
    let together: usize = words.iter().map(Span::width).sum::<usize>() + GAP * words.len().saturating_sub(1);
    if width.is_none_or(|width| behind + together <= width)
        && let Some(line) = lines.last_mut()
    {
        let mut begin = behind;
        for word in words {
            line.pad_to(begin);
            line.push(word.clone());
            begin += word.width() + GAP;
        }
        return;
    }
    let below = || vec![Span::plain(" ".repeat(BELOW))];
    let mut last: Option<Line> = None;
    for word in words {
        match &mut last {
            Some(line) if width.is_none_or(|width| line.width() + GAP + word.width() <= width) => {
                line.push(Span::plain(" ".repeat(GAP)));
                line.push(word.clone());
            }
            _ => {
                lines.extend(last.take());
                lines.extend(hanging(below(), word, width));
                last = lines.pop();
            }
        }
    }
    lines.extend(last);
}

fn width_of(text: &str) -> usize {
    Span::plain(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, cells: [&str; 3], words: &[&str]| Row {
            cells: std::iter::once(name).chain(cells).map(Span::plain).collect(),
            words: words.iter().map(|words| Span::coloured(*words, Colour::Red)).collect(),
        };
        Table {
            title: "Fruit".to_owned(),
            columns: vec![
                Column::left("colour").optional(1),
                Column::right("number"),
                Column::right("price").optional(2),
            ],
            rows: vec![
                row("apple", ["red", "12", "1.50"], &[]),
                row("a-very-long-banana", ["yellow", "1,234", "2"], &["sold out since Monday"]),
            ],
            footers: vec!["none else".to_owned()],
        }
    }

    fn shown(width: Option<usize>) -> String {
        let Layout { heading, rows, footers } = table().layout(width);
        let lines = std::iter::once(heading).chain(rows.into_iter().flatten()).chain(footers);
        lines.map(|line| line.text(width, false)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            shown(None),
            "Fruit                 colour  number  price\n\
             \x20 apple               red         12   1.50\n\
             \x20 a-very-long-banana  yellow   1,234      2  sold out since Monday\n\
             \x20 none else"
        );
        assert_eq!(shown(Some(66)), shown(None));
    }

    #[test]
    fn words_move_below_then_columns_go_then_names_are_cut() {
        assert_eq!(
            shown(Some(43)),
            "Fruit                 colour  number  price\n\
             \x20 apple               red         12   1.50\n\
             \x20 a-very-long-banana  yellow   1,234      2\n\
             \x20   sold out since Monday\n\
             \x20 none else"
        );
        assert_eq!(
            shown(Some(36)),
            "Fruit                 colour  number\n\
             \x20 apple               red         12\n\
             \x20 a-very-long-banana  yellow   1,234\n\
             \x20   sold out since Monday\n\
             \x20 none else"
        );
        assert_eq!(
            shown(Some(16)),
            "Fruit     number\n\
             \x20 apple       12\n\
             \x20 a-v…na   1,234\n\
             \x20   sold out\n\
             \x20   since Monday\n\
             \x20 none else"
        );
    }
}
