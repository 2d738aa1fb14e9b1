//! Reads values of the type that their key needs, or records a problem that says what was found instead.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::super::diagnostics::{Location, Notes, Position, nearest};
use super::super::raw::{Entry, kind};
use super::super::values;
use crate::routing::app::Redirects;

/// A string, from the file or a flag.
#[derive(Debug, Clone)]
pub(super) struct Text<'d> {
    pub(super) location: Location,
    pub(super) text: &'d str,
}

/// Reads a string; `expected` describes it in messages.
pub(super) fn text<'d>(entry: &Entry<'d>, expected: &str, notes: &mut Notes<'_>) -> Option<&'d str> {
    match entry.value {
        DeValue::String(text) => Some(text),
        other => {
            notes.problem(&entry.location, format_args!("expected {expected}, found {}", Found(other)));
            None
        }
    }
}

/// Reads a string and parses it.
pub(super) fn parsed<T>(
    entry: Option<&Entry<'_>>,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    notes: &mut Notes<'_>,
) -> Option<T> {
    let entry = entry?;
    let text = text(entry, expected, notes)?;
    notes.take(&entry.location, parse(text))
}

/// What is in the PEM file of this path.
pub(super) fn pem_file<T>(
    entry: Option<&Entry<'_>>,
    folder: &Path,
    read: impl FnOnce(&Path) -> Result<T, String>,
    notes: &mut Notes<'_>,
) -> Option<T> {
    let entry = entry?;
    let path = folder.join(text(entry, "the path of a PEM file", notes)?);
    notes.file(&path);
    notes.judge_writable(&entry.location, &path);
    notes.take(&entry.location, read(&path))
}

/// The same of a file that holds a private key.
pub(super) fn key_file<T>(
    entry: Option<&Entry<'_>>,
    folder: &Path,
    read: impl FnOnce(&Path) -> Result<T, String>,
    notes: &mut Notes<'_>,
) -> Option<(PathBuf, T)> {
    let entry = entry?;
    let (path, key) = pem_file(Some(entry), folder, |path| Ok((path.to_owned(), read(path)?)), notes)?;
    notes.secret_file(&entry.location, &path);
    Some((path, key))
}

/// Reads a list of strings; `None` if the key is missing or the value is wrong.
pub(super) fn list<'d>(
    entry: Option<&Entry<'d>>,
    example: &str,
    notes: &mut Notes<'_>,
) -> Option<Vec<Text<'d>>> {
    let entry = entry?;
    let DeValue::Array(items) = entry.value else {
        let hint = match entry.value {
            DeValue::String(text) => format!("; write [{text:?}]"),
            _ => String::new(),
        };
        notes.problem(
            &entry.location,
            format_args!("expected a list such as {example}, found {}{hint}", Found(entry.value)),
        );
        return Some(Vec::new());
    };
    let items = items.iter().filter_map(|item| {
        let location =
            Location { position: Position::At(item.span().start), key: entry.location.key.clone() };
        let item = Entry { location, value: item.get_ref() };
        let text = text(&item, &format!("a string in a list such as {example}"), notes)?;
        Some(Text { location: item.location, text })
    });
    Some(items.collect())
}

/// Reads a string or a list of strings; `None` if the key is missing.
pub(super) fn one_or_list<'d>(
    entry: Option<&Entry<'d>>,
    example: &str,
    notes: &mut Notes<'_>,
) -> Option<Vec<Text<'d>>> {
    match entry {
        Some(Entry { location, value: DeValue::String(text) }) => {
            Some(vec![Text { location: location.clone(), text }])
        }
        entry => list(entry, &format!("[{example}], or {example} alone"), notes),
    }
}

/// Reads a duration that may be zero.
pub(super) fn duration(entry: Option<&Entry<'_>>, default: Duration, notes: &mut Notes<'_>) -> Duration {
    parsed(entry, values::A_DURATION, values::duration, notes).unwrap_or(default)
}

/// Reads a duration that must not be zero.
pub(super) fn timeout(entry: Option<&Entry<'_>>, default: Duration, notes: &mut Notes<'_>) -> Duration {
    let positive = |text: &str| match values::duration(text)? {
        Duration::ZERO => Err(format!("{text:?}: it must be longer than zero")),
        duration => Ok(duration),
    };
    parsed(entry, values::A_DURATION, positive, notes).unwrap_or(default)
}

/// Reads a duration. `in_words` describes the range in messages.
pub(super) fn duration_within(
    entry: Option<&Entry<'_>>,
    range: RangeInclusive<Duration>,
    in_words: &str,
    default: Duration,
    notes: &mut Notes<'_>,
) -> Duration {
    let within = |text: &str| match values::duration(text)? {
        duration if range.contains(&duration) => Ok(duration),
        _ => Err(format!("{text:?} is out of range; allowed: {in_words}")),
    };
    parsed(entry, values::A_DURATION, within, notes).unwrap_or(default)
}

