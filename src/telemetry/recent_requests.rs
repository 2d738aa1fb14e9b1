//! The last requests, for operators: what is known of each once it has ended, without bodies, queries and credentials.
//!
//! Each worker has a ring of its own, so that its lock is free unless an operator reads just then, and a reader takes it
//! for a few entries at a time. Slots and their text buffers are used again, so that a full ring allocates nothing.
//! Texts are copied: a clone of a URI or of a header field would keep the read buffer of its connection in memory.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::client_address::ClientAddress;
use crate::net::clock::Moment;
use crate::net::secret_filter;
use crate::telemetry::labels::{AnsweredBy, ClassLabel};

/// The most bytes that are kept of one text; longer ones are cut.
pub(crate) const LONGEST: usize = 512;
/// So many entries are copied each time that a reader takes the lock of a ring: within microseconds.
const COPIED: usize = 32;

/// The texts of an entry, which are fields of access lines but for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    RequestId,
    TraceId,
    UserAgent,
    App,
    Identity,
    AsUser,
    Method,
    Path,
    /// The template of the operation's path, where it is not formed from [`Facts::operation_at`].
    Operation,
    Rule,
    BoxCode,
    BoxRequestId,
    Cause,
    Limit,
    WouldRefuse,
    /// The host of Box to which the request was sent last.
    Host,
}

/// How many texts an entry has.
const TEXTS: usize = Text::ALL.len();

impl Text {
    /// All, in their order.
    const ALL: [Self; 16] = [
        Self::RequestId,
        Self::TraceId,
        Self::UserAgent,
        Self::App,
        Self::Identity,
        Self::AsUser,
        Self::Method,
        Self::Path,
        Self::Operation,
        Self::Rule,
        Self::BoxCode,
        Self::BoxRequestId,
        Self::Cause,
        Self::Limit,
        Self::WouldRefuse,
        Self::Host,
    ];
}

/// What an entry has besides its texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// When the request ended.
    pub(crate) ended: Moment,
    pub(crate) client: ClientAddress,
    /// 499 of a caller that left before a response.
    pub(crate) status: u16,
    pub(crate) answered_by: AnsweredBy,
    pub(crate) code: Option<&'static str>,
    pub(crate) end: &'static str,
    pub(crate) class: Option<ClassLabel>,
    /// The operation's path is that of the request from this byte on.
    pub(crate) operation_at: Option<u16>,
    pub(crate) attempts: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) total: Duration,
    pub(crate) waited_for_limit: Duration,
    pub(crate) waited_for_token: Duration,
    /// From the last sending to the head of Box's answer.
    pub(crate) box_time: Option<Duration>,
    /// From that head to the end of the answer.
    pub(crate) body_time: Option<Duration>,
}

/// The texts of an entry, one behind the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    /// Where each begins and ends.
    spans: [(u16, u16); TEXTS],
    bytes: Vec<u8>,
}

impl Texts {
    /// Sets a text that has none yet. It need not be UTF-8, which costs time to find out and is for the reader to see.
    #[inline]
    pub(crate) fn set(&mut self, of: Text, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let begin = self.bytes.len();
        if text.len() <= LONGEST {
            self.bytes.extend_from_slice(text);
        } else {
            self.push_cut(text);
        }
        if let Some(span) = self.spans.get_mut(of as usize) {
            // There are 16 texts of 512 bytes at most.
            *span = (begin as u16, self.bytes.len() as u16);
        }
    }

