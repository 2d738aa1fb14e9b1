//! Text for a terminal as wide as it is: lines are broken between words.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use unicode_width::UnicodeWidthStr as _;

/// Columns where the terminal does not say how many it has.
pub(super) const USUAL: u16 = 80;
/// Longer lines of sentences are hard to read.
pub(super) const MOST_READABLE: usize = 100;
/// Narrower terminals are treated like this one.
const FEWEST: u16 = 40;

/// The columns of standard error; `None` where it is no terminal.
pub(super) fn of_stderr() -> Option<usize> {
    of(&io::stderr())
}

/// The columns of standard output; `None` where it is no terminal.
pub(super) fn of_stdout() -> Option<usize> {
    of(&io::stdout())
}

fn of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| size.ws_col);
    Some(if columns == 0 { USUAL } else { columns.max(FEWEST) }.into())
}

/// Columns and lines of standard output; `None` where it is no terminal, or one that does not tell.
pub(super) fn size_of_stdout() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Broken between words into lines of at most so many columns; a longer word gets a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.width();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 8), "one two\nthree");
        assert_eq!(wrapped("averylongword b", 4), "averylongword\nb");
        assert_eq!(wrapped("日本 語", 5), "日本\n語", "a character may take two columns");
        assert_eq!(wrapped("", 4), "");
    }
}
