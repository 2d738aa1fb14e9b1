//! Traces: spans of requests and token calls, sent to an OpenTelemetry collector by OTLP over HTTP. Without `[trace]`
//! nothing of it runs.

pub(crate) mod collector; // one batch to the collector, and what its answer means
pub(crate) mod exporter; // the task that sends batches
pub(crate) mod queue; // spans on their way to that task; no request waits
pub mod settings; // what [trace] says
pub(crate) mod span; // a span, as OTLP has it
pub(crate) mod tracer; // what is traced, and under which ids
pub(crate) mod traces; // the tracer in use, and its exporter's start and end
