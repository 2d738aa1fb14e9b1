//! The line of a configuration that a problem is about, without what may be a secret.
//!
//! A value is shown only where every key that may govern it is known and takes no secret: a value under a wrong key may
//! be a secret that was meant for another one. Comments are left out, since an old secret may stand in one.

use super::diagnostics::Frame;
use super::raw;
use crate::net::hidden_characters::{BYTE_ORDER_MARK, HiddenCharacter};

/// Stands for what is not shown.
const LEFT_OUT: &str = "…";
/// Stands for a character that a terminal would obey or not show.
const UNSEEN: char = '\u{fffd}';

/// The line at this byte of the text. `key`: the dotted key that the message names, which may be shown. `None` where
/// nothing stands in the line.
pub(super) fn of(text: &str, offset: usize, key: &str) -> Option<Frame> {
    let (before, after) = (text.get(..offset)?, text.get(offset..)?);
    let start = before.rfind('\n').map_or(0, |feed| feed + 1);
    let start = if text.get(start..)?.starts_with(BYTE_ORDER_MARK) {
        start + BYTE_ORDER_MARK.len_utf8()
    } else {
        start
    };
    let end = after.find('\n').map_or(text.len(), |feed| offset + feed);
    let statement = Statement::until(text, start, end);
    let line = text.get(start..statement.comment.unwrap_or(end))?.trim_end();
    if line.trim().is_empty() {
        return None;
    }
    let at = offset.saturating_sub(start).min(line.len());
    let (shown, mark) = match statement.shown(line, at, key) {
        Shown::Whole => (line.to_owned(), at..at + length_at(line.get(at..)?)),
        Shown::Key(end) if at < end => {
            (format!("{}{LEFT_OUT}", line.get(..end)?), at..at + length_at(line.get(at..)?))
        }
        Shown::Key(end) => (format!("{}{LEFT_OUT}", line.get(..end)?), end..end + LEFT_OUT.len()),
        Shown::Nothing => (LEFT_OUT.to_owned(), 0..LEFT_OUT.len()),
    };
    let marked = printable(shown.get(mark.clone())?);
    let (text, rest) = (printable(shown.get(..mark.start)?), printable(shown.get(mark.end..)?));
    let mark = text.len()..text.len() + marked.len();
    Some(Frame { line: before.matches('\n').count() + 1, text: text + &marked + &rest, mark })
}

/// How much of a line is shown.
enum Shown {
    Whole,
    /// So many bytes: the key, the equals sign and the white space after it.
    Key(usize),
    Nothing,
}

/// A key with its value, or a header, as far as the end of one line.
struct Statement<'t> {
    /// It began in an earlier line, as a list does.
    continued: bool,
    /// All keys in it, outer ones and those of inline tables: the last component of each.
    keys: Vec<&'t str>,
    /// Where the line's comment begins.
    comment: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Plain,
    Comment,
    /// In quotes of this kind; the quotes of a text of several lines are three.
    Quotes(u8, bool),
}

impl<'t> Statement<'t> {
    /// Reads the text to the end of a line. Brackets that are never closed make one statement of all that follows, so
    /// that less is shown.
    fn until(text: &'t str, line_start: usize, line_end: usize) -> Self {
        let bytes = text.as_bytes();
        let (mut begun, mut depth, mut keys, mut comment) = (0, 0_usize, Vec::new(), None);
        let (mut inside, mut at) = (In::Plain, 0);
        while at < line_end {
            let Some(&byte) = bytes.get(at) else { break };
            let three = bytes.get(at..at + 3).is_some_and(|three| three.iter().all(|one| *one == byte));
            match (inside, byte) {
                (In::Quotes(b'"', _), b'\\') => at += 1,
                (In::Quotes(quote, true), _) if byte == quote && three => {
                    inside = In::Plain;
                    at += 2;
                }
                (In::Quotes(quote, false), _) if byte == quote => inside = In::Plain,
                (In::Quotes(_, true), _) => {}
                // Also ends a text in quotes that are not closed.
                (_, b'\n') => {
                    inside = In::Plain;
                    if depth == 0 {
                        keys.clear();
                        begun = at + 1;
                    }
                }
                (In::Quotes(..) | In::Comment, _) => {}
                (In::Plain, b'"' | b'\'') => {
                    inside = In::Quotes(byte, three);
                    at += if three { 2 } else { 0 };
                }
                (In::Plain, b'#') => {
                    inside = In::Comment;
                    comment = (at >= line_start).then_some(at);
                }
                (In::Plain, b'[' | b'{') => depth += 1,
                (In::Plain, b']' | b'}') => depth = depth.saturating_sub(1),
                (In::Plain, b'=') => keys.push(last_key(text.get(..at).unwrap_or_default())),
                (In::Plain, _) => {}
            }
            at += 1;
        }
        Self {
            continued: begun < line_start
                && !text.get(begun..line_start).unwrap_or_default().starts_with(BYTE_ORDER_MARK),
            keys,
            comment,
        }
    }

