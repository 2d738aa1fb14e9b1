//! Traces of the process: the tracer in use, what became of all spans, and the start and end of exporters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use super::collector::Collector;
use super::exporter::Exporter;
use super::queue::{self, SpanCounts, SpanSender};
use super::span;
use super::tracer::{CurrentTracer, Tracer};
use crate::net::clock::Clock;
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;

/// How long a stop waits for the collector to take what is queued.
const FLUSH: Duration = Duration::from_secs(2);

/// It outlives configurations.
pub(crate) struct Traces {
    current: CurrentTracer,
    counts: Arc<SpanCounts>,
    resource: Resource,
    clock: Clock,
    outages: Arc<Outages>,
    stop: watch::Sender<bool>,
    exporters: Mutex<JoinSet<()>>,
}

impl Traces {
    /// Nothing is traced yet.
    pub(crate) fn new(clock: Clock, outages: Arc<Outages>) -> Self {
        Self {
            current: CurrentTracer::default(),
            counts: Arc::default(),
            resource: resource(),
            clock,
            outages,
            stop: watch::Sender::new(false),
            exporters: Mutex::default(),
        }
    }

    /// The tracer in use, for tasks that outlive a configuration.
    pub(crate) fn current(&self) -> &CurrentTracer {
        &self.current
    }

    /// What became of spans since the process started.
    pub(crate) fn counts(&self) -> &SpanCounts {
        &self.counts
    }

    /// Uses this tracer from now on. The exporter of the one before ends when no request has it any more and its queue is
    /// empty.
    pub(crate) fn set_current(&self, tracer: Option<Arc<Tracer>>) {
        self.current.store(tracer);
    }

    /// Starts an exporter on the current runtime. Returns where its spans are added; it ends once all of these are gone.
    pub(crate) fn start_exporter(&self, collector: Collector) -> SpanSender {
        let (sender, queue) = queue::queue(queue::MOST, self.counts.clone());
        let exporter = Exporter {
            collector,
            queue,
            resource: self.resource.clone(),
            clock: self.clock.clone(),
            outages: self.outages.clone(),
            repeats: Repeats::new(self.clock.clone()),
            stop: self.stop.subscribe(),
        };
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are forgotten.
        while exporters.try_join_next().is_some() {}
        exporters.spawn(exporter.run());
        sender
    }

    /// Sends what is queued, for a bounded time. To be called when no spans will come any more.
    pub(crate) async fn stop(&self) {
        let lost = self.counts.lost();
        self.stop.send_replace(true);
        let mut exporters =
            std::mem::take(&mut *self.exporters.lock().unwrap_or_else(PoisonError::into_inner));
        let ending = async { while exporters.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FLUSH, ending).await;
        exporters.shutdown().await;
        let lost = self.counts.lost() - lost;
        if lost > 0 {
            warn!(spans = lost, "the trace collector did not take the last spans before the stop");
        }
    }
}

/// This process, by the semantic conventions of resources.
fn resource() -> Resource {
    let attributes = vec![
        span::text("service.name", env!("CARGO_PKG_NAME")),
        span::text("service.version", env!("CARGO_PKG_VERSION")),
        span::text("service.instance.id", random_uuid(fastrand::u128(..))),
    ];
    Resource { attributes, ..Resource::default() }
}

/// A UUID of version 4 (RFC 9562 §5.4), as `service.instance.id` should be.
fn random_uuid(random: u128) -> String {
    let number = random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_uuid_of_version_4() {
        assert_eq!(random_uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(random_uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
