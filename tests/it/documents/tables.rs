//! Reads tables of documents: a name is documented by a row whose first cell is the name in backticks.

use super::{documents, prose};

/// A table of a document.
pub(super) struct Table {
    /// The document, from the root.
    pub(super) document: String,
    /// The headings of its columns.
    pub(super) columns: Vec<String>,
    /// The cells of each row.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    fn new(document: &str, head: &str) -> Self {
        Self { document: document.to_owned(), columns: cells(head), rows: Vec::new() }
    }

    /// The names in the first cells. A cell without one is a mistake of the document.
    fn names(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| name(&row[0]).unwrap_or_else(|| panic!("{}: {row:?}", self.document)))
    }
}

/// Every table of every document.
pub(super) fn tables() -> Vec<Table> {
    documents().iter().flat_map(|(path, text)| tables_of(&path.display().to_string(), text)).collect()
}

/// The tables whose first column has this heading.
pub(super) fn tables_of_names(heading: &str) -> Vec<Table> {
    let tables: Vec<_> = tables().into_iter().filter(|table| table.columns[0] == heading).collect();
    assert!(!tables.is_empty(), "no table has a first column {heading:?}");
    tables
}

/// What the tables with this first column document, in any order, and as often as they do.
pub(super) fn documented(heading: &str) -> Vec<String> {
    let mut names: Vec<_> = tables_of_names(heading).iter().flat_map(Table::names).collect();
    names.sort();
    names
}

fn tables_of(document: &str, text: &str) -> Vec<Table> {
    let prose = prose(text);
    let mut tables: Vec<Table> = Vec::new();
    let mut is_in_table = false;
    for line in prose.lines() {
        let is_row = line.starts_with('|');
        match (is_row, is_in_table) {
            (true, false) => tables.push(Table::new(document, line)),
            (true, true) if line.starts_with("|---") => {}
            (true, true) => tables.last_mut().unwrap().rows.push(cells(line)),
            (false, _) => {}
        }
        is_in_table = is_row;
    }
    for table in &tables {
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{document}: {row:?}");
        }
    }
    tables
}

/// The cells of a row. A vertical bar within one is written `\|`.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').replace("\\|", "\u{0}");
    let line = line.strip_suffix('|').unwrap_or(&line);
    line.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// What stands in backticks at the beginning of a cell, behind an anchor if there is one.
fn name(cell: &str) -> Option<String> {
    let cell = match cell.strip_prefix("<a id=") {
        Some(rest) => rest.split_once("</a>")?.1,
        None => cell,
    };
    Some(cell.strip_prefix('`')?.split_once('`')?.0.to_owned())
}

#[test]
fn cells_and_names_are_read() {
    let table = &tables_of("a.md", "|a|b|\n|---|---|\n| <a id=\"x\"></a>`x` | 1 \\| 2 |\n\nnone\n")[0];
    assert_eq!(table.rows, [["<a id=\"x\"></a>`x`", "1 | 2"]]);
    assert_eq!(table.names().collect::<Vec<_>>(), ["x"]);
}
