//! `GET /` of the operators' listener: the page that operators keep open. It is rendered here as a whole, so it needs no
//! script; its script fetches the same URL again and changes what differs.
//!
//! The query names the view (`?view=requests`). A view is the content of `<main>`; what is around it is the same for all.
//! Why it is so: `docs/decisions/operators-page.md`.

mod asset; // the style sheet, the script and the icon
mod chart; // charts, with their numbers as tables
mod configuration; // the view of the configuration in use
mod figures; // numbers and times as HTML
mod history; // the view of the last hour and day
mod now; // the view of the present state
mod rendered; // pages that were rendered within the last second
mod requests; // the view of the last requests
mod shell; // what is around a view
mod usage; // the view of who spent Box's calls

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, REFERRER_POLICY,
};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use maud::{Markup, html};
use url::form_urlencoded;

pub(super) use self::asset::asset;
pub(crate) use self::rendered::RenderedPages;
use self::rendered::{Key, Rendered};
use super::Overview;
use super::usage::{Answer as Calls, Question as CallsQuestion};
use crate::access::admission;
use crate::http::host;

/// Everything is from this listener. There is no inline style and no inline script.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Fields with which proxies tell of the client behind them.
const SIGNS_OF_A_PROXY: [&str; 4] = ["x-forwarded-for", "x-real-ip", "forwarded", "via"];

/// A view of the page.
struct View {
    /// The value of `view` in the query; the first view is also the page's without one.
    name: &'static str,
    /// Its name in the navigation.
    title: &'static str,
    /// The content of `<main>`.
    content: fn(&Overview, &Asked) -> Markup,
}

/// All views, in the order of the navigation.
const VIEWS: &[View] = &[
    View { name: "now", title: "Now", content: now::view },
    View { name: "requests", title: "Requests", content: requests::view },
    View { name: "history", title: "Over time", content: history::view },
    View { name: CALLS, title: "Box calls", content: usage::view },
    View { name: "configuration", title: "Configuration", content: configuration::view },
];
/// The name of the view that needs the calls at Box.
const CALLS: &str = "usage";

/// What a request asks of a view.
struct Asked {
    /// The parameters of the query, decoded, in their order.
    parameters: Vec<(String, String)>,
    /// The base URL of the callers' listener, which has the pages about error codes; `None`: it is one of loopback, which is
    /// another machine where the operator is.
    help_base: Option<String>,
    /// Whether single requests may be shown to whoever asks.
    sees_requests: bool,
    /// The calls at Box, for the view that shows them.
    calls: Option<Calls>,
}

impl Asked {
    fn of(key: &Key) -> Self {
        let parameters = form_urlencoded::parse(key.query.as_bytes()).into_owned().collect();
        let help_base = Some(key.help_base.clone()).filter(|base| !base.is_empty());
        Self { parameters, help_base, sees_requests: key.sees_requests, calls: None }
    }

    /// The first value of a parameter; `None` if the query does not have it, or it is empty.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(parameter, _)| parameter == name);
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }
}

/// The answer to a request for the page.
pub(super) enum Answer {
    Ready(Response<Bytes>),
    /// Other replicas may have to be asked first.
    OnceCallsAreKnown(Waiting),
}

/// A request for the view of the calls at Box.
pub(super) struct Waiting {
    wanted: Wanted,
    question: CallsQuestion,
}

/// Such a request, once the calls are known.
pub(super) struct Known {
    wanted: Wanted,
    calls: Calls,
}

impl Waiting {
    /// Asks for the calls.
    pub(super) async fn ask(self) -> Known {
        Known { wanted: self.wanted, calls: self.question.ask().await }
    }
}

impl Known {
    /// The page with the calls.
    pub(super) fn answer(self, overview: &Overview) -> Response<Bytes> {
        let Self { wanted, calls } = self;
        let asked = Asked { calls: Some(calls), ..wanted.asked() };
        wanted.render(overview, &asked)
    }
}

