//! Who may ask what on the operators' listener.
//!
//! The order of judgement: the source, the client certificate, the `Host` (DNS rebinding), the key. Only then is the path
//! looked at, so that who has no key does not learn which paths exist. The probes need no key: what asks them is a balancer or a
//! supervisor, and often cannot send one.

use std::sync::Arc;

use http::header::{AUTHORIZATION, FORWARDED, VIA};
use http::{HeaderMap, HeaderName, Uri};
use rustls::pki_types::CertificateDer;
use tracing::warn;
use zeroize::Zeroizing;

use super::wrong_keys::WrongKeys;
use crate::access::{admission, browser};
use crate::config::Config;
use crate::http::basic_credentials;
use crate::http::error::Refusal;
use crate::http::headers::check_single;
use crate::net::peer::Peer;
use crate::net::tls_server::Tls;
use crate::proxy::process::Process;
use crate::routing::app_key::{APP_KEY, AppKeys};

/// The paths that need no key.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Fields with which proxies tell of the client behind them.
const SIGNS_OF_A_PROXY: [HeaderName; 4] =
    [HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip"), FORWARDED, VIA];

/// Whether anyone whom the listener admits may ask this path, without a key.
pub(crate) fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

/// A request to the operators' listener, and what it is judged by.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) config: &'a Config,
    pub(super) peer: &'a Peer,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// The peer, and whether it lacks the client certificate that the configuration asks for now: a reload may have replaced
/// `client_ca` since the handshake. `shown`: the certificates of its connection, its own first.
pub(super) fn certified(peer: Peer, shown: &[CertificateDer<'static>], config: &Config) -> Peer {
    let lacks = |tls: &Arc<Tls>| tls.wants_certificates() && !tls.admits(shown);
    Peer { uncertified: peer.secure && config.admin_tls.as_ref().is_some_and(lacks), ..peer }
}

/// Checks all that is the same for every path. Returns the authority that the operator reached.
pub(super) fn admit<'a>(
    asked: Asked<'a>,
    process: &Process,
    wrong_keys: &WrongKeys,
) -> Result<&'a str, Refusal> {
    let Asked { config, peer, uri, headers } = asked;
    admission::check_peer(&config.admin, *peer)?;
    check_single(headers)?;
    let (host, authority) = admission::authority(uri, headers)?;
    if !config.admin.hosts.admits(host) {
        return Err(Refusal::HostNotAllowed { host: authority.to_owned(), key: "hosts of [admin]" });
    }
    if let Some(keys) = config.admin_keys.as_ref().filter(|_| !is_probe(uri.path())) {
        check_key(keys, asked, process, wrong_keys)?;
    }
    Ok(authority)
}

/// Whether single requests may be shown: to whoever has the key, or is on this machine where there is none.
/// `asked`: admitted before.
///
/// # Errors
/// There is no key, and the request is from another machine or came through a proxy.
pub(super) fn may_see_requests(asked: Asked<'_>) -> Result<(), Refusal> {
    let Asked { config, peer, headers, .. } = asked;
    // A proxy on this machine has a loopback address, and would let in whoever reaches it.
    let is_local =
        peer.address.is_loopback() && !SIGNS_OF_A_PROXY.iter().any(|field| headers.contains_key(field));
    if config.admin_keys.is_some() || is_local { Ok(()) } else { Err(Refusal::OnlyOnThisMachine) }
}

/// Whether something may be changed: by whom may see requests, and by no page of another origin. `authority`: what
/// [`admit`] returned.
///
/// # Errors
/// There is no key and the request is not from this machine, or a foreign page sent it.
pub(super) fn may_change(asked: Asked<'_>, authority: &str) -> Result<(), Refusal> {
    may_see_requests(asked)?;
    browser::check_own_page(asked.headers, authority, asked.peer.secure)
}

