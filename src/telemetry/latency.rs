//! Histograms of durations: the buckets, what a worker adds to, sums and differences of them, and percentiles.
//!
//! The bounds are Renard's preferred numbers, ten in a decade, from 0.25 ms to 600 s (ISO 3, series R10; 60 s and 600 s in place of
//! 63 s and 630 s). So they include the bounds that `/metrics` publishes, whose counts stay exact. A bound is at most 1.34 times
//! the one before (80 s after 60 s; elsewhere at most 1.29 times), which is the error of a percentile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds, ascending.
const BOUNDS: [u64; 65] = [
    250,
    315,
    400,
    500,
    630,
    800,
    1_000,
    1_250,
    1_600,
    2_000,
    2_500,
    3_150,
    4_000,
    5_000,
    6_300,
    8_000,
    10_000,
    12_500,
    16_000,
    20_000,
    25_000,
    31_500,
    40_000,
    50_000,
    63_000,
    80_000,
    100_000,
    125_000,
    160_000,
    200_000,
    250_000,
    315_000,
    400_000,
    500_000,
    630_000,
    800_000,
    1_000_000,
    1_250_000,
    1_600_000,
    2_000_000,
    2_500_000,
    3_150_000,
    4_000_000,
    5_000_000,
    6_300_000,
    8_000_000,
    10_000_000,
    12_500_000,
    16_000_000,
    20_000_000,
    25_000_000,
    31_500_000,
    40_000_000,
    50_000_000,
    60_000_000,
    80_000_000,
    100_000_000,
    125_000_000,
    160_000_000,
    200_000_000,
    250_000_000,
    315_000_000,
    400_000_000,
    500_000_000,
    600_000_000,
];
/// The bounds that `/metrics` publishes, in microseconds. Dashboards depend on them.
const PUBLISHED: [u64; 12] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    600_000_000,
];
/// One for each bound, and one for durations beyond the last.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// The index of the bucket that counts a duration. A duration that equals a bound is in that bound's bucket.
fn bucket(nanos: u64) -> usize {
    /// Of the bounds.
    const NANOS: [u64; BOUNDS.len()] = {
        let (mut nanos, mut index) = (BOUNDS, 0);
        while index < nanos.len() {
            #[expect(clippy::indexing_slicing, reason = "it ends at the length, when it is compiled")]
            {
                nanos[index] *= 1_000;
            }
            index += 1;
        }
        nanos
    };
    NANOS.partition_point(|bound| nanos > *bound)
}

/// A histogram that one thread adds to and others read: an addition is a load and a store, no locked instruction. 536 bytes.
#[derive(Debug)]
pub(crate) struct Recorder {
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Recorder {
    fn default() -> Self {
        Self { nanos: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

/// Only its own thread writes a counter, so no write can happen between the load and the store.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Recorder {
    /// Adds a duration. Only one thread may do so.
    pub(crate) fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        add(&self.nanos, nanos);
        if let Some(bucket) = self.buckets.get(bucket(nanos)) {
            add(bucket, 1);
        }
    }
}

/// The counts of a histogram: of one recorder, of several together, or of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Histogram {
    nanos: u64,
    buckets: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { nanos: 0, buckets: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Adds what a recorder has counted.
    pub(crate) fn add(&mut self, recorder: &Recorder) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&recorder.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.nanos = self.nanos.wrapping_add(recorder.nanos.load(Ordering::Relaxed));
    }

    /// Adds the counts of another one.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }

    /// What was added since `before`, an earlier state of the same histogram.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = Self { nanos: self.nanos.wrapping_sub(before.nanos), ..self.clone() };
        let counts = since.buckets.iter_mut().zip(before.buckets);
        counts.for_each(|(count, before)| *count = count.saturating_sub(before));
        since
    }

    /// The number of durations in each bucket.
    pub(super) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// The same, to restore what was stored.
    pub(super) fn buckets_mut(&mut self) -> &mut [u64; BUCKETS] {
        &mut self.buckets
    }

