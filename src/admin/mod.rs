//! The operators' listener: the page at `/`, `/healthz`, `/readyz`, `/metrics`, `/status.json`, `/history.json`,
//! `/requests.json`, `/usage.json`, `/usage.csv`, `POST /reload`, `POST /identities/NAME/renew`. Requests are few, also
//! with many open pages, so plain hyper runs on the accepting thread.

pub(crate) mod access; // who may ask what
pub(crate) mod connections; // TLS, time limits, how many
mod configured_hosts; // which hosts of Box answer
mod history; // GET /history.json
mod recent_requests; // GET /requests.json
mod request_entry; // what is told of one of them
mod request_filter; // which of the last requests are asked for
mod limit_metrics; // of limits, budgets and tunnels
mod ignored_body; // bodies that mean nothing
pub(crate) mod hardening; // what the kernel denies the process
mod readiness; // is it ready, and why not?
pub(crate) mod status_line; // the same in one line, for the service manager
mod request_metrics; // of requests, connections, tokens, reloads and logs
mod process_metrics; // of the process
mod trace_metrics; // what became of spans
mod reload; // POST /reload
pub(crate) mod renewal; // POST /identities/NAME/renew
mod status; // GET /status.json
mod page; // GET /, for people
pub(crate) mod reloads; // requests for a reload, and their outcomes
mod csv; // comma-separated values
pub(crate) mod wrong_keys; // bounds the guessing of the key
pub(crate) mod usage; // who spent Box's calls
pub(crate) mod advice; // what to do about it

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use self::access::Asked;
use self::hardening::Hardening;
pub(crate) use self::page::RenderedPages;
use self::readiness::Readiness;
use self::reloads::Reloads;
use self::renewal::Renewals;
use self::wrong_keys::WrongKeys;
use crate::http::error::Refusal;
use crate::http::headers;
use crate::net::peer::{Here, Peer};
use crate::net::secret_filter::{self, Audience};
use crate::oauth::token_cache::Tokens;
use crate::proxy::gateway::Gateway;
use crate::proxy::process::Process;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::history::History;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent_requests::RecentRequests;

/// What the operators' listener reads to answer requests.
pub(crate) struct Overview {
    /// Shared with the workers.
    pub process: Arc<Process>,
    /// The gateway that the workers use; a reload replaces it.
    pub gateway: ArcSwap<Gateway>,
    /// Requests for a reload of the configuration, and the outcome of the last.
    pub reloads: Arc<Reloads>,
    /// The metrics of all workers.
    pub metrics: Metrics,
    /// The last requests that they served.
    pub recent: RecentRequests,
    /// What they counted in the last five minutes and the last day.
    pub history: History,
    /// When the process began to serve.
    pub started: SystemTime,
    /// What the process was hardened with.
    pub hardening: Hardening,
    /// The configuration file; `None`: there is none, or it is never read again.
    pub file: Option<PathBuf>,
    /// The keys that operators' requests had and that were wrong.
    pub wrong_keys: WrongKeys,
    /// The renewals of tokens that operators requested lately.
    pub renewals: Renewals,
    /// The TCP address of the callers' listener, which serves the pages about error codes; `None`: only Unix sockets.
    pub callers: Option<Here>,
    /// Pages for people that were rendered within the last second.
    pub pages: RenderedPages,
}

/// The response to a request: at once, after a reload, once Box has given a token, or once Redis has said what other replicas have told.
enum Page {
    Ready(Response<Bytes>),
    Usage(usage::Question, usage::Form),
    Calls(page::Waiting),
    Reload(Arc<Reloads>),
    Renewal(Arc<Tokens>),
}

