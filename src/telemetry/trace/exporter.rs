//! The exporter: one task, on the main thread's runtime, that takes batches from the queue and sends them.
//!
//! A batch that the collector may take later is sent again after growing pauses, a few times. Meanwhile the queue fills,
//! and what finds no room there is lost: requests notice none of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use tokio::sync::watch;
use tracing::warn;

use super::collector::{Collector, Outcome};
use super::queue::{Batch, SpanQueue};
use crate::net::clock::Clock;
use crate::telemetry::outages::{Outages, Party};
use crate::telemetry::repeats::Repeats;

/// How often a batch is sent before it is given up.
const TRIES: u32 = 5;
/// Pauses after failures grow from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The longest `Retry-After` of a collector that is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Tells operators what an outage costs.
const COSTS: &str = "requests go on; spans are lost once the queue is full: boxgate_trace_spans_lost_total";

/// What the task needs.
pub(crate) struct Exporter {
    pub(crate) collector: Collector,
    pub(crate) queue: SpanQueue,
    /// What sends the spans: this process.
    pub(crate) resource: Resource,
    pub(crate) clock: Clock,
    pub(crate) outages: Arc<Outages>,
    pub(crate) repeats: Repeats,
    /// Becomes true when the process stops and no spans will come any more.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Exporter {
    /// Runs until no tracer is left that could send spans or, at a stop, until the queue is empty.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let batch = if *self.stop.borrow() {
                self.queue.next_now()
            } else {
                tokio::select! {
                    batch = self.queue.next(&self.clock) => batch,
                    () = stopped(&mut self.stop) => continue,
                }
            };
            let Some(batch) = batch else { return };
            self.deliver(batch, &mut failures).await;
        }
    }

    async fn deliver(&mut self, batch: Batch, failures: &mut u32) {
        let Batch { spans, outcome: undelivered } = batch;
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        let message = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        for attempt in 1..=TRIES {
            let is_last = attempt == TRIES || self.is_ending();
            let wait = match self.collector.send(message.clone()).await {
                Outcome::Taken { rejected, words } => {
                    *failures = 0;
                    self.outages.answered(self.party(true), "");
                    self.tell_of_rejected(rejected, &words);
                    return undelivered.taken_but(rejected);
                }
                Outcome::Refused(cause) => {
                    self.outages.failed(self.party(true), &cause, 0, COSTS);
                    drop(undelivered);
                    *failures += 1;
                    return self.pause(growing(*failures)).await;
                }
                Outcome::Later { cause, retry_after, reached } => {
                    self.outages.failed(self.party(reached), &cause, 0, COSTS);
                    retry_after.unwrap_or_default().min(LONGEST_WAIT)
                }
            };
            *failures += 1;
            let pause = growing(*failures).max(wait);
            if is_last {
                drop(undelivered);
                return self.pause(pause).await;
            }
            self.pause(pause).await;
        }
    }

    fn party(&self, reached: bool) -> Party<'_> {
        Party::Collector { authority: self.collector.authority(), reached }
    }

    fn tell_of_rejected(&self, rejected: usize, words: &str) {
        if (rejected > 0 || !words.is_empty())
            && let Some(left_out) = self.repeats.note("rejected")
        {
            let collector = self.collector.authority();
            warn!(
                collector,
                rejected, "the trace collector took a batch of spans, but says {words:?}{left_out}"
            );
        }
    }

    /// The process stops, or another collector has taken its place: each batch is sent once more, without pauses.
    fn is_ending(&self) -> bool {
        *self.stop.borrow() || self.queue.is_closed()
    }

    /// Waits, but not at the end.
    async fn pause(&mut self, time: Duration) {
        if self.is_ending() {
            return;
        }
        let until = self.clock.now().after(time);
        tokio::select! {
            () = self.clock.sleep_until(until) => {}
            () = stopped(&mut self.stop) => {}
        }
    }
}

/// Returns once the process stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = stop.wait_for(|stops| *stops).await;
}

/// The pause after the nth failure in a row; half of it is random.
fn growing(nth: u32) -> Duration {
    let doubled = PAUSE.0.saturating_mul(1 << nth.saturating_sub(1).min(16)).min(PAUSE.1);
    doubled.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        assert!(growing(1) <= PAUSE.0 && growing(1) >= PAUSE.0 / 2);
        assert!(growing(3) >= PAUSE.0 * 2);
        for nth in [6, 40, u32::MAX] {
            let pause = growing(nth);
            assert!(pause <= PAUSE.1 && pause >= PAUSE.1 / 2, "{nth}: {pause:?}");
        }
    }
}
