//! Whether an address is one on which this process itself listens; a request to it would be a loop.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::net::lookup_host;

use crate::net::networks::unmapped;

/// The time for looking names up; a slower name is not checked.
const LOOK_UP: Duration = Duration::from_secs(5);

/// The TCP addresses where this process listens, for callers and operators.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnListeners(Vec<SocketAddr>);

impl OwnListeners {
    /// Takes the listeners' addresses; an unspecified one stands for all addresses of this machine.
    pub(crate) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Describes which listener a request for this URL would reach, directly or through a proxy; `None` if none. Looks
    /// names up.
    pub(crate) async fn on_the_way_to(&self, url: &Uri, proxies: &Matcher) -> Option<String> {
        let proxy = proxies.intercept(url);
        let (what, to) = match &proxy {
            Some(proxy) => ("the proxy on the way there", proxy.uri()),
            None => ("it", url),
        };
        let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("http") { 80 } else { 443 });
        let host = to.host()?.trim_matches(['[', ']']);
        let found = tokio::time::timeout(LOOK_UP, lookup_host((host, port))).await.ok()?.ok()?;
        let own = found.into_iter().find(|address| self.contain(*address))?;
        Some(format!("{what} is at {own}, where this gateway itself listens"))
    }

    /// Whether a connection to this address would reach one of them.
    pub(crate) fn contain(&self, address: SocketAddr) -> bool {
        let ip = unmapped(address.ip());
        self.0.iter().filter(|own| own.port() == address.port()).any(|own| {
            let own = unmapped(own.ip());
            own == ip || ip.is_unspecified() || own.is_unspecified() && is_of_this_machine(ip)
        })
    }
}

/// An address belongs to this machine if it can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_own_in_every_spelling() {
        let own = OwnListeners::new(["127.0.0.1:80", "0.0.0.0:90"].map(|text| text.parse().unwrap()));
        for address in [
            "127.0.0.1:80",
            "[::ffff:127.0.0.1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "127.0.0.1:90",
            "127.9.9.9:90",
            "[::1]:90",
        ] {
            assert!(own.contain(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1:81", "127.0.0.2:80", "203.0.113.7:90"] {
            assert!(!own.contain(address.parse().unwrap()), "{address}");
        }
    }
}
