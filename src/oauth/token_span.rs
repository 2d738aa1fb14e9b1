//! The trace of a call of the token endpoint. It is a trace of its own: a token is for all requests of an identity, not
//! for the one that found none.

use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, StatusCode, Uri};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::http::trace_context::TraceContext;
use crate::net::clock::Moment;
use crate::telemetry::trace::span::{SpanBuilder, SpanIds, Times};
use crate::telemetry::trace::tracer::{CurrentTracer, Tracer};

/// The span of a call under way.
pub(crate) struct TokenSpan {
    tracer: Arc<Tracer>,
    ids: SpanIds,
    began: Moment,
    status: Option<StatusCode>,
}

impl TokenSpan {
    /// Begins a span, if the call is traced.
    pub(crate) fn begin(tracer: &CurrentTracer, now: Moment) -> Option<Self> {
        let tracer = tracer.load_full()?;
        let ids = tracer.begin(None, String::new)?;
        Some(Self { tracer, ids, began: now, status: None })
    }

    /// The value of `traceparent` for the call.
    pub(crate) fn traceparent(&self) -> HeaderValue {
        let SpanIds { trace_id, span_id, flags, .. } = self.ids;
        TraceContext { trace_id, parent_id: span_id, flags }.value()
    }

    /// The endpoint has answered.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Ends the span. `grant_type`: what was requested. `url`: that of the endpoint, whose query is not recorded. `error`: why
    /// there is no token.
    pub(crate) fn end(
        self,
        identity: &str,
        grant_type: &'static str,
        url: &str,
        error: Option<&str>,
        now: Moment,
    ) {
        let url: Uri = url.parse().unwrap_or_default();
        let (authority, path) = (url.authority().map_or("", Authority::as_str), url.path());
        let times = Times { from: self.began.mono, to: now.mono, now };
        let span = SpanBuilder::new(self.ids, SpanKind::Client, format!("POST {path}"), times)
            .text("http.request.method", Some("POST"))
            .text("server.address", url.host().map(|host| host.trim_matches(['[', ']'])))
            .number("server.port", Some(url.port_u16().unwrap_or(443).into()))
            .text("url.full", Some(format!("https://{authority}{path}")))
            .number("http.response.status_code", self.status.map(|status| status.as_u16().into()))
            .text("error.type", error)
            .text("boxgate.identity", Some(identity))
            .text("boxgate.grant_type", Some(grant_type))
            .failed(error.is_some())
            .finish();
        self.tracer.record(vec![span]);
    }
}
