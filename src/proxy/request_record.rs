//! The record of one request. When it is dropped, even because the caller has left, it writes one access line and
//! counts the request once.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

use crate::access::admission::{self, Admitted};
use crate::access::browser::Page;
use crate::access::caller::Caller;
use crate::access::cors::Reader;
use crate::http::headers::AS_USER;
use crate::http::host::Host;
use crate::http::{headers, host, trace_context};
use crate::limits::limiter::Permit;
use crate::net::client_address::ClientAddress;
use crate::net::clock::Moment;
use crate::net::secret_filter;
use crate::oauth::identity::IdentityId;
use crate::oauth::user::{is_id, is_login};
use crate::proxy::access_line::{self, Field, Value};
use crate::proxy::answer_ids::AnswerBeginning;
use crate::proxy::box_error::{self, BoxError, RequestId};
use crate::proxy::decision::Stages;
use crate::proxy::gateway::{Gateway, LocalGateway};
use crate::proxy::missing_scope;
use crate::proxy::request_trace::{self, AttemptPath, RequestTrace, WaitedFor};
use crate::proxy::worker::Worker;
use crate::routing::app::{App, AppId};
use crate::routing::box_hosts::Named;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use crate::routing::operation_policy::OperationPolicy;
use crate::routing::route::{Access, Destination};
use crate::routing::{box_hosts, operation_template, route};
use crate::telemetry::labels::{self, AnsweredBy, ClassLabel, Labels};
use crate::telemetry::recent_requests::{Facts, LONGEST, Text};
use crate::telemetry::repeats::Repeats;
use crate::upstream::request_body::Progress;

mod audited; // its audit line

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

/// The path of an operation.
#[derive(Debug, Clone, Copy)]
enum OperationPath {
    /// The request's path from this byte on.
    From(usize),
    /// This template, since the path is a credential.
    Template(&'static str),
}

/// The most characters of `User-Agent` that are logged: those of browsers have fewer.
const LONGEST_USER_AGENT: usize = 256;

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
    /// `None` if it is not traced.
    trace: Option<Box<RequestTrace>>,
    /// `None` also if the request is neither logged nor kept.
    user_agent: Option<HeaderValue>,
    app: Option<AppId>,
    identity: Option<IdentityId>,
    /// Once the path is known to be read in one way only.
    operation: Option<OperationPath>,
    /// Of an operation that the app's rules let pass.
    class: Option<Class>,
    /// The id of the user as whom it acts; of a request that is refused, the id or login in `As-User`.
    as_user: Option<Box<str>>,
    /// Logged instead of the path if the URL itself is a credential.
    template: Option<String>,
    /// Whether a web page sent it, or may have; `None` until that is known.
    from_page: Option<bool>,
    /// Its destination is known, and with it `template`.
    is_routed: bool,
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
    /// The pattern of `deny` that refused.
    rule: Option<Box<str>>,
    /// What Box said in the last answer, if that is an error.
    box_error: BoxError,
    /// The limit or budget that refused.
    limit: Option<Arc<str>>,
    /// The limits and budgets with `enforce = false` that would have refused.
    shadow: String,
    box_time: Option<Duration>,
    waited_for_limit: Duration,
    waited_for_token: Duration,
    /// What it waits for, and since when.
    waiting: Option<(WaitedFor, Instant)>,
    /// When the head of Box's last answer came.
    head_at: Option<Instant>,
    /// Of Box's answer to the last attempt.
    box_request_id: Option<RequestId>,
    /// Of the same answer, whether or not the caller gets it.
    box_status: Option<StatusCode>,
    /// The beginning of Box's answer, for the audit log.
    answer: Option<Box<AnswerBeginning>>,
    attempts: u32,
    /// The host of Box to which it was last sent.
    sent_to: Option<Authority>,
    /// Why the gateway answered with a 5xx.
    cause: Option<String>,
    end: End,
    left: bool,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CallerLeft => "caller_left",
            Self::BoxBroke => "box_broke",
            Self::Stopped => "stopped",
        }
    }
}

