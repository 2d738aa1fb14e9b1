//! Redirects: Box answers a download with a pre-signed URL of the content at a download host. The gateway follows it
//! for the caller, which may be unable to reach those hosts or, as a web page, lack CORS there.
//!
//! Only fields that choose the part and form of the content are sent along: no token, no `As-User`, no `BoxApi` with a
//! shared link's password. A redirect to any other host than Box's download hosts is not followed but passed to the
//! caller unchanged.

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE, USER_AGENT, VIA,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use tracing::warn;
use url::Url;

use crate::http::error::Refusal;
use crate::http::incoming_body::IncomingBody;
use crate::http::trace_context::TRACEPARENT;
use crate::limits::limiter::Attempts;
use crate::proxy::forward::Forwarder;
use crate::proxy::request_record::RequestRecord;
use crate::proxy::rewrite::{self, Base};
use crate::proxy::upstream_request::{Fields, UpstreamRequest};
use crate::routing::app::Redirects;
use crate::routing::box_hosts::{self, BoxHosts};
use crate::upstream::host_pool::Lease;
use crate::upstream::request_body::Upload;

/// The field with which a caller asks for Box's own redirect.
pub(crate) const REDIRECT: HeaderName = HeaderName::from_static("x-boxgate-redirect");

/// The most redirects that are followed. Box uses one or two.
const MOST_HOPS: usize = 5;

/// Fields that are sent along to a download host.
const KEPT: [HeaderName; 13] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    USER_AGENT,
    VIA,
    TRACEPARENT,
];

/// How this request's redirects are handled. `setting`: the app's.
pub(crate) fn wanted(setting: Redirects, head: &Parts) -> Redirects {
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let passes = head.headers.get(REDIRECT).is_some_and(|wish| wish.as_bytes().eq_ignore_ascii_case(b"pass"));
    if reads && !passes { setting } else { Redirects::Pass }
}

/// Rewrites a redirect to one of Box's hosts to the gateway, as [`rewrite`] does with URLs in bodies. Leaves others
/// unchanged.
pub(crate) fn rewrite_location(hosts: &BoxHosts, base: Base<'_>, headers: &mut HeaderMap) {
    let Some(prefix) = base.prefix() else { return };
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let rewritten = location
        .and_then(|location| rewrite::on_gateway(hosts, &prefix, location))
        .and_then(|location| HeaderValue::try_from(location).ok());
    if let Some(location) = rewritten {
        headers.insert(LOCATION, location);
    }
}

/// Follows the redirects and returns the final response.
///
/// # Errors
/// Those of [`Forwarder::send`], or too many redirects.
pub(crate) async fn follow(
    forwarder: Forwarder<'_>,
    record: &mut RequestRecord,
    outbound: &UpstreamRequest<'_>,
    answered: (Response<IncomingBody>, Lease),
) -> Result<(Response<IncomingBody>, Lease), Refusal> {
    let (mut response, mut lease) = answered;
    let mut from = (outbound.origin.authority().clone(), outbound.target.clone());
    let mut hops = 0;
    while let Some(to) = target(&forwarder.gateway.config.hosts, record, &response, &from) {
        hops += 1;
        if hops > MOST_HOPS {
            let cause = format!("a download was redirected more than {MOST_HOPS} times");
            return Err(Refusal::UpstreamProtocolError(cause));
        }
        lease.done_after(response.into_body());
        record.held_back();
        let next = UpstreamRequest {
            origin: forwarder.upstream.origin(&to.0).ok_or(Refusal::NotFound)?,
            method: outbound.method.clone(),
            target: to.1.clone(),
            fields: Fields::given(kept(&outbound.fields.get())),
            fields_dropped: 0,
            upload: Upload::none(),
            identity: None,
            long: false,
            bulk: true,
            large_upload: false,
            rewrite_rules: None,
            call: None,
        };
        (response, lease) = forwarder.send(record, &next, &mut Attempts::uncounted()).await?;
        from = to;
    }
    Ok((response, lease))
}

fn kept(fields: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(8);
    for name in &KEPT {
        for value in fields.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The next host and URL; `None`: the response goes to the caller.
fn target(
    hosts: &BoxHosts,
    record: &RequestRecord,
    response: &Response<IncomingBody>,
    from: &(Authority, Uri),
) -> Option<(Authority, Uri)> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
    let resolved = resolve(location, &from.0, &from.1);
    let found = resolved.as_ref().and_then(|(authority, target)| {
        let host = box_hosts::find(hosts, authority).filter(|host| host.download)?;
        Some((host.authority, target.clone()))
    });
    if found.is_none() {
        // Text before an @ may be a credential.
        let host = resolved.map(|(authority, _)| authority).filter(|authority| !authority.contains('@'));
        let host = host.as_deref().unwrap_or("a target that is not shown");
        if let Some(left_out) = record.repeats().note(&format!("redirect {host}")) {
            warn!(
                request_id = record.request_id_text(),
                "Box redirects to {host:?}, which is not one of its download hosts; the redirect is passed to the caller{left_out}"
            );
        }
    }
    found
}

/// The target's authority and its path with query. An absolute URL is taken byte for byte: its signature may cover
/// them. Only https is followed.
fn resolve(location: &str, authority: &Authority, from: &Uri) -> Option<(String, Uri)> {
    let location = location.split('#').next().unwrap_or_default();
    let absolute = match location.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?']) => {
            if !scheme.eq_ignore_ascii_case("https") {
                return None;
            }
            location.to_owned()
        }
        _ => {
            let base = Url::parse(&format!("https://{authority}{from}")).ok()?;
            base.join(location).ok()?.into()
        }
    };
    let (authority, target) = box_hosts::split(&absolute)?;
    Some((authority.to_owned(), Uri::from(target.parse::<PathAndQuery>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_resolved_and_kept_byte_for_byte() {
        let from = Uri::from_static("/2.0/files/1/content?a=b");
        let of = |location| {
            let authority = Authority::from_static("api.box.com");
            resolve(location, &authority, &from).map(|(host, target)| format!("{host} {target}"))
        };
        let is = |location, want: &str| assert_eq!(of(location).as_deref(), Some(want), "{location}");
        is("https://dl.boxcloud.com/d/1/a%2Fb!/download?x=%20", "dl.boxcloud.com /d/1/a%2Fb!/download?x=%20");
        is("HTTPS://DL.boxcloud.com/x#fragment", "DL.boxcloud.com /x");
        is("/x?y", "api.box.com /x?y");
        is("thumb", "api.box.com /2.0/files/1/thumb");
        is("//public.boxcloud.com/x", "public.boxcloud.com /x");
        is("https://user@dl.boxcloud.com/x", "user@dl.boxcloud.com /x");
        assert_eq!(of("https://dl.boxcloud.com\\@evil.example/x"), None);
        for bad in ["http://dl.boxcloud.com/x", "ftp://dl.boxcloud.com/x", "javascript:alert(1)", "https://"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_that_names_a_user_or_opens_a_link_goes_along() {
        let mut fields = HeaderMap::new();
        for name in
            ["authorization", "as-user", "boxapi", "x-box-ua", "cookie", "range", "if-range", "x-mine"]
        {
            fields.insert(name, http::HeaderValue::from_static("v"));
        }
        let kept = kept(&fields);
        let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["if-range", "range"]);
    }
}
