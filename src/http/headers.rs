//! Header fields: an allow-list of those that pass from the caller to Box, and a deny-list for those from Box.
//!
//! An allow-list towards Box, since an unknown field could name another user or authority, or change how the request is
//! read. A deny-list on the way back, since a caller may need any of Box's fields; dropped are those that bind the
//! caller to Box's host or act on the gateway's own origin.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AGE, ALT_SVC, CACHE_CONTROL, CONNECTION,
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, CONTENT_TYPE, ETAG, EXPECT, EXPIRES, HOST,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RANGE, REFRESH, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VARY, VIA, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::content_encoding;
use crate::http::error::Refusal;
use crate::http::field_list::{announced_trailers, tokens};

/// The id of a request, in the caller's request and in the gateway's response.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The user on whose behalf Box is asked to act.
pub(crate) const AS_USER: HeaderName = HeaderName::from_static("as-user");
/// Fields that name, together with the token, the acting user or a shared link (whose password is in `BoxApi`). They
/// are not sent along with a pre-signed URL.
pub(crate) const IDENTITY_HEADERS: [HeaderName; 2] = [AS_USER, HeaderName::from_static("boxapi")];
/// Which sites' pages may embed a response (Fetch §3.7).
pub(crate) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PSEUDONYM: HeaderValue = HeaderValue::from_static("1.1 boxgate");

/// The first line of a field that is not one of HTTP's own. [`HeaderMap::get`] would hash such a name, which takes longer than
/// a walk over as few fields as programs send.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    const FEW: usize = 12;
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers.iter().find_map(|(found, value)| (found == name).then_some(value))
}

/// End-to-end fields that pass to Box.
fn passes_to_box(name: &HeaderName) -> bool {
    match *name {
        // About the body.
        CONTENT_TYPE | CONTENT_ENCODING | CONTENT_LANGUAGE | CONTENT_DISPOSITION | CONTENT_RANGE => true,
        // Conditions and ranges.
        IF_MATCH | IF_NONE_MATCH | IF_MODIFIED_SINCE | IF_UNMODIFIED_SINCE | IF_RANGE | RANGE => true,
        // Negotiation.
        ACCEPT | ACCEPT_CHARSET | ACCEPT_ENCODING | ACCEPT_LANGUAGE | USER_AGENT => true,
        _ => matches!(
            name.as_str(),
            "content-md5" | "digest" | "content-digest" | "repr-digest" | "want-digest"
                // What Box's clients send: docs/box-api.md#hosts-and-paths.
                | "as-user" | "boxapi" | "box-version" | "box-notifications" | "x-rep-hints" | "x-box-ua"
                | "x-box-client-name" | "x-box-client-version" | "x-box-client-event-info"
                | "x-file-name" | "x-file-size" | "x-box-ai-library"
                // W3C Trace Context.
                | "traceparent" | "tracestate"
        ),
    }
}

/// Hop-by-hop fields (RFC 9110 §7.6.1) and fields that the gateway sets itself. They are not counted as dropped.
fn is_of_this_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        CONNECTION
            | HOST
            | CONTENT_LENGTH
            | TRANSFER_ENCODING
            | TE
            | TRAILER
            | UPGRADE
            | EXPECT
            | VIA
            | PROXY_AUTHORIZATION
    ) || matches!(
        name.as_str(),
        "keep-alive"
            | "http2-settings"
            | "x-request-id"
            | "x-boxgate-redirect"
            | "x-boxgate-key"
            | "proxy-connection"
    )
}

/// The fields for Box, and how many of the caller's were dropped.
pub(crate) struct ForBox {
    /// Without `Host` and `Authorization`.
    pub fields: HeaderMap,
    pub dropped: u64,
}

