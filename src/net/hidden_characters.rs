//! Invisible characters, which editors, consoles and web pages leave in copied text.
//!
//! A secret with such a character is a different secret, although it looks right in an editor.

use std::fmt;

/// Editors on Windows write it at the beginning of a file.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without a leading byte order mark (U+FEFF), which is not part of the text (RFC 3629 §6).
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// An invisible character and its position. `Display` shows nothing else of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HiddenCharacter {
    character: char,
    /// From 1, in characters.
    position: usize,
}

impl HiddenCharacter {
    /// The first invisible character of a text. The space (U+0020) does not count.
    pub(crate) fn first_in(text: &str) -> Option<Self> {
        let found = text.chars().enumerate().find(|(_, character)| is_hidden(*character));
        found.map(|(index, character)| Self { character, position: index + 1 })
    }
}

impl fmt::Display for HiddenCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { character, position } = self;
        write!(f, "U+{:04X} ({}) at character {position}", u32::from(*character), name(*character))
    }
}

/// Control characters, white space other than the space, and characters without width (Unicode 16: general categories
/// Cc, Cf, Zl, Zp and Zs, and the property Default_Ignorable_Code_Point).
fn is_hidden(character: char) -> bool {
    character.is_control()
        || character.is_whitespace() && character != ' '
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn name(character: char) -> &'static str {
    match character {
        '\0' => "NUL",
        '\t' => "tab",
        '\n' => "line feed",
        '\r' => "carriage return",
        '\u{a0}' | '\u{202f}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{200b}' => "zero width space",
        '\u{200c}' => "zero width non-joiner",
        '\u{200d}' => "zero width joiner",
        '\u{61c}' | '\u{200e}' | '\u{200f}' => "mark of writing direction",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "bidirectional control",
        '\u{2060}' => "word joiner",
        '\u{feff}' => "byte order mark",
        _ if character.is_control() => "control character",
        _ if character.is_whitespace() => "white space that is not the space",
        _ => "invisible character",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_byte_order_mark_is_taken_off() {
        for (text, want) in [
            ("\u{feff}abc", "abc"),
            ("\u{feff}\u{feff}abc", "\u{feff}abc"),
            ("abc", "abc"),
            ("a\u{feff}bc", "a\u{feff}bc"),
            ("\u{feff}", ""),
        ] {
            assert_eq!(without_byte_order_mark(text.as_bytes()), want.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_hidden_character_is_named_by_code_point_and_position_and_nothing_else_is_shown() {
        for (character, want) in [
            ('\u{feff}', "U+FEFF (byte order mark) at character 4"),
            ('\u{200b}', "U+200B (zero width space) at character 4"),
            ('\u{202e}', "U+202E (bidirectional control) at character 4"),
            ('\u{2067}', "U+2067 (bidirectional control) at character 4"),
            ('\u{a0}', "U+00A0 (no-break space) at character 4"),
            ('\n', "U+000A (line feed) at character 4"),
            ('\u{7f}', "U+007F (control character) at character 4"),
            ('\u{85}', "U+0085 (control character) at character 4"),
            ('\u{3000}', "U+3000 (white space that is not the space) at character 4"),
            ('\u{e0041}', "U+E0041 (invisible character) at character 4"),
        ] {
            let text = format!("häx{character}hunter2");
            assert_eq!(HiddenCharacter::first_in(&text).unwrap().to_string(), want);
        }
    }

    #[test]
    fn visible_characters_are_not_hidden() {
        let text: String = (' '..='~').chain("äßλЖ漢字—…€😀".chars()).collect();
        assert_eq!(HiddenCharacter::first_in(&text), None);
    }
}
