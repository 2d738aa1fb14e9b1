//! The request as it goes to Box, with the fields that pass, but without a token.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body::Body;

use crate::access::admission;
use crate::http::error::Refusal;
use crate::http::headers::{self, AS_USER, BodyFields, ForBox};
use crate::http::incoming_body::IncomingBody;
use crate::http::target;
use crate::limits::budget::call::Call;
use crate::limits::limiter::Request;
use crate::oauth::identity::IdentityId;
use crate::oauth::token_cache::Token;
use crate::proxy::request_trace::AttemptPath;
use crate::proxy::rewrite;
use crate::proxy::rewrite::json_stream::Node;
use crate::routing::app::App;
use crate::routing::box_hosts::BoxHosts;
use crate::routing::operation_class::Class;
use crate::routing::route::{Access, Destination};
use crate::upstream::host_pool::HostPool;
use crate::upstream::pool::Upstream;
use crate::upstream::protocol::Protocol;
use crate::upstream::request_body::{Attempt, Upload};

/// Box works on moves and deletions of large folders for up to 600 s and holds a long poll for 610 s
/// (`docs/box-api.md#long-answers-and-long-polls`).
pub(crate) const LONG_ANSWER: Duration = Duration::from_secs(660);

/// From this size on, a request body goes over HTTP/1.1: `docs/decisions/content-over-http1.md`.
const LARGE_UPLOAD: u64 = 1024 * 1024;

/// A request to Box, without its token.
pub(crate) struct UpstreamRequest<'a> {
    /// The pool of the host.
    pub origin: Rc<HostPool>,
    /// As the caller sent it.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// The fields that [`crate::http::headers`] lets pass.
    pub fields: Fields<'a>,
    /// How many of the caller's fields were dropped.
    pub fields_dropped: u64,
    pub upload: Upload,
    /// The identity whose token is sent; `None`: no token is sent.
    pub identity: Option<IdentityId>,
    /// Whether Box may take minutes for the operation.
    pub long: bool,
    /// Whether the response is content of any size from a download host.
    pub bulk: bool,
    /// Whether the request's body is large, or content of unknown size for an upload host.
    pub large_upload: bool,
    /// The values of the response that must be edited.
    pub rewrite_rules: Option<&'static Node>,
    /// The call for budgets, set by the caller of [`Self::new`]; `None`: the request is not counted as a call by Box's
    /// plans.
    pub call: Option<Call>,
}

/// The fields of a request. The first attempt takes them; they are made again for a later one, since a copy of every
/// request's fields would cost more than to make those of the few that are sent again.
pub(crate) struct Fields<'a> {
    made: Cell<Option<HeaderMap>>,
    from: FieldsFrom<'a>,
}

/// What the fields of a request are made from.
pub(crate) enum FieldsFrom<'a> {
    /// The head of the caller's request.
    Caller {
        headers: &'a HeaderMap,
        /// The app's `forward_headers`.
        also: &'a [HeaderName],
        framing: BodyFields,
        /// Whether fields that name a user or a shared link pass.
        with_identity: bool,
        /// The id for `As-User`, where the caller names a user.
        as_user: Option<&'a str>,
        /// Whether the response must come whole and without a content coding.
        plain: bool,
    },
    /// These fields.
    Given(HeaderMap),
}

impl<'a> Fields<'a> {
    /// Exactly these fields.
    pub(crate) fn given(fields: HeaderMap) -> Self {
        Self { made: Cell::default(), from: FieldsFrom::Given(fields) }
    }

    /// Makes the fields. Returns also how many of the caller's were dropped.
    fn new(from: FieldsFrom<'a>) -> (Self, u64) {
        let (made, dropped) = from.make();
        (Self { made: Cell::new(Some(made)), from }, dropped)
    }

    /// The fields for an attempt.
    pub(crate) fn get(&self) -> HeaderMap {
        self.made.take().unwrap_or_else(|| self.from.make().0)
    }
}

