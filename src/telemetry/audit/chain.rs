//! The chain of audit lines: each ends with the hash of the line before it and with its own, so that a line that was
//! changed, removed, inserted or moved does not fit its neighbours.
//!
//! `{…,"previous":"HASH","hash":"HASH"}`: `hash` is the SHA-256 of the line's bytes before `,"hash"`, in lower-case
//! hexadecimal digits. `previous` is among these bytes.

use std::fmt;

use ring::digest::{SHA256, digest};

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; Hash::BYTES]);

impl Hash {
    const BYTES: usize = 32;
    /// How many digits it has as text.
    const DIGITS: usize = 2 * Self::BYTES;
    /// The `previous` of the first line of a chain.
    pub(crate) const NONE: Self = Self([0; Self::BYTES]);

    fn of(bytes: &[u8]) -> Self {
        let mut hash = Self::NONE;
        hash.0.copy_from_slice(digest(&SHA256, bytes).as_ref());
        hash
    }

    /// Reads the digits; `None` if they are others than those that are written.
    pub(crate) fn parse(digits: &[u8]) -> Option<Self> {
        let value = |digit: &u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != Self::BYTES || !rest.is_empty() {
            return None;
        }
        let mut hash = Self::NONE;
        for (byte, [high, low]) in hash.0.iter_mut().zip(pairs) {
            *byte = value(high)? << 4 | value(low)?;
        }
        Some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const BEFORE_PREVIOUS: &[u8] = b",\"previous\":\"";
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

/// Appends a line to `text`, with its line feed, and returns its hash. `object`: the line's JSON object without its last
/// brace.
pub(crate) fn push(text: &mut Vec<u8>, object: &[u8], previous: Hash) -> Hash {
    let begin = text.len();
    text.extend_from_slice(object);
    text.extend_from_slice(BEFORE_PREVIOUS);
    text.extend_from_slice(previous.to_string().as_bytes());
    text.push(b'"');
    let hash = Hash::of(text.get(begin..).unwrap_or_default());
    text.extend_from_slice(BEFORE_HASH);
    text.extend_from_slice(hash.to_string().as_bytes());
    text.extend_from_slice(END);
    text.push(b'\n');
    hash
}

/// What a line says of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// The hash of the line before it, as written.
    pub(crate) previous: Hash,
    /// Its own, as written.
    pub(crate) hash: Hash,
    /// Whether its bytes have this hash.
    pub(crate) fits: bool,
}

/// Reads the end of a line, which is given without its line feed; `None`: it is no audit line.
pub(crate) fn link(line: &[u8]) -> Option<Link> {
    let rest = line.strip_suffix(END)?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(Hash::DIGITS)?)?;
    let hashed = rest.strip_suffix(BEFORE_HASH)?;
    let rest = hashed.strip_suffix(b"\"")?;
    let (object, previous) = rest.split_at_checked(rest.len().checked_sub(Hash::DIGITS)?)?;
    if !object.starts_with(b"{") || !object.ends_with(BEFORE_PREVIOUS) {
        return None;
    }
    let (previous, hash) = (Hash::parse(previous)?, Hash::parse(hash)?);
    let fits = Hash::of(hashed) == hash;
    Some(Link { previous, hash, fits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(object: &str, previous: Hash) -> (Vec<u8>, Hash) {
        let mut text = Vec::new();
        let hash = push(&mut text, object.as_bytes(), previous);
        assert_eq!(text.pop(), Some(b'\n'));
        (text, hash)
    }

    /// Whoever has a line can compute its hash with any tool.
    #[test]
    fn the_hash_is_the_sha_256_of_the_bytes_before_it() {
        let (text, hash) = line("{\"a\":1", Hash::NONE);
        let zeros = "0".repeat(64);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("{{\"a\":1,\"previous\":\"{zeros}\",\"hash\":\"{hash}\"}}")
        );
        // printf '%s' '{"a":1,"previous":"000…"' | sha256sum
        assert_eq!(hash.to_string(), "2dd2382acd5d33d6ca947dfd9db001f1532462b25791853156f32a70ed85cb52");
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let (_, first) = line("{\"a\":1", Hash::NONE);
        let (text, second) = line("{\"a\":2", first);
        assert_eq!(link(&text), Some(Link { previous: first, hash: second, fits: true }));
        let edited = String::from_utf8(text).unwrap().replace("{\"a\":2", "{\"a\":3");
        assert_eq!(link(edited.as_bytes()), Some(Link { previous: first, hash: second, fits: false }));
    }

    #[test]
    fn what_has_another_end_is_no_audit_line() {
        let (text, hash) = line("{\"a\":1", Hash::NONE);
        let whole = String::from_utf8(text).unwrap();
        for text in ["", "{}", &whole[1..], &whole[..whole.len() - 1], &format!("{whole} ")] {
            assert_eq!(link(text.as_bytes()), None, "{text}");
        }
        let upper = whole.replace(&hash.to_string(), &hash.to_string().to_uppercase());
        assert_eq!(link(upper.as_bytes()), None, "one spelling only");
        assert_eq!(Hash::parse(hash.to_string().as_bytes()), Some(hash));
    }
}
