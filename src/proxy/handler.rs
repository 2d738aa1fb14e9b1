//! The path of a request, on one screen.
//!
//! [`serve`] cannot fail: only it turns a refusal into a response. [`answer`] is the path itself; each stage is in the
//! module of its name and returns what the next one needs. What the head alone decides is in [`decision`].

use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use tracing::{debug, warn};

use crate::access::admission;
use crate::access::caller::Caller;
use crate::access::cors;
use crate::http::error::Refusal;
use crate::http::headers::{self, REQUEST_ID};
use crate::http::incoming_body::IncomingBody;
use crate::limits::pauses;
use crate::net::connection_limit::OpenConnection;
use crate::net::peer::Here;
use crate::proxy::connect::{self, Tunnel};
use crate::proxy::decision::{self, Decision, ForBox, OwnAnswer};
use crate::proxy::error_answer::{self, ErrorBody};
use crate::proxy::follow_redirect;
use crate::proxy::forward::Forwarder;
use crate::proxy::gateway::{Gateway, LocalGateway};
use crate::proxy::local_response;
use crate::proxy::refused_origin;
use crate::proxy::request_record::RequestRecord;
use crate::proxy::request_trace::WaitedFor;
use crate::proxy::response_body::{Answer, Source, Stream};
use crate::proxy::rewrite::json_stream::Node;
use crate::proxy::rewrite::{self, Base, Rewriter};
use crate::proxy::upstream_request::{self, UpstreamRequest};
use crate::proxy::worker::Worker;
use crate::routing::app::Redirects;
use crate::upstream::host_pool::Lease;

/// The result of a request.
pub(crate) struct Served {
    pub response: Response<Answer>,
    /// Set after a successful CONNECT: from now on the connection or stream is a tunnel.
    pub tunnel: Option<Opened>,
}

/// A tunnel, and the record that ends with it.
pub(crate) struct Opened {
    /// The tunnel's target.
    pub tunnel: Tunnel,
    /// The record of a blind tunnel; in one to Box each request has its own.
    pub record: Option<Box<RequestRecord>>,
    /// Counts the tunnel against the limit of callers' connections, if it is a stream of HTTP/2.
    pub counted: Option<OpenConnection>,
}

