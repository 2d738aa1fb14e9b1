//! Explains TOML syntax errors: which key, and what to write instead. Most are values without quotes. A message repeats
//! a value only if its key is known and takes no secret: under a wrong key, the value may be a secret.

use std::ops::Range;

use super::diagnostics::{Location, Position, dotted};
use super::raw;

const TYPOGRAPHIC: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '«', '»'];
/// The parser's messages, or their beginnings, for something that is not a value.
const NO_VALUE: [&str; 16] = [
    "string values must be quoted",
    "invalid float",
    "invalid mantissa",
    "invalid exponent",
    "invalid fraction",
    "invalid hexadecimal",
    "invalid octal",
    "invalid binary",
    "invalid integer",
    "invalid boolean",
    "invalid date-time",
    "unexpected leading zero",
    "unexpected sign",
    "redundant",
    "radix",
    "`_` may only go between digits",
];
/// The parser's message if it took the beginning of the text for a value.
const MORE: &str = "unexpected key or value";

/// The location of a parser error, and its message. `span`: the bytes that the parser names.
pub(super) fn explain(text: &str, span: &Range<usize>, message: &str) -> (Location, String) {
    let at = span.start.min(text.len());
    let line_start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |feed| feed + 1);
    let line = text.get(line_start..).unwrap_or_default().split('\n').next().unwrap_or_default();
    let table = table_of(text.get(..line_start).unwrap_or_default());
    let found = Found { text, line, line_start, at: at - line_start, table };
    if message == "duplicate key" {
        return found.duplicate(text.get(span.clone()).unwrap_or_default());
    }
    if let Some((value, words)) = found.unquoted(message) {
        let position = Position::At(line_start + value);
        return (Location { position, key: found.key() }, words);
    }
    (Location { position: Position::At(at), key: found.key() }, message.to_owned())
}

/// Where a table with a duplicate header ends. Its keys are reported as duplicates too, which only repeats the error.
pub(super) fn end_of_duplicate(text: &str, span: &Range<usize>, message: &str) -> Option<usize> {
    let after = text.get(span.start..)?;
    let line = text.get(..span.start)?.rsplit('\n').next()?;
    let is_header = message == "duplicate key" && line.trim_start().starts_with('[');
    is_header.then(|| after.find("\n[").map_or(text.len(), |end| span.start + end))
}

/// The last header, without brackets; empty before the first.
fn table_of(before: &str) -> String {
    let mut headers = before.lines().map(str::trim).filter(|line| line.starts_with('['));
    let header = headers.rfind(|line| line.contains(']')).unwrap_or_default();
    header.split(']').next().unwrap_or_default().trim_matches(['[', ' ']).to_owned()
}

struct Found<'t> {
    text: &'t str,
    /// The line with the error.
    line: &'t str,
    line_start: usize,
    /// The offset of the error in the line.
    at: usize,
    table: String,
}