fn check_key(
    keys: &AppKeys,
    asked: Asked<'_>,
    process: &Process,
    wrong_keys: &WrongKeys,
) -> Result<(), Refusal> {
    let Asked { peer, headers, .. } = asked;
    let shown = shown(headers);
    if shown.is_empty() {
        return Err(Refusal::AdminKeyRequired { is_wrong: false });
    }
    let now = process.clock.now();
    // Whom a Unix socket's mode admits has no address that could be told from others.
    let is_counted = peer.here.is_some();
    if is_counted && let Some(retry_after) = wrong_keys.refused_for(peer.address, now) {
        return Err(Refusal::TooManyWrongKeys { retry_after });
    }
    let wrong: Vec<_> = shown.iter().filter(|key| !keys.contain(key)).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    for key in wrong.iter().filter(|_| is_counted) {
        wrong_keys.note(peer.address, key, now);
    }
    if let Some(left_out) = process.repeats.note("a wrong admin key") {
        warn!(peer = %peer.address, "a request of an operator has a wrong key ([admin] key){left_out}");
    }
    Err(Refusal::AdminKeyRequired { is_wrong: true })
}

/// The keys that the request shows: it is not known which of several another server in between would have judged, so each
/// must be right. What claims to be Basic and cannot be read is a wrong one.
fn shown(headers: &HeaderMap) -> Vec<Zeroizing<Vec<u8>>> {
    let own = headers.get_all(APP_KEY).iter().map(|key| Zeroizing::new(key.as_bytes().to_vec()));
    let basic = headers.get_all(AUTHORIZATION).iter().filter(|value| basic_credentials::is_basic(value));
    let passwords = basic.map(|value| {
        let password = basic_credentials::read(value).map(|credentials| credentials.password);
        Zeroizing::new(password.map(|password| password.as_bytes().to_vec()).unwrap_or_default())
    });
    own.chain(passwords).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use http::HeaderValue;

    use super::*;
    use crate::config::{Overrides, from_text};

    fn config(admin: &str) -> Config {
        let identity = "[identity.a]\nclient_id = \"i\"\nclient_secret = \"s\"\nenterprise_id = \"1\"\n";
        let text = format!("{identity}[admin]\n{admin}\n");
        from_text(&text, Path::new("p.toml"), &Overrides::default(), &|_| None).unwrap()
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn may_change(admin: &str, peer: [u8; 4], fields: &[(&'static str, &'static str)]) -> bool {
        let (config, peer, headers) = (config(admin), Peer::new(IpAddr::from(peer), false), headers(fields));
        let asked =
            Asked { config: &config, peer: &peer, uri: &Uri::from_static("/reload"), headers: &headers };
        let seen = may_see_requests(asked);
        assert!(matches!(seen, Ok(()) | Err(Refusal::OnlyOnThisMachine)), "{seen:?}");
        super::may_change(asked, "localhost").is_ok()
    }

    #[test]
    fn without_a_key_only_programs_on_this_machine_change_anything() {
        for (peer, is_allowed) in
            [([127, 0, 0, 1], true), ([127, 9, 9, 9], true), ([10, 0, 0, 1], false), ([172, 17, 0, 1], false)]
        {
            assert_eq!(may_change("", peer, &[]), is_allowed, "{peer:?}");
            assert!(may_change("key = \"a key that is long enough\"", peer, &[]), "{peer:?}");
        }
        for sign in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
            assert!(!may_change("", [127, 0, 0, 1], &[(sign, "")]), "{sign}");
            assert!(
                may_change("key = \"a key that is long enough\"", [127, 0, 0, 1], &[(sign, "")]),
                "{sign}"
            );
        }
        assert!(!may_change("", [127, 0, 0, 1], &[("origin", "https://evil.example")]));
    }

    #[test]
    fn every_key_of_a_request_is_read() {
        let shown = |fields: &[(&'static str, &'static str)]| {
            let keys = shown(&headers(fields));
            keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert!(shown(&[("authorization", "Bearer YTpi"), ("cookie", "a")]).is_empty());
        assert_eq!(shown(&[("x-boxgate-key", "a"), ("x-boxgate-key", "")]), ["a", ""]);
        assert_eq!(shown(&[("x-boxgate-key", "k"), ("authorization", "basic YTpiOmM=")]), ["k", "b:c"]);
        assert_eq!(shown(&[("authorization", "Basic OmI="), ("authorization", "Basic !")]), ["b", ""]);
        for bad in ["Basic", "Basic ", "BASIC  YQ=="] {
            assert_eq!(shown(&[("authorization", bad)]), [""], "{bad}");
        }
    }
}
