//! The spans of one request: its own, one for each attempt at Box, and one for each time that it waited.
//!
//! They are put together when the record ends, from what it knows. A request that is not traced has none of this.
//! Source of the attributes' names: OpenTelemetry, Semantic Conventions for HTTP Spans.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::http::trace_context::{self, TRACEPARENT, TRACESTATE, TraceContext};
use crate::net::clock::Moment;
use crate::telemetry::trace::span::{SpanBuilder, SpanIds, Times};
use crate::telemetry::trace::tracer::{self, Tracer};

/// Box's name for a request, on every answer.
const BOX_REQUEST_ID: HeaderName = HeaderName::from_static("box-request-id");
/// The methods that are told apart, as in metrics.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// What a request waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitedFor {
    /// Its turn: a limit, or a pause that Box asked for.
    Limit,
    /// A token of its identity.
    Token,
}

/// The trace of a request under way.
pub(crate) struct RequestTrace {
    tracer: Arc<Tracer>,
    ids: SpanIds,
    /// The caller uses TLS, as far as is known.
    secure: bool,
    waits: Vec<(WaitedFor, Instant, Instant)>,
    attempts: Vec<Attempt>,
}

/// One attempt at Box.
struct Attempt {
    span_id: u64,
    to: Authority,
    path: AttemptPath,
    began: Instant,
    /// `None` while it is under way.
    ended: Option<(Instant, AttemptEnd)>,
}

/// Which path of Box an attempt goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptPath {
    /// That of the request's operation.
    Operation {
        /// It is sent with `/api` in front.
        under_api: bool,
    },
    /// One that is a credential, of which nothing is recorded.
    Presigned,
}

enum AttemptEnd {
    Answered { status: StatusCode, version: Version, box_request_id: Option<HeaderValue> },
    Failed(&'static str),
}

/// What the record of a request knows at its end.
pub(crate) struct Ended<'a> {
    pub(crate) now: Moment,
    pub(crate) began: Instant,
    pub(crate) method: &'a Method,
    /// The template of the operation's path.
    pub(crate) route: Option<String>,
    pub(crate) status: Option<StatusCode>,
    /// Why the request has failed, by whoever's fault; `None`: it has not.
    pub(crate) fault: Option<&'a str>,
    pub(crate) end: &'static str,
    pub(crate) answered_by: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) app: Option<&'a str>,
    pub(crate) identity: Option<&'a str>,
    pub(crate) limit: Option<&'a str>,
    pub(crate) request_id: &'a str,
}

impl RequestTrace {
    /// Begins the trace of a request, if it is traced. `secure`: the caller uses TLS.
    pub(crate) fn begin(tracer: &Arc<Tracer>, headers: &HeaderMap, secure: bool) -> Option<Box<Self>> {
        let ids = tracer.begin(TraceContext::of(headers), || trace_context::trace_state(headers))?;
        let (waits, attempts) = (Vec::new(), Vec::new());
        Some(Box::new(Self { tracer: tracer.clone(), ids, secure, waits, attempts }))
    }

    /// The trace's id.
    pub(crate) fn trace_id(&self) -> u128 {
        self.ids.trace_id
    }

    /// The request has waited so long, until now.
    pub(crate) fn waited(&mut self, what: WaitedFor, now: Instant, time: Duration) {
        if let Some(from) = now.checked_sub(time).filter(|_| !time.is_zero()) {
            self.waits.push((what, from, now));
        }
    }

    /// An attempt begins. `fields`: those that go to Box, where the attempt becomes the parent.
    pub(crate) fn attempt(
        &mut self,
        to: &Authority,
        path: AttemptPath,
        now: Instant,
        fields: &mut HeaderMap,
    ) {
        let span_id = tracer::span_id();
        let SpanIds { trace_id, flags, .. } = self.ids;
        fields.insert(TRACEPARENT, TraceContext { trace_id, parent_id: span_id, flags }.value());
        if !self.ids.parent_is_remote {
            // It belongs to a trace that does not go on (W3C Trace Context §4.3).
            fields.remove(TRACESTATE);
        }
        self.attempts.push(Attempt { span_id, to: to.clone(), path, began: now, ended: None });
    }

    /// Box has answered the last attempt.
    pub(crate) fn answered<B>(&mut self, now: Instant, response: &http::Response<B>) {
        let box_request_id = response.headers().get(BOX_REQUEST_ID).cloned();
        let (status, version) = (response.status(), response.version());
        self.end_attempt(now, AttemptEnd::Answered { status, version, box_request_id });
    }

    /// The last attempt has failed. `why`: the code of the error that the caller would get for it.
    pub(crate) fn failed(&mut self, now: Instant, why: &'static str) {
        self.end_attempt(now, AttemptEnd::Failed(why));
    }

