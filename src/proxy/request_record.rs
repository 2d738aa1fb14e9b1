//! The record of one request. When it is dropped, even because the caller has left, it writes one access line and
//! counts the request once.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use jiff::Timestamp;

use crate::access::admission;
use crate::access::browser::Page;
use crate::access::caller::Caller;
use crate::access::cors::Reader;
use crate::http::host::Host;
use crate::http::{headers, host};
use crate::limits::limiter::Permit;
use crate::net::client_address::ClientAddress;
use crate::oauth::identity::IdentityId;
use crate::proxy::gateway::{Gateway, LocalGateway};
use crate::proxy::worker::Worker;
use crate::routing::app::AppId;
use crate::routing::box_hosts::Named;
use crate::routing::operation_class::Class;
use crate::routing::{box_hosts, route};
use crate::telemetry::log::LogFormat;
use crate::telemetry::metrics;
use crate::telemetry::metrics::{AnsweredBy, ClassLabel, Labels};
use crate::telemetry::repeats::Repeats;
use crate::upstream::request_body::Progress;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole response was passed to the caller.
    Complete,
    /// The caller left.
    CallerLeft,
    /// Box's response is incomplete or malformed.
    BoxBroke,
    /// The gateway stopped before the request was done.
    Stopped,
}

/// One request under way.
pub(crate) struct RequestRecord {
    worker: Rc<Worker>,
    /// The gateway with which it began, to which its `AppId` and `IdentityId` belong.
    gateway: LocalGateway,
    started: Instant,
    method: Method,
    uri: Uri,
    client: ClientAddress,
    request_id: HeaderValue,
    trace_id: Option<String>,
    app: Option<AppId>,
    identity: Option<IdentityId>,
    /// Of an operation that the app's rules let pass.
    class: Option<Class>,
    /// Logged instead of the path if the URL itself is a credential.
    template: Option<String>,
    from_page: bool,
    /// Who may read the response; `None` until that was checked. Before, the path of a page's request is not logged,
    /// since otherwise any web page could write to the log.
    reader: Option<Reader>,
    upload: Option<Rc<Progress>>,
    /// Bytes of a blind tunnel, from the caller.
    bytes_in: u64,
    bytes_out: u64,
    status: Option<StatusCode>,
    answered_by: AnsweredBy,
    code: Option<&'static str>,
    /// The limit or budget that refused.
    limit: Option<Arc<str>>,
    /// The limits and budgets with `enforce = false` that would have refused.
    shadow: String,
    box_time: Option<Duration>,
    waited: Duration,
    attempts: u32,
    /// The host of Box to which it was last sent.
    sent_to: Option<Authority>,
    /// Why the gateway answered with a 5xx.
    cause: Option<String>,
    end: End,
    left: bool,
}