impl Found<'_> {
    /// The key with which the line begins; empty for a header or a line inside a list.
    fn bare_key(&self) -> &str {
        match self.line.split_once('=') {
            Some((key, _)) if !key.trim_start().starts_with(['[', '"', '#']) => key.trim(),
            _ => "",
        }
    }

    fn key(&self) -> String {
        match self.bare_key() {
            "" => self.table.clone(),
            key if self.table.is_empty() => dotted("", key),
            key => format!("{}.{}", self.table, dotted("", key)),
        }
    }

    fn duplicate(&self, name: &str) -> (Location, String) {
        let position = Position::At(self.line_start + self.at);
        let is_header = self.line.trim_start().starts_with('[');
        let name = name.trim_matches(['"', '\'']);
        let same = |line: &str| match is_header {
            true => line.trim() == self.line.trim(),
            false => line
                .split('=')
                .next()
                .is_some_and(|key| line.contains('=') && key.trim().trim_matches(['"', '\'']) == name),
        };
        // A duplicate key is searched for only in its own table.
        let before = self.text.get(..self.line_start).unwrap_or_default();
        let mut earlier = None;
        for (number, line) in before.lines().enumerate() {
            if !is_header && line.trim_start().starts_with('[') {
                earlier = None;
            }
            if same(line) {
                earlier.get_or_insert(number + 1);
            }
        }
        let where_ = earlier.map(|line| format!(", first in line {line}")).unwrap_or_default();
        let (key, words) = if is_header {
            let header = self.line.split('#').next().unwrap_or_default().trim();
            let name = header.trim_matches(['[', ']', ' ']);
            let line_of = |header: String| before.lines().position(|line| line.trim() == header);
            // If a table occurs several times, every header needs two brackets.
            let words = if header.starts_with("[[")
                && let Some(number) = line_of(format!("[{name}]"))
            {
                format!("the table [{name}] in line {} must be written {header} too", number + 1)
            } else if !header.starts_with("[[")
                && let Some(number) = line_of(format!("[[{name}]]"))
            {
                format!("{header} must be written [[{name}]], as in line {}", number + 1)
            } else {
                format!("the table {header} occurs twice{where_}; put all of its keys under one header")
            };
            (String::new(), words)
        } else {
            let key = if self.table.is_empty() { name.to_owned() } else { format!("{}.{name}", self.table) };
            (key, format!("the key {name:?} occurs twice{where_}; keep one of them"))
        };
        (Location { position, key }, words)
    }

    /// Whether the value may be shown: its key is known and takes no secret. A list may have begun in an earlier line.
    fn may_be_shown(&self) -> bool {
        let until = self.text.get(..self.line_start + self.line.len()).unwrap_or_default();
        let with_key = until.lines().rev().find(|line| line.contains('=')).unwrap_or_default();
        // An inline table, as in `tls = { key = … }`, has several keys.
        let mut keys = with_key.split('=').rev().skip(1).map(|before| {
            let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            before.trim_end().rsplit(word).next().unwrap_or_default()
        });
        keys.all(|key| raw::is_shown(key, &self.table))
    }

    /// Where a value without quotes, or one that is not valid TOML, begins, and what to write.
    fn unquoted(&self, message: &str) -> Option<(usize, String)> {
        let key = self.bare_key();
        let whole = message.starts_with(MORE);
        if !whole && !NO_VALUE.iter().any(|words| message.starts_with(words)) {
            return None;
        }
        let start = match whole {
            // The parser took the beginning of the text for a value.
            true => self.line.find('=')? + 1,
            false => self.line.get(..self.at)?.rfind(['=', '[', '{', ',']).map_or(0, |before| before + 1),
        };
        let rest = self.line.get(start..)?;
        let end = if whole { None } else { rest.find([',', ']', '}']) };
        let value = rest.get(..end.unwrap_or(rest.len()))?;
        let value = value.split(" #").next().unwrap_or_default();
        let start = start + (value.len() - value.trim_start().len());
        let value = value.trim();
        let is_in_list = end.is_some() || key.is_empty();
        if value.is_empty() {
            let is_missing = message.starts_with("string values must be quoted") && !is_in_list;
            return is_missing.then(|| {
                (start, format!("there is no value after the =; write {key} = VALUE, or leave the key out"))
            });
        }
        if value.starts_with(['"', '\'']) || value.contains('"') {
            return None;
        }
        // Word processors and web pages turn plain quotes into typographic ones.
        let bare = value.trim_matches(TYPOGRAPHIC);
        let is_typographic = bare.len() < value.len();
        let value = bare;
        let written = |value: &str| match is_in_list {
            true => value.to_owned(),
            false => format!("{key} = {value}"),
        };
        let digits = value.replace(',', "");
        let words = match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => format!("{value} is not a TOML value; write {}", written("true")),
            "false" | "no" | "off" => format!("{value} is not a TOML value; write {}", written("false")),
            _ if is_typographic && self.may_be_shown() => {
                format!(
                    "the quotes must be plain (\"), not typographic; write {}",
                    written(&format!("{value:?}"))
                )
            }
            _ if !self.may_be_shown() => {
                format!("a string must be in quotes; write {}", written("\"…\""))
            }
            _ if digits.len() < value.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{value} is not a TOML number; write {}", written(&value.replace(',', "_")))
            }
            _ => format!("{value} must be in quotes; write {}", written(&format!("{value:?}"))),
        };
        Some((start, words))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Overrides, from_text};

    fn said(text: &str) -> String {
        from_text(text, Path::new("p.toml"), &Overrides::default(), &|_| None).unwrap_err().to_string()
    }

    #[test]
    fn a_value_without_its_quotes_is_shown_with_them() {
        for (line, written) in [
            ("address = 127.0.0.1:8080", "address = \"127.0.0.1:8080\""),
            ("address = :8080", "address = \":8080\""),
            ("address = [::1]:8080", "address = \"[::1]:8080\""),
            ("address = unix:/run/x # a socket", "address = \"unix:/run/x\""),
            ("connect_timeout = 5s", "connect_timeout = \"5s\""),
            ("connect_timeout = 250ms", "connect_timeout = \"250ms\""),
            ("replay_buffer = 64KiB", "replay_buffer = \"64KiB\""),
            ("rate = 10/s", "rate = \"10/s\""),
            ("rate = 1000/min", "rate = \"1000/min\""),
            ("hosts = box.example.com", "hosts = \"box.example.com\""),
            ("cert = tls.crt", "cert = \"tls.crt\""),
            ("dir = ./state", "dir = \"./state\""),
            ("dir = ../state", "dir = \"../state\""),
            ("dir = ~/state", "dir = \"~/state\""),
            ("rate = 1e/s", "rate = \"1e/s\""),
            ("wait = 1_s", "wait = \"1_s\""),
            ("rate = 0x/s", "rate = \"0x/s\""),
            ("name = -a", "name = \"-a\""),
            ("name = inform", "name = \"inform\""),
            ("sources = 10.0.0.0/8", "sources = \"10.0.0.0/8\""),
            ("name = 2026-01-01x", "name = \"2026-01-01x\""),
            ("path = /intranet", "path = \"/intranet\""),
            ("api = https://api.box.com", "api = \"https://api.box.com\""),
            ("as_user = a@example.com", "as_user = \"a@example.com\""),
            ("level = info", "level = \"info\""),
            ("format = json", "format = \"json\""),
            ("per = month", "per = \"month\""),
            ("user_id = 00123", "user_id = \"00123\""),
            ("name = two words", "name = \"two words\""),
            ("address = “127.0.0.1:8080”", "address = \"127.0.0.1:8080\""),
            ("level = ‘info’", "level = \"info\""),
            ("access = yes", "access = true"),
            ("access = True", "access = true"),
            ("access = off", "access = false"),
            ("calls = 50,000", "calls = 50_000"),
        ] {
            let said = said(&format!("[listen]\n{line}\n"));
            let key = line.split(' ').next().unwrap();
            let column = line.find('=').unwrap() + 3;
            assert!(said.starts_with(&format!("p.toml:2:{column}: listen.{key}: ")), "{line}: {said}");
            assert!(said.ends_with(&format!("; write {written}")), "{line}: {said}");
        }
    }

    #[test]
    fn the_key_of_a_limit_is_not_a_secret() {
        let said = said("[[limit]]\nkey = client\n[[app]]\nkey = abcDEF123\n");
        assert!(said.contains("limit.key: client must be in quotes; write key = \"client\""), "{said}");
        assert!(said.contains("app.key: a string must be in quotes") && !said.contains("abcDEF"), "{said}");
    }

    #[test]
    fn a_duplicate_table_is_reported_once() {
        let said = said(
            "[identity.a]\nclient_id = \"a\"\n[identity.a]\nclient_id = \"b\"\n[log]\nlevel = \"info\"\nlevel = \"warn\"\n",
        );
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(
            said.starts_with("p.toml:3:") && said.contains("[identity.a] occurs twice, first in line 1"),
            "{said}"
        );
        assert!(
            said.contains("\np.toml:7:1: log.level: the key \"level\" occurs twice, first in line 6"),
            "{said}"
        );
    }

    #[test]
    fn a_value_in_a_list_is_shown_alone() {
        for (line, written) in [
            ("sources = [10.0.0.0/8]", "\"10.0.0.0/8\""),
            ("sources = [\"loopback\", private]", "\"private\""),
            ("hosts = [a.example, \"b.example\"]", "\"a.example\""),
            ("sources = [\n  10.0.0.0/8,\n]", "\"10.0.0.0/8\""),
        ] {
            let said = said(&format!("[listen]\n{line}\n"));
            assert!(said.ends_with(&format!("; write {written}")), "{line}: {said}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated() {
        for line in [
            "client_secret = abcDEF123",
            "client_secret = 9abcDEF123",
            "key = 5abcDEF123",
            "redis = redis://:abcDEF123@host",
            "key = [\"a\", abcDEF123]",
            "key = [\n  abcDEF123,\n]",
            "tls = { cert = \"a\", key = abcDEF123 }",
            "client_sercet = abcDEF123",
            "proxy = http://user:abcDEF123@proxy:3128",
        ] {
            let said = said(&format!("[identity.service]\n{line}\n"));
            assert!(said.contains("quotes") && !said.contains("abcDEF"), "{line}: {said}");
        }
    }

    #[test]
    fn a_duplicate_is_named_with_the_line_of_the_first() {
        for (text, want) in [
            (
                "[listen]\nhosts = []\naddress = \"a\"\nhosts = []\n",
                "p.toml:4:1: listen.hosts: the key \"hosts\" occurs twice, first in line 2;",
            ),
            (
                "[a]\nhosts = []\n[listen]\nhosts = []\n\nhosts = []\n",
                "p.toml:6:1: listen.hosts: the key \"hosts\" occurs twice, first in line 4;",
            ),
            (
                "[[app]]\nname = \"a\"\nname = \"b\"\n",
                "p.toml:3:1: app.name: the key \"name\" occurs twice, first in line 2;",
            ),
            (
                "[listen]\n\"hosts\" = []\nhosts = []\n",
                "p.toml:3:1: listen.hosts: the key \"hosts\" occurs twice, first in line 2;",
            ),
            (
                "[app]\nname = \"a\"\n[[app]]\nname = \"b\"\n",
                "p.toml:3:3: the table [app] in line 1 must be written [[app]] too",
            ),
            (
                "[[app]]\nname = \"a\"\n[app]\nname = \"b\"\n",
                "p.toml:3:2: [app] must be written [[app]], as in line 1",
            ),
            (
                "[listen]\n[admin]\n[listen]\n",
                "p.toml:3:2: the table [listen] occurs twice, first in line 1;",
            ),
            ("tls = { cert = \"a\", cert = \"b\" }\n", "p.toml:1:21: cert: the key \"cert\" occurs twice"),
        ] {
            let said = said(text);
            assert!(said.starts_with(want), "{text}: {said}");
        }
    }

    #[test]
    fn every_wrong_line_is_reported_in_one_run_and_other_errors_keep_the_parsers_message() {
        let said = said("[listen]\naddress = 127.0.0.1:8080\n[log]\nlevel = info\nformat =\n[server\n");
        assert_eq!(said.lines().count(), 4, "{said}");
        assert!(said.contains("log.format: there is no value after the =; write format = VALUE"), "{said}");
        assert!(said.contains("unclosed table, expected `]`"), "{said}");
        let path = self::said("[listen]\nfile = \"C:\\dir\"\n");
        assert!(path.starts_with("p.toml:2:12: listen.file: missing escaped value"), "{path}");
    }
}
