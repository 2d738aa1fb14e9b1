//! The counts of one stretch of time for all that had any, packed into few bytes: numbers of 7 bits a byte, the lowest first
//! (LEB128), zeros left out where most are.
//!
//! A record: the difference to the key before, the number of bytes that follow, the five counters, and for each bucket with
//! durations the number of buckets skipped and its count.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::sums::SumsByKey;
use crate::telemetry::latency::BUCKETS;

/// By key, in ascending order.
#[derive(Debug, Default)]
pub(super) struct Records(Box<[u8]>);

impl Records {
    /// Packs these counts.
    pub(super) fn of(counts: &BTreeMap<u32, Counts>) -> Self {
        let (mut bytes, mut record) = (Vec::new(), Vec::new());
        let mut last = 0;
        for (key, counts) in counts {
            record.clear();
            counts.clone().counters().into_iter().for_each(|counter| write(*counter, &mut record));
            let mut skipped = 0;
            for bucket in counts.durations.buckets() {
                if *bucket == 0 {
                    skipped += 1;
                } else {
                    write(skipped, &mut record);
                    write(*bucket, &mut record);
                    skipped = 0;
                }
            }
            write(u64::from(key - last), &mut bytes);
            write(record.len() as u64, &mut bytes);
            bytes.extend_from_slice(&record);
            last = *key;
        }
        Self(bytes.into_boxed_slice())
    }

    /// All counts, with their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Counts)> {
        self.packed().map(|(key, record)| (key, unpacked(record)))
    }

    /// The counts of this key.
    pub(super) fn get(&self, key: u32) -> Option<Counts> {
        // They are in the order of their keys.
        let (_, record) = self.packed().find(|(of, _)| *of >= key).filter(|(of, _)| *of == key)?;
        Some(unpacked(record))
    }

    /// Adds all counts to the sums of their keys, and their requests to those of this part of the stretch.
    pub(super) fn add_to(&self, sums: &mut SumsByKey, part: usize) {
        let mut cursor = 0;
        for (key, record) in self.packed() {
            let Some(sums) = sums.of(key, &mut cursor) else { continue };
            let requests = add(record, &mut sums.counts);
            if let Some(of_part) = sums.requests.get_mut(part) {
                *of_part += requests;
            }
        }
    }

    /// The number of bytes that they take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    fn packed(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let (mut rest, mut key) = (&*self.0, 0_u32);
        std::iter::from_fn(move || {
            key += u32::try_from(read(&mut rest)?).ok()?;
            let length = usize::try_from(read(&mut rest)?).ok()?;
            let (record, others) = rest.split_at_checked(length)?;
            rest = others;
            Some((key, record))
        })
    }
}

fn unpacked(record: &[u8]) -> Counts {
    let mut counts = Counts::default();
    add(record, &mut counts);
    counts
}

/// Adds what is packed, and returns its number of requests.
fn add(mut record: &[u8], sums: &mut Counts) -> u64 {
    let mut requests = None;
    for sum in sums.counters() {
        let count = read(&mut record).unwrap_or_default();
        *sum = sum.saturating_add(count);
        // The first of them.
        requests.get_or_insert(count);
    }
    let buckets = sums.durations.buckets_mut();
    let mut index = 0;
    while let (Some(skipped), Some(count)) = (read(&mut record), read(&mut record)) {
        index += usize::try_from(skipped).unwrap_or(BUCKETS);
        if let Some(bucket) = buckets.get_mut(index) {
            *bucket = bucket.saturating_add(count);
        }
        index += 1;
    }
    requests.unwrap_or_default()
}

fn write(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(numbers: &[u64]) -> Counts {
        let mut counts = Counts::default();
        let mut numbers = numbers.iter().copied();
        counts.counters().into_iter().for_each(|counter| *counter = numbers.next().unwrap_or(0));
        counts.durations.buckets_mut().iter_mut().zip(numbers).for_each(|(bucket, number)| *bucket = number);
        counts
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            all in prop::collection::btree_map(
                any::<u32>(),
                prop::collection::vec(prop_oneof![Just(0), 0..300_u64, any::<u64>()], 0..=5 + BUCKETS),
                0..20,
            ),
        ) {
            let all: BTreeMap<u32, Counts> = all.into_iter().map(|(key, numbers)| (key, counts(&numbers))).collect();
            let records = Records::of(&all);
            for (key, counts) in &all {
                prop_assert_eq!(records.get(*key), Some(counts.clone()));
            }
            prop_assert_eq!(records.iter().collect::<BTreeMap<_, _>>(), all);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let records = Records::of(&BTreeMap::from([(3, counts(&[1]))]));
        assert!(records.get(2).is_none() && records.get(4).is_none());
        assert!(Records::default().iter().next().is_none());
    }
}
