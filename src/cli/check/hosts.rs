//! Box's hosts: can they be reached, and is it Box that answers?

use std::time::SystemTime;

use http::header::DATE;
use http::uri::Authority;

use super::call::{self, PATIENCE};
use super::findings::{About, Row};
use super::online::Online;
use crate::net::egress_proxy::host_and_port;
use crate::upstream::inspection::{Reached, Unreached, inspect};

/// What was found about a host.
pub(super) struct Found {
    pub(super) row: Row,
    /// The time by the host's clock and by this machine's, both when its answer came.
    pub(super) clocks: Option<(SystemTime, SystemTime)>,
}

/// The hosts of the configuration, each with the keys that name it.
pub(super) fn hosts(online: &Online) -> Vec<(Authority, String)> {
    let hosts = &online.config.hosts;
    let mut found: Vec<(Authority, String)> = Vec::new();
    for (key, host) in [("api", &hosts.api), ("upload", &hosts.upload), ("download", &hosts.download)] {
        match found.iter_mut().find(|(known, _)| known == host) {
            Some((_, keys)) => *keys = format!("{keys}, {key}"),
            None => found.push((host.clone(), format!("[box] {key}"))),
        }
    }
    found
}

/// Opens a connection and asks for `/` without a token. `keys`: of the configuration, which name the host.
pub(super) async fn check(online: &Online, host: &Authority, keys: &str) -> Found {
    let about = About::new("host", host.as_str());
    let found = |row| Found { row, clocks: None };
    let url = format!("https://{host}/");
    if let Ok(url) = url.parse()
        && let Some(cause) = online.own.on_the_way_to(&url, &online.proxies).await
    {
        return found(about.failed(would_call_itself(&cause), mend_loop(keys)));
    }
    let clock = &online.clock;
    let begun = clock.mono();
    let inspecting = inspect(&online.connector, &online.trust, online.config.upstream.http2, host);
    let reached = match tokio::time::timeout(PATIENCE, inspecting).await {
        Ok(Ok(reached)) => reached,
        Ok(Err(unreached)) => {
            let (words, advice) = explained(unreached, host, keys);
            return found(about.failed(words, advice));
        }
        Err(_) => {
            return found(about.failed(
                format!("no connection in {PATIENCE:?}{}", through(online, host)),
                "a firewall may drop it: let this machine reach the host on its port, or set [upstream] proxy to the proxy that may",
            ));
        }
    };
    let took = clock.mono().saturating_duration_since(begun).as_millis();
    let answer = match call::get(&online.pool, host, "/", None).await {
        Ok(answer) => answer,
        Err(cause) => {
            return found(about.failed(
                cause,
                "the connection is established, but no answer comes over it; look at the proxy or firewall on the way",
            ));
        }
    };
    let status = answer.status.as_u16();
    if matches!(status, 407 | 511 | 502..=504) {
        return found(about.failed(
            format!("answers {status}"),
            "a proxy or network on the way asks for a login, or Box has an outage (status.box.com); check again later",
        ));
    }
    let date = answer.headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Reached { tls, http } = reached;
    Found {
        row: about.ok(format!("{:<8}{tls}, {http}{}", format!("{took} ms"), through(online, host))),
        clocks: date.map(|date| (date, clock.wall())),
    }
}

fn through(online: &Online, host: &Authority) -> String {
    let proxy = online.connector.proxy_to(host);
    proxy.map(|proxy| format!(", through the proxy {}", host_and_port(&proxy))).unwrap_or_default()
}

fn would_call_itself(cause: &str) -> String {
    format!("the gateway would call itself: {cause}")
}

fn mend_loop(keys: &str) -> String {
    format!("correct {keys}, [upstream] proxy or HTTPS_PROXY, whichever leads back here")
}

/// What failed, and what to do.
fn explained(unreached: Unreached, host: &Authority, keys: &str) -> (String, String) {
    match unreached {
        Unreached::Name { name, cause } if name == host.host() => (
            format!("the name has no address: {cause}"),
            format!(
                "look at this machine's name service (DNS) and at {keys}; where only a proxy leads out, set [upstream] proxy or HTTPS_PROXY"
            ),
        ),
        Unreached::Name { name, cause } => (
            format!("the name of the proxy, {name}, has no address: {cause}"),
            "look at [upstream] proxy or HTTPS_PROXY, and at this machine's name service (DNS)".to_owned(),
        ),
        Unreached::Loop(cause) => (would_call_itself(&cause), mend_loop(keys)),
        Unreached::Tcp(cause) => (
            format!("no connection: {cause}"),
            format!(
                "let the firewall pass connections to this port, or set [upstream] proxy to the proxy that leads out; is {keys} right?"
            ),
        ),
        Unreached::Proxy(cause) => (
            format!("no connection {cause}"),
            "look at [upstream] proxy or HTTPS_PROXY: does the proxy run there? It must let CONNECT pass to this host, and its user and password must be right"
                .to_owned(),
        ),
        Unreached::Untrusted { issuer } => {
            let issuer = issuer.map(|issuer| format!(": issued by {issuer:?}")).unwrap_or_default();
            (
                format!("certificate not trusted{issuer}"),
                "if it is the authority of a proxy or firewall of your network, add it: [box] ca_file".to_owned(),
            )
        }
        Unreached::NotNow(cause) => (
            cause,
            "compare this machine's clock with the time; if it is right, what answers here is not Box".to_owned(),
        ),
        Unreached::OtherHost(cause) => (
            cause,
            format!("something else answers in place of this host: look at DNS, the proxy on the way, and {keys}"),
        ),
        Unreached::Tls(cause) => (
            format!("TLS: {cause}"),
            "what answers may not be Box: look at the proxy or firewall on the way".to_owned(),
        ),
    }
}
