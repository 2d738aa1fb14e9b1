//! The record of one request. It writes itself when it is dropped, also when the caller hangs up halfway: one access
//! line, one count.

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
use crate::routing::{box_hosts, route};
use crate::telemetry::log::LogFormat;
use crate::telemetry::metrics;
use crate::telemetry::metrics::{AnsweredBy, Labels};
use crate::telemetry::repeats::Repeats;
use crate::upstream::request_body::Progress;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole answer was handed on.
    Complete,
    /// The caller hung up.
    CallerLeft,
    /// Box broke off its answer.
    BoxBroke,
    /// The gateway stopped before the request was done.
    Stopped,
}

/// One request under way.
pub(crate) struct RequestRecord {
    worker: Rc<Worker>,
    /// The one it began with: its app's and identity's numbers are of this one.
    gateway: LocalGateway,
    started: Instant,
    method: Method,
    uri: Uri,
    client: ClientAddress,
    request_id: HeaderValue,
    trace_id: Option<String>,
    app: Option<AppId>,
    identity: Option<IdentityId>,
    /// Logged instead of the path, where the URL itself is a credential.
    template: Option<String>,
    from_page: bool,
    /// Who may read the answer; `None` before that was judged. Until then the path of a page's request is not logged:
    /// any page would have the log to write to.
    reader: Option<Reader>,
    upload: Option<Rc<Progress>>,
    /// Of a blind tunnel.
    bytes_in: u64,
    bytes_out: u64,
    status: Option<StatusCode>,
    answered_by: AnsweredBy,
    code: Option<&'static str>,
    /// The limit or budget that refused.
    limit: Option<Arc<str>>,
    /// Those that would have refused, were they enforced.
    shadow: String,
    box_time: Option<Duration>,
    waited: Duration,
    attempts: u32,
    /// To which host of Box it was last sent.
    sent_to: Option<Authority>,
    /// Why the gateway had to answer with a 5xx.
    cause: Option<String>,
    end: End,
    left: bool,
}

impl RequestRecord {
    /// Begins the record of a request that has just come.
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
        // The target of a CONNECT is a host, which no page chooses.
        let from_page = method != Method::CONNECT && Page::of(&method, headers, secure, host).is_one();
        Self {
            started: worker.clock().mono(),
            method,
            client: caller.peer.client,
            request_id: headers::request_id(headers),
            trace_id: worker.access().format().and_then(|_| headers::trace_id(headers)).map(str::to_owned),
            app: None,
            identity: None,
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

    /// The one that the request began with.
    pub(crate) fn gateway(&self) -> &LocalGateway {
        &self.gateway
    }

    /// Returned to the caller as `X-Request-Id`.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The same as text.
    pub(crate) fn request_id_text(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The client behind trusted proxies.
    pub(crate) fn set_client(&mut self, client: ClientAddress) {
        self.client = client;
    }

    /// The app was chosen.
    pub(crate) fn set_app(&mut self, app: AppId, identity: IdentityId) {
        (self.app, self.identity) = (Some(app), Some(identity));
    }

    /// Where the path leads is known: what stands for it in the log, `None` for itself.
    pub(crate) fn set_template(&mut self, template: Option<String>) {
        self.template = template;
    }

    /// It was judged who may read the answer.
    pub(crate) fn set_cors_reader(&mut self, reader: Reader) {
        self.reader = Some(reader);
    }

    /// Who may read the answer.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone().unwrap_or(Reader::NoPage)
    }

    /// Where the bytes of the request's body are counted.
    pub(crate) fn set_upload(&mut self, upload: Option<&Rc<Progress>>) {
        self.upload = upload.cloned();
    }

    /// A limit or budget said no.
    pub(crate) fn refused_by(&mut self, limit: &Arc<str>) {
        self.limit = Some(limit.clone());
    }

    /// It may go to Box.
    pub(crate) fn set_permit(&mut self, permit: &Permit) {
        self.waited += permit.waited;
        permit.shadow.iter().for_each(|limit| self.shadow(Some(limit)));
    }

    /// A limit or budget would have said no, were it enforced.
    pub(crate) fn shadow(&mut self, limit: Option<&str>) {
        if let Some(limit) = limit {
            if !self.shadow.is_empty() {
                self.shadow.push(',');
            }
            self.shadow.push_str(limit);
        }
    }

    /// Time was spent on waiting for a token or a turn.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// The request is sent to this host of Box.
    pub(crate) fn attempt(&mut self, to: &Authority) {
        self.attempts += 1;
        self.sent_to = Some(to.clone());
    }

    /// To which host of Box it was last sent; empty: to none.
    pub(crate) fn sent_to(&self) -> &str {
        self.sent_to.as_ref().map_or("", Authority::as_str)
    }

    /// Why the gateway had to answer with a 5xx.
    pub(crate) fn set_cause(&mut self, cause: String) {
        self.cause = Some(cause);
    }

    /// As whom the request goes to Box, once its app is known.
    pub(crate) fn identity_name(&self) -> Option<&str> {
        self.identity.and_then(|identity| self.gateway.identity_name(identity))
    }

    /// What would fill the log.
    pub(crate) fn repeats(&self) -> &Repeats {
        self.worker.repeats()
    }

    /// Box answered, so long after the request was last sent.
    pub(crate) fn box_answered(&mut self, status: StatusCode, after: Duration) {
        self.status = Some(status);
        self.answered_by = AnsweredBy::Box;
        self.box_time = Some(after);
    }

    /// What Box answered is not passed on, or not yet: it is a redirect that is followed, or it is looked into.
    pub(crate) fn held_back(&mut self) {
        (self.status, self.answered_by) = (None, AnsweredBy::Gateway);
    }

    /// The head of Box's answer goes to the caller now.
    pub(crate) fn passed_on(&mut self, status: StatusCode) {
        (self.status, self.answered_by) = (Some(status), AnsweredBy::Box);
    }

    /// The gateway answers itself.
    pub(crate) fn gateway_answered(&mut self, status: StatusCode, code: Option<&'static str>) {
        (self.status, self.answered_by, self.code) = (Some(status), AnsweredBy::Gateway, code);
    }

    /// Bytes of the answer's body were handed on.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Bytes of a blind tunnel were handed on, in either direction.
    pub(crate) fn relayed(&mut self, bytes_in: u64, bytes_out: u64) {
        (self.bytes_in, self.bytes_out) = (bytes_in, bytes_out);
    }

    /// How it ended; the caller's leaving is what holds without a word.
    pub(crate) fn ended(&mut self, end: End) {
        if !self.left {
            self.end = end;
        }
    }

    /// The caller left in the middle of its request: what it is answered all the same is not what came of it.
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

/// The host of Box that a request names itself outside of a tunnel. It is not judged yet whether it may.
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
            // No status was sent; this is what a caller that comes too late would get.
            self.status.get_or_insert(StatusCode::SERVICE_UNAVAILABLE);
        }
        let labels = Labels::new(
            self.app.and_then(|app| self.gateway.app_label(app)),
            &self.method,
            metrics::status(self.status),
            self.answered_by,
        );
        self.worker.tally().request(labels, total, self.box_time);
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

/// A value that cannot break out of its field: white space, quotes and control bytes are escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            f.write_str(self.0)
        } else {
            // Its quotes are double: a single one needs no escape, and `\'` would be none in other readers' eyes.
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
