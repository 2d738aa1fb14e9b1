//! Which operations had a large answer when they were last sent to a host, so that the next of them can go over HTTP/1.1.
//!
//! The size of an answer is not known before it begins, but listings and reports of the same kind are of similar sizes.
//! Where the guess is wrong, the answer is the same, only slower or on a connection more than needed. What it is worth:
//! `docs/decisions/content-over-http1.md`.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

/// From this size on, an answer is large: the window of an HTTP/2 stream, beyond which Box waits for the gateway.
pub(crate) const LARGE: u32 = 256 * 1024;
/// How many kinds of operations are remembered for a host. Callers choose the paths, so it is bounded.
const MOST: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// A kind of GET operation: a hash of its path, in which all numbers are the same. Two kinds with the same hash share their
/// guess, which harms nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind(u32);

impl Kind {
    /// `path`: without a query.
    pub(crate) fn of(path: &str) -> Self {
        // FNV-1a.
        let next = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Self(path.split('/').fold(0x811c_9dc5, |hash, segment| {
            let is_id = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
            let segment = if is_id { "*" } else { segment };
            segment.bytes().fold(next(hash, b'/'), next)
        }))
    }
}

/// The kinds whose last answer was large; the most recently used are kept.
pub(crate) struct LargeAnswers(RefCell<LruCache<Kind, ()>>);

impl Default for LargeAnswers {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(MOST)))
    }
}

impl LargeAnswers {
    /// Whether the last answer of this kind was large.
    pub(crate) fn had(&self, kind: Kind) -> bool {
        let mut known = self.0.borrow_mut();
        // As it mostly is: then nothing is hashed.
        !known.is_empty() && known.get(&kind).is_some()
    }

    fn note(&self, kind: Kind, is_large: bool) {
        let mut known = self.0.borrow_mut();
        if is_large {
            known.put(kind, ());
        } else if !known.is_empty() {
            known.pop(&kind);
        }
    }
}

/// Counts the bytes of one answer and notes whether it was large: as soon as it is, or at its end. Small, since the state of
/// every request has one.
pub(crate) struct Measured {
    answers: Rc<LargeAnswers>,
    kind: Kind,
    bytes: u32,
}

impl Measured {
    pub(crate) fn new(answers: Rc<LargeAnswers>, kind: Kind) -> Self {
        Self { answers, kind, bytes: 0 }
    }

    /// Adds bytes of the answer's body.
    pub(crate) fn add(&mut self, count: usize) {
        let before = self.bytes;
        self.bytes = before.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if before < LARGE && self.bytes >= LARGE {
            self.answers.note(self.kind, true);
        }
    }

    /// The answer has come to its end. One that breaks off, or whose caller leaves, says nothing.
    pub(crate) fn end(&mut self) {
        if self.bytes < LARGE {
            self.answers.note(self.kind, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &Rc<LargeAnswers>, path: &str, pieces: &[usize]) {
        let mut measured = Measured::new(answers.clone(), Kind::of(path));
        pieces.iter().for_each(|piece| measured.add(*piece));
        measured.end();
    }

    #[test]
    fn the_last_answer_of_a_kind_decides() {
        let answers = Rc::default();
        let had = |path| LargeAnswers::had(&answers, Kind::of(path));
        assert!(!had("/2.0/folders/1/items"));
        answered(&answers, "/2.0/folders/1/items", &[LARGE as usize - 1, 1]);
        assert!(had("/2.0/folders/1/items") && had("/2.0/folders/22/items"));
        for other in ["/2.0/folders/1", "/2.0/files/1/items", "/2.0/folders//items", "/2.0/folders/a/items"] {
            assert!(!had(other), "{other}");
        }
        answered(&answers, "/2.0/folders/1/items", &[LARGE as usize - 1]);
        assert!(!had("/2.0/folders/1/items"));
    }

    #[test]
    fn an_answer_that_breaks_off_says_nothing() {
        let answers = Rc::default();
        answered(&answers, "/2.0/events", &[LARGE as usize]);
        Measured::new(Rc::clone(&answers), Kind::of("/2.0/events")).add(1);
        assert!(answers.had(Kind::of("/2.0/events")));
    }

    #[test]
    fn an_answer_that_has_not_ended_is_large_once_it_is() {
        let answers = Rc::default();
        let mut measured = Measured::new(Rc::clone(&answers), Kind::of("/2.0/events"));
        measured.add(LARGE as usize);
        assert!(answers.had(Kind::of("/2.0/events")));
    }

    #[test]
    fn the_kinds_that_were_used_last_are_kept() {
        let answers: Rc<LargeAnswers> = Rc::default();
        for number in 0..1_000 {
            answered(&answers, &format!("/2.0/a{number}"), &[LARGE as usize]);
            assert!(answers.had(Kind::of("/2.0/a0")));
        }
        assert_eq!(answers.0.borrow().len(), MOST.get());
        assert!(answers.had(Kind::of("/2.0/a999")) && !answers.had(Kind::of("/2.0/a1")));
    }
}