    /// The number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The published upper bounds in seconds, each with the exact count of durations up to it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = BOUNDS.into_iter().zip(self.buckets).scan(0, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        });
        counts
            .filter(|(bound, _)| PUBLISHED.contains(bound))
            .map(|(bound, below)| (Duration::from_micros(bound).as_secs_f64(), below))
    }

    /// The sum of all durations.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The duration, in milliseconds, that this percentage of durations does not exceed (nearest rank); `None` without durations.
    ///
    /// It is interpolated within the bucket of the exact value, so it is less than 34 % off (29 % below 60 s), or less than 0.25 ms
    /// for values below that; where durations spread evenly within a bucket, by a few per cent. Of those beyond 600 s it only knows that, and says 600 s.
    pub(crate) fn percentile_ms(&self, percent: u8) -> Option<f64> {
        let count = self.count();
        let rank = (u128::from(count) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0_u128;
        for (index, in_bucket) in self.buckets.iter().enumerate() {
            let in_bucket = u128::from(*in_bucket);
            if below + in_bucket >= rank && in_bucket > 0 {
                let lower = index.checked_sub(1).and_then(|before| BOUNDS.get(before)).copied().unwrap_or(0);
                let upper = BOUNDS.get(index).copied().unwrap_or(lower);
                // The middle of the durations with this rank, if they spread evenly.
                let part = ((rank - below) as f64 - 0.5) / in_bucket as f64;
                let micros = lower as f64 + part * (upper - lower) as f64;
                return Some((micros / 10.0).round() / 100.0);
            }
            below += in_bucket;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(millis: impl IntoIterator<Item = f64>) -> Histogram {
        let (recorder, mut histogram) = (Recorder::default(), Histogram::default());
        millis.into_iter().for_each(|millis| recorder.add(Duration::from_secs_f64(millis / 1e3)));
        histogram.add(&recorder);
        histogram
    }

    /// The smallest value that is at least as large as this percentage of all.
    fn exact(values: &[f64], percent: u8) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * usize::from(percent)).div_ceil(100).max(1) - 1]
    }

    #[test]
    fn bounds_ascend_in_small_steps_and_include_the_published_ones() {
        for pair in BOUNDS.windows(2) {
            let step = pair[1] as f64 / pair[0] as f64;
            assert!(step > 1.19 && step < if pair[1] == 80_000_000 { 1.34 } else { 1.29 }, "{pair:?}");
        }
        assert!(PUBLISHED.iter().all(|bound| BOUNDS.contains(bound)));
        let published: Vec<f64> = Histogram::default().cumulative().map(|(bound, _)| bound).collect();
        assert_eq!(published, [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0]);
    }

    #[test]
    fn published_counts_are_exact_at_their_bounds() {
        let nanos = |nanos: u64| Duration::from_nanos(nanos);
        let (recorder, mut histogram) = (Recorder::default(), Histogram::default());
        for bound in PUBLISHED {
            recorder.add(nanos(bound * 1_000));
            recorder.add(nanos(bound * 1_000 + 1));
        }
        histogram.add(&recorder);
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, (0..12).map(|nth| 2 * nth + 1).collect::<Vec<u64>>());
        assert_eq!(histogram.count(), 24, "those beyond the last bound too");
    }

    #[test]
    fn the_largest_duration_overflows_nothing() {
        let (recorder, mut histogram) = (Recorder::default(), Histogram::default());
        recorder.add(Duration::MAX);
        recorder.add(Duration::ZERO);
        histogram.add(&recorder);
        assert_eq!((histogram.count(), histogram.percentile_ms(95)), (2, Some(600_000.0)));
        assert_eq!(Histogram::default().percentile_ms(50), None);
    }

    #[test]
    fn a_difference_is_what_came_since() {
        let (before, mut now) = (histogram([1.0, 40.0]), histogram([1.0, 40.0]));
        let added = histogram([41.0, 700.0]);
        now.add_all(&added);
        assert_eq!(now.since(&before), added);
        assert_eq!(now.count(), 4);
    }

    #[test]
    fn percentiles_of_even_spreads_are_a_few_per_cent_off() {
        let spreads: [fn(u32) -> f64; 3] = [
            |n| 20.0 + f64::from(n) / 10.0,
            |n| 40.0 * (1.0 - f64::from(n) / 1_000.5).ln().abs(),
            |n| 0.3 + f64::from(n),
        ];
        for spread in spreads {
            let values: Vec<f64> = (0..1_000).map(spread).collect();
            for percent in [50, 95, 99] {
                let (exact, known) =
                    (exact(&values, percent), histogram(values.clone()).percentile_ms(percent));
                let off = known.unwrap() / exact;
                assert!((0.94..1.06).contains(&off), "p{percent}: {known:?} for {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn percentiles_are_within_the_stated_error(
            logs in prop::collection::vec(-3.0..6.3_f64, 1..400),
            percent in 1..=100_u8,
        ) {
            let values: Vec<f64> = logs.iter().map(|log| 10_f64.powf(*log).min(600_000.0)).collect();
            let (exact, known) = (exact(&values, percent), histogram(values.clone()).percentile_ms(percent).unwrap());
            let (off, rounded) = (known / exact, 0.006);
            let most = if exact > 60_000.0 { 1.34 } else { 1.29 };
            prop_assert!(
                (known - exact).abs() <= 0.25 + rounded || off < most && off > 1.0 / most,
                "p{percent}: {known} for {exact}"
            );
        }
    }
}
