//! Spellings of a secret: which part of a text is secret, its encodings that are searched for, and the removal of
//! escapes from a text.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD);

/// One encoding of a secret. Escapes are not included: texts are searched both with and without their escapes.
pub(crate) struct Spelling {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The length of the secret itself, in bytes.
    pub(crate) of_length: usize,
    is_base64: bool,
}

impl Spelling {
    /// Everything that belongs to the secret if this spelling is at `range`: in base64, the neighbouring characters
    /// hold some of its bits.
    pub(crate) fn whole(&self, text: &[u8], range: Range<usize>) -> Range<usize> {
        if !self.is_base64 {
            return range;
        }
        let is_of_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let before = text.get(..range.start).unwrap_or_default().iter().rev().take_while(is_of_base64);
        let after = text.get(range.end..).unwrap_or_default().iter().take_while(is_of_base64);
        range.start - before.count()..range.end + after.count()
    }
}

/// All spellings of the secret parts of this text.
pub(crate) fn all(text: &str) -> Vec<Spelling> {
    let mut spellings = Vec::new();
    for part in parts(text) {
        let of_length = part.len();
        let plain =
            |bytes: &[u8]| Spelling { bytes: Zeroizing::new(bytes.to_vec()), of_length, is_base64: false };
        if part.contains(' ') {
            // Form encoding (WHATWG URL §5.2).
            spellings.push(plain(Zeroizing::new(part.replace(' ', "+")).as_bytes()));
        }
        if part.contains(['&', '<', '>', '"']) {
            spellings.push(plain(in_html(&part).as_bytes()));
        }
        for alphabet in [BASE64, BASE64_URL] {
            let inner = (0..3).map(|before| inner_base64(&alphabet, part.as_bytes(), before));
            spellings.extend(inner.map(|bytes| Spelling { bytes, of_length, is_base64: true }));
        }
        spellings.push(plain(part.as_bytes()));
    }
    spellings
}

/// As the operators' page writes it, in text and in attributes.
fn in_html(text: &str) -> Zeroizing<String> {
    let escapes = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")];
    let escaped =
        |text: Zeroizing<String>, (plain, escape): (char, &str)| Zeroizing::new(text.replace(plain, escape));
    escapes.into_iter().fold(Zeroizing::new(text.to_owned()), escaped)
}

/// The base64 characters that depend only on these bytes, if `before` other bytes precede them in their group of three.
/// In `Authorization: Basic`, a name and a colon precede the password.
fn inner_base64(alphabet: &GeneralPurpose, bytes: &[u8], before: usize) -> Zeroizing<Vec<u8>> {
    let padded: Zeroizing<Vec<u8>> =
        Zeroizing::new(std::iter::repeat_n(0, before).chain(bytes.iter().copied()).collect());
    let encoded = Zeroizing::new(alphabet.encode(&*padded));
    // A character holds six bits.
    let (first, end) = ((8 * before).div_ceil(6), 8 * padded.len() / 6);
    Zeroizing::new(encoded.as_bytes().get(first..end).unwrap_or_default().to_vec())
}

/// The secret parts of a text: the password of a URL, each line of PEM private keys, else all of it.
fn parts(text: &str) -> Vec<Zeroizing<String>> {
    if text.contains("-----BEGIN ") {
        return private_key_lines(text).map(|line| Zeroizing::new(line.to_owned())).collect();
    }
    match text.contains("://").then(|| Url::parse(text)) {
        Some(Ok(url)) => passwords(&url),
        _ => vec![Zeroizing::new(text.to_owned())],
    }
}

/// Base64 between the lines that begin and end a private key.
fn private_key_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.lines().map(str::trim).filter(move |line| {
        if line.starts_with("-----") {
            is_inside = line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----");
            return false;
        }
        is_inside
    })
}

/// The password of a URL, or the one in the query of a Redis Unix socket URL; each as written and percent-decoded.
fn passwords(url: &Url) -> Vec<Zeroizing<String>> {
    let meant = |text: &str| Zeroizing::new(percent_decode_str(text).decode_utf8_lossy().into_owned());
    let in_query = url.query_pairs().filter(|(key, _)| key == "pass");
    let mut passwords: Vec<_> = url
        .password()
        .map(|password| vec![Zeroizing::new(password.to_owned()), meant(password)])
        .unwrap_or_default();
    passwords.extend(in_query.map(|(_, password)| Zeroizing::new(password.into_owned())));
    passwords.dedup();
    passwords
}

