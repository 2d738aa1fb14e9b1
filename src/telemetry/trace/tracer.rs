//! What is traced, and under which ids.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::queue::SpanSender;
use super::span::SpanIds;
use crate::http::trace_context::{SAMPLED, TraceContext};

/// The tracer of the current configuration, for tasks that outlive one; `None`: nothing is traced.
pub(crate) type CurrentTracer = Arc<ArcSwapOption<Tracer>>;

/// Decides what is traced, and passes spans on.
#[derive(Debug)]
pub(crate) struct Tracer {
    sample: f64,
    spans: SpanSender,
}

impl Tracer {
    /// `sample`: the part that is traced, 0 to 1, of what has no parent.
    pub(crate) fn new(sample: f64, spans: SpanSender) -> Self {
        Self { sample, spans }
    }

    /// Another part of what has no parent; the same collector.
    pub(crate) fn with_sample(&self, sample: f64) -> Self {
        Self { sample, spans: self.spans.clone() }
    }

    /// The ids of a request's span; `None`: it is not traced. A caller that brings a decision decides. `state`: the
    /// caller's `tracestate`, read only if its trace goes on.
    pub(crate) fn begin(
        &self,
        parent: Option<TraceContext>,
        state: impl FnOnce() -> String,
    ) -> Option<SpanIds> {
        match parent {
            Some(parent) => parent.is_sampled().then(|| SpanIds {
                trace_id: parent.trace_id,
                span_id: span_id(),
                parent: Some(parent.parent_id),
                parent_is_remote: true,
                flags: parent.flags,
                state: state(),
            }),
            // In this order, 0 is never and 1 is always.
            None => (fastrand::f64() < self.sample).then(|| SpanIds {
                trace_id: fastrand::u128(1..),
                span_id: span_id(),
                parent: None,
                parent_is_remote: false,
                flags: SAMPLED,
                state: String::new(),
            }),
        }
    }

    /// Passes spans on to the exporter; does not wait.
    pub(crate) fn record(&self, spans: Vec<Span>) {
        self.spans.offer(spans);
    }
}

/// A new span's id, which must not be zero.
pub(crate) fn span_id() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::queue;

    fn tracer(sample: f64) -> Tracer {
        Tracer::new(sample, queue::queue(1, Arc::default()).0)
    }

    fn begun(sample: f64, parent: Option<TraceContext>) -> Option<SpanIds> {
        tracer(sample).begin(parent, || "a=1".to_owned())
    }

    #[test]
    fn the_callers_decision_wins() {
        let parent = |flags| Some(TraceContext { trace_id: 7, parent_id: 8, flags });
        for sample in [0.0, 1.0] {
            assert_eq!(begun(sample, parent(0)), None);
            let ids = begun(sample, parent(3)).unwrap();
            assert_eq!((ids.trace_id, ids.parent, ids.flags), (7, Some(8), 3));
            assert!(ids.parent_is_remote && ids.state == "a=1" && ids.span_id != 8);
        }
    }

    #[test]
    fn without_one_the_configured_part_is_traced() {
        let of = |sample| (0..1000).filter(|_| begun(sample, None).is_some()).count();
        assert_eq!((of(0.0), of(1.0)), (0, 1000));
        // Fewer than 1 in 10^30 runs are outside.
        assert!((250..750).contains(&of(0.5)));
        let ids = begun(1.0, None).unwrap();
        assert_eq!((ids.parent, ids.parent_is_remote, ids.flags, &*ids.state), (None, false, SAMPLED, ""));
        assert_ne!(begun(1.0, None).unwrap().trace_id, ids.trace_id);
    }
}
