//! Blanks secrets in everything that leaves the program: log lines, access lines, operators' pages, the gateway's own
//! errors and Box's error responses.
//!
//! Parts of these texts come from elsewhere: a token endpoint, a proxy or Box may repeat what was sent to it, in
//! another encoding. So every [`Secret`](crate::net::secret::Secret) is registered as long as it exists, and every text
//! is searched for all of them at the point where it is written. Code in between need not know what a text may hold.
//!
//! The table used for the search holds no secrets, only hashes of a few bytes of each spelling and weak references, so
//! that a secret is wiped when it is dropped. A search that finds nothing costs about a third of a nanosecond for each
//! byte, a tenth of a microsecond for an access line.

use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::net::secret_spelling::{self, Escapes, Spelling, Unescaped};

/// The replacement for a secret.
pub(crate) const MARK: &str = "[secret]";
/// Replaces each byte of a secret where the length must not change.
const FILLER: u8 = b'*';
/// How many bytes of a spelling are hashed, starting at each of its first [`STRIDE`] positions.
const WINDOW: usize = 4;
const STRIDE: usize = 3;
/// How many levels of escapes are undone, as for a JSON text inside a JSON log line.
const DEPTH: usize = 3;

/// Who reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Operators. Secrets below a minimum length would match parts of ordinary words.
    Operators,
    /// Callers. A caller may have sent the text itself, and could find out short secrets by trying which words are
    /// blanked.
    Callers,
}

impl Audience {
    /// The length in bytes of the shortest secrets that are searched for; at least `WINDOW + STRIDE - 1`.
    fn shortest(self) -> usize {
        match self {
            Self::Operators => 6,
            Self::Callers => 12,
        }
    }
}

/// A secret with its spellings; all are wiped when it is dropped.
pub(crate) struct LiveSecret {
    text: Zeroizing<String>,
    spellings: Vec<Spelling>,
}

impl LiveSecret {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for LiveSecret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LiveSecret {}

/// All registered secrets; dropped ones are removed at the next registration.
static LIVE: Mutex<Vec<Weak<LiveSecret>>> = Mutex::new(Vec::new());
/// Built from [`LIVE`], and read without a lock.
static TABLE: LazyLock<ArcSwap<Table>> = LazyLock::new(|| ArcSwap::from_pointee(Table::of(&[])));

/// Registers a secret: from now on it is blanked, until it is dropped.
pub(crate) fn register(text: String) -> Arc<LiveSecret> {
    let text = Zeroizing::new(text);
    let mut spellings = secret_spelling::all(&text);
    spellings.retain(|spelling| spelling.of_length >= Audience::Operators.shortest());
    let secret = Arc::new(LiveSecret { text, spellings });
    if !secret.spellings.is_empty() {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|one| one.strong_count() > 0);
        live.push(Arc::downgrade(&secret));
        TABLE.store(Arc::new(Table::of(&live)));
    }
    secret
}

/// The text with secrets blanked; `None` if it holds none.
pub(crate) fn blanked(text: &[u8], audience: Audience) -> Option<Vec<u8>> {
    let found = find(text, audience);
    if found.is_empty() {
        return None;
    }
    let mut blank = Vec::with_capacity(text.len());
    let mut end = 0;
    for range in found {
        blank.extend_from_slice(text.get(end..range.start).unwrap_or_default());
        blank.extend_from_slice(MARK.as_bytes());
        end = range.end;
    }
    blank.extend_from_slice(text.get(end..).unwrap_or_default());
    Some(blank)
}

/// The text with secrets blanked.
pub(crate) fn blanked_text(text: String, audience: Audience) -> String {
    match blanked(text.as_bytes(), audience) {
        None => text,
        // Still UTF-8, since secrets begin and end at character boundaries.
        Some(blank) => String::from_utf8_lossy(&blank).into_owned(),
    }
}