/// The longest escaped form of a spelling of this many bytes: `\\\\u0041` for each.
pub(crate) fn longest_escaped(length: usize) -> usize {
    9 * length
}

/// The kind of escapes that is removed from a text. One at a time, since a secret may itself contain what looks like an
/// escape of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Of URLs: `%41`.
    Percent,
    /// Of JSON (`\u0041`, `\"`) and of Rust's `Debug` (`\u{41}`, `\x41`).
    Backslash,
    Both,
}

impl Escapes {
    /// The kinds of escapes that occur in a text; most texts have none.
    pub(crate) fn in_text(text: &[u8]) -> &'static [Self] {
        if memchr::memchr2(b'%', b'\\', text).is_none() {
            return &[];
        }
        match (text.contains(&b'%'), text.contains(&b'\\')) {
            (true, true) => &[Self::Percent, Self::Backslash, Self::Both],
            (true, false) => &[Self::Percent],
            _ => &[Self::Backslash],
        }
    }

    /// The escape at the beginning of a text, and its length.
    fn at_beginning_of(self, text: &[u8]) -> Option<(Meant, usize)> {
        match text.first()? {
            b'%' if self != Self::Backslash => percent(text),
            b'\\' if self != Self::Percent => backslash(text),
            _ => None,
        }
    }
}

/// A text with escapes decoded.
pub(crate) struct Unescaped {
    escapes: Escapes,
    bytes: Zeroizing<Vec<u8>>,
    /// The position of each byte in the original text, and the end of the last.
    starts: Vec<usize>,
}

impl Unescaped {
    /// `None` where there is no escape.
    pub(crate) fn of(text: &[u8], escapes: Escapes) -> Option<Self> {
        Self::decode(text, escapes, |at| at)
    }

    /// Decodes the escapes that this text still has; `None` if there are none.
    pub(crate) fn again(&self) -> Option<Self> {
        Self::decode(&self.bytes, self.escapes, |at| self.starts.get(at).copied().unwrap_or_default())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The range of this part in the original text.
    pub(crate) fn origin(&self, range: Range<usize>) -> Range<usize> {
        let original = |at: usize| self.starts.get(at).copied().unwrap_or_default();
        original(range.start)..original(range.end)
    }

    fn decode(text: &[u8], escapes: Escapes, original: impl Fn(usize) -> usize) -> Option<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        let mut starts = Vec::with_capacity(text.len() + 1);
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            // Up to the next escape there is nothing to decode.
            let plain = memchr::memchr2(b'%', b'\\', rest).unwrap_or(rest.len());
            if plain > 0 {
                bytes.extend_from_slice(rest.get(..plain).unwrap_or_default());
                starts.extend((at..at + plain).map(&original));
                at += plain;
                continue;
            }
            let before = bytes.len();
            let taken = match escapes.at_beginning_of(rest) {
                Some((character, taken)) => {
                    match character {
                        Meant::Byte(byte) => bytes.push(byte),
                        Meant::Character(character) => {
                            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                    }
                    taken
                }
                None => {
                    bytes.extend(rest.first());
                    1
                }
            };
            starts.resize(starts.len() + bytes.len() - before, original(at));
            at += taken;
        }
        starts.push(original(text.len()));
        (bytes.len() < text.len()).then_some(Self { escapes, bytes, starts })
    }
}

enum Meant {
    Byte(u8),
    Character(char),
}

fn percent(text: &[u8]) -> Option<(Meant, usize)> {
    Some((Meant::Byte(number(text.get(1..3)?)? as u8), 3))
}

fn backslash(text: &[u8]) -> Option<(Meant, usize)> {
    let character = |digits: &[u8]| Some(Meant::Character(char::from_u32(number(digits)?)?));
    match text {
        [_, b'x', ..] => Some((Meant::Byte(number(text.get(2..4)?)? as u8), 4)),
        [_, b'u', b'{', rest @ ..] => {
            let length = rest.iter().take(7).position(|byte| *byte == b'}')?;
            Some((character(rest.get(..length)?)?, length + 4))
        }
        [_, b'u', ..] => Some((character(text.get(2..6)?)?, 6)),
        [_, letter @ (b'"' | b'\'' | b'\\' | b'/'), ..] => Some((Meant::Byte(*letter), 2)),
        _ => None,
    }
}

/// Parses hexadecimal digits, without a sign.
fn number(digits: &[u8]) -> Option<u32> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}