/// Selects the caller's fields that pass to Box. `also`: the app's `forward_headers`.
pub(crate) fn to_box(from: &HeaderMap, also: &[HeaderName], body: BodyFields) -> ForBox {
    // Looked up by token, not searched by field: a caller can send thousands of tokens.
    let nominated: HashSet<HeaderName> = from
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter(|token| from.contains_key(*token))
        .filter_map(|token| token.parse().ok())
        .collect();
    let trailers_announced =
        from.get_all(TE).iter().flat_map(tokens).any(|t| t.eq_ignore_ascii_case("trailers"));
    let mut fields = HeaderMap::with_capacity(from.len() + 4);
    let mut dropped = 0;
    add_via(&mut fields, from.get_all(VIA).iter());
    let mut last = None;
    for (name, value) in from {
        // The lines of one name follow each other.
        let is_another = last.replace(name) != Some(name);
        if (passes_to_box(name) || also.contains(name)) && (nominated.is_empty() || !nominated.contains(name))
        {
            fields.append(name.clone(), value.clone());
        } else if is_another && !is_of_this_hop(name) {
            dropped += 1;
        }
    }
    content_encoding::accept_readable(&mut fields);
    if trailers_announced {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if body.has_body && from.contains_key(TRAILER) {
        announce(&mut fields, &trailers_for_box(from, also));
    }
    if body.expects {
        fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    if let Some(length) = body.length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    ForBox { fields, dropped }
}

/// Asks for the whole response without a content coding, since its body is going to be parsed.
pub(crate) fn ask_for_plain(fields: &mut HeaderMap) {
    if fields.contains_key(ACCEPT_ENCODING) {
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    fields.remove(RANGE);
    fields.remove(IF_RANGE);
}

/// The properties of a body that its header fields must state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyFields {
    /// Whether there is a body at all.
    pub has_body: bool,
    /// The exact length, where `Content-Length` is needed.
    pub length: Option<u64>,
    /// The caller sent `Expect: 100-continue`.
    pub expects: bool,
}

fn with_pseudonym(via: &HeaderValue) -> HeaderValue {
    let joined = Bytes::from([via.as_bytes(), b", ", PSEUDONYM.as_bytes()].concat());
    HeaderValue::from_maybe_shared(joined).unwrap_or(PSEUDONYM)
}

/// Refuses what [`check_single`], [`check_upgrade`] and [`check_loop`] refuse, after one look at the names: without
/// `Connection`, `Upgrade`, `Via` and `As-User` there is nothing to refuse.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = 0;
    let is_concerned = headers.iter().any(|(name, _)| match *name {
        HOST => std::mem::replace(&mut hosts, 1) == 1,
        CONNECTION | UPGRADE | VIA => true,
        _ => *name == AS_USER,
    });
    if is_concerned {
        check_single(headers)?;
        check_upgrade(headers)?;
        check_loop(headers)?;
    }
    Ok(())
}

/// Refuses fields that occur more than once and must not. hyper handles a body with both `Transfer-Encoding` and
/// `Content-Length` (only the former counts, RFC 9112 §6.3); towards Box every body gets new framing.
pub(crate) fn check_single(headers: &HeaderMap) -> Result<(), Refusal> {
    let many = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if many(&HOST) {
        return Err(Refusal::BadRequest("The request has more than one Host header."));
    }
    if many(&AS_USER) {
        return Err(Refusal::BadRequest("The request has more than one As-User header."));
    }
    // The gateway would count the request for this user and then, as hop-by-hop, not forward the field.
    if headers.get_all(CONNECTION).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("as-user"))
    {
        return Err(Refusal::BadRequest(
            "The Connection header must not name As-User, which is not a hop-by-hop header.",
        ));
    }
    Ok(())
}