impl RequestRecord {
    /// Begins the record of a request that has just arrived.
    pub(crate) fn begin(
        worker: Rc<Worker>,
        method: Method,
        uri: Uri,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Self {
        let gateway = worker.gateway();
        let secure = admission::uses_https(&gateway.config.trusted_proxies, caller, headers);
        let host = admission::authority(&uri, headers).ok().map(|(host, _)| host);
        // The target of a CONNECT is a host, which web pages cannot choose.
        let from_page = method != Method::CONNECT && Page::of(&method, headers, secure, host).is_one();
        Self {
            started: worker.clock().mono(),
            method,
            client: caller.peer.client,
            request_id: headers::request_id(headers),
            trace_id: worker.access().format().and_then(|_| headers::trace_id(headers)).map(str::to_owned),
            app: None,
            identity: None,
            class: None,
            template: match &caller.inside {
                None => match named(&gateway, &uri, headers) {
                    None => route::template(uri.path()),
                    Some(named) => route::template_at(&named, uri.path()),
                },
                Some(inside) => route::template_at(&inside.named, uri.path()),
            },
            from_page,
            reader: None,
            upload: None,
            bytes_in: 0,
            bytes_out: 0,
            status: None,
            answered_by: AnsweredBy::Gateway,
            code: None,
            limit: None,
            shadow: String::new(),
            box_time: None,
            waited: Duration::ZERO,
            attempts: 0,
            sent_to: None,
            cause: None,
            end: End::CallerLeft,
            left: false,
            uri,
            gateway,
            worker,
        }
    }

    /// The gateway with which the request began.
    pub(crate) fn gateway(&self) -> &LocalGateway {
        &self.gateway
    }

    /// The request id, returned to the caller as `X-Request-Id`.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The request id as text.
    pub(crate) fn request_id_text(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// Sets the client behind trusted proxies.
    pub(crate) fn set_client(&mut self, client: ClientAddress) {
        self.client = client;
    }

    /// Sets the chosen app and its identity.
    pub(crate) fn set_app(&mut self, app: AppId, identity: IdentityId) {
        (self.app, self.identity) = (Some(app), Some(identity));
    }

    /// Sets what is logged for the path, once the route is known; `None`: the path itself.
    pub(crate) fn set_template(&mut self, template: Option<String>) {
        self.template = template;
    }

    /// Sets the class of the operation, once the app's rules have let it pass.
    pub(crate) fn set_class(&mut self, class: Class) {
        self.class = Some(class);
    }

    /// Sets who may read the response.
    pub(crate) fn set_cors_reader(&mut self, reader: Reader) {
        self.reader = Some(reader);
    }

    /// Who may read the response.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone().unwrap_or(Reader::NoPage)
    }

    /// Sets where the bytes of the request's body are counted.
    pub(crate) fn set_upload(&mut self, upload: Option<&Rc<Progress>>) {
        self.upload = upload.cloned();
    }

    /// Sets the limit or budget that refused the request.
    pub(crate) fn refused_by(&mut self, limit: &Arc<str>) {
        self.limit = Some(limit.clone());
    }

    /// Sets the permit with which the request may go to Box.
    pub(crate) fn set_permit(&mut self, permit: &Permit) {
        self.waited += permit.waited;
        permit.shadow.iter().for_each(|limit| self.shadow(Some(limit)));
    }

    /// Adds a limit or budget with `enforce = false` that would have refused the request.
    pub(crate) fn shadow(&mut self, limit: Option<&str>) {
        if let Some(limit) = limit {
            if !self.shadow.is_empty() {
                self.shadow.push(',');
            }
            self.shadow.push_str(limit);
        }
    }

    /// Adds time spent waiting for a token or a turn.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Records an attempt to send the request to this host of Box.
    pub(crate) fn attempt(&mut self, to: &Authority) {
        self.attempts += 1;
        self.sent_to = Some(to.clone());
    }

    /// The host of Box to which it was last sent; empty if none.
    pub(crate) fn sent_to(&self) -> &str {
        self.sent_to.as_ref().map_or("", Authority::as_str)
    }

    /// Sets why the gateway answered with a 5xx.
    pub(crate) fn set_cause(&mut self, cause: String) {
        self.cause = Some(cause);
    }

    /// The identity with which the request goes to Box, once its app is known.
    pub(crate) fn identity_name(&self) -> Option<&str> {
        self.identity.and_then(|identity| self.gateway.identity_name(identity))
    }

    /// Limits repeated log messages.
    pub(crate) fn repeats(&self) -> &Repeats {
        self.worker.repeats()
    }

    /// Records Box's response; `after`: the time since the request was last sent.
    pub(crate) fn box_answered(&mut self, status: StatusCode, after: Duration) {
        self.status = Some(status);
        self.answered_by = AnsweredBy::Box;
        self.box_time = Some(after);
    }

    /// Records that Box's response is not passed on, or not yet: it is a redirect that is followed, or its body is
    /// searched or edited.
    pub(crate) fn held_back(&mut self) {
        (self.status, self.answered_by) = (None, AnsweredBy::Gateway);
    }

    /// Records that the head of Box's response goes to the caller now.
    pub(crate) fn passed_on(&mut self, status: StatusCode) {
        (self.status, self.answered_by) = (Some(status), AnsweredBy::Box);
    }

    /// Records a response of the gateway's own.
    pub(crate) fn gateway_answered(&mut self, status: StatusCode, code: Option<&'static str>) {
        (self.status, self.answered_by, self.code) = (Some(status), AnsweredBy::Gateway, code);
    }

    /// Adds bytes of the response's body that were passed to the caller.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Sets the bytes of a blind tunnel in both directions.
    pub(crate) fn relayed(&mut self, bytes_in: u64, bytes_out: u64) {
        (self.bytes_in, self.bytes_out) = (bytes_in, bytes_out);
    }

    /// Sets how the request ended. Without this call, it counts as left by the caller.
    pub(crate) fn ended(&mut self, end: End) {
        if !self.left {
            self.end = end;
        }
    }

    /// Records that the caller left during its request, so that the response that is made all the same does not count
    /// as its result.
    pub(crate) fn caller_left(&mut self) {
        self.ended(End::CallerLeft);
        self.left = true;
    }

    fn fields(&self, total: Duration) -> [Field<'_>; 20] {
        let gateway = &self.gateway;
        let text = |text: &'static str| Some(Value::Text(text));
        let by = self.answered_by.as_str();
        let is_hidden = self.from_page && self.reader.is_none();
        let path = if is_hidden { "-" } else { self.template.as_deref().unwrap_or(self.uri.path()) };
        [
            ("request_id", Some(Value::Text(self.request_id_text()))),
            ("trace_id", self.trace_id.as_deref().map(Value::Text)),
            ("client", Some(Value::Owned(self.client.to_string()))),
            ("app", self.app.and_then(|app| gateway.app_name(app)).map(Value::Text)),
            ("identity", self.identity_name().map(Value::Text)),
            ("method", Some(Value::Text(self.method.as_str()))),
            ("path", Some(Value::Text(path))),
            ("status", Some(Value::Number(u64::from(metrics::status(self.status))))),
            ("answered_by", text(by)),
            ("code", self.code.map(Value::Text)),
            ("cause", self.cause.as_deref().map(Value::Text)),
            ("limit", self.limit.as_deref().map(Value::Text)),
            ("would_refuse", Some(self.shadow.as_str()).filter(|shadow| !shadow.is_empty()).map(Value::Text)),
            (
                "end",
                text(match self.end {
                    End::Complete => "complete",
                    End::CallerLeft => "caller_left",
                    End::BoxBroke => "box_broke",
                    End::Stopped => "stopped",
                }),
            ),
            (
                "bytes_in",
                Some(Value::Number(self.upload.as_ref().map_or(self.bytes_in, |upload| upload.bytes()))),
            ),
            ("bytes_out", Some(Value::Number(self.bytes_out))),
            ("duration_ms", Some(Value::Millis(total))),
            ("box_ms", self.box_time.map(Value::Millis)),
            ("wait_ms", Some(Value::Millis(self.waited))),
            ("attempts", Some(Value::Number(u64::from(self.attempts)))),
        ]
    }
}

/// The host of Box that a request outside of a tunnel itself names. Whether it may is checked later.
fn named(gateway: &Gateway, uri: &Uri, headers: &HeaderMap) -> Option<Named> {
    gateway.forward_proxy.as_ref()?;
    let field = || headers.get(HOST)?.to_str().ok();
    let authority = uri.authority().map(Authority::as_str).or_else(field)?;
    let (host, _) = host::parse(authority)?;
    let Host::Name(name) = host else { return None };
    box_hosts::named(&gateway.config.hosts, name)
}

type Field<'a> = (&'static str, Option<Value<'a>>);

enum Value<'a> {
    Text(&'a str),
    Owned(String),
    Number(u64),
    Millis(Duration),
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let total = self.worker.clock().mono().saturating_duration_since(self.started);
        if self.end == End::CallerLeft && !self.left && self.worker.drain().is_cut_off() {
            self.end = End::Stopped;
            // No status was sent; this is what a new caller would get while the process stops.
            self.status.get_or_insert(StatusCode::SERVICE_UNAVAILABLE);
        }
        let labels = Labels::new(
            self.app.and_then(|app| self.gateway.app_label(app)),
            self.class.map(|class| ClassLabel(class as u8)),
            &self.method,
            metrics::status(self.status),
            self.answered_by,
        );
        self.worker.tally().request(labels, total, self.box_time);
        if let Some(code) = self.code {
            self.worker.tally().error(code);
        }
        match self.worker.access().format() {
            None => {}
            Some(LogFormat::Text) => self.worker.access().write(text_line(&self.fields(total))),
            Some(LogFormat::Json) => self.worker.access().write(json_line(&self.fields(total))),
        }
    }
}

