//! Live secrets are blanked in whatever leaves the program: lines of the log, access lines, operators' pages, the
//! gateway's own errors, Box's error answers.
//!
//! Much of that comes from elsewhere: a token endpoint, a proxy or Box may repeat what was sent to it, in another
//! spelling. So every [`Secret`](crate::net::secret::Secret) is registered as long as it lives, and texts are searched
//! for all of them where they leave. Between, nobody has to know what a text may hold.
//!
//! What is searched for is never copied out of the secret: the table of all of them has hashes of a few bytes of each
//! spelling and weak references, so that a secret is wiped when it is dropped. A search that finds nothing costs about a
//! third of a nanosecond for each byte, a tenth of a microsecond for an access line.

use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::net::secret_spelling::{self, Escapes, Spelling, Unescaped};

/// What stands in place of a secret.
pub(crate) const MARK: &str = "[secret]";
/// Each byte of a secret is replaced by this where a length must not change.
const FILLER: u8 = b'*';
/// So many bytes of a spelling are hashed, at each of so many places from its beginning on.
const WINDOW: usize = 4;
const STRIDE: usize = 3;
/// An escaped text may be escaped once more, and again: a JSON text in a log line of JSON.
const DEPTH: usize = 3;

/// Who reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Whoever runs the gateway. Shorter secrets would be found within ordinary words.
    Operators,
    /// Whoever calls it. It may have sent the text itself, and would learn by trying which words are secrets; that makes
    /// sense only for short ones.
    Callers,
}

impl Audience {
    /// The length in bytes from which on secrets are searched for; at least `WINDOW + STRIDE - 1`.
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

/// All that live; those that have been dropped are taken out with the next registration.
static LIVE: Mutex<Vec<Weak<LiveSecret>>> = Mutex::new(Vec::new());
/// Made from them, and read without a lock.
static TABLE: LazyLock<ArcSwap<Table>> = LazyLock::new(|| ArcSwap::from_pointee(Table::of(&[])));

/// Searches for it in every text from now on, until it is dropped.
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

/// The text without secrets; `None` where it holds none.
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

/// The text without secrets.
pub(crate) fn blanked_text(text: String, audience: Audience) -> String {
    match blanked(text.as_bytes(), audience) {
        None => text,
        // A secret begins and ends between characters.
        Some(blank) => String::from_utf8_lossy(&blank).into_owned(),
    }
}

/// The first `most` characters of a text that is for operators, without secrets. To be used wherever a text of others is
/// cut: of a secret that is cut first, what is left would be found no more.
pub(crate) fn shortened(text: String, most: usize) -> String {
    let mut text = blanked_text(text, Audience::Operators);
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

/// Overwrites secrets; whether there were some.
pub(crate) fn overwrite(text: &mut [u8], audience: Audience) -> bool {
    let found = find(text, audience);
    for range in &found {
        if let Some(secret) = text.get_mut(range.clone()) {
            secret.fill(FILLER);
        }
    }
    !found.is_empty()
}

/// So many bytes at the end of a text may be the beginning of a secret, in its longest spelling.
pub(crate) fn longest() -> usize {
    TABLE.load().longest
}

/// Where secrets stand: in their order, without overlaps.
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

/// Where a secret begins with the letter of an escape, such as that of `\n`, the backslash goes along: alone it would
/// escape something else, and JSON would be broken.
fn with_escape(text: &[u8], range: &mut Range<usize>) {
    let before = text.get(..range.start).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    range.start -= backslashes % 2;
}

/// The spellings of all secrets, found by four bytes near their beginning.
///
/// A text is looked at in every third place alone: of the first three places of a spelling, one is such a place, wherever
/// it stands. So each spelling is noted under its bytes at each of these, which takes six bytes at least.
struct Table {
    /// A bit for each hash that some spelling has.
    noted: Box<[u64; 1024]>,
    /// Sorted by the hash.
    places: Vec<Place>,
    longest: usize,
}

/// Four bytes of a spelling.
struct Place {
    hash: u16,
    secret: Weak<LiveSecret>,
    /// Of the spelling within its secret.
    number: usize,
    /// Where they stand in the spelling.
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