/// Refuses a request that has come through the gateway before (RFC 9110 §7.6.3).
pub(crate) fn check_loop(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_own = |hop: &str| {
        let received_by = hop.split_ascii_whitespace().nth(1);
        received_by.is_some_and(|name| name.eq_ignore_ascii_case("boxgate"))
    };
    if headers.get_all(VIA).iter().flat_map(tokens).any(is_own) {
        return Err(Refusal::LoopDetected(
            "Via says that the request came through boxgate before".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses a WebSocket upgrade; other upgrades, such as the JDK's `h2c`, are ignored.
fn check_upgrade(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_websocket =
        |value: &HeaderValue| tokens(value).any(|token| token.eq_ignore_ascii_case("websocket"));
    if headers.get_all(UPGRADE).iter().any(is_websocket) {
        return Err(Refusal::BadRequest(
            "WebSocket upgrades are not supported; Box's API has no WebSockets.",
        ));
    }
    Ok(())
}

/// The caller's request id if it has the accepted form, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let kept = find(headers, &REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        (1..=64).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    });
    if let Some(id) = kept {
        return id.clone();
    }
    let mut hex = [0_u8; 32];
    let random = fastrand::u128(..);
    for (index, digit) in hex.iter_mut().enumerate() {
        let nibble = (random >> (index * 4)) as u8 & 0xf;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    // Shared from the beginning: a copy that is made later would allocate once more.
    HeaderValue::from_maybe_shared(Bytes::from_owner(hex)).expect("hexadecimal digits are a header value")
}

/// Fields of Box that are not passed to the caller.
fn stays_behind(name: &HeaderName) -> bool {
    match *name {
        // Hop-by-hop, RFC 9110 §7.6.1.
        CONNECTION | TRANSFER_ENCODING | UPGRADE | TE | PROXY_AUTHENTICATE => true,
        // They would bind the caller to Box's host, or act on the gateway's origin.
        SET_COOKIE | STRICT_TRANSPORT_SECURITY | ALT_SVC | REFRESH => true,
        // Replaced by the gateway's own.
        CACHE_CONTROL
        | EXPIRES
        | PRAGMA
        | AGE
        | VARY
        | VIA
        | X_CONTENT_TYPE_OPTIONS
        | CONTENT_SECURITY_POLICY
        | CONTENT_SECURITY_POLICY_REPORT_ONLY => true,
        _ => {
            let name = name.as_str();
            matches!(
                name,
                "keep-alive"
                    | "proxy-connection"
                    | "proxy-authentication-info"
                    | "set-cookie2"
                    | "clear-site-data"
                    | "public-key-pins"
                    | "expect-ct"
                    | "nel"
                    | "report-to"
                    | "reporting-endpoints"
                    | "service-worker-allowed"
                    | "sourcemap"
                    | "timing-allow-origin"
                    | "origin-agent-cluster"
                    | "permissions-policy"
                    | "x-request-id"
                    // They tell a proxy between the gateway and the caller which file to send instead of the response.
                    | "x-sendfile"
                    | "x-lighttpd-send-file"
            ) || name.starts_with("access-control-")
                || name.starts_with("x-accel-")
                || name.starts_with("cross-origin-")
        }
    }
}

/// Digests of the body, which can be sent as trailers (RFC 9530 §6.5, RFC 1864).
fn is_digest(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-md5" | "digest" | "content-digest" | "repr-digest")
}

/// The trailers of a request that pass to Box: those that it announces (RFC 9110 §6.6.2) and that are a digest or among
/// `also`, the app's `forward_headers`. Other fields that pass as headers would change the request after it was checked
/// (RFC 9110 §6.5.1).
pub(crate) fn trailers_for_box(from: &HeaderMap, also: &[HeaderName]) -> Vec<HeaderName> {
    announced_trailers(from).filter(|name| is_digest(name) || also.contains(name)).collect()
}

/// Removes a request's trailers that must not pass to Box: over HTTP/2, hyper sends any.
pub(crate) fn trailers_to_box(trailers: &mut HeaderMap, passing: &[HeaderName]) {
    remove_where(trailers, |name| !passing.contains(name));
}

/// Whether a trailer of Box's may come back: digests, the validator and timing (RFC 9110 §8.8.3, Server Timing §4), and
/// names without a meaning in HTTP. Other fields would change a response whose head has already been sent.
fn may_follow(name: &HeaderName) -> bool {
    let extends = || name.as_str().starts_with("x-") && !stays_behind(name);
    is_digest(name) || *name == ETAG || name.as_str() == "server-timing" || extends()
}

/// Removes a response's trailers that must not pass to the caller.
pub(crate) fn trailers_from_box(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| !may_follow(name));
}

/// Sets `Trailer` to these names; without names, sets nothing.
fn announce(fields: &mut HeaderMap, names: &[HeaderName]) {
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    // Names of headers have the characters of a value.
    match HeaderValue::try_from(names.join(", ")) {
        Ok(names) if !names.is_empty() => drop(fields.insert(TRAILER, names)),
        _ => drop(fields.remove(TRAILER)),
    }
}

/// Removes all lines of a field: the first one, and the others, which are rare.
fn take(fields: &mut HeaderMap, name: HeaderName) -> (Option<HeaderValue>, Vec<HeaderValue>) {
    let others = fields.get_all(&name).iter().skip(1).cloned().collect();
    (fields.remove(name), others)
}

/// Adds the lines of `Via` that were received, the last one with the gateway's own entry (RFC 9110 §7.6.3).
fn add_via<'v>(fields: &mut HeaderMap, mut received: impl DoubleEndedIterator<Item = &'v HeaderValue>) {
    let last = received.next_back().map_or(PSEUDONYM, with_pseudonym);
    for via in received {
        fields.append(VIA, via.clone());
    }
    fields.append(VIA, last);
}

fn remove_where(fields: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    // Names are gathered first since a map cannot be changed while it is read: without an allocation, some at a time.
    loop {
        let mut going: [Option<HeaderName>; 8] = Default::default();
        let names = fields.keys().filter(|name| goes(name)).cloned();
        going.iter_mut().zip(names).for_each(|(slot, name)| *slot = Some(name));
        for name in going.iter().flatten() {
            fields.remove(name);
        }
        if going.iter().any(Option::is_none) {
            break;
        }
    }
}

/// Turns Box's fields into the caller's, in place.
pub(crate) fn from_box(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for token in nominated.iter().flat_map(tokens).filter(|token| !token.is_empty()) {
        headers.remove(token);
    }
    if headers.contains_key(TRAILER) {
        let names: Vec<HeaderName> = announced_trailers(headers).filter(may_follow).collect();
        announce(headers, &names);
    }
    let (vary, more_vary) = take(headers, VARY);
    let (via, more_via) = take(headers, VIA);
    remove_where(headers, stays_behind);
    add_via(headers, via.iter().chain(&more_via));
    guard(headers);
    for vary in vary.into_iter().chain(more_vary) {
        headers.append(VARY, vary);
    }
    // A stored HTML file must not run on the gateway's origin.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
}

/// Sets the fields that every response carries against caching: it may hold anyone's data, and callers send no
/// `Authorization`, which would keep shared caches from storing it.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    const NO_BODY: BodyFields = BodyFields { has_body: false, length: None, expects: false };

    #[test]
    fn only_the_list_passes_to_box() {
        let from = map(&[
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("as_user", "1"),
            ("x-http-method-override", "DELETE"),
            ("origin", "https://a"),
            ("referer", "https://a/b"),
            ("sec-fetch-mode", "cors"),
            ("x-custom", "1"),
            ("content-type", "text/plain"),
            ("if-match", "1"),
            ("x-rep-hints", "[jpg?dimensions=32x32]"),
            ("x-allowed", "yes"),
            ("host", "gate"),
            ("accept", "a"),
            ("accept", "b"),
            ("connection", "keep-alive"),
            ("connection", "X-File-Name, x-file-name,, no token, x-not-sent"),
            ("x-file-name", "n"),
        ]);
        let also = [HeaderName::from_static("x-allowed")];
        let to = to_box(&from, &also, NO_BODY);
        let mut names: Vec<_> = to.fields.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-type", "if-match", "via", "x-allowed", "x-rep-hints"]);
        assert_eq!(to.fields.get_all("accept").iter().count(), 2);
        assert_eq!(to.dropped, 10);
    }

    #[test]
    fn trailers_pass_where_both_sides_announce_them() {
        let from = map(&[("te", "trailers, deflate"), ("connection", "te"), ("trailer", "x-sum, Digest")]);
        let body = BodyFields { has_body: true, length: None, expects: false };
        let to = to_box(&from, &[], body).fields;
        assert_eq!(
            (to.get("te").unwrap(), to.get("trailer").unwrap()),
            (&HeaderValue::from_static("trailers"), &HeaderValue::from_static("digest"))
        );
    }

    #[test]
    fn fields_that_bind_to_box_or_act_on_the_gateways_origin_are_dropped() {
        let mut headers = map(&[
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3"),
            ("access-control-allow-origin", "*"),
            ("cache-control", "public"),
            ("vary", "Accept-Encoding"),
            ("clear-site-data", "\"*\""),
            ("etag", "\"1\""),
            ("box-request-id", "r"),
            ("via", "1.1 google"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-security-policy", "script-src *"),
        ]);
        from_box(&mut headers);
        for gone in [
            "set-cookie",
            "strict-transport-security",
            "alt-svc",
            "access-control-allow-origin",
            "clear-site-data",
            "x-hop",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers.get("cache-control").unwrap(), "private, no-store");
        assert_eq!(headers.get("content-security-policy").unwrap(), "sandbox; default-src 'none'");
        assert_eq!(headers.get("via").unwrap(), "1.1 google, 1.1 boxgate");
        assert_eq!(headers.get("etag").unwrap(), "\"1\"");
        let vary: Vec<_> = headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Encoding"]);
    }

    #[test]
    fn fields_of_several_lines_keep_all_of_them() {
        let lines = |headers: &HeaderMap, name: &str| -> Vec<HeaderValue> {
            headers.get_all(name).iter().cloned().collect()
        };
        let mut headers = map(&[
            ("vary", "Accept-Encoding"),
            ("vary", "Accept"),
            ("via", "1.1 edge"),
            ("via", "1.1 google"),
        ]);
        let body = BodyFields { has_body: true, length: None, expects: false };
        let from = map(&[("via", "1.1 a"), ("via", "1.1 b"), ("te", "deflate"), ("te", "trailers")]);
        let fields = to_box(&from, &[], body).fields;
        assert_eq!(lines(&fields, "via"), ["1.1 a", "1.1 b, 1.1 boxgate"]);
        assert_eq!(lines(&fields, "te"), ["trailers"]);
        from_box(&mut headers);
        assert_eq!(lines(&headers, "via"), ["1.1 edge", "1.1 google, 1.1 boxgate"]);
        assert_eq!(lines(&headers, "vary"), ["Origin", "Accept-Encoding", "Accept"]);
    }

    #[test]
    fn trailers_that_would_be_dropped_as_headers_are_dropped() {
        let mut trailers = map(&[
            ("set-cookie", "a=b"),
            ("alt-svc", "h3"),
            ("location", "https://a"),
            ("content-type", "text/html"),
            ("www-authenticate", "Basic"),
            ("x-request-id", "1"),
            ("x-accel-redirect", "/"),
            ("refresh", "0"),
            ("x-sum", "1"),
            ("etag", "1"),
            ("content-digest", "1"),
        ]);
        trailers_from_box(&mut trailers);
        assert_eq!(trailers, map(&[("x-sum", "1"), ("etag", "1"), ("content-digest", "1")]));
        let said = map(&[
            ("origin", "x"),
            ("referer", "x"),
            ("sec-fetch-site", "none"),
            ("x-http-method-override", "DELETE"),
            ("boxapi", "x"),
            ("as-user", "1"),
            ("authorization", "x"),
            ("if-match", "1"),
            ("content-type", "x"),
            ("x-sum", "1"),
            ("digest", "1"),
            ("x-mine", "1"),
            ("content-md5", "1"),
        ]);
        let names: Vec<&str> =
            said.keys().map(HeaderName::as_str).filter(|name| *name != "content-md5").collect();
        let announced = map(&[("trailer", names.join(", ").leak())]);
        let passing = trailers_for_box(&announced, &[HeaderName::from_static("x-mine")]);
        let mut trailers = said;
        trailers_to_box(&mut trailers, &passing);
        // A digest that was not announced is dropped too.
        assert_eq!(trailers, map(&[("digest", "1"), ("x-mine", "1")]));
    }

    #[test]
    fn request_ids_are_kept_or_made() {
        assert_eq!(request_id(&map(&[("x-request-id", "abc-1.2_Z")])), "abc-1.2_Z");
        for bad in
            ["", "a b", "<script>", "0123456789012345678901234567890123456789012345678901234567890123456789"]
        {
            let made = request_id(&map(&[("x-request-id", bad)]));
            assert!(made.len() == 32 && made != bad, "{bad}");
        }
    }
}