    fn end_attempt(&mut self, now: Instant, end: AttemptEnd) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended.get_or_insert((now, end));
        }
    }

    /// Ends the trace and passes its spans on.
    pub(crate) fn end(self, ended: &Ended<'_>) {
        let mut spans = Vec::with_capacity(1 + self.waits.len() + self.attempts.len());
        spans.push(self.request_span(ended));
        for (what, from, to) in &self.waits {
            let name = match what {
                WaitedFor::Limit => "wait for a limit",
                WaitedFor::Token => "wait for a token",
            };
            let times = Times { from: *from, to: *to, now: ended.now };
            let ids = self.ids.child(tracer::span_id());
            spans.push(SpanBuilder::new(ids, SpanKind::Internal, name.to_owned(), times).finish());
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            spans.push(self.attempt_span(index, attempt, ended));
        }
        self.tracer.record(spans);
    }

    fn request_span(&self, ended: &Ended<'_>) -> Span {
        let (method, other_method) = known(ended.method);
        let name = named(method, ended.route.as_deref());
        let times = Times { from: ended.began, to: ended.now.mono, now: ended.now };
        SpanBuilder::new(self.ids.clone(), SpanKind::Server, name, times)
            .text("http.request.method", Some(method))
            .text("http.request.method_original", other_method)
            .text("http.route", ended.route.as_deref())
            .text("url.path", ended.route.as_deref())
            .text("url.scheme", Some(if self.secure { "https" } else { "http" }))
            .number("http.response.status_code", ended.status.map(code))
            .text("error.type", ended.fault)
            .text("boxgate.request_id", Some(ended.request_id))
            .text("boxgate.app", ended.app)
            .text("boxgate.identity", ended.identity)
            .text("boxgate.answered_by", Some(ended.answered_by))
            .text("boxgate.code", ended.code)
            .text("boxgate.limit", ended.limit)
            .text("boxgate.end", Some(ended.end))
            .failed(ended.fault.is_some())
            .finish()
    }

    fn attempt_span(&self, index: usize, attempt: &Attempt, ended: &Ended<'_>) -> Span {
        let (method, other_method) = known(ended.method);
        let template = match (attempt.path, &ended.route) {
            (AttemptPath::Operation { under_api }, Some(route)) => {
                Some(format!("{}{route}", if under_api { "/api" } else { "" }))
            }
            (AttemptPath::Operation { .. }, None) | (AttemptPath::Presigned, _) => None,
        };
        let url = format!("https://{}{}", attempt.to, template.as_deref().unwrap_or("/*"));
        let (to, status, version, box_request_id, fault) = match &attempt.ended {
            Some((at, AttemptEnd::Answered { status, version, box_request_id })) => {
                let id = box_request_id.as_ref().and_then(|id| id.to_str().ok());
                // Of a client's span, each error status is a failure.
                let is_error = status.is_client_error() || status.is_server_error();
                let fault = is_error.then(|| status.as_str().to_owned());
                (*at, Some(*status), protocol(*version), id, fault)
            }
            Some((at, AttemptEnd::Failed(why))) => (*at, None, None, None, Some((*why).to_owned())),
            // It was broken off: by a time limit, or since the caller left or the gateway stopped.
            None => {
                let why = ended.code.or(ended.fault).unwrap_or(ended.end);
                (ended.now.mono, None, None, None, Some(why.to_owned()))
            }
        };
        let times = Times { from: attempt.began, to, now: ended.now };
        let ids = self.ids.child(attempt.span_id);
        let failed = fault.is_some();
        SpanBuilder::new(ids, SpanKind::Client, named(method, template.as_deref()), times)
            .text("http.request.method", Some(method))
            .text("http.request.method_original", other_method)
            .text("server.address", Some(attempt.to.host().trim_matches(['[', ']'])))
            .number("server.port", Some(attempt.to.port_u16().unwrap_or(443).into()))
            .text("url.full", Some(url))
            .text("url.template", template)
            .number("http.request.resend_count", i64::try_from(index).ok().filter(|count| *count > 0))
            .number("http.response.status_code", status.map(code))
            .text("network.protocol.version", version)
            .text("error.type", fault)
            .text("boxgate.box_request_id", box_request_id)
            .failed(failed)
            .finish()
    }
}

/// A method that is known, or `_OTHER` and what was sent.
fn known(method: &Method) -> (&'static str, Option<&str>) {
    match METHODS.iter().find(|known| **known == method.as_str()) {
        Some(known) => (known, None),
        None => ("_OTHER", Some(method.as_str())),
    }
}

fn named(method: &str, template: Option<&str>) -> String {
    let method = if method == "_OTHER" { "HTTP" } else { method };
    match template {
        Some(template) => format!("{method} {template}"),
        None => method.to_owned(),
    }
}

fn code(status: StatusCode) -> i64 {
    status.as_u16().into()
}

fn protocol(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
