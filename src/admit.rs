//! Admission: may this caller speak to us, and is the request one that can be read in one way only?

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};

use crate::headers;
use crate::host::{self, Host};
use crate::refusal::Refusal;
use crate::target;
use crate::worker::{Peer, Worker};

/// A request that may be looked at further.
#[derive(Debug)]
pub struct Admitted<'a> {
    /// Its `Host`, or HTTP/2's `:authority`.
    pub host: Host<'a>,
    /// The same with its port, as the caller wrote it.
    pub authority: &'a str,
    /// The caller behind trusted proxies.
    pub client: IpAddr,
    /// Whether the caller used https; a trusted proxy may have ended it.
    pub secure: bool,
}

/// Judges source, client certificate, method, target, framing and Host, in this order.
pub fn check<'a>(worker: &Worker, peer: Peer, head: &'a Parts) -> Result<Admitted<'a>, Refusal> {
    let listen = &worker.config().listen;
    if !listen.sources.contains(peer.address) {
        return Err(Refusal::SourceNotAllowed);
    }
    if peer.uncertified {
        return Err(Refusal::CertificateMissing);
    }
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Refusal::MethodNotAllowed);
    }
    target::check(&head.uri)?;
    headers::check_single(&head.headers)?;
    headers::check_upgrade(&head.headers)?;
    let host = authority(&head.uri, &head.headers)?;
    if !listen.hosts.admits(host.0) {
        return Err(Refusal::HostNotAllowed { host: host.1.to_owned(), key: "hosts of [listen]" });
    }
    Ok(Admitted {
        host: host.0,
        authority: host.1,
        client: client(worker, peer, &head.headers),
        secure: is_secure(worker, peer, &head.headers),
    })
}

fn is_secure(worker: &Worker, peer: Peer, headers: &HeaderMap) -> bool {
    let trusted = worker.config().trusted_proxies.contains(peer.address);
    match headers.get("x-forwarded-proto").filter(|_| trusted).map(|scheme| scheme.as_bytes()) {
        Some(scheme) => scheme.to_ascii_lowercase().starts_with(b"https"),
        None => peer.secure,
    }
}

/// The one authority that the request names; the second is the caller's spelling.
pub fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<(Host<'a>, &'a str), Refusal> {
    const UNREADABLE: Refusal = Refusal::BadRequest("The Host header is missing or not a host name.");
    let field = match headers.get(HOST) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| UNREADABLE)?),
    };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let text = match (authority, field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(Refusal::BadRequest(
                "The request target names another authority than the Host header.",
            ));
        }
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(UNREADABLE),
    };
    let (host, _) = host::parse(text).ok_or(UNREADABLE)?;
    Ok((host, text))
}

fn client(worker: &Worker, peer: Peer, headers: &HeaderMap) -> IpAddr {
    if worker.config().trusted_proxies.is_empty() {
        return peer.address;
    }
    let hops: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        // What is no address ends the chain: nothing left of it can be placed.
        .map(|hop| hop.trim().parse().ok())
        .fold(Vec::new(), |mut hops, hop| {
            match hop {
                Some(hop) => hops.push(hop),
                None => hops.clear(),
            }
            hops
        });
    worker.client(peer.address, hops.into_iter())
}

/// Whether the caller waits for an invitation (RFC 9110 §10.1.1); HTTP/2 callers do not.
pub fn expects_continue(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head
            .headers
            .get(EXPECT)
            .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body's length, where the caller said it: Box may answer 411 to a request without.
pub fn length_to_say(head: &Parts) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
