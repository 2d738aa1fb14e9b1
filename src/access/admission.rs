//! Admission: may this caller use the listener, and is the request unambiguous?

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri, Version};

use crate::access::caller::{Caller, Inside};
use crate::access::forwarded_for::client_address;
use crate::http::error::Refusal;
use crate::http::field_list::tokens;
use crate::http::headers;
use crate::http::host::{self, Host, HostList};
use crate::http::target;
use crate::net::address::Address;
use crate::net::certificate_names::CertificateNames;
use crate::net::client_address::ClientAddress;
use crate::net::networks::Networks;
use crate::net::peer::Peer;
use crate::routing::app::Way;
use crate::routing::box_hosts::{self, BoxHosts, Named};
use crate::routing::proxy_user::{self, ProxyUser};

/// The scheme that the caller used towards a proxy in front.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The settings of a listener: its sockets, and who may use them.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Where to listen; at least one address.
    pub addresses: Vec<Address>,
    /// Names allowed in `Host`, besides localhost and IP literals. On the callers' listener, those of the apps are
    /// included.
    pub hosts: HostList,
    /// The networks from which clients may connect.
    pub sources: Networks,
}

/// What the requests of a listener are checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission<'a> {
    /// The settings of the listener.
    pub listen: &'a Listen,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: &'a Networks,
    /// Box's hosts, if requests may name them directly (`[forward_proxy]`); else `None`.
    pub proxied: Option<&'a BoxHosts>,
}

/// What admission learned about a request that it let pass.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    /// Its `Host`, or HTTP/2's `:authority`.
    pub host: Host<'a>,
    /// `host` with its port, as the caller wrote it.
    pub authority: &'a str,
    /// The caller behind trusted proxies.
    pub client: ClientAddress,
    /// Whether the caller used https, possibly to a trusted proxy in front.
    pub secure: bool,
    /// The host of Box that the request itself names: through a tunnel, in absolute form, or in `Host` where DNS leads
    /// Box's name to the gateway. Its path is then a path of Box.
    pub named: Option<Cow<'a, Named>>,
    /// The app that `Proxy-Authorization` names.
    pub user: Option<Cow<'a, ProxyUser>>,
    /// The names in the client certificate of the connection.
    pub certificate: Option<&'a CertificateNames>,
}

impl Admitted<'_> {
    /// The properties on which the choice of an app depends.
    pub(crate) fn way(&self) -> Way<'_> {
        let (host, client, names_box) = (self.host, self.client, self.named.is_some());
        Way { host, client, names_box, user: self.user.as_deref(), certificate: self.certificate }
    }
}

/// Checks source and client certificate.
pub(crate) fn check_peer(listen: &Listen, peer: Peer) -> Result<(), Refusal> {
    if !peer.is_in(&listen.sources) {
        return Err(Refusal::SourceNotAllowed);
    }
    if peer.uncertified {
        return Err(Refusal::CertificateMissing);
    }
    Ok(())
}

/// Refuses methods with anything but upper-case letters. Methods are case-sensitive (RFC 9110 §9.1), but a server might
/// read `delete` as DELETE, while rules, limits and classes would not.
pub(crate) fn check_method(method: &Method) -> Result<(), Refusal> {
    if method.as_str().bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(Refusal::BadRequest(
        "The method must be upper-case letters, such as GET or DELETE; HTTP methods are case-sensitive.",
    ))
}

/// Checks source, client certificate, method, target, framing and Host, in this order.
pub(crate) fn check<'a>(
    rules: &Admission<'_>,
    caller: &'a Caller,
    head: &'a Parts,
) -> Result<Admitted<'a>, Refusal> {
    let (listen, peer) = (rules.listen, caller.peer);
    check_peer(listen, peer)?;
    check_method(&head.method)?;
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Refusal::MethodNotAllowed);
    }
    target::check(&head.uri)?;
    headers::check(&head.headers)?;
    let (host, authority) = authority(&head.uri, &head.headers)?;
    if let Some(inside) = &caller.inside {
        return in_tunnel(inside, host, authority, caller.certificate());
    }
    let named = named(rules, head, host, authority)?;
    if named.is_none() && !listen.hosts.admits(host) {
        return Err(Refusal::HostNotAllowed { host: authority.to_owned(), key: "hosts of [listen]" });
    }
    let user = match named {
        Some(_) => proxy_user::read(&head.headers)?,
        None => None,
    };
    Ok(Admitted {
        host,
        authority,
        client: client_address(rules.trusted_proxies, peer.client, &head.headers),
        secure: is_secure(rules.trusted_proxies, peer, &head.headers),
        named: named.map(Cow::Owned),
        user: user.map(Cow::Owned),
        certificate: caller.certificate(),
    })
}

