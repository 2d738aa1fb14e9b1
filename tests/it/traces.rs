//! Traces: spans, as a collector gets them, and collectors that fail.

pub mod collector; // a collector that decodes what it gets, or misbehaves
mod context; // traceparent and tracestate, in and out
mod failing; // requests notice nothing of a collector
mod secrets; // what no span holds
mod spans; // names, attributes, times, parents