/// Reads a number of bytes. `in_words` describes the range in messages.
pub(super) fn size(
    entry: Option<&Entry<'_>>,
    range: RangeInclusive<usize>,
    in_words: &str,
    default: usize,
    notes: &mut Notes<'_>,
) -> usize {
    let within = |text: &str| match values::size(text)? {
        size if range.contains(&size) => Ok(size),
        _ => Err(format!("{text:?} is out of range; allowed: {in_words}")),
    };
    parsed(entry, values::A_SIZE, within, notes).unwrap_or(default)
}

pub(super) fn integer<T: Copy + PartialOrd + TryFrom<u64> + fmt::Display>(
    entry: Option<&Entry<'_>>,
    range: RangeInclusive<T>,
    default: T,
    notes: &mut Notes<'_>,
) -> T {
    let Some(entry) = entry else { return default };
    let fits = |number: u64| T::try_from(number).ok().filter(|number| range.contains(number));
    let number = match entry.value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    number.and_then(fits).unwrap_or_else(|| {
        let (least, most) = (range.start(), range.end());
        let quoted = match entry.value {
            DeValue::String(text) => text.parse().ok().and_then(fits),
            _ => None,
        };
        let hint = quoted.map(|number| format!("; write {number}, without quotes")).unwrap_or_default();
        notes.problem(
            &entry.location,
            format_args!("expected an integer from {least} to {most}, found {}{hint}", Found(entry.value)),
        );
        default
    })
}

/// Reads a number from 0 to 1, with a fraction or without.
pub(super) fn share(entry: Option<&Entry<'_>>, default: f64, notes: &mut Notes<'_>) -> f64 {
    let Some(entry) = entry else { return default };
    let number = match entry.value {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok().map(f64::from),
        _ => None,
    };
    let fits = |number: &f64| (0.0..=1.0).contains(number);
    number.filter(fits).unwrap_or_else(|| {
        let quoted = match entry.value {
            DeValue::String(text) => text.parse().ok().filter(fits),
            _ => None,
        };
        let hint = quoted.map(|number| format!("; write {number:?}, without quotes")).unwrap_or_default();
        notes.problem(
            &entry.location,
            format_args!("expected a number from 0.0 to 1.0, found {}{hint}", Found(entry.value)),
        );
        default
    })
}

/// `true` or `false`.
pub(super) fn boolean(entry: Option<&Entry<'_>>, default: bool, notes: &mut Notes<'_>) -> bool {
    match entry {
        None => default,
        Some(Entry { value: DeValue::Boolean(value), .. }) => *value,
        Some(Entry { location, value }) => {
            let hint = match value {
                DeValue::String(word) if matches!(&**word, "true" | "false") => {
                    format!("; write {word}, without quotes")
                }
                _ => String::new(),
            };
            notes.problem(location, format_args!("expected true or false, found {}{hint}", Found(value)));
            default
        }
    }
}

/// Reads `follow_downloads`.
pub(super) fn redirects(entry: Option<&Entry<'_>>, default: Redirects, notes: &mut Notes<'_>) -> Redirects {
    match entry {
        None => default,
        Some(Entry { value: DeValue::Boolean(true), .. }) => Redirects::Follow,
        Some(Entry { value: DeValue::Boolean(false), .. }) => Redirects::Pass,
        Some(Entry { value: DeValue::String(word), .. }) if word == "rewrite" => Redirects::Rewrite,
        Some(Entry { location, value }) => {
            let found = Found(value);
            notes.problem(location, format_args!("expected true, false or \"rewrite\", found {found}"));
            default
        }
    }
}

/// Reads one of several keywords.
pub(super) fn choice<T: Copy>(
    entry: Option<&Entry<'_>>,
    choices: &[(&str, T)],
    default: T,
    notes: &mut Notes<'_>,
) -> T {
    let words = || choices.iter().map(|(word, _)| *word);
    let allowed = words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let choose = |text: &str| match choices.iter().find(|(word, _)| *word == text) {
        Some((_, choice)) => Ok(*choice),
        None => Err(match nearest(text, words()) {
            Some(word) => {
                format!("{text:?} is not an allowed value; did you mean \"{word}\"? allowed: {allowed}")
            }
            None => format!("{text:?} is not an allowed value; allowed: {allowed}"),
        }),
    };
    parsed(entry, &format!("one of {allowed}"), choose, notes).unwrap_or(default)
}

/// Describes a value in messages. Only for keys whose value is not a secret.
pub(super) struct Found<'d>(pub(super) &'d DeValue<'d>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) => write!(f, "the string {text:?}"),
            DeValue::Integer(number) => write!(f, "the integer {number}"),
            DeValue::Float(number) => write!(f, "the number {number}"),
            DeValue::Boolean(value) => write!(f, "{value}"),
            other => f.write_str(kind(other)),
        }
    }
}
