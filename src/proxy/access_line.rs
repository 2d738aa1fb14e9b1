//! The forms of an access line: `key=value` text, JSON, and a short line for a person at a terminal.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use crate::net::client_address::ClientAddress;
use crate::net::secret_filter::{self, Audience};
use crate::telemetry::log::LineFormat;
use crate::telemetry::terminal::{self, Colour, Painted};
use crate::telemetry::words::short;

/// A field, and its value if it has one.
pub(crate) type Field<'a> = (&'static str, Option<Value<'a>>);

/// The value of a field.
pub(crate) enum Value<'a> {
    Text(&'a str),
    Owned(String),
    Client(ClientAddress),
    Number(u64),
    Millis(Duration),
}

/// Most lines are shorter, so that they grow no more than once.
const USUAL: usize = 640;
/// Longer paths are shortened in the middle on a terminal.
const LONGEST_PATH: usize = 56;

/// The line in this format, with its line feed.
pub(crate) fn line(format: LineFormat, fields: &[Field<'_>]) -> String {
    match format {
        LineFormat::Text => text(fields),
        LineFormat::Json => json(fields),
        LineFormat::Pretty { colour } => pretty(fields, colour),
    }
}

/// `time access key=value …`; writing to a `String` cannot fail.
fn text(fields: &[Field<'_>]) -> String {
    let mut line = String::with_capacity(USUAL);
    let _ = write!(line, "{:.3} access", Timestamp::now());
    for (key, value) in fields {
        let Some(value) = value else { continue };
        line.push(' ');
        line.push_str(key);
        line.push('=');
        match value {
            Value::Text(text) => push_escaped(&mut line, text),
            Value::Owned(text) => push_escaped(&mut line, text),
            Value::Client(address) => push_client(&mut line, *address),
            Value::Number(number) => push_number(&mut line, *number),
            Value::Millis(time) => push_millis(&mut line, *time),
        }
    }
    line.push('\n');
    line
}

fn json(fields: &[Field<'_>]) -> String {
    let mut line = String::with_capacity(USUAL);
    let _ = write!(line, "{{\"time\":\"{:.3}\",\"kind\":\"access\"", Timestamp::now());
    for (key, value) in fields {
        let Some(value) = value else { continue };
        line.push_str(",\"");
        line.push_str(key);
        line.push_str("\":");
        match value {
            Value::Text(text) => push_quoted(&mut line, text),
            Value::Owned(text) => push_quoted(&mut line, text),
            Value::Client(address) => {
                line.push('"');
                push_client(&mut line, *address);
                line.push('"');
            }
            Value::Number(number) => push_number(&mut line, *number),
            Value::Millis(time) => push_millis(&mut line, *time),
        }
    }
    line.push_str("}\n");
    line
}

/// Digits, letters, dots and colons, which need no escape in any form.
fn push_client(line: &mut String, address: ClientAddress) {
    let _ = write!(line, "{address}");
}

fn push_number(line: &mut String, number: u64) {
    let _ = write!(line, "{number}");
}

/// With three digits behind the point, without the cost of a floating-point number.
fn push_millis(line: &mut String, time: Duration) {
    let micros = (time.as_nanos() + 500) / 1000;
    let _ = write!(line, "{}.{:03}", micros / 1000, micros % 1000);
}

/// As JSON. Most values have nothing to escape.
pub(crate) fn push_quoted(line: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        line.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// As a value that cannot forge other fields: white space, quotes and control bytes are escaped.
fn push_escaped(line: &mut String, text: &str) {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.is_empty() && text.bytes().all(fits) {
        line.push_str(text);
    } else if text.bytes().all(|byte| byte == b' ' || fits(byte)) {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        // The value is in double quotes, so a single quote needs no escape, and other parsers do not know `\'`.
        let _ = write!(line, "{text:?}");
    }
}

/// `18:27:37  403 DELETE /intranet/2.0/files/1   –  intranet   operation_not_allowed  deny "DELETE /**"`: columns that
/// are aligned within 80 characters, and behind them what went wrong.
fn pretty(fields: &[Field<'_>], colour: bool) -> String {
    let value = |name: &str| fields.iter().find(|(known, _)| *known == name)?.1.as_ref();
    let text = |name: &str| match value(name) {
        Some(Value::Text(text)) => Some(*text),
        Some(Value::Owned(text)) => Some(text.as_str()),
        Some(Value::Client(_) | Value::Number(_) | Value::Millis(_)) | None => None,
    };
    let millis = |name: &str| match value(name) {
        Some(Value::Millis(time)) => *time,
        _ => Duration::ZERO,
    };
    let number = |name: &str| match value(name) {
        Some(Value::Number(number)) => *number,
        _ => 0,
    };
    let status = number("status");
    let of_status = match status {
        499 => Colour::Dim,
        200..300 => Colour::Green,
        300..400 => Colour::Cyan,
        500.. => Colour::Red,
        _ => Colour::Yellow,
    };
    let plain = |name: &str| terminal::plain(text(name).unwrap_or("–"));
    // Nothing was waited for where Box was not asked and the request did not have to wait.
    let is_at_once = number("attempts") == 0 && millis("wait_ms").is_zero();
    let took = if is_at_once { "–".to_owned() } else { short(millis("duration_ms")) };
    let time = terminal::time_of_day();
    let status = status.to_string();
    let (method, path, app) = (plain("method"), shortened(text("path").unwrap_or("–")), plain("app"));
    let mut line = format!(
        "{}  {} {method:<6} {path:<32} {took:>6}  {app:<10}",
        Painted::new(&time, Colour::Dim, colour),
        Painted::new(&status, of_status, colour)
    );
    for (is_error, words) in reasons(&text) {
        let words = terminal::plain(&words);
        let of_words = if is_error { of_status } else { Colour::Dim };
        let _ = write!(line, "  {}", Painted::new(&words, of_words, colour));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// What went wrong, and what decided so; `true`: in the colour of the status.
fn reasons<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Vec<(bool, String)> {
    let mut reasons = Vec::new();
    let mut add = |is_error, words: Option<String>| reasons.extend(words.map(|words| (is_error, words)));
    let code = text("code");
    add(true, code.map(str::to_owned));
    add(false, text("rule").map(|rule| format!("deny {rule:?}")));
    add(false, text("limit").map(|limit| format!("limit {limit:?}")));
    add(
        false,
        code.filter(|code| *code == "as_user_not_allowed")
            .and(text("as_user"))
            .map(|id| format!("as user {id}")),
    );
    add(true, text("box_code").map(|code| format!("Box: {code}")));
    add(false, text("box_request_id").map(|id| format!("Box's request {id}")));
    add(false, text("cause").map(str::to_owned));
    add(false, text("would_refuse").map(|limits| format!("would be refused by {limits}")));
    add(
        true,
        match text("end") {
            Some("caller_left") => Some("the caller left".to_owned()),
            Some("box_broke") => Some("the answer broke off".to_owned()),
            Some("stopped") => Some("cut off by the stop".to_owned()),
            _ => None,
        },
    );
    reasons
}

/// A path of at most [`LONGEST_PATH`] characters, without its middle if it is longer.
fn shortened(path: &str) -> String {
    let path = terminal::plain(path);
    if path.chars().count() <= LONGEST_PATH {
        return path;
    }
    // Searched before a secret in it could be cut in two.
    let path: Vec<char> = secret_filter::blanked_text(path, Audience::Operators).chars().collect();
    let behind = LONGEST_PATH / 2;
    let before = LONGEST_PATH - behind - 1;
    let ends = path.get(..before).zip(path.len().checked_sub(behind).and_then(|at| path.get(at..)));
    match ends.filter(|_| path.len() > LONGEST_PATH) {
        Some((start, end)) => start.iter().chain(['…'].iter()).chain(end).collect(),
        None => path.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    #[test]
    fn a_value_cannot_forge_a_field_or_a_line() {
        let line = text(&[("path", Some(Value::Text("/a status=200\n\x1b[31m\"")))]);
        assert_eq!(line.matches('\n').count(), 1);
        let quoted = text(&[("cause", Some(Value::Text("Box's host")))]);
        assert!(quoted.ends_with(" cause=\"Box's host\"\n"), "{quoted}");
        assert!(text(&[("cause", Some(Value::Text("")))]).ends_with(" cause=\"\"\n"));
        assert!(line.ends_with(" path=\"/a status=200\\n\\u{1b}[31m\\\"\"\n"), "{line}");
        let json = json(&[("path", Some(Value::Text("a\"\n")))]);
        assert!(json.ends_with(",\"path\":\"a\\\"\\n\"}\n"), "{json}");
    }

    #[test]
    fn lengths_of_time_are_rounded_to_microseconds() {
        for (nanos, wanted) in [(0, "0.000"), (499, "0.000"), (1_500, "0.002"), (61_002_000_400, "61002.000")]
        {
            let mut line = String::new();
            push_millis(&mut line, Duration::from_nanos(nanos));
            assert_eq!(line, wanted);
        }
    }

    fn refused(path: &str) -> Vec<Field<'_>> {
        vec![
            ("app", Some(Value::Text("intranet"))),
            ("method", Some(Value::Text("DELETE"))),
            ("path", Some(Value::Text(path))),
            ("status", Some(Value::Number(403))),
            ("code", Some(Value::Text("operation_not_allowed"))),
            ("rule", Some(Value::Text("DELETE /**"))),
            ("end", Some(Value::Text("complete"))),
            ("duration_ms", Some(Value::Millis(Duration::from_micros(80)))),
            ("wait_ms", Some(Value::Millis(Duration::ZERO))),
            ("attempts", Some(Value::Number(0))),
        ]
    }

    #[test]
    fn a_refusal_on_a_terminal_names_its_rule() {
        let line = pretty(&refused("/intranet/2.0/files/1"), false);
        let (time, rest) = line.split_at(8);
        assert!(time.bytes().filter(|byte| *byte == b':').count() == 2, "{line}");
        let columns: Vec<&str> = rest.split_whitespace().collect();
        let wanted = "403 DELETE /intranet/2.0/files/1 – intranet operation_not_allowed deny \"DELETE /**\"";
        assert_eq!(columns.join(" "), wanted);
        assert!(rest.ends_with("  operation_not_allowed  deny \"DELETE /**\"\n"), "{line}");
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn an_answer_of_box_is_within_eighty_columns_and_aligned_with_others() {
        let answered = |path, took| {
            let fields = [
                ("app", Some(Value::Text("intranet"))),
                ("method", Some(Value::Text("GET"))),
                ("path", Some(Value::Text(path))),
                ("status", Some(Value::Number(200))),
                ("end", Some(Value::Text("complete"))),
                ("duration_ms", Some(Value::Millis(took))),
                ("attempts", Some(Value::Number(1))),
            ];
            pretty(&fields, false)
        };
        let one = answered("/2.0/users/me", Duration::from_millis(41));
        let two = answered("/intranet/2.0/files/12345678901", Duration::from_secs(252));
        for (line, took) in [(&one, "  41ms  intranet\n"), (&two, " 4m12s  intranet\n")] {
            assert!(line.ends_with(took) && line.chars().count() <= 80, "{line}");
            assert_eq!(line.find("  intranet").map(|at| line[..at].chars().count()), Some(60), "{line}");
        }
    }

    #[test]
    fn a_long_path_loses_its_middle_and_no_part_of_a_secret_is_left() {
        let secret = Secret::new("canary-in-the-middle-of-a-path".to_owned());
        let path = format!("/2.0/files/1?{}{}/content", "x".repeat(20), secret.expose());
        let short = shortened(&path);
        assert!(short.chars().count() <= LONGEST_PATH && short.ends_with("/content"), "{short}");
        assert!(!short.contains("canary") && !short.contains("of-a-path"), "{short}");
        let longer = shortened(&"/2.0/folders/12345".repeat(5));
        assert_eq!(longer.chars().count(), LONGEST_PATH, "{longer}");
        assert!(longer.starts_with("/2.0/folders/1") && longer.contains('…') && longer.ends_with("/12345"));
    }

    #[test]
    fn colours_are_ended_and_nothing_that_a_caller_sends_is_one() {
        let line = pretty(&refused("/\u{1b}[31m\u{202e}\r\n"), true);
        let escapes = line.matches('\u{1b}').count();
        assert_eq!((escapes, line.matches("\u{1b}[0m").count()), (8, 4), "{line:?}");
        assert!(
            line.contains("\u{1b}[33m403\u{1b}[0m") && line.contains("/\\u{1b}[31m\\u{202e}\\r\\n"),
            "{line:?}"
        );
        assert_eq!(line.matches('\n').count(), 1);
    }
}