impl FieldsFrom<'_> {
    /// The fields, and how many of the caller's were dropped.
    fn make(&self) -> (HeaderMap, u64) {
        match self {
            Self::Given(fields) => (fields.clone(), 0),
            Self::Caller { headers, also, framing, with_identity, as_user, plain } => {
                let ForBox { mut fields, dropped } = headers::to_box(headers, also, *framing);
                if !with_identity {
                    for name in &headers::IDENTITY_HEADERS {
                        fields.remove(name);
                    }
                }
                // The caller may have sent a login.
                if let Some(user) = as_user
                    && headers::find(&fields, &AS_USER).is_some_and(|sent| sent != user)
                    && let Ok(id) = HeaderValue::from_str(user)
                {
                    fields.insert(AS_USER, id);
                }
                if *plain {
                    headers::ask_for_plain(&mut fields);
                }
                (fields, dropped)
            }
        }
    }
}

impl<'a> UpstreamRequest<'a> {
    /// Builds the request, without its token and its call.
    ///
    /// # Errors
    /// The target or host cannot be encoded.
    pub(crate) fn new(
        upstream: &Upstream,
        hosts: &BoxHosts,
        app: &'a App,
        request: &Request<'a>,
        to: &Destination<'_>,
        head: &'a Parts,
        upload: Upload,
    ) -> Result<Self, Refusal> {
        let framing = BodyFields {
            has_body: upload.progress().is_some(),
            length: admission::length_to_say(head),
            expects: upload.invitation().is_some(),
        };
        let rewrite_rules = rewrite::rewrite_rules(request.operation);
        let (fields, fields_dropped) = Fields::new(FieldsFrom::Caller {
            headers: &head.headers,
            also: &app.forward_headers,
            framing,
            with_identity: to.access == Access::Token,
            as_user: request.as_user,
            plain: rewrite_rules.is_some(),
        });
        let identity = request.identity;
        // Only uploads go under this prefix with a body. With a known length, HTTP/1.1 has no trailers.
        let passes_trailers = || !headers::trailers_for_box(&head.headers, &app.forward_headers).is_empty();
        let is_large = |length| length >= LARGE_UPLOAD && !passes_trailers();
        let large_upload = framing.has_body && framing.length.map_or(to.under_api, is_large);
        Ok(Self {
            origin: upstream.origin(&to.authority).ok_or(Refusal::NotFound)?,
            method: head.method.clone(),
            target: target(to, &head.uri)?,
            fields,
            fields_dropped,
            upload,
            identity: (to.access == Access::Token).then_some(identity),
            long: to.access == Access::Realtime || is_long(&head.method, to.operation),
            bulk: request.class == Class::Download && to.authority == hosts.download
                || to.access == Access::Presigned,
            large_upload,
            call: None,
            rewrite_rules,
        })
    }

    /// The version of HTTP to use. Content in either direction goes over HTTP/1.1, whose flow control is that of the
    /// connection: `docs/decisions/content-over-http1.md`.
    pub(crate) fn protocol(&self) -> Protocol {
        // hyper cannot wait for `100 Continue` on HTTP/2.
        if self.bulk || self.upload.invitation().is_some() {
            Protocol::Http1
        } else if self.large_upload {
            Protocol::LargeUpload
        } else {
            Protocol::Any
        }
    }

    /// Which path it goes to, as far as traces may tell.
    pub(crate) fn attempt_path(&self) -> AttemptPath {
        match self.identity {
            Some(_) => AttemptPath::Operation { under_api: self.target.path().starts_with("/api/") },
            None => AttemptPath::Presigned,
        }
    }

    /// Builds the HTTP request for one attempt.
    pub(crate) fn request(&self, token: Option<&Token>) -> http::Request<Attempt> {
        let mut request = http::Request::new(self.upload.attempt());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.fields.get();
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.authorization().clone());
        }
        if let Some(invitation) = self.upload.invitation().cloned() {
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    invitation.open();
                }
            });
        }
        request
    }
}

