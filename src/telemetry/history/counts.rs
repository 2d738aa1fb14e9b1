//! What is counted of requests in a stretch of time.

use crate::telemetry::labels::CALLER_LEFT;
use crate::telemetry::latency::Histogram;

/// Counts of an app's requests, of a host's answers, or of all requests together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Whatever became of them; of a host: its answers.
    pub requests: u64,
    /// Those whose caller left before there was an answer.
    pub caller_left: u64,
    /// Answers with a status of 400 to 499, 429 included.
    pub status_4xx: u64,
    /// Answers with the status 429.
    pub status_429: u64,
    /// Answers with a status of 500 and above.
    pub status_5xx: u64,
    /// How long requests took from the head to the end of the answer; of a host: the time to the head of its answer. Of a stretch
    /// of time that is stored, only the buckets are known, not the sum.
    pub durations: Histogram,
}

impl Counts {
    /// Adds requests that ended with this status.
    pub(super) fn add_status(&mut self, status: u16, count: u64) {
        self.requests += count;
        match status {
            CALLER_LEFT => self.caller_left += count,
            400..500 => self.status_4xx += count,
            500.. => self.status_5xx += count,
            _ => {}
        }
        if status == 429 {
            self.status_429 += count;
        }
    }

    /// The counters in the order in which they are stored.
    pub(super) fn counters(&mut self) -> [&mut u64; 5] {
        let Self { requests, caller_left, status_4xx, status_429, status_5xx, .. } = self;
        [requests, caller_left, status_4xx, status_429, status_5xx]
    }

    /// Adds the counts of another stretch of time, app or host.
    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.counters().into_iter().zip(other.counters()).for_each(|(sum, count)| *sum += *count);
        self.durations.add_all(&other.durations);
    }

    /// What was added since `before`, an earlier state of the same counts.
    pub(super) fn since(&self, before: &Self) -> Self {
        let (mut since, mut before) = (self.clone(), before.clone());
        let counters = since.counters().into_iter().zip(before.counters());
        counters.for_each(|(count, before)| *count = count.saturating_sub(*before));
        since.durations = self.durations.since(&before.durations);
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_by_their_kinds() {
        let mut counts = Counts::default();
        for (status, count) in [(200, 100), (304, 1), (404, 10), (429, 5), (499, 3), (502, 2)] {
            counts.add_status(status, count);
        }
        let want = Counts {
            requests: 121,
            caller_left: 3,
            status_4xx: 15,
            status_429: 5,
            status_5xx: 2,
            ..Counts::default()
        };
        assert_eq!(counts, want);
        let before = counts.clone();
        counts.add(&want);
        assert_eq!(counts.since(&before), want);
    }
}