/// `time access key=value …`; writing to a `String` cannot fail.
fn text_line(fields: &[Field<'_>]) -> String {
    let mut line = format!("{:.3} access", Timestamp::now());
    for (key, value) in fields {
        let _ = match value {
            None => Ok(()),
            Some(Value::Text(text)) => write!(line, " {key}={}", Escaped(text)),
            Some(Value::Owned(text)) => write!(line, " {key}={}", Escaped(text)),
            Some(Value::Number(number)) => write!(line, " {key}={number}"),
            Some(Value::Millis(time)) => write!(line, " {key}={:.3}", time.as_secs_f64() * 1e3),
        };
    }
    line.push('\n');
    line
}

fn json_line(fields: &[Field<'_>]) -> String {
    let mut line = format!("{{\"time\":\"{:.3}\",\"kind\":\"access\"", Timestamp::now());
    for (key, value) in fields {
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let _ = match value {
            None => Ok(()),
            Some(Value::Text(text)) => write!(line, ",\"{key}\":{}", quoted(text)),
            Some(Value::Owned(text)) => write!(line, ",\"{key}\":{}", quoted(text)),
            Some(Value::Number(number)) => write!(line, ",\"{key}\":{number}"),
            Some(Value::Millis(time)) => write!(line, ",\"{key}\":{:.3}", time.as_secs_f64() * 1e3),
        };
    }
    line.push_str("}\n");
    line
}

/// A value that cannot forge other fields: white space, quotes and control bytes are escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            f.write_str(self.0)
        } else {
            // The value is in double quotes, so a single quote needs no escape, and other parsers do not know `\'`.
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_field_or_a_line() {
        let line = text_line(&[("path", Some(Value::Text("/a status=200\n\x1b[31m\"")))]);
        assert_eq!(line.matches('\n').count(), 1);
        let quoted = text_line(&[("cause", Some(Value::Text("Box's host")))]);
        assert!(quoted.ends_with(" cause=\"Box's host\"\n"), "{quoted}");
        assert!(line.ends_with(" path=\"/a status=200\\n\\u{1b}[31m\\\"\"\n"), "{line}");
        let json = json_line(&[("path", Some(Value::Text("a\"\n")))]);
        assert!(json.ends_with(",\"path\":\"a\\\"\\n\"}\n"), "{json}");
    }
}
