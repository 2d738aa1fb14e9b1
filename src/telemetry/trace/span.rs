//! A span, as OTLP has it. Texts are searched for secrets and bounded here, so that nobody else need do it.
//!
//! Source: OpenTelemetry, `opentelemetry/proto/trace/v1/trace.proto`.

use std::time::{Instant, SystemTime};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};

use crate::net::clock::Moment;
use crate::net::secret_filter::{self, Audience};

/// The most characters of a text. It bounds what waiting spans take: callers choose paths and methods.
const LONGEST: usize = 256;

/// Which span this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanIds {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    /// The parent's id; `None` of the first span of a trace.
    pub(crate) parent: Option<u64>,
    /// Whether the parent is in another process.
    pub(crate) parent_is_remote: bool,
    /// The flags of `traceparent`.
    pub(crate) flags: u8,
    /// The value of `tracestate`.
    pub(crate) state: String,
}

impl SpanIds {
    /// A new span with this one as its parent.
    pub(crate) fn child(&self, span_id: u64) -> Self {
        Self { span_id, parent: Some(self.span_id), parent_is_remote: false, ..self.clone() }
    }
}

/// From when to when, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// A moment at or after both, by which they are found on the wall clock. All spans of a request have the same, so
    /// that a wall clock that is set meanwhile does not move them against each other.
    pub(crate) now: Moment,
}

/// Builds a span.
#[derive(Debug)]
pub(crate) struct SpanBuilder(Span);

impl SpanBuilder {
    /// A span of this kind.
    pub(crate) fn new(ids: SpanIds, kind: SpanKind, name: String, times: Times) -> Self {
        let remote = if ids.parent_is_remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
        Self(Span {
            trace_id: ids.trace_id.to_be_bytes().to_vec(),
            span_id: ids.span_id.to_be_bytes().to_vec(),
            parent_span_id: ids.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            trace_state: secret_filter::blanked_text(ids.state, Audience::Operators),
            flags: u32::from(ids.flags) | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
            name: secret_filter::shortened(name, LONGEST),
            kind: kind as i32,
            start_time_unix_nano: unix_nanos(times.now, times.from),
            end_time_unix_nano: unix_nanos(times.now, times.to),
            attributes: Vec::with_capacity(16),
            ..Span::default()
        })
    }

    /// Adds an attribute that is a text, if there is one.
    pub(crate) fn text(mut self, key: &'static str, value: Option<impl Into<String>>) -> Self {
        self.0.attributes.extend(value.map(|value| text(key, value)));
        self
    }

    /// Adds an attribute that is a number, if there is one.
    pub(crate) fn number(mut self, key: &'static str, value: Option<i64>) -> Self {
        self.0.attributes.extend(value.map(|value| attribute(key, Value::IntValue(value))));
        self
    }

    /// Sets that what the span stands for has failed.
    pub(crate) fn failed(mut self, failed: bool) -> Self {
        if failed {
            self.0.status = Some(Status { code: StatusCode::Error as i32, message: String::new() });
        }
        self
    }

    /// The span.
    pub(crate) fn finish(self) -> Span {
        self.0
    }
}

/// An attribute that is a text.
pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(secret_filter::shortened(value.into(), LONGEST)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Nanoseconds from 1970 to this moment.
fn unix_nanos(now: Moment, at: Instant) -> u64 {
    let wall = now.wall.checked_sub(now.mono.saturating_duration_since(at)).unwrap_or(now.wall);
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::clock::Clock;
    use crate::net::secret::Secret;

    fn built(ids: SpanIds, name: &str) -> SpanBuilder {
        let now = Clock::real().now();
        let from = now.mono.checked_sub(Duration::from_millis(5)).unwrap();
        SpanBuilder::new(ids, SpanKind::Server, name.to_owned(), Times { from, to: now.mono, now })
    }

    fn ids() -> SpanIds {
        SpanIds {
            trace_id: 1,
            span_id: 2,
            parent: None,
            parent_is_remote: false,
            flags: 1,
            state: String::new(),
        }
    }

    #[test]
    fn a_child_has_the_trace_of_its_parent() {
        let remote = SpanIds { parent: Some(9), parent_is_remote: true, state: "a=1".to_owned(), ..ids() };
        let child = remote.child(3);
        assert_eq!((child.trace_id, child.span_id, child.parent), (1, 3, Some(2)));
        let (parent, child) = (built(remote, "a").finish(), built(child, "b").finish());
        assert_eq!((parent.flags, child.flags), (0x301, 0x101));
        assert_eq!(child.parent_span_id, parent.span_id);
        assert_eq!((parent.span_id.len(), parent.trace_id.len()), (8, 16));
        assert_eq!((&*parent.trace_state, &*child.trace_state), ("a=1", "a=1"));
        assert_eq!(built(ids(), "c").finish().parent_span_id, Vec::<u8>::new());
    }

    #[test]
    fn times_are_on_the_wall_clock() {
        let span = built(ids(), "a").finish();
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);
    }

    #[test]
    fn no_text_is_long_or_holds_a_secret() {
        let secret = Secret::new("canary-of-a-span".to_owned());
        let state = format!("vendor={}", secret.expose());
        let long = format!("{} {}", secret.expose(), "x".repeat(10_000));
        let span = built(SpanIds { state, ..ids() }, &long).text("key", Some(long.clone())).finish();
        assert!(!format!("{span:?}").contains("canary"), "{span:?}");
        assert!(span.name.len() < 300 && format!("{span:?}").len() < 3000, "{span:?}");
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let span = built(ids(), "a").text("t", None::<String>).number("n", None).failed(false).finish();
        assert!(span.attributes.is_empty() && span.status.is_none());
        let span = built(ids(), "a").text("t", Some("v")).number("n", Some(7)).failed(true).finish();
        assert_eq!((span.attributes.len(), span.status.unwrap().code), (2, StatusCode::Error as i32));
    }
}