    fn shown(&self, line: &str, at: usize, key: &str) -> Shown {
        let table = key.split('.').next().unwrap_or_default();
        let named = key.rsplit('.').next().unwrap_or_default().trim_matches('"');
        let trimmed = line.trim_start();
        if self.keys.is_empty() {
            let header = trimmed.trim_start_matches('[');
            let first = header.split(['.', ']', ' ']).next().unwrap_or_default();
            let is_header = !self.continued && header.len() < trimmed.len();
            return match is_header && (raw::is_known(first) || first == table) {
                true => Shown::Whole,
                false => Shown::Nothing,
            };
        }
        // The key in the message may be one that takes a secret, whatever this line looks like.
        let named_is_secret = raw::is_known(named) && !raw::is_shown(named, table);
        let equals = line.find('=').filter(|_| !self.continued);
        // Of a key that is wrong, the value says nothing.
        let is_key_wrong = equals.is_some_and(|equals| at < equals);
        if !named_is_secret && !is_key_wrong && self.keys.iter().all(|key| raw::is_shown_in(table, key)) {
            return Shown::Whole;
        }
        let Some(equals) = equals else { return Shown::Nothing };
        let before = line.get(..equals).unwrap_or_default();
        let own = last_key(before);
        let is_bare = before.chars().all(|c| c.is_ascii_alphanumeric() || "._- \t\"".contains(c));
        if !is_bare || !(raw::is_known(own) || own == named) {
            return Shown::Nothing;
        }
        let value = line.get(equals + 1..).unwrap_or_default();
        match is_reference(value, named) && !is_key_wrong {
            true => Shown::Whole,
            false => Shown::Key(line.len() - value.trim_start().len()),
        }
    }
}

/// The last component of the key at the end of a text.
fn last_key(before: &str) -> &str {
    let is_key = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let before = before.trim_end().trim_end_matches(['"', '\'']);
    before.rsplit(|c| !is_key(c)).next().unwrap_or_default()
}

/// Whether it is `{ env = "NAME" }` with a name that looks like one, and not like a secret; or `{ file = "PATH" }` where the
/// problem is about that file, which the message names.
fn is_reference(value: &str, named: &str) -> bool {
    let of = |key| {
        let inside = value.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let text = inside.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        text.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))
    };
    let is_name = |name: &str| {
        name.contains('_') && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    of("env").is_some_and(is_name) || named == "file" && of("file").is_some()
}

/// The length of the key or value with which a text begins.
fn length_at(text: &str) -> usize {
    let rest =
        |quote: char| text.get(1..).and_then(|rest| rest.find(quote)).map_or(text.len(), |end| end + 2);
    match text.chars().next() {
        None => 0,
        Some(quote @ ('"' | '\'')) => rest(quote),
        Some('[' | '{') => text.len(),
        Some(first) => {
            let end =
                text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | '=' | '"' | '\''));
            end.unwrap_or(text.len()).max(first.len_utf8())
        }
    }
}

/// With a sign in place of each character that cannot be seen.
fn printable(text: &str) -> String {
    let seen = |c: char| match c {
        '\t' => ' ',
        c if HiddenCharacter::first_in(c.encode_utf8(&mut [0; 4])).is_some() => UNSEEN,
        c => c,
    };
    text.chars().map(seen).collect()
}

#[cfg(test)]
mod tests;