/// Answers a request. `shown`: the client certificates of its connection, the operator's own first.
async fn answer(
    overview: &Weak<Overview>,
    peer: &Peer,
    shown: &[CertificateDer<'static>],
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let id = headers::request_id(request.headers());
    let is_form = is_form(&request);
    let has_body = !request.body().is_end_stream();
    let is_post = request.method() == Method::POST;
    // A browser would ask for the key each time that the page's script gets 401. The person gets there by loading the page.
    let is_script = request.headers().get("sec-fetch-dest").is_some_and(|dest| dest == "empty");
    // The overview is dropped before the first await, so that a waiting request does not keep it alive at a stop.
    let (page, help_base) = match overview.upgrade() {
        Some(overview) => {
            let peer = access::certified(*peer, shown, &overview.gateway.load().config);
            (page(&overview, &peer, &request), help_base(&overview, &peer))
        }
        None => (Ok(Page::Ready(stopped())), String::new()),
    };
    let answered = match page {
        Ok(Page::Ready(response)) => Ok(response),
        Ok(Page::Usage(question, form)) => Ok(usage::response(form, &question.ask().await)),
        Ok(Page::Calls(waiting)) => {
            let known = waiting.ask().await;
            Ok(overview.upgrade().map_or_else(stopped, |overview| known.answer(&overview)))
        }
        Ok(Page::Reload(reloads)) => {
            let outcome = reload::answer(&reloads, request.into_body(), reload::TIMEOUT).await;
            if is_form { outcome.map(|_| back_to("/?view=configuration")) } else { outcome }
        }
        Ok(Page::Renewal(tokens)) => {
            match renewal::answer(overview, &tokens, peer, request.into_body()).await {
                Ok(_) | Err(Refusal::RenewalRefused(_)) if is_form => Ok(back_to("/#s-identities")),
                outcome => outcome,
            }
        }
        Err(refusal) => Err(refusal),
    };
    if is_form && let Some(overview) = overview.upgrade() {
        overview.pages.forget();
    }
    // Only an accepted POST reads its body; hyper ends the connection after an unread one, and does not say so.
    let ends = has_body && !(is_post && answered.is_ok());
    let mut response =
        answered.unwrap_or_else(|refusal| refusal.response(id.to_str().unwrap_or_default(), &help_base));
    if is_script {
        response.headers_mut().remove(WWW_AUTHENTICATE);
    }
    // Assets of the page may be kept; nothing else may.
    let kept = response.headers_mut().remove(CACHE_CONTROL);
    headers::guard(response.headers_mut());
    if ends {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(kept) = kept {
        response.headers_mut().insert(CACHE_CONTROL, kept);
    }
    // Reasons for not being ready may quote the token endpoint or Redis, so secrets are blanked.
    response
        .map(|body| secret_filter::blanked(&body, Audience::Operators).map_or(body, Bytes::from))
        .map(Full::new)
}

/// Whether a form of the page sent it without the page's script: a browser goes to its answer, which is to be a page.
fn is_form<B>(request: &Request<B>) -> bool {
    let accepts = request.headers().get(ACCEPT).map(HeaderValue::as_bytes);
    request.method() == Method::POST && accepts.is_some_and(|accepts| accepts.starts_with(b"text/html"))
}

/// Sends a browser back to the page, where the outcome is shown.
fn back_to(address: &'static str) -> Response<Bytes> {
    let mut response = text_page(StatusCode::SEE_OTHER, format!("See {address}.\n"));
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(address));
    response
}

/// For whoever asks when the process has already stopped.
fn stopped() -> Response<Bytes> {
    text_page(StatusCode::SERVICE_UNAVAILABLE, "stopped\n".to_owned())
}

/// The base URL of the pages about error codes, which the callers' listener serves.
fn help_base(overview: &Overview, peer: &Peer) -> String {
    let Some(mut callers) = overview.callers else { return "http://localhost".to_owned() };
    if let Some(here) = peer.here
        && callers.address.ip().is_unspecified()
    {
        callers.address.set_ip(here.address.ip());
    }
    callers.url()
}

fn page(overview: &Overview, peer: &Peer, request: &Request<Incoming>) -> Result<Page, Refusal> {
    let gateway = overview.gateway.load();
    let asked = Asked { config: &gateway.config, peer, uri: request.uri(), headers: request.headers() };
    let authority = access::admit(asked, &overview.process, &overview.wrong_keys)?;
    let path = request.uri().path();
    if path == "/reload" {
        if request.method() != Method::POST {
            return Err(Refusal::OnlyByPost);
        }
        access::may_change(asked, authority)?;
        if overview.process.draining.load(Ordering::Relaxed) {
            return Err(reload::STOPS);
        }
        return Ok(Page::Reload(overview.reloads.clone()));
    }
    if let Some(name) = renewal::requested(path) {
        if request.method() != Method::POST {
            return Err(Refusal::OnlyByPost);
        }
        access::may_change(asked, authority)?;
        if overview.process.draining.load(Ordering::Relaxed) {
            return Err(renewal::stopping());
        }
        return renewal::identity(&gateway.tokens, &name).map(Page::Renewal);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Refusal::OnlyForReading);
    }
    if let Some(form) = usage::Form::at(path) {
        let query = request.uri().query().unwrap_or_default();
        let question = usage::question(&gateway, query, overview.process.clock.wall())?;
        return Ok(Page::Usage(question, form));
    }
    if let Some(asset) = page::asset(path, request.uri().query()) {
        return Ok(Page::Ready(asset));
    }
    if path == "/" {
        let sees_requests = access::may_see_requests(asked).is_ok();
        return Ok(match page::answer(overview, request, help_base(overview, peer), sees_requests) {
            page::Answer::Ready(response) => Page::Ready(response),
            page::Answer::OnceCallsAreKnown(waiting) => Page::Calls(waiting),
        });
    }
    Ok(Page::Ready(match path {
        "/healthz" => text_page(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => readiness(overview),
        "/metrics" => metrics(overview),
        "/status.json" => json_page(&status::Status::of(overview)),
        "/history.json" => history::page(overview, request.uri().query().unwrap_or_default())?,
        "/requests.json" => {
            access::may_see_requests(asked)?;
            recent_requests::page(overview, request.uri().query())?
        }
        _ => {
            let pages =
                "here are / for people, /healthz, /readyz, /metrics, /status.json, /history.json, /requests.json, /usage.json and /usage.csv, and POST /reload and /identities/NAME/renew
";
            text_page(StatusCode::NOT_FOUND, pages.to_owned())
        }
    }))
}

fn readiness(overview: &Overview) -> Response<Bytes> {
    let readiness = Readiness::of(overview);
    let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    if readiness.is_ready() {
        text_page(StatusCode::OK, format!("ready\n{}", lines(&readiness.notes)))
    } else {
        text_page(StatusCode::SERVICE_UNAVAILABLE, lines(&readiness.reasons))
    }
}

fn metrics(overview: &Overview) -> Response<Bytes> {
    let (process, gateway) = (&overview.process, overview.gateway.load());
    let certificates = gateway.config.certificates();
    let mut text = Exposition::new();
    request_metrics::build(&mut text);
    request_metrics::ready(&mut text, Readiness::of(overview).is_ready());
    request_metrics::requests(&mut text, &overview.metrics, &process.app_labels);
    request_metrics::scope_refusals(&mut text, &overview.metrics, &gateway);
    request_metrics::as_user(&mut text, &overview.metrics, &gateway);
    request_metrics::upstream_up(&mut text, &gateway.config.hosts, &process.outages);
    request_metrics::tokens(&mut text, &gateway.tokens);
    request_metrics::connections(&mut text, &overview.metrics, &process.connection_limit);
    request_metrics::reloads(&mut text, &overview.reloads);
    request_metrics::certificates(&mut text, &certificates);
    request_metrics::lines_lost(&mut text, &process.access);
    if let Some(audit) = &process.audit {
        request_metrics::audit(&mut text, audit);
    }
    trace_metrics::spans(&mut text, process.traces.counts());
    if let Some(proxy) = &gateway.forward_proxy {
        limit_metrics::tunnels(&mut text, &proxy.counts);
    }
    limit_metrics::limits(&mut text, &gateway.limiter);
    limit_metrics::budgets(&mut text, &gateway.ledger, process.clock.wall());
    process_metrics::process(&mut text, overview.started);
    let mut response = text_page(StatusCode::OK, text.into_string());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn text_page(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json_page(document: &impl Serialize) -> Response<Bytes> {
    let text = serde_json::to_vec(document).expect("it has no maps, and so no keys that are no strings");
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
