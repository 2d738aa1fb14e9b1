//! Error codes: the texts of the pages behind `help_url`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::columns::wrapped;
use crate::config::nearest;
use crate::http::error_codes::{self, ERROR_CODES, ErrorCode};

/// Before a status and a meaning in the list.
const LIST_INDENT: usize = 2;

/// How a request is explained.
const OF_A_REQUEST: &str = "\
boxgate explain CODE                      what to do about one of them
boxgate explain \"GET /2.0/users/me\"       how a request is decided";

/// Whether an argument is a code and not a request, which has a method and a path.
pub(super) fn may_be_one(what: &str) -> bool {
    !what.contains([' ', '/'])
}

/// The text about a code; without a code, the list of all.
///
/// # Errors
/// There is no such code; in words for the user.
pub(super) fn explained(code: &str, as_json: bool, width: usize) -> Result<String, String> {
    if code.is_empty() {
        return Ok(if as_json {
            format!("{}\n", json!({ "codes": ERROR_CODES.iter().map(document).collect::<Vec<_>>() }))
        } else {
            list(width)
        });
    }
    let Some(entry) = find(code) else {
        let codes = || ERROR_CODES.iter().map(|entry| entry.code);
        let with_status = || ERROR_CODES.iter().filter(|entry| entry.status.to_string() == code);
        if with_status().next().is_some() {
            let codes: Vec<&str> = with_status().map(|entry| entry.code).collect();
            return Err(format!("{code} is a status; the codes with it are: {}", codes.join(", ")));
        }
        let spelled = spelled(code);
        let longer = codes().find(|known| known.starts_with(&spelled));
        let meant = match longer.or_else(|| nearest(&spelled, codes())) {
            Some(meant) => format!("did you mean {meant}? "),
            None => String::new(),
        };
        return Err(format!(
            "{code:?} is no error code; {meant}boxgate explain lists them; for a request write \"METHOD /path\""
        ));
    };
    Ok(if as_json { format!("{}\n", document(entry)) } else { page(entry, width) })
}

/// The code, in any case, and with `-` in place of `_`.
pub(super) fn find(code: &str) -> Option<&'static ErrorCode> {
    error_codes::find(&spelled(code))
}

/// As codes are written.
fn spelled(code: &str) -> String {
    code.to_ascii_lowercase().replace('-', "_")
}

/// The page that callers see, in lines of this width.
fn page(entry: &ErrorCode, width: usize) -> String {
    let mut text = String::new();
    for line in entry.page().lines() {
        let words = line.trim_start();
        let indent = " ".repeat(line.len() - words.len());
        for part in wrapped(words, width.saturating_sub(indent.len())).lines() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{indent}{part}");
        }
        if words.is_empty() {
            text.push('\n');
        }
    }
    text
}

fn list(width: usize) -> String {
    let longest = ERROR_CODES.iter().map(|entry| entry.code.len()).max().unwrap_or_default();
    let mut text = String::new();
    for ErrorCode { code, status, meaning, .. } in &ERROR_CODES {
        let room = width.saturating_sub(longest + 3 + 2 * LIST_INDENT);
        let meaning = first_words(&meaning.replace('`', ""), room);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{code:longest$}  {status}  {meaning}");
    }
    let _ = writeln!(text, "\n{OF_A_REQUEST}");
    text
}

/// The first sentence, or as many words of it as fit.
fn first_words(text: &str, most: usize) -> String {
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.');
    if sentence.chars().count() <= most {
        return sentence.to_owned();
    }
    let mut short = String::new();
    for word in sentence.split(' ') {
        if short.chars().count() + word.chars().count() + 2 > most {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    short.truncate(short.trim_end_matches([',', ':', ';']).len());
    short + "…"
}

fn document(entry: &ErrorCode) -> Value {
    let plain = |text: &str| text.replace('`', "");
    json!({
        "code": entry.code,
        "status": entry.status,
        "meaning": plain(entry.meaning),
        "caller": plain(entry.caller),
        "operator": plain(entry.operator),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without spaces and line breaks: where lines are broken does not matter.
    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_code_has_the_words_of_its_page_in_lines_that_fit() {
        for entry in &ERROR_CODES {
            for width in [40, 80] {
                let text = explained(entry.code, false, width).unwrap();
                assert_eq!(squeezed(&text), squeezed(&entry.page()));
                for line in text.lines() {
                    let is_one_word = !line.trim_start().contains(' ');
                    assert!(is_one_word || line.chars().count() <= width, "{width}: {line}");
                }
                assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 3, "{text}");
            }
        }
    }

    #[test]
    fn the_list_has_a_line_for_each_code_and_says_how_to_ask_about_requests() {
        let text = explained("", false, 80).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for entry in &ERROR_CODES {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{} ", entry.code)));
            assert_eq!(lines.count(), 1, "{}", entry.code);
        }
        assert!(text.contains("boxgate explain \"GET /2.0/users/me\""), "{text}");
    }

    #[test]
    fn an_unknown_code_is_answered_with_the_one_that_was_meant() {
        let why = explained("operation_not_alowed", false, 80).unwrap_err();
        assert!(why.contains("did you mean operation_not_allowed?"), "{why}");
        assert!(why.contains("boxgate explain lists them"), "{why}");
        assert!(
            explained("rate-limit", false, 80).unwrap_err().contains("did you mean rate_limit_exceeded?")
        );
        assert!(!explained("xyzzy", false, 80).unwrap_err().contains("did you mean"));
        assert!(explained("Not-Fuond", false, 80).unwrap_err().contains("did you mean not_found?"));
    }

    #[test]
    fn a_code_may_be_in_any_case_and_have_hyphens() {
        let page = explained("not_found", false, 80);
        for spelled in ["not-found", "NOT_FOUND", "Not-Found"] {
            assert_eq!(explained(spelled, false, 80), page, "{spelled}");
        }
    }

    #[test]
    fn a_status_is_answered_with_its_codes() {
        let why = explained("429", false, 80).unwrap_err();
        assert!(why.contains("429 is a status") && why.contains("rate_limit_exceeded"), "{why}");
        assert!(!why.contains("not_found"), "{why}");
        assert!(explained("418", false, 80).unwrap_err().contains("is no error code"));
    }

    #[test]
    fn as_json_it_is_one_document() {
        let of = |code| serde_json::from_str::<Value>(&explained(code, true, 80).unwrap()).unwrap();
        assert_eq!(of("")["codes"].as_array().unwrap().len(), ERROR_CODES.len());
        let one = of("app_disabled");
        assert_eq!((one["code"].as_str(), one["status"].as_u64()), (Some("app_disabled"), Some(503)));
        assert!(!one.to_string().contains('`'));
    }
}
