//! Text for a person at a terminal: colours, the time of day, and nothing that a terminal would obey.

use std::fmt;

use jiff::Timestamp;

/// A colour that is readable on light and on dark terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
    /// For what must not be overlooked.
    BoldRed,
}

impl Colour {
    /// The parameters of SGR (ECMA-48 §8.3.117).
    fn parameters(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
            Self::BoldRed => "1;31",
        }
    }
}

/// Text in a colour; `None`: without.
pub(crate) struct Painted<'a> {
    text: &'a str,
    colour: Option<Colour>,
}

impl<'a> Painted<'a> {
    /// The text in this colour, where there are colours.
    pub(crate) fn new(text: &'a str, colour: Colour, has_colours: bool) -> Self {
        Self { text, colour: has_colours.then_some(colour) }
    }
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.colour {
            None => f.write_str(self.text),
            Some(colour) => write!(f, "\u{1b}[{}m{}\u{1b}[0m", colour.parameters(), self.text),
        }
    }
}

/// Whether whoever runs the program wants colours on a terminal: `NO_COLOR` is not set (no-color.org), and the terminal
/// has some.
pub(crate) fn has_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The time of day in UTC, as all times of the log: `18:27:37`.
pub(crate) fn time_of_day() -> String {
    let second = Timestamp::now().as_second().rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// The text on one line, with control characters and others that show nothing escaped.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' => plain.push(character),
            _ => plain.extend(character.escape_debug()),
        }
    }
    plain
}
