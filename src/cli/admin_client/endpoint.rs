//! Where an admin listener is, as `--admin` and `BOXGATE_ADMIN` name it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::uri::Authority;

use crate::cli::options::scheme_and_authority;
use crate::http::host;
use crate::net::address::Address;

/// The allowed forms of an admin listener's address.
pub(super) const A_LISTENER: &str = "http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:PATH";

/// Where an admin listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Host and port.
    Http {
        is_https: bool,
        authority: Authority,
    },
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether it is on this machine: loopback, a Unix socket, or one of the addresses that the configuration has.
    pub(super) fn is_here(&self, configured: &[Address]) -> bool {
        let Self::Http { authority, .. } = self else { return true };
        let is_loopback = host::parse(authority.as_str()).is_some_and(|(host, _)| host.is_loopback());
        let is_it = |address: &Address| matches!(address, Address::Tcp(tcp) if reachable(*tcp) == *authority);
        is_loopback || configured.iter().any(is_it)
    }

    /// Reads what `--admin` names.
    ///
    /// # Errors
    /// A message that names the text and the allowed forms.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("--admin {text:?}: {why}; allowed: {A_LISTENER}");
        if let Some(rest) = text.strip_prefix("unix:") {
            // Mode and group in the address are only for the listener.
            let path = rest.split_once('?').map_or(rest, |(path, _)| path);
            return match path {
                "" => Err(wrong("it has no path")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let user = "a user or password has no meaning here";
        let (is_https, authority) =
            scheme_and_authority(text, user, "a path or query has no meaning here").map_err(wrong)?;
        // The same form as in a listener's address.
        let ip = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
        let authority = match (ip, authority.port_u16()) {
            (Ok(ip), Some(port)) => reachable(SocketAddr::new(ip, port)),
            _ => authority,
        };
        Ok(Self::Http { is_https, authority })
    }

    /// For a listener at this address.
    pub(super) fn tcp(address: SocketAddr, is_https: bool) -> Self {
        Self::Http { is_https, authority: reachable(address) }
    }
}

/// The address to connect to for a listener at this address: `0.0.0.0` and `[::]` mean all addresses of this machine.
fn reachable(address: SocketAddr) -> Authority {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let text = SocketAddr::new(ip, address.port()).to_string();
    text.parse().expect("an address with a port is an authority")
}