/// The first `most` characters of a text for operators, with secrets blanked. Use it to truncate any text that comes
/// from elsewhere: part of a truncated secret would not be recognized later.
pub(crate) fn shortened(text: String, most: usize) -> String {
    let mut text = blanked_text(text, Audience::Operators);
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

/// Overwrites secrets in place; returns whether there were any.
pub(crate) fn overwrite(text: &mut [u8], audience: Audience) -> bool {
    let found = find(text, audience);
    for range in &found {
        if let Some(secret) = text.get_mut(range.clone()) {
            secret.fill(FILLER);
        }
    }
    !found.is_empty()
}

/// The length in bytes of the longest spelling of any secret: up to that much at the end of a text may be the beginning
/// of a secret.
pub(crate) fn longest() -> usize {
    TABLE.load().longest
}

/// The ranges of all secrets, in order and without overlaps.
fn find(text: &[u8], audience: Audience) -> Vec<Range<usize>> {
    let table = TABLE.load();
    let mut found = Vec::new();
    if table.places.is_empty() {
        return found;
    }
    table.scan(text, audience, |range| found.push(range));
    for escapes in Escapes::in_text(text) {
        let mut unescaped = Unescaped::of(text, *escapes);
        for _ in 0..DEPTH {
            let Some(view) = unescaped else { break };
            table.scan(view.bytes(), audience, |range| found.push(view.origin(range)));
            unescaped = view.again();
        }
    }
    found.iter_mut().for_each(|range| with_escape(text, range));
    found.sort_unstable_by_key(|range| range.start);
    found.dedup_by(|later, earlier| {
        let overlap = later.start < earlier.end;
        if overlap {
            earlier.end = earlier.end.max(later.end);
        }
        overlap
    });
    found
}

/// If a secret begins with the letter of an escape, such as the `n` of `
/// `, includes the backslash: left alone, it would escape the next character and break JSON.
fn with_escape(text: &[u8], range: &mut Range<usize>) {
    let before = text.get(..range.start).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    range.start -= backslashes % 2;
}

/// An index of all secrets' spellings by four bytes near their beginning.
///
/// Only every third position of a text is looked up. Wherever a spelling begins, one of its first three positions is
/// looked up, so it is indexed under its four bytes at each of these. That needs at least six bytes.
struct Table {
    /// A bit for each hash that occurs.
    noted: Box<[u64; 1024]>,
    /// Sorted by hash.
    places: Vec<Place>,
    longest: usize,
}

/// An index entry: four bytes of a spelling.
struct Place {
    hash: u16,
    secret: Weak<LiveSecret>,
    /// The index of the spelling within its secret.
    number: usize,
    /// Their offset in the spelling.
    offset: usize,
}

impl Table {
    fn of(live: &[Weak<LiveSecret>]) -> Self {
        let mut table = Self { noted: Box::new([0; 1024]), places: Vec::new(), longest: 0 };
        for weak in live {
            let Some(secret) = weak.upgrade() else { continue };
            for (number, spelling) in secret.spellings.iter().enumerate() {
                for (offset, window) in spelling.bytes.windows(WINDOW).take(STRIDE).enumerate() {
                    let hash = hash(window);
                    if let Some(bits) = table.noted.get_mut(usize::from(hash >> 6)) {
                        *bits |= 1 << (hash & 63);
                    }
                    table.places.push(Place { hash, secret: weak.clone(), number, offset });
                }
                table.longest = table.longest.max(secret_spelling::longest_escaped(spelling.bytes.len()));
            }
        }
        table.places.sort_unstable_by_key(|place| place.hash);
        table
    }

    fn scan(&self, text: &[u8], audience: Audience, mut found: impl FnMut(Range<usize>)) {
        for (at, window) in text.windows(WINDOW).enumerate().step_by(STRIDE) {
            let hash = hash(window);
            let bits = self.noted.get(usize::from(hash >> 6)).copied().unwrap_or_default();
            if bits >> (hash & 63) & 1 == 1 {
                self.spellings_at(text, at, hash, audience).for_each(&mut found);
            }
        }
    }

    #[cold]
    fn spellings_at(
        &self,
        text: &[u8],
        at: usize,
        hash: u16,
        audience: Audience,
    ) -> impl Iterator<Item = Range<usize>> {
        let first = self.places.partition_point(|place| place.hash < hash);
        let places = self.places.get(first..).unwrap_or_default();
        places.iter().take_while(move |place| place.hash == hash).filter_map(move |place| {
            let secret = place.secret.upgrade()?;
            let spelling = secret.spellings.get(place.number)?;
            let begin = at.checked_sub(place.offset)?;
            let is_it =
                spelling.of_length >= audience.shortest() && text.get(begin..)?.starts_with(&spelling.bytes);
            is_it.then(|| spelling.whole(text, begin..begin + spelling.bytes.len()))
        })
    }
}

/// Fibonacci hashing: the upper half of the product depends on all bytes.
fn hash(window: &[u8]) -> u16 {
    let window = window.first_chunk().copied().unwrap_or_default();
    (u32::from_le_bytes(window).wrapping_mul(0x9e37_79b1) >> 16) as u16
}

#[cfg(test)]
mod tests;