    /// Appends the beginning of a text. Secrets are blanked first, since part of one would not be recognized later.
    #[cold]
    fn push_cut(&mut self, text: &[u8]) {
        let text = secret_filter::shortened(String::from_utf8_lossy(text).into_owned(), LONGEST);
        let end = (0..=text.len().min(LONGEST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
    }

    fn get(&self, of: Text) -> &[u8] {
        let (begin, end) = self.spans.get(of as usize).copied().unwrap_or_default();
        self.bytes.get(usize::from(begin)..usize::from(end)).unwrap_or_default()
    }

    /// Forgets all, and keeps the buffer.
    fn clear(&mut self) {
        self.spans = [(0, 0); TEXTS];
        self.bytes.clear();
    }
}

/// A request that has ended, as it is copied out of a ring.
#[derive(Debug, Clone)]
pub(crate) struct RecentRequest {
    pub(crate) facts: Facts,
    texts: Texts,
}

impl RecentRequest {
    /// A text; `None` where it has none.
    pub(crate) fn text(&self, of: Text) -> Option<&str> {
        std::str::from_utf8(self.texts.get(of)).ok().filter(|text| !text.is_empty())
    }

    /// With texts that are UTF-8: U+FFFD stands for what is not.
    fn readable(self) -> Self {
        if std::str::from_utf8(&self.texts.bytes).is_ok() {
            return self;
        }
        let mut texts = Texts::default();
        for of in Text::ALL {
            texts.set(of, String::from_utf8_lossy(self.texts.get(of)).as_bytes());
        }
        Self { facts: self.facts, texts }
    }
}

/// The entries of one worker.
#[derive(Default)]
struct Ring {
    /// How many it keeps.
    most: usize,
    slots: Vec<RecentRequest>,
    /// The slot that is written next, once all are used: the oldest.
    oldest: usize,
    /// How many were ever written.
    written: u64,
    /// When the newest one ended that is no longer kept: what other workers have from before then has a gap behind it.
    dropped: Option<Instant>,
}

impl Ring {
    #[inline]
    fn write(&mut self, facts: Facts, set: impl FnOnce(&mut Texts)) {
        if self.most == 0 {
            return;
        }
        self.written += 1;
        let is_full = self.slots.len() == self.most;
        if !is_full {
            self.slots.push(RecentRequest { facts, texts: Texts::default() });
        }
        if let Some(slot) = self.slots.get_mut(self.oldest) {
            if is_full {
                self.dropped = Some(slot.facts.ended.mono);
            }
            slot.facts = facts;
            slot.texts.clear();
            set(&mut slot.texts);
        }
        self.oldest += 1;
        if self.oldest == self.most {
            self.oldest = 0;
        }
    }

    /// Keeps this many from now on; of those that it has, the newest.
    fn resize(&mut self, most: usize) {
        if most == self.most {
            return;
        }
        if self.slots.len() == self.most {
            self.slots.rotate_left(self.oldest);
        }
        let last = self.slots.drain(..self.slots.len().saturating_sub(most)).next_back();
        self.dropped = last.map(|last| last.facts.ended.mono).or(self.dropped);
        self.slots.shrink_to_fit();
        self.oldest = if self.slots.len() == most { 0 } else { self.slots.len() };
        self.most = most;
    }

    /// The entry before which `newer` others were written; `None`: it is no longer kept, or never was.
    fn nth_newest(&self, newer: usize) -> Option<&RecentRequest> {
        let before = self.slots.len().checked_sub(newer + 1)?;
        let index = if self.slots.len() == self.most { self.oldest + before } else { before };
        self.slots.get(index % self.slots.len().max(1))
    }
}

/// One worker's side of its ring.
pub(crate) struct Recorder(Arc<Mutex<Ring>>);

impl Recorder {
    /// Keeps a request that has ended. `set` sets its texts, at once, since it holds the lock.
    #[inline]
    pub(crate) fn write(&self, facts: Facts, set: impl FnOnce(&mut Texts)) {
        lock(&self.0).write(facts, set);
    }

    /// Keeps this many requests from now on; 0: none.
    pub(crate) fn resize(&self, most: usize) {
        lock(&self.0).resize(most);
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rings of all workers.
#[derive(Default)]
pub(crate) struct RecentRequests(Vec<Arc<Mutex<Ring>>>);

impl fmt::Debug for RecentRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecentRequests of {} workers", self.0.len())
    }
}

impl RecentRequests {
    /// The ring of one more worker, which keeps nothing until it is resized.
    pub(crate) fn add_worker(&mut self) -> Recorder {
        let ring = Arc::<Mutex<Ring>>::default();
        self.0.push(ring.clone());
        Recorder(ring)
    }

    /// The last `most` requests of all workers, the newest first; fewer where a worker has kept fewer until lately, so that there is
    /// none between them that is missing.
    pub(crate) fn newest(&self, most: usize) -> impl Iterator<Item = RecentRequest> + '_ {
        let mut rings: Vec<Cursor<'_>> = self.0.iter().map(|ring| Cursor::new(ring)).collect();
        std::iter::from_fn(move || {
            // All are looked at first, since that may copy more of a ring.
            let ended: Vec<Option<Instant>> = rings.iter_mut().map(Cursor::peek).collect();
            let dropped = rings.iter().filter_map(|ring| ring.dropped).max();
            let newest = rings.iter_mut().zip(ended).filter_map(|(ring, ended)| Some((ended?, ring)));
            let (_, ring) =
                newest.max_by_key(|(ended, _)| *ended).filter(|(ended, _)| Some(*ended) >= dropped)?;
            // Not before, since the worker waits while entries are copied.
            ring.copied.pop_front().map(RecentRequest::readable)
        })
        .take(most)
    }
}

/// A reader of one ring, from the newest entry to the oldest.
struct Cursor<'r> {
    ring: &'r Mutex<Ring>,
    copied: VecDeque<RecentRequest>,
    /// The number of the entry that was copied last; `None` before the first.
    reached: Option<u64>,
    /// When the newest one ended that the ring no longer has, as of the last copy.
    dropped: Option<Instant>,
}

impl<'r> Cursor<'r> {
    fn new(ring: &'r Mutex<Ring>) -> Self {
        Self { ring, copied: VecDeque::new(), reached: None, dropped: None }
    }

    /// When the next entry ended; `None` if there is no other.
    fn peek(&mut self) -> Option<Instant> {
        if self.copied.is_empty() {
            let ring = lock(self.ring);
            // Entries that were written since the last copy have pushed the next one further back.
            let reached = self.reached.unwrap_or(ring.written);
            let newer = usize::try_from(ring.written - reached).unwrap_or(usize::MAX);
            let next = (0..COPIED).map_while(|further| ring.nth_newest(newer.checked_add(further)?));
            self.copied.extend(next.cloned());
            self.reached = Some(reached - self.copied.len() as u64);
            self.dropped = ring.dropped;
        }
        self.copied.front().map(|next| next.facts.ended.mono)
    }
}

#[cfg(test)]
mod tests;
