//! The path of a request, on one screen.
//!
//! [`serve`] cannot fail: it alone turns a refusal into an answer. [`answer`] is the way itself; each stage stands
//! in the module of its name and hands on what the next one needs.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use tracing::{error, warn};

use crate::admit;
use crate::app::App;
use crate::class::Class;
use crate::cors;
use crate::download::{Answer, Source, Stream};
use crate::exchange::Exchange;
use crate::forward::{self, Call, Outbound};
use crate::headers::{self, AS_USER, BodyFields, REQUEST_ID};
use crate::json_edit::Node;
use crate::limit::in_flight::Guard;
use crate::operation::Operation;
use crate::page::Page;
use crate::redirect;
use crate::refusal::Refusal;
use crate::rewrite::{self, Base, Rewriter};
use crate::route::{self, Access, Destination, Route};
use crate::target;
use crate::throttle;
use crate::upload::Upload;
use crate::upstream::Lease;
use crate::worker::{Peer, Worker};

/// Answers one request.
pub async fn serve(
    worker: Rc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let method = request.method().clone();
    // Where a proxy in front of us heeded a Content-Length beside it, the bytes behind the body are not a request
    // (RFC 9112 §6.3); hyper has dropped that field, so every such connection ends.
    let ends = request.headers().contains_key(TRANSFER_ENCODING);
    let mut exchange = Exchange::begin(
        worker.clone(),
        method.clone(),
        request.uri().clone(),
        request.headers(),
        peer.address,
    );
    let request_id = exchange.request_id().clone();
    let answered = answer(&worker, peer, request, &mut exchange).await;
    let reader = exchange.reader();
    let mut response = match answered {
        Ok(Answered::Box(response, stream)) => response.map(|body| Answer::streamed(body, exchange, stream)),
        Ok(Answered::Gateway(response)) => {
            exchange.gateway_answered(response.status(), None);
            response.map(|body| Answer::own(body, &method, exchange))
        }
        Err(refusal) => {
            refuse(&refusal, exchange).map(|(body, exchange)| Answer::own(body, &method, exchange))
        }
    };
    response.headers_mut().insert(REQUEST_ID, request_id);
    cors::mark(response.headers_mut(), reader);
    if ends {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Who answers.
enum Answered {
    Box(Response<Source>, Stream),
    Gateway(Response<Bytes>),
}

async fn answer(
    worker: &Rc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Answered, Refusal> {
    let config = worker.config();
    let (head, body) = request.into_parts();
    let page = Page::of(&head.method, &head.headers, peer.open);
    if page.is_one() {
        exchange.is_of_a_page();
    }

    let admitted = admit::check(worker, peer, &head)?; // may this caller speak to us?
    exchange.set_client(admitted.client);
    let path = head.uri.path();
    let claim = page.claim(&admitted);
    let (place, app, path) = config.apps.choose(path, admitted.host, admitted.client, claim)?; // which app is calling?
    exchange.set_app(place, app.identity);
    exchange.admit(page.check(&head.headers, &app.origins, &admitted)?); // is it a web page, and one that may call?
    if cors::is_preflight(&head) {
        return Ok(Answered::Gateway(cors::preflight(app, &head.headers)));
    }
    app.check_header(&head.headers)?;
    let to = match route::find(&head.method, path, &config.hosts)? {
        // where at Box?
        Route::Box(destination) => destination,
        Route::PlaceholderToken => return Ok(Answered::Gateway(placeholder_token())),
        Route::Revoke => return Ok(Answered::Gateway(revoked())),
    };
    exchange.set_template(to.template());
    let operation = Operation { method: &head.method, path: to.operation };
    app.rules.check(operation)?; // may this app do this?
    app.as_user.check(&head.headers)?; // as whom?

    let places = rewrite::places(operation); // what of the answer is not for the caller as it is?
    let class = Class::of(operation);
    let call = to.counted.then_some(Call { app: place, identity: app.identity, class });
    let outbound = outbound(worker, exchange, app, &to, places.is_some(), call, &head, body)?;
    let request = throttle::Request {
        operation,
        class,
        client: admitted.client,
        app: place,
        identity: app.identity,
        as_user: head.headers.get(AS_USER).and_then(|user| user.to_str().ok()),
        counted: to.counted,
    };
    let slots = throttle(worker, exchange, request, &outbound).await?; // may it go now?
    let stream = Stream::new(worker, &to, outbound.upload.progress(), slots);
    let sent = stream.unless_stopping(forward::send(worker, exchange, &outbound)).await; // Box
    let Some(mut answered) = sent.transpose()? else { return Ok(Answered::Gateway(reconnect())) };
    worker.throttle().heard(request, answered.0.status(), answered.0.headers());
    if answered.0.status().is_redirection() && redirect::is_wanted(app.follow_downloads, &head) {
        // Boxed, as few are: the whole of a request's state is moved for each one.
        answered = Box::pin(redirect::follow(worker, exchange, &outbound, answered)).await?;
    }
    let base = Base { secure: admitted.secure, authority: admitted.authority, path: &app.path };
    let mut response = look(worker, &head.method, answered, places, base).await?;
    headers::from_box(response.headers_mut()); // what may come back?
    Ok(Answered::Box(response, stream))
}

/// Waits for the request's turn where it has to; what it takes of what may be in flight is to be held to its end.
async fn throttle(
    worker: &Worker,
    exchange: &mut Exchange,
    request: throttle::Request<'_>,
    outbound: &Outbound,
) -> Result<Option<Guard>, Refusal> {
    forward::look_for_budget(worker, outbound)?; // what it refuses is charged to no limit
    // Boxed: the whole of a request's state is moved for each one.
    let admitting = Box::pin(worker.throttle().admit(worker.config(), request));
    let admission = tokio::select! {
        biased;
        admission = admitting => admission?,
        () = outbound.upload.caller_left() => return Err(Refusal::BadRequest("The request's body broke off.")),
    };
    exchange.waited(admission.waited);
    admission.shadow.iter().for_each(|limit| exchange.shadow(Some(limit)));
    Ok(admission.slots)
}

/// Looks into an answer where something in it is not for the caller as it is.
async fn look(
    worker: &Rc<Worker>,
    method: &Method,
    (response, lease): (Response<Incoming>, Lease),
    places: Option<&'static Node>,
    base: Base<'_>,
) -> Result<Response<Source>, Refusal> {
    let Some(places) = places.filter(|_| rewrite::is_json(response.status(), response.headers())) else {
        return Ok(response.map(|body| Source::whole(body, lease)));
    };
    let rewriter = Rewriter::new(places, worker.clone(), base);
    let looking = Box::pin(rewrite::look(method, response, lease, rewriter));
    let looked = tokio::time::timeout(worker.config().upstream.response_timeout, looking).await;
    Ok(looked.map_err(|_| Refusal::UpstreamTimeout)??.map(|looked| Source::Looked(Box::new(looked))))
}

/// What goes to Box, but for the token.
fn outbound(
    worker: &Worker,
    exchange: &mut Exchange,
    app: &App,
    to: &Destination<'_>,
    looked_into: bool,
    call: Option<Call>,
    head: &Parts,
    body: Incoming,
) -> Result<Outbound, Refusal> {
    let config = worker.config();
    let expects = admit::expects_continue(head) && !body.is_end_stream();
    let upload = Upload::new(body, config.upstream.replay_buffer, expects);
    exchange.set_upload(upload.progress());
    let framing =
        BodyFields { has_body: upload.progress().is_some(), length: admit::length_to_say(head), expects };
    let mut for_box = headers::to_box(&head.headers, &app.forward_headers, framing);
    worker.tally().fields_dropped(for_box.dropped);
    if looked_into {
        headers::ask_for_plain(&mut for_box.fields);
    }
    Ok(Outbound {
        origin: worker.upstream().origin(&to.authority).ok_or(Refusal::NotFound)?,
        method: head.method.clone(),
        target: box_target(to, head.uri.query())?,
        fields: for_box.fields,
        upload,
        identity: (to.access == Access::Token).then_some(app.identity),
        long: to.access == Access::Realtime || Outbound::is_long(&head.method, to.operation),
        call,
    })
}

/// Path and query for Box; the path byte for byte as it was judged.
fn box_target(to: &Destination<'_>, query: Option<&str>) -> Result<http::Uri, Refusal> {
    let prefix = if to.under_api { "/api" } else { "" };
    let cleaned = query.and_then(target::without_access_token);
    let query = cleaned.as_deref().or(query).filter(|query| !query.is_empty());
    let mut text =
        String::with_capacity(prefix.len() + to.path.len() + query.map_or(0, |query| query.len() + 1));
    text.push_str(prefix);
    text.push_str(to.path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    http::uri::PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(http::Uri::from)
        .map_err(|_| Refusal::BadRequest("The request target is not one that can be sent on."))
}

fn refuse(refusal: &Refusal, mut exchange: Exchange) -> Response<(Bytes, Exchange)> {
    let (status, code) = refusal.status_and_code();
    if let Refusal::RateLimitExceeded { limit, .. }
    | Refusal::BudgetSpent { budget: limit, .. }
    | Refusal::Overloaded(limit) = refusal
    {
        exchange.refused_by(limit);
    }
    let request_id = exchange.request_id_text();
    match refusal {
        Refusal::CredentialsRefused => error!(request_id, code, "{refusal}"),
        _ if status.is_server_error() => warn!(request_id, code, "{refusal}"),
        _ => {}
    }
    let mut response = refusal.response(request_id);
    headers::guard(response.headers_mut());
    if *refusal == Refusal::OriginNotAllowed {
        cors::mark_refused(response.headers_mut());
    }
    exchange.gateway_answered(status, Some(code));
    response.map(|body| (body, exchange))
}

/// What an SDK that brings its own credentials gets for them: tokens that mean nothing, since the gateway replaces
/// whatever the caller sends. The grants of people's logins want a refresh token too.
fn placeholder_token() -> Response<Bytes> {
    json(
        br#"{"access_token":"boxgate-placeholder-not-a-token","refresh_token":"boxgate-placeholder-not-a-token","expires_in":3600,"restricted_to":[],"token_type":"bearer"}"#,
    )
}

/// What Box's realtime server says to one who shall ask for a new URL (Box guide "User events").
fn reconnect() -> Response<Bytes> {
    json(br#"{"version":1,"message":"reconnect"}"#)
}

/// The Python SDK of the previous generation cannot read an empty answer.
fn revoked() -> Response<Bytes> {
    json(b"{}")
}

fn json(body: &'static [u8]) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("proxy-status", HeaderValue::from_static("boxgate"));
    response
}
