//! The report as a table for people: what was checked, one word for what was found, and what to do.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::findings::{Report, Row, State};

/// A longer name pushes the rest of its line to the right.
const WIDEST_NAME: usize = 28;
/// Where less than this would be left for words, lines are not broken.
const NARROWEST_WORDS: usize = 24;

/// How the table is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// With colours.
    pub(super) colour: bool,
    /// Columns of the terminal; `None`: no line is broken.
    pub(super) width: Option<usize>,
}

/// The table, and below it how many checks failed.
pub(super) fn table(report: &Report, style: Style) -> String {
    let name_width = report.0.iter().map(|row| length(&row.name())).max().unwrap_or(0).min(WIDEST_NAME);
    let label_width = report.0.iter().map(|row| length(row.label())).max().unwrap_or(0);
    let mut text = String::new();
    for row in &report.0 {
        let name = row.name();
        let label = row.label();
        let indent = name_width.max(length(&name)) + 2 + label_width + 2;
        let padding = " ".repeat(label_width - length(label) + 2);
        let label = if style.colour { coloured(row, label) } else { label.to_owned() };
        let name_padding = " ".repeat(name_width.saturating_sub(length(&name)) + 2);
        let line = format!("{name}{name_padding}{label}{padding}");
        let words = wrapped(&row.text(), name_width + 2 + label_width + 2, indent, style.width);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", format!("{line}{words}").trim_end());
    }
    let _ = writeln!(text, "\n{}", summary(report));
    text
}

fn summary(report: &Report) -> String {
    let counted = |number: usize, one: &str, more: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        number => Some(format!("{number} {more}")),
    };
    let failed = counted(report.count(State::Failed), "failed", "failed");
    let warnings = counted(report.count(State::Warning), "warning", "warnings");
    match (failed, warnings) {
        (None, None) => "all is well".to_owned(),
        (None, Some(warnings)) => format!("nothing failed, {warnings}"),
        (Some(failed), None) => failed,
        (Some(failed), Some(warnings)) => format!("{failed}, {warnings}"),
    }
}

/// Breaks words between spaces, so that no line is wider than the terminal; further lines are indented like the first.
fn wrapped(words: &str, indent: usize, first: usize, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| *width >= first.max(indent) + NARROWEST_WORDS) else {
        return words.to_owned();
    };
    let (mut text, mut column) = (String::new(), first);
    for word in words.split(' ') {
        if column > indent && column != first && column + length(word) > width {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        }
        text.push_str(word);
        text.push(' ');
        column += length(word) + 1;
    }
    text.truncate(text.trim_end().len());
    text
}

fn coloured(row: &Row, label: &str) -> String {
    let colour = match row.state() {
        State::Ok => "32",
        State::Failed => "1;31",
        State::Warning => "33",
        State::Info => "36",
    };
    format!("\u{1b}[{colour}m{label}\u{1b}[0m")
}

/// In columns of a terminal.
fn length(text: &str) -> usize {
    text.width()
}

#[cfg(test)]
mod tests {
    use super::super::findings::About;
    use super::*;

    fn report() -> Report {
        let identity = About::new("identity", "service");
        Report(vec![
            About::new("host", "api.box.com").ok("41 ms   TLS 1.3, HTTP/2"),
            identity.ok("someone@example.com"),
            identity.part("root folder").info("empty", "no item", "invite this login as a collaborator"),
            About::new("host", "dl.boxcloud.com").failed(
                "certificate not trusted: issued by \"Corp Inspection CA\"",
                "if it is your network's, add it: [box] ca_file",
            ),
        ])
    }

    #[test]
    fn columns_are_aligned_and_a_row_is_one_line_without_a_terminal() {
        let text = table(&report(), Style { colour: false, width: None });
        assert_eq!(
            text,
            "api.box.com      ok      41 ms   TLS 1.3, HTTP/2\n\
             service          ok      someone@example.com\n\
             \x20 root folder    empty   no item; invite this login as a collaborator\n\
             dl.boxcloud.com  failed  certificate not trusted: issued by \"Corp Inspection CA\"; if it is your network's, add it: [box] ca_file\n\
             \n1 failed\n"
        );
    }

    #[test]
    fn words_are_broken_at_the_terminals_width_and_stay_in_their_column() {
        let text = table(&report(), Style { colour: false, width: Some(60) });
        assert!(text.lines().all(|line| line.len() <= 60), "{text}");
        assert!(
            text.contains("certificate not trusted: issued by\n                         \"Corp"),
            "{text}"
        );
        let narrow = table(&report(), Style { colour: false, width: Some(30) });
        assert_eq!(narrow.lines().count(), 6, "{narrow}");
    }

    #[test]
    fn colour_changes_no_column() {
        let plain = table(&report(), Style { colour: false, width: Some(80) });
        let coloured = table(&report(), Style { colour: true, width: Some(80) });
        assert!(coloured.contains("\u{1b}[1;31mfailed\u{1b}[0m"));
        let mut without = coloured;
        for code in ["\u{1b}[32m", "\u{1b}[1;31m", "\u{1b}[33m", "\u{1b}[36m", "\u{1b}[0m"] {
            without = without.replace(code, "");
        }
        assert_eq!(without, plain);
    }
}
