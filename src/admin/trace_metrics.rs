//! Metrics of traces.

use crate::telemetry::exposition::Exposition;
use crate::telemetry::trace::queue::SpanCounts;

/// Adds what became of spans.
pub(super) fn spans(text: &mut Exposition, counts: &SpanCounts) {
    let help = "Spans that the collector took.";
    text.simple("trace_spans_exported_total", "counter", help, counts.exported());
    let help = "Spans that no collector took.";
    text.simple("trace_spans_lost_total", "counter", help, counts.lost());
}