/// Answers one request. Not an `async fn`: its state would hold each argument twice, as it came and as it is used.
pub(crate) fn serve(
    worker: Rc<Worker>,
    caller: Caller,
    request: Request<IncomingBody>,
) -> impl Future<Output = Served> {
    let method = request.method().clone();
    // If a proxy in front uses a Content-Length beside Transfer-Encoding, the bytes after the body are not a request
    // (RFC 9112 §6.3). hyper has removed that field, so every connection with Transfer-Encoding ends.
    let mut ends = request.headers().contains_key(TRANSFER_ENCODING);
    let mut record = RequestRecord::begin(
        worker.clone(),
        method.clone(),
        request.uri().clone(),
        request.headers(),
        &caller,
    );
    let request_id = record.request_id().clone();
    // Bytes after a refused CONNECT were meant for the tunnel and must not be read as a request.
    let is_http1 = request.version() < Version::HTTP_2;
    let may_end = method == Method::CONNECT && is_http1;
    let (head, body) = request.into_parts();
    async move {
        let answered = answer(&worker, &caller, &head, body, &mut record).await;
        let mut opened = None;
        let reader = record.reader();
        let mut response = match answered {
            Ok(Answered::Box(response, stream)) => {
                response.map(|body| Answer::streamed(body, record, stream))
            }
            Ok(Answered::Gateway(response)) => {
                record.gateway_answered(response.status(), None);
                own(response, &method, record)
            }
            Ok(Answered::Tunnel(tunnel, counted)) => {
                record.gateway_answered(StatusCode::OK, None);
                let response = local_response::tunnel_opened();
                let (response, record) = match tunnel {
                    Tunnel::Box(_) => (own(response, &method, record), None),
                    Tunnel::Blind(..) => (response.map(|_| Answer::begin_of_tunnel()), Some(record)),
                };
                opened = Some(Opened { tunnel, record, counted });
                response
            }
            Err(refusal) => {
                ends |= may_end;
                let base = help_base(record.gateway(), &caller, &head);
                if refusal == Refusal::OriginNotAllowed {
                    refused_origin::log(worker.process(), record.gateway(), &caller, &head);
                }
                let (mut response, record) = refuse(&refusal, &base, record);
                // Programs do not show the body of a response to CONNECT, so the reason phrase has the message.
                if may_end && let Ok(words) = ReasonPhrase::try_from(refusal.message().into_bytes()) {
                    response.extensions_mut().insert(words);
                }
                own(response, &method, record)
            }
        };
        // The gateway's own version (RFC 9110 §6.2), not Box's: hyper would close the connection after a response of
        // HTTP/1.0. A caller of HTTP/1.0 gets its own version all the same.
        *response.version_mut() = Version::HTTP_11;
        response.headers_mut().insert(REQUEST_ID, request_id);
        cors::mark(response.headers_mut(), reader);
        // During drain_delay a balancer may still send requests. If it kept the connection, it could send one at the moment
        // at which the gateway closes it, and that request would be lost. A CONNECT that was accepted goes on as a tunnel.
        ends |= is_http1 && opened.is_none() && worker.process().draining.load(Ordering::Relaxed);
        if ends {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Served { response, tunnel: opened }
    }
}

/// The kind of response.
enum Answered {
    Box(Response<Source>, Stream),
    Gateway(Response<Bytes>),
    /// No response of Box or the gateway: a tunnel begins.
    Tunnel(Tunnel, Option<OpenConnection>),
}

async fn answer(
    worker: &Rc<Worker>,
    caller: &Caller,
    head: &Parts,
    body: IncomingBody,
    record: &mut RequestRecord,
) -> Result<Answered, Refusal> {
    let gateway = record.gateway().clone();
    let config = &gateway.config;
    if head.method == Method::CONNECT {
        record.look_at_head(caller, head);
        // Boxed, since few requests come here, but all would store the state of this future.
        let (tunnel, counted) =
            Box::pin(connect::open(&gateway, worker.connection_limit(), caller, head, record)).await?;
        return Ok(Answered::Tunnel(tunnel, counted));
    }
    // Caller, app, web page, route, rules, As-User: all that the head alone decides.
    let decided = decision::decide(config, Some(&gateway.logins), caller, head, record);
    if !matches!(decided, Ok(Decision::Box(_))) {
        record.look_at_head(caller, head);
    }
    let ForBox { admitted, app, to, request } = match decided? {
        Decision::Box(for_box) => for_box,
        Decision::Own(own) => return own_answer(own, &gateway, head).map(Answered::Gateway),
    };
    record.set_class(request.class);
    let mut upload = upstream_request::upload(head, body, app, config.upstream.replay_buffer);
    if upload.may_be_empty(&head.method) {
        // Boxed, since few requests come here, but all would store the state of this future.
        upload = Box::pin(upstream_request::look_for_body(upload, config.upstream.body_timeout)).await?;
    }
    let hosts = &config.hosts;
    let mut outbound = UpstreamRequest::new(gateway.upstream(), hosts, app, &request, &to, head, upload)?; // what passes?
    outbound.call = to
        .counted
        .then(|| gateway.ledger.call(request.app, request.identity, request.class, request.operation));
    worker.tally().fields_dropped(outbound.fields_dropped);
    record.set_upload(outbound.upload.progress());
    let forwarder = Forwarder {
        gateway: &gateway,
        upstream: gateway.upstream(),
        clock: worker.clock(),
        tally: worker.tally(),
        outages: worker.outages(),
    };
    forwarder.check_budget(&outbound)?; // before limits: a request that a budget refuses is not counted against them
    let broke_off = || async { Refusal::from(&outbound.upload.broke_off().await) };
    let permit = {
        let admitting = pin!(gateway.limiter.admit(request, broke_off)); // may it go now?
        record.waiting(WaitedFor::Limit, admitting).await?
    };
    record.set_permit(&permit);
    let stream = Stream::new(
        config.upstream.body_timeout,
        worker.drain(),
        &to,
        outbound.upload.keep_sending(),
        permit.slots,
    );
    let mut attempts = gateway.limiter.attempts(request, permit.reservation);
    let sent = {
        let sending = pin!(forwarder.send(record, &outbound, &mut attempts)); // Box
        stream.unless_stopping(sending).await.transpose()?
    };
    let Some(mut answered) = sent else { return Ok(Answered::Gateway(local_response::reconnect())) };
    let (status, fields) = (answered.0.status(), answered.0.headers());
    gateway.limiter.record_upstream_response(request, record.request_id_text(), status, fields);
    let base = match admitted.named {
        None => Base::Gateway { secure: admitted.secure, authority: admitted.authority, path: &app.path },
        Some(_) => Base::Box,
    };
    if answered.0.status().is_redirection() && admitted.named.is_none() {
        match follow_redirect::wanted(app.follow_downloads, head) {
            // Boxed, since few requests come here, but all would store the state of this future.
            Redirects::Follow => {
                answered = Box::pin(follow_redirect::follow(forwarder, record, &outbound, answered)).await?;
            }
            Redirects::Rewrite => follow_redirect::rewrite_location(hosts, base, answered.0.headers_mut()),
            Redirects::Pass => {}
        }
    }
    let mut response = look(&gateway, record, &head.method, answered, outbound.rewrite_rules, base).await?;
    record.read_answer(&response);
    headers::from_box(response.headers_mut()); // what may come back?
    Ok(Answered::Box(response, stream))
}

/// The response that the gateway makes itself.
fn own_answer(own: OwnAnswer<'_>, gateway: &Gateway, head: &Parts) -> Result<Response<Bytes>, Refusal> {
    Ok(match own {
        OwnAnswer::Page(page) => page.response(gateway.forward_proxy.as_deref())?,
        OwnAnswer::FrontPage(page) => page.response(),
        OwnAnswer::Preflight(app) => cors::preflight(app, &head.headers),
        OwnAnswer::PlaceholderToken => local_response::placeholder_token(),
        OwnAnswer::Revoked => local_response::revoked(),
    })
}

/// Edits or searches the response if necessary.
async fn look(
    gateway: &LocalGateway,
    record: &mut RequestRecord,
    method: &Method,
    (mut response, lease): (Response<IncomingBody>, Lease),
    rewrite_rules: Option<&'static Node>,
    base: Base<'_>,
) -> Result<Response<Source>, Refusal> {
    let is_error = error_answer::is_error(response.status());
    let ends_at_head = ends_at_head(method, response.status());
    if is_error {
        error_answer::blank_head(&mut response, ends_at_head);
        record.box_refused(response.headers());
    }
    let rules = rewrite_rules.filter(|_| rewrite::is_json(response.status(), response.headers()));
    if ends_at_head {
        if rules.is_some() {
            // The response to a GET would be edited, and may have another length.
            rewrite::no_longer_exact(response.headers_mut());
        }
        return Ok(response.map(|body| {
            lease.done_after(body);
            Source::Empty
        }));
    }
    let body_timeout = gateway.config.upstream.body_timeout;
    let Some(rules) = rules else {
        if !is_error {
            return Ok(response.map(|body| Source::whole(body, lease)));
        }
        record.held_back();
        // Boxed, since few requests come here, but all would store the state of this future.
        let searched = Box::pin(ErrorBody::of(response, lease, body_timeout)).await?;
        record.passed_on(searched.status());
        return Ok(searched.map(|body| Source::Error(Box::new(body))));
    };
    let rewriter = Rewriter::new(rules, gateway.clone(), base, is_error);
    record.held_back();
    let looked = Box::pin(rewrite::look(response, lease, rewriter, body_timeout)).await?;
    record.passed_on(looked.status());
    Ok(looked.map(|looked| Source::Looked(Box::new(looked))))
}

/// Whether a response has no body, whatever length it declares (RFC 9110 §6.4.1).
fn ends_at_head(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// A response of the gateway's own. To HEAD it has no body (RFC 9110 §9.3.2), which hyper would send over HTTP/2.
fn own(mut response: Response<Bytes>, method: &Method, record: Box<RequestRecord>) -> Response<Answer> {
    if method == Method::HEAD {
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response.body_mut().clear();
    }
    response.map(|body| Answer::own(body, record))
}

/// The base URL under which this caller finds the help pages of error codes: the scheme, authority and app path that it
/// used. If it named a host of Box or an unknown one, the local address of its connection.
fn help_base(gateway: &Gateway, caller: &Caller, head: &Parts) -> String {
    match admission::own_authority(&gateway.admission(), caller, head) {
        Some((secure, authority)) => {
            let scheme = if secure { "https" } else { "http" };
            format!("{scheme}://{authority}{}", gateway.config.apps.base_path(head.uri.path()))
        }
        None => caller.peer.here.map_or_else(|| "http://localhost".to_owned(), Here::url),
    }
}

fn refuse(
    refusal: &Refusal,
    base: &str,
    mut record: Box<RequestRecord>,
) -> (Response<Bytes>, Box<RequestRecord>) {
    let (status, code) = refusal.status_and_code();
    if let Refusal::OperationNotAllowed { denied_by: Some(rule) } = refusal {
        record.set_rule(rule);
    }
    if let Refusal::PausedByBox { .. } = refusal {
        record.refused_by(&pauses::NAME.into());
    }
    if let Refusal::RateLimitExceeded { limit, .. }
    | Refusal::BudgetSpent { budget: limit, .. }
    | Refusal::Overloaded(limit) = refusal
    {
        record.refused_by(limit);
    }
    if status.is_server_error() {
        record.set_cause(refusal.to_string());
        log(refusal, code, &record);
    }
    let request_id = record.request_id_text();
    let mut response = refusal.response(request_id, base);
    headers::guard(response.headers_mut());
    if *refusal == Refusal::OriginNotAllowed {
        cors::mark_refused(response.headers_mut());
    }
    // The response to a caller that has left is not the result of the request.
    match refusal {
        Refusal::CallerLeft => record.caller_left(),
        _ => record.gateway_answered(status, Some(code)),
    }
    (response, record)
}

/// Logs a 5xx of the gateway's own; the access line has the cause in any case.
fn log(refusal: &Refusal, code: &str, record: &RequestRecord) {
    let request_id = record.request_id_text();
    match refusal {
        // Logged as an outage.
        Refusal::UpstreamUnreachable(_)
        | Refusal::CredentialsRefused { .. }
        | Refusal::DownscopeRefused { .. }
        | Refusal::TokenUnavailable { .. }
        // A chosen setting, not a fault.
        | Refusal::AppDisabled
        // Hosts other than Box's are the program's concern.
        | Refusal::TunnelUnreachable { .. } => debug!(request_id, code, "{refusal}"),
        _ => {
            let host = record.sent_to();
            // Only these faults depend on the identity.
            let of_identity = matches!(refusal, Refusal::UpstreamUnauthorized | Refusal::TokenRetired);
            let identity = record.identity_name().filter(|_| of_identity);
            let what = if let Refusal::Overloaded(what) = refusal { what } else { "" };
            if let Some(left_out) = record.repeats().note(&format!("{code} {host} {what}{}", identity.unwrap_or_default())) {
                let host = (!host.is_empty()).then_some(host);
                warn!(request_id, code, identity, host, "{refusal}{left_out}");
            }
        }
    }
}