/// Answers a request for the page. `sees_requests`: whether single requests may be shown to whoever asks.
pub(super) fn answer<B>(
    overview: &Overview,
    request: &Request<B>,
    help_base: String,
    sees_requests: bool,
) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    // Empty: no link leads there.
    let help_base = if is_for_elsewhere(&help_base, request) { String::new() } else { help_base };
    let key = Key { query: query.to_owned(), help_base, sees_requests };
    let has = fields(request.headers(), IF_NONE_MATCH.as_str()).map(str::to_owned).collect();
    let wanted = Wanted { key, has };
    let is_fresh_wanted = fields(request.headers(), CACHE_CONTROL.as_str()).any(|field| field == "no-cache");
    if !is_fresh_wanted && let Some(kept) = overview.pages.get(&wanted.key, overview.process.clock.now()) {
        return Answer::Ready(wanted.response(kept));
    }
    let asked = wanted.asked();
    if asked.get("view") == Some(CALLS) {
        let question = usage::Question::read(overview, &asked).of_counts(overview);
        return Answer::OnceCallsAreKnown(Waiting { wanted, question });
    }
    Answer::Ready(wanted.render(overview, &asked))
}

/// Whether this base URL is one of loopback, and the operator's browser is on another machine. The host by which it reached
/// this listener tells; a proxy in between may have replaced it.
fn is_for_elsewhere<B>(base: &str, request: &Request<B>) -> bool {
    let base = Uri::try_from(base).unwrap_or_default();
    let leads_to_loopback =
        base.authority().and_then(|at| host::parse(at.as_str())).is_some_and(|(host, _)| host.is_loopback());
    let headers = request.headers();
    let is_here = admission::authority(request.uri(), headers).is_ok_and(|(host, _)| host.is_loopback())
        && !SIGNS_OF_A_PROXY.iter().any(|field| headers.contains_key(*field));
    leads_to_loopback && !is_here
}

/// What a request wants.
struct Wanted {
    key: Key,
    /// The entity tags of what it has.
    has: Vec<String>,
}

impl Wanted {
    fn asked(&self) -> Asked {
        Asked::of(&self.key)
    }

    /// Renders the page and keeps it for those who ask next.
    fn render(self, overview: &Overview, asked: &Asked) -> Response<Bytes> {
        let rendered = render(overview, asked);
        overview.pages.keep(self.key.clone(), rendered.clone(), overview.process.clock.now());
        self.response(rendered)
    }

    fn response(self, rendered: Rendered) -> Response<Bytes> {
        let is_unchanged = self.has.contains(&rendered.tag) && rendered.status == StatusCode::OK;
        let mut response = Response::new(if is_unchanged { Bytes::new() } else { rendered.html });
        *response.status_mut() = if is_unchanged { StatusCode::NOT_MODIFIED } else { rendered.status };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        // A form that posts sends `Origin` only if the page may send a `Referer` to this listener.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if let Ok(tag) = HeaderValue::from_str(&rendered.tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}

/// The comma-separated members of a field.
fn fields<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn render(overview: &Overview, asked: &Asked) -> Rendered {
    let name = asked.get("view");
    let view = match name {
        None => VIEWS.first(),
        Some(name) => VIEWS.iter().find(|view| view.name == name),
    };
    let (status, content) = match view {
        Some(view) => (StatusCode::OK, (view.content)(overview, asked)),
        None => (StatusCode::NOT_FOUND, unknown(name.unwrap_or_default())),
    };
    Rendered::of(status, shell::document(overview, view, content))
}

/// The address of a view with these parameters, for a link; `None`: there is no such view.
fn link(view: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let view = VIEWS.iter().find(|known| known.name == view)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("view", view.name).extend_pairs(parameters);
    Some(format!("/?{}", query.finish()))
}

/// For a view that does not exist.
fn unknown(name: &str) -> Markup {
    html! {
        h1 { "There is no view “" (name) "”" }
        p { "These are the views:" }
        ul {
            @for view in VIEWS {
                li { a href=(shell::address(view)) { (view.title) } }
            }
        }
    }
}