/// The body on its way to Box. `replay_buffer`: how many of its bytes are kept to be sent again.
pub(crate) fn upload(head: &Parts, body: IncomingBody, app: &App, replay_buffer: usize) -> Upload {
    if body.is_end_stream() {
        return Upload::none();
    }
    let trailers = headers::trailers_for_box(&head.headers, &app.forward_headers);
    Upload::new(body, replay_buffer, admission::expects_continue(head), trailers)
}

/// Waits for the beginning of a body and drops an empty one, with which an HTTP/2 caller may end a GET.
///
/// # Errors
/// It did not begin in time, or is incomplete.
pub(crate) async fn look_for_body(upload: Upload, body_timeout: Duration) -> Result<Upload, Refusal> {
    let beginning = tokio::time::timeout(body_timeout, upload.has_content());
    if !beginning.await.map_err(|_| Refusal::RequestTimeout)? {
        return Ok(Upload::none());
    }
    match upload.broken() {
        Some(broken) => Err(Refusal::from(&broken)),
        None => Ok(upload),
    }
}

/// Whether Box may take minutes to answer this operation.
fn is_long(method: &Method, path: &str) -> bool {
    (method == Method::PUT || method == Method::DELETE)
        && path.strip_prefix("/2.0/folders/").is_some_and(|id| !id.trim_end_matches('/').contains('/'))
}

/// Path and query for Box; the path byte for byte as it was checked.
fn target(to: &Destination<'_>, asked: &Uri) -> Result<Uri, Refusal> {
    let prefix = if to.under_api { "/api" } else { "" };
    let query = asked.query();
    // An empty query stays, since the ? may have a meaning.
    let query = match query.and_then(target::without_access_token) {
        Some(cleaned) => Some(cleaned).filter(|query| !query.is_empty()).map(Cow::Owned),
        None => query.map(Cow::Borrowed),
    };
    // Without a copy where it goes to Box as the caller wrote it.
    if let Some(same) = asked.path_and_query()
        && prefix.is_empty()
        && to.path == same.path()
        && query.as_deref() == same.query()
    {
        return Ok(Uri::from(same.clone()));
    }
    let mut text = String::with_capacity(
        prefix.len() + to.path.len() + query.as_ref().map_or(0, |query| query.len() + 1),
    );
    text.push_str(prefix);
    text.push_str(to.path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(&query);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(Uri::from)
        .map_err(|_| Refusal::BadRequest("The request target cannot be forwarded."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_has_the_fields_of_the_first() {
        let mut headers = HeaderMap::new();
        for name in ["as-user", "accept", "accept-encoding", "range", "cookie", "x-listed"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        let framing = BodyFields { has_body: true, length: Some(7), expects: false };
        let also = [HeaderName::from_static("x-listed")];
        for (with_identity, plain, as_user) in [(true, false, Some("22")), (false, true, None)] {
            let from =
                FieldsFrom::Caller { headers: &headers, also: &also, framing, with_identity, as_user, plain };
            let (fields, dropped) = Fields::new(from);
            let (first, second) = (fields.get(), fields.get());
            assert_eq!(first, second);
            assert_eq!(
                (first.contains_key("as-user"), first.contains_key("range"), dropped),
                (with_identity, !plain, 1)
            );
            assert_eq!(first.get("as-user").map(HeaderValue::as_bytes), as_user.map(str::as_bytes));
        }
        let given = Fields::given(headers.clone());
        assert_eq!((given.get(), given.get()), (headers.clone(), headers));
    }

    #[test]
    fn only_folders_themselves_take_minutes() {
        assert!(is_long(&Method::PUT, "/2.0/folders/1"));
        assert!(is_long(&Method::DELETE, "/2.0/folders/1/"));
        assert!(!is_long(&Method::GET, "/2.0/folders/1"));
        assert!(!is_long(&Method::PUT, "/2.0/folders/1/metadata"));
        assert!(!is_long(&Method::PUT, "/2.0/files/1"));
    }
}
