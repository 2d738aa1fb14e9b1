//! Sums over a stretch of the last day, of everything that had requests in it.

use super::counts::Counts;

/// The counts of an app or a host in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Of the whole stretch.
    pub counts: Counts,
    /// The requests in each part of it, the oldest first.
    pub requests: Vec<u64>,
}

/// By key, in ascending order. Counts are added slot by slot, each in the order of the keys, so that a cursor finds the sums
/// without a search: a thousand apps that are busy all day are 288,000 additions.
#[derive(Debug)]
pub(super) struct SumsByKey {
    sums: Vec<(u32, Box<Sums>)>,
    parts: usize,
}

impl SumsByKey {
    pub(super) fn new(parts: usize) -> Self {
        Self { sums: Vec::new(), parts }
    }

    /// The sums of this key. `cursor`: 0 for the first key of a slot, then what this function left there.
    pub(super) fn of(&mut self, key: u32, cursor: &mut usize) -> Option<&mut Sums> {
        while self.sums.get(*cursor).is_some_and(|(known, _)| *known < key) {
            *cursor += 1;
        }
        if self.sums.get(*cursor).is_none_or(|(known, _)| *known != key) {
            let sums = Sums { requests: vec![0; self.parts], ..Sums::default() };
            self.sums.insert(*cursor, (key, Box::new(sums)));
        }
        self.sums.get_mut(*cursor).map(|(_, sums)| &mut **sums)
    }

    pub(super) fn into_sums(self) -> impl Iterator<Item = (u32, Sums)> {
        self.sums.into_iter().map(|(key, sums)| (key, *sums))
    }
}