impl RequestRecord {
    /// Begins the record of a request that has just arrived. On the heap, since it moves with the response from hand to
    /// hand.
    pub(crate) fn begin(
        worker: Rc<Worker>,
        method: Method,
        uri: Uri,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Box<Self> {
        let gateway = worker.gateway();
        let trace = gateway.tracer.as_ref().and_then(|tracer| {
            let secure = admission::uses_https(&gateway.config.trusted_proxies, caller, headers);
            RequestTrace::begin(tracer, headers, secure)
        });
        let trace_id = || match &trace {
            Some(trace) => Some(trace_context::trace_id_text(trace.trace_id())),
            None => trace_context::trace_id(headers),
        };
        let is_told = worker.access().format().is_some() || gateway.config.recent_requests > 0;
        Box::new(Self {
            started: worker.clock().mono(),
            method,
            client: caller.peer.client,
            request_id: headers::request_id(headers),
            trace_id: is_told.then(trace_id).flatten(),
            trace,
            user_agent: if is_told { headers.get(USER_AGENT).cloned() } else { None },
            app: None,
            identity: None,
            operation: None,
            class: None,
            as_user: None,
            template: None,
            from_page: None,
            is_routed: false,
            reader: None,
            upload: None,
            bytes_in: 0,
            bytes_out: 0,
            status: None,
            answered_by: AnsweredBy::Gateway,
            code: None,
            rule: None,
            box_error: BoxError::default(),
            limit: None,
            shadow: String::new(),
            box_time: None,
            waited_for_limit: Duration::ZERO,
            waited_for_token: Duration::ZERO,
            waiting: None,
            head_at: None,
            box_request_id: None,
            box_status: None,
            answer: None,
            attempts: 0,
            sent_to: None,
            cause: None,
            end: End::CallerLeft,
            left: false,
            uri,
            gateway,
            worker,
        })
    }

    /// Looks at the head for what the stages of the decision have not found out, since it ended before them: whether a web
    /// page sent the request, and what is logged instead of a path that may be a credential.
    pub(crate) fn look_at_head(&mut self, caller: &Caller, head: &Parts) {
        if self.from_page.is_none() {
            let secure = admission::uses_https(&self.gateway.config.trusted_proxies, caller, &head.headers);
            let host = admission::authority(&head.uri, &head.headers).ok().map(|(host, _)| host);
            let page = Page::of(&head.method, &head.headers, secure, host);
            // The target of a CONNECT is a host, which web pages cannot choose.
            self.from_page = Some(head.method != Method::CONNECT && page.is_one());
        }
        if !self.is_routed {
            let path = head.uri.path();
            self.template = match &caller.inside {
                None => match named(&self.gateway, &head.uri, &head.headers) {
                    None => route::template(path),
                    Some(named) => route::template_at(&named, path),
                },
                Some(inside) => route::template_at(&inside.named, path),
            };
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

    /// Sets the class of the operation, once the app's rules have let it pass.
    pub(crate) fn set_class(&mut self, class: Class) {
        self.class = Some(class);
    }

    /// Who may read the response.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone().unwrap_or(Reader::NoPage)
    }

    /// Sets where the bytes of the request's body are counted.
    pub(crate) fn set_upload(&mut self, upload: Option<&Rc<Progress>>) {
        self.upload = upload.cloned();
    }

    /// Sets the pattern of `deny` that refused the request.
    pub(crate) fn set_rule(&mut self, pattern: &str) {
        self.rule = Some(pattern.into());
    }

    /// Records the head of an error of Box, whether or not the caller will get it.
    pub(crate) fn box_refused(&mut self, headers: &HeaderMap) {
        self.box_error = BoxError::of_head(headers);
    }

    /// Adds what the body of an error of Box says of itself.
    pub(crate) fn add_box_error(&mut self, of_body: BoxError) {
        self.box_error.add_body(of_body);
    }

    /// Sets the limit or budget that refused the request.
    pub(crate) fn refused_by(&mut self, limit: &Arc<str>) {
        self.limit = Some(limit.clone());
    }

    /// Sets the permit with which the request may go to Box.
    pub(crate) fn set_permit(&mut self, permit: &Permit) {
        self.waiting = None;
        self.add_wait(WaitedFor::Limit, permit.waited);
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

    /// Awaits what may keep the request waiting for this. A wait that ends with a refusal, or with the request, is recorded;
    /// one that ends well is for [`Self::set_permit`] and [`Self::waited_for_token`] to record. Takes a pinned future, since
    /// otherwise its state would be stored twice.
    pub(crate) async fn waiting<T>(
        &mut self,
        what: WaitedFor,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            // The clock is read only if it waits: few requests do.
            if polled.is_pending() && self.waiting.is_none() {
                self.waiting = Some((what, self.worker.clock().mono()));
            }
            polled
        })
        .await
    }

    /// Adds the time spent waiting for a token, if there was any.
    pub(crate) fn waited_for_token(&mut self) {
        self.end_wait();
    }

    /// Adds the wait that goes on, if there is one.
    fn end_wait(&mut self) {
        if let Some((what, since)) = self.waiting.take() {
            self.add_wait(what, self.worker.clock().mono().saturating_duration_since(since));
        }
    }

    fn add_wait(&mut self, what: WaitedFor, time: Duration) {
        match what {
            WaitedFor::Limit => self.waited_for_limit += time,
            WaitedFor::Token => self.waited_for_token += time,
        }
        if let Some(trace) = &mut self.trace {
            trace.waited(what, self.worker.clock().mono(), time);
        }
    }

    /// Records an attempt to send the request to this host of Box. `fields`: those that are sent.
    pub(crate) fn attempt(&mut self, to: &Authority, path: AttemptPath, fields: &mut HeaderMap) {
        self.attempts += 1;
        self.box_error = BoxError::default();
        (self.box_request_id, self.box_status) = (None, None);
        self.sent_to = Some(to.clone());
        if let Some(trace) = &mut self.trace {
            trace.attempt(to, path, self.worker.clock().mono(), fields);
        }
    }

    /// Records the head of Box's answer to the last attempt.
    pub(crate) fn attempt_answered<B>(&mut self, response: &Response<B>) {
        self.box_status = Some(response.status());
        if self.is_kept() || self.worker.audit().is_some() {
            self.box_request_id = box_error::request_id(response.headers());
        }
        if let Some(trace) = &mut self.trace {
            trace.answered(self.worker.clock().mono(), response);
        }
    }

    /// Records that the last attempt has failed. `why`: the code of the error that the caller would get for it.
    pub(crate) fn attempt_failed(&mut self, why: &'static str) {
        if let Some(trace) = &mut self.trace {
            trace.failed(self.worker.clock().mono(), why);
        }
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

    /// Records Box's response to the request that was last sent at this time.
    pub(crate) fn box_answered(&mut self, status: StatusCode, sent: Instant) {
        let now = self.worker.clock().mono();
        let after = now.saturating_duration_since(sent);
        self.head_at = Some(now);
        self.status = Some(status);
        self.answered_by = AnsweredBy::Box;
        self.box_time = Some(after);
        if let Some(to) = &self.sent_to {
            self.worker.tally().box_answered(self.gateway.host_label(to), after);
        }
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
        self.end_wait();
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

    /// Box refused the request for a missing scope.
    fn tell_missing_scope(&self) {
        let refused = missing_scope::Refused {
            app: self.app.and_then(|app| self.gateway.app_name(app)).unwrap_or_default(),
            identity: self.identity_name().unwrap_or_default(),
            downscope: self.identity.and_then(|identity| self.gateway.downscope(identity)),
            operation: &self.operation().unwrap_or_default(),
            request_id: self.request_id_text(),
        };
        missing_scope::log(self.repeats(), &refused);
    }

    /// Method and template, such as `GET /2.0/files/*`.
    fn operation(&self) -> Option<String> {
        let method = self.method.as_str();
        let mut text = String::with_capacity(method.len() + 1 + self.uri.path().len());
        text.push_str(method);
        text.push(' ');
        self.push_route(&mut text)?;
        Some(text)
    }

    /// The template of the operation's path, such as `/2.0/files/*`.
    fn route(&self) -> Option<String> {
        let mut text = String::with_capacity(self.uri.path().len());
        self.push_route(&mut text)?;
        Some(text)
    }

    fn push_route(&self, text: &mut String) -> Option<()> {
        match self.operation? {
            OperationPath::Template(template) => text.push_str(template),
            OperationPath::From(byte) => operation_template::push(self.uri.path().get(byte..)?, text),
        }
        Some(())
    }

    /// Passes the spans on.
    fn end_trace(&self, trace: RequestTrace, now: Moment) {
        let fault = match (self.end, &self.status) {
            (End::BoxBroke | End::Stopped, _) => Some(self.end.as_str()),
            (_, Some(status)) if status.is_server_error() => {
                Some(self.code.unwrap_or_else(|| status.as_str()))
            }
            _ => None,
        };
        trace.end(&request_trace::Ended {
            now,
            began: self.started,
            method: &self.method,
            route: self.route(),
            status: self.status,
            fault,
            end: self.end.as_str(),
            answered_by: self.answered_by.as_str(),
            code: self.code,
            app: self.app.and_then(|app| self.gateway.app_name(app)),
            identity: self.identity_name(),
            limit: self.limit.as_deref(),
            request_id: self.request_id_text(),
        });
    }

    /// Whether path and `User-Agent` are kept out of the log: see `reader`.
    fn is_hidden(&self) -> bool {
        self.from_page != Some(false) && self.reader.is_none()
    }

    /// The path, or what stands for one that is a credential or must not be logged.
    fn path(&self) -> &str {
        if self.is_hidden() { "-" } else { self.template.as_deref().unwrap_or(self.uri.path()) }
    }

    /// Whether it is kept for operators once it has ended.
    fn is_kept(&self) -> bool {
        self.gateway.config.recent_requests > 0
    }

    /// Keeps it for operators.
    fn keep(&self, total: Duration, now: Moment) {
        let path = self.path();
        let operation_at = match self.operation {
            Some(OperationPath::From(byte)) if path.len() <= LONGEST => u16::try_from(byte).ok(),
            _ => None,
        };
        // Of a path that is cut, the template is made from all of it.
        let operation = self.operation.filter(|_| operation_at.is_none()).and_then(|_| self.route());
        let body_time = self.head_at.filter(|_| self.answered_by == AnsweredBy::Box);
        let facts = Facts {
            ended: now,
            client: self.client,
            status: labels::status(self.status),
            answered_by: self.answered_by,
            code: self.code,
            end: self.end.as_str(),
            class: self.class.map(|class| ClassLabel(class as u8)),
            operation_at,
            attempts: self.attempts,
            bytes_in: self.upload.as_ref().map_or(self.bytes_in, |upload| upload.bytes()),
            bytes_out: self.bytes_out,
            total,
            waited_for_limit: self.waited_for_limit,
            waited_for_token: self.waited_for_token,
            box_time: self.box_time,
            body_time: body_time.map(|head| now.mono.saturating_duration_since(head)),
        };
        self.worker.recent().write(facts, |texts| {
            texts.set(Text::RequestId, self.request_id.as_bytes());
            texts.set(Text::TraceId, bytes(self.trace_id.as_deref()));
            if let Some(user_agent) = self.user_agent.as_ref().filter(|_| !self.is_hidden()) {
                texts.set(Text::UserAgent, user_agent.as_bytes());
            }
            texts.set(Text::App, bytes(self.app.and_then(|app| self.gateway.app_name(app))));
            texts.set(Text::Identity, bytes(self.identity_name()));
            texts.set(Text::AsUser, bytes(self.as_user.as_deref()));
            texts.set(Text::Method, self.method.as_str().as_bytes());
            texts.set(Text::Path, path.as_bytes());
            texts.set(Text::Operation, bytes(operation.as_deref()));
            texts.set(Text::Rule, bytes(self.rule.as_deref()));
            texts.set(Text::BoxCode, bytes(self.box_error.code.as_deref()));
            match &self.box_error.request_id {
                Some(id) => texts.set(Text::BoxRequestId, id.as_bytes()),
                None => {
                    let id = self.box_request_id.as_ref().map(RequestId::as_bytes);
                    texts.set(Text::BoxRequestId, id.unwrap_or_default());
                }
            }
            texts.set(Text::Cause, bytes(self.cause.as_deref()));
            texts.set(Text::Limit, bytes(self.limit.as_deref()));
            texts.set(Text::WouldRefuse, self.shadow.as_bytes());
            texts.set(Text::Host, self.sent_to().as_bytes());
        });
    }

    fn fields(&self, total: Duration) -> [Field<'_>; 26] {
        let gateway = &self.gateway;
        let text = |text: &'static str| Some(Value::Text(text));
        let by = self.answered_by.as_str();
        [
            ("request_id", Some(Value::Text(self.request_id_text()))),
            ("trace_id", self.trace_id.as_deref().map(Value::Text)),
            ("client", Some(Value::Client(self.client))),
            ("user_agent", self.user_agent.as_ref().filter(|_| !self.is_hidden()).map(bounded)),
            ("app", self.app.and_then(|app| gateway.app_name(app)).map(Value::Text)),
            ("identity", self.identity_name().map(Value::Text)),
            ("as_user", self.as_user.as_deref().map(Value::Text)),
            ("method", Some(Value::Text(self.method.as_str()))),
            ("path", Some(Value::Text(self.path()))),
            ("operation", self.operation().map(Value::Owned)),
            ("status", Some(Value::Number(u64::from(labels::status(self.status))))),
            ("answered_by", text(by)),
            ("code", self.code.map(Value::Text)),
            ("rule", self.rule.as_deref().map(Value::Text)),
            ("box_code", self.box_error.code.as_deref().map(Value::Text)),
            ("box_request_id", self.box_error.request_id.as_deref().map(Value::Text)),
            ("cause", self.cause.as_deref().map(Value::Text)),
            ("limit", self.limit.as_deref().map(Value::Text)),
            ("would_refuse", Some(self.shadow.as_str()).filter(|shadow| !shadow.is_empty()).map(Value::Text)),
            ("end", text(self.end.as_str())),
            (
                "bytes_in",
                Some(Value::Number(self.upload.as_ref().map_or(self.bytes_in, |upload| upload.bytes()))),
            ),
            ("bytes_out", Some(Value::Number(self.bytes_out))),
            ("duration_ms", Some(Value::Millis(total))),
            ("box_ms", self.box_time.map(Value::Millis)),
            ("wait_ms", Some(Value::Millis(self.waited_for_limit + self.waited_for_token))),
            ("attempts", Some(Value::Number(u64::from(self.attempts)))),
        ]
    }
}

/// What the stages of the decision found, as access lines and metrics show it.
impl Stages for RequestRecord {
    fn client(&mut self, client: ClientAddress) {
        self.client = client;
    }

    fn admitted(&mut self, _: &Admitted<'_>, page: Page<'_>) {
        self.from_page = Some(page.is_one());
    }

    fn asks_for_tunnel(&mut self, authority: &str) {
        self.template = Some(authority.to_owned());
    }

    /// Called once at most: the request counts as under way for this app from here on.
    fn chosen(&mut self, id: AppId, app: &App) {
        (self.app, self.identity) = (Some(id), Some(app.identity));
        if let Some(label) = self.gateway.app_label(id) {
            self.worker.tally().begins(label);
        }
    }

    fn page(&mut self, reader: Reader) {
        self.reader = Some(reader);
    }

    fn routed(&mut self, to: &Destination<'_>) {
        (self.template, self.is_routed) = (to.template(), true);
    }

    fn judging(&mut self, _: &OperationPolicy, _: Operation<'_>, to: &Destination<'_>) {
        self.operation = match to.operation_template() {
            Some(template) => Some(OperationPath::Template(template)),
            // It is the end of the path, without the app's and `/api`.
            None => {
                self.uri.path().strip_suffix(to.operation).map(|before| OperationPath::From(before.len()))
            }
        };
    }

    fn allowed(&mut self, _: &App, head: &Parts, to: &Destination<'_>) {
        if to.access == Access::Token {
            let user = headers::find(&head.headers, &AS_USER).and_then(|user| user.to_str().ok());
            // Any other text in the field is not logged.
            self.as_user = user.filter(|user| is_id(user) || is_login(user)).map(Into::into);
        }
    }

    fn acts_as(&mut self, user: &str) {
        if self.as_user.as_deref() != Some(user) {
            self.as_user = Some(user.into());
        }
        if let Some(label) = self.app.and_then(|app| self.gateway.app_label(app)) {
            self.worker.tally().acts_as_user(label);
        }
    }
}

/// A value that callers choose, of at most [`LONGEST_USER_AGENT`] characters.
fn bounded(value: &HeaderValue) -> Value<'_> {
    match value.to_str() {
        Ok(text) if text.len() <= LONGEST_USER_AGENT => Value::Text(text),
        _ => {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Value::Owned(secret_filter::shortened(text, LONGEST_USER_AGENT))
        }
    }
}

fn bytes(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
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

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = self.worker.clock().mono();
        let total = now.saturating_duration_since(self.started);
        self.end_wait();
        let status = self.status;
        if self.end == End::CallerLeft && !self.left && self.worker.drain().is_cut_off() {
            self.end = End::Stopped;
            // No status was sent; this is what a new caller would get while the process stops.
            self.status.get_or_insert(StatusCode::SERVICE_UNAVAILABLE);
        }
        let app = self.app.and_then(|app| self.gateway.app_label(app));
        if let Some(app) = app
            && self.status == Some(StatusCode::FORBIDDEN)
            && self.answered_by == AnsweredBy::Box
            && self.box_error.is_of_scope()
        {
            self.worker.tally().scope_refused(app);
            self.tell_missing_scope();
        }
        let labels = Labels::new(
            app,
            self.class.map(|class| ClassLabel(class as u8)),
            &self.method,
            labels::status(self.status),
            self.answered_by,
        );
        self.worker.tally().request(labels, total, self.box_time);
        if let Some(code) = self.code {
            self.worker.tally().error(code);
        }
        let access = self.worker.access();
        if let Some(format) = access.format() {
            access.write(access_line::line(format, &self.fields(total)));
        }
        if let Some(log) = self.worker.audit() {
            self.audit(log, status);
        }
        if self.is_kept() {
            self.keep(total, Moment { mono: now, wall: self.worker.clock().wall() });
        }
        if let Some(trace) = self.trace.take() {
            self.end_trace(*trace, self.worker.clock().now());
        }
    }
}