/// Admits a request inside a tunnel: it has what its CONNECT was admitted with, and must name the host of that CONNECT.
fn in_tunnel<'a>(
    inside: &'a Inside,
    host: Host<'a>,
    authority: &'a str,
    certificate: Option<&'a CertificateNames>,
) -> Result<Admitted<'a>, Refusal> {
    let named = authority.strip_suffix(":443").unwrap_or(authority);
    if inside.is_misdirected || !named.eq_ignore_ascii_case(&inside.authority) {
        return Err(Refusal::NotOfThisTunnel { host: authority.to_owned(), asked: inside.authority.clone() });
    }
    Ok(Admitted {
        host,
        authority,
        client: inside.client,
        secure: true,
        named: Some(Cow::Borrowed(&inside.named)),
        user: inside.user.as_ref().map(Cow::Borrowed),
        certificate,
    })
}

/// The host of Box that a request outside of a tunnel names: in absolute form (RFC 9112 §3.2.2), as programs send it
/// that honour `HTTP_PROXY`, or in `Host`, if that name of Box is listed in `hosts` and DNS leads it to the gateway.
fn named(
    rules: &Admission<'_>,
    head: &Parts,
    host: Host<'_>,
    authority: &str,
) -> Result<Option<Named>, Refusal> {
    let Some(hosts) = rules.proxied else { return Ok(None) };
    let listed = &rules.listen.hosts;
    if head.version < Version::HTTP_2 && head.uri.scheme().is_some() {
        let of_box = box_hosts::named(hosts, authority.strip_suffix(":80").unwrap_or(authority));
        if of_box.is_none() && !listed.admits(host) {
            let why =
                "plain http:// is forwarded only to Box's hosts; unset HTTP_PROXY for others".to_owned();
            return Err(Refusal::TunnelNotAllowed { host: authority.to_owned(), why });
        }
        return Ok(of_box);
    }
    Ok(match host {
        // The port in `Host` is the gateway's.
        Host::Name(name) if listed.lists(host) => box_hosts::named(hosts, name),
        _ => None,
    })
}

/// Whether the caller uses https; inside a tunnel it always does.
pub(crate) fn uses_https(trusted: &Networks, caller: &Caller, headers: &HeaderMap) -> bool {
    caller.inside.is_some() || is_secure(trusted, caller.peer, headers)
}

/// The scheme (true for https) and authority by which the caller reached the gateway; `None` if it named a host of Box,
/// a host that is not allowed, or an unreadable one. Checks nothing else.
pub(crate) fn own_authority<'a>(
    rules: &Admission<'_>,
    caller: &Caller,
    head: &'a Parts,
) -> Option<(bool, &'a str)> {
    if caller.inside.is_some() || head.method == Method::CONNECT {
        return None;
    }
    let (host, text) = authority(&head.uri, &head.headers).ok()?;
    let names_box = named(rules, head, host, text).ok()?.is_some();
    let is_own = !names_box && rules.listen.hosts.admits(host);
    is_own.then(|| (is_secure(rules.trusted_proxies, caller.peer, &head.headers), text))
}

/// Whether the caller used https, according to a trusted proxy if there is one. If its fields contradict each other, it
/// counts as http.
fn is_secure(trusted: &Networks, peer: Peer, headers: &HeaderMap) -> bool {
    if !peer.client.is_in(trusted) {
        return peer.secure;
    }
    let mut said = headers.get_all(X_FORWARDED_PROTO).iter().peekable();
    if said.peek().is_none() {
        return peer.secure;
    }
    said.flat_map(tokens).all(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// The authority that the request names: parsed, and as the caller wrote it.
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<(Host<'a>, &'a str), Refusal> {
    const UNREADABLE: Refusal = Refusal::BadRequest("The Host header is missing or not a host name.");
    let field = match headers.get(HOST) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| UNREADABLE)?),
    };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let text = match (authority, field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(Refusal::BadRequest(
                "The request target and the Host header name different authorities.",
            ));
        }
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(UNREADABLE),
    };
    let (host, _) = host::parse(text).ok_or(UNREADABLE)?;
    Ok((host, text))
}

/// Whether the caller waits for `100 Continue` (RFC 9110 §10.1.1); HTTP/2 callers do not.
pub(crate) fn expects_continue(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head
            .headers
            .get(EXPECT)
            .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body's length, if the caller declared it: Box may answer 411 to a request without it.
pub(crate) fn length_to_say(head: &Parts) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
