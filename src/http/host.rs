//! Host names: parsing of `Host`, and the list of allowed names, against DNS rebinding.
//!
//! A page on `evil.example` whose name an attacker re-points at this machine reaches the port with
//! `Host: evil.example`. IP literals and `localhost` cannot be re-pointed, so they always pass.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host part of an authority, borrowed from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// An IPv4 or a bracketed IPv6 literal.
    Ip(IpAddr),
    /// A DNS name in the caller's spelling, without a final dot.
    Name(&'a str),
}

impl Host<'_> {
    /// Whether browsers take it for this machine, and so trust plain HTTP (Secure Contexts §3.1): `localhost` and names
    /// below it (RFC 6761 §6.3), 127.0.0.0/8 and `::1`.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Ip(address) => address.is_loopback(),
            Self::Name(name) => is_localhost(name),
        }
    }

    /// Whether it is a literal that names no host: the unspecified addresses `0.0.0.0` and `::`, and IPv4-mapped IPv6
    /// addresses (RFC 4291 §2.5.5.2). The kernel connects them to loopback, browsers treat them as remote hosts.
    pub(crate) fn is_no_destination(self) -> bool {
        match self {
            Self::Ip(IpAddr::V4(address)) => address.is_unspecified(),
            Self::Ip(IpAddr::V6(address)) => address.is_unspecified() || address.to_ipv4_mapped().is_some(),
            Self::Name(_) => false,
        }
    }
}

/// Splits `host[:port]` (RFC 9110 §7.2). `None` if it has user info, white space, an empty host, a character that no
/// host name has, or an invalid port.
pub(crate) fn parse(authority: &str) -> Option<(Host<'_>, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':')?),
        };
        (Host::Ip(IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?)), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        (name_or_ipv4(host)?, port)
    };
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

fn name_or_ipv4(host: &str) -> Option<Host<'_>> {
    // A fully qualified name with a final dot names the same host.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.starts_with(|first: char| first.is_ascii_digit())
        && let Ok(ip) = name.parse::<Ipv4Addr>()
    {
        return Some(Host::Ip(ip.into()));
    }
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !name.split('.').any(str::is_empty);
    fits.then_some(Host::Name(name))
}

/// Names that an operator allows, lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList {
    /// In the order of the configuration.
    names: Vec<Box<str>>,
    /// The same, for look-ups.
    listed: HashSet<Box<str>>,
}

impl HostList {
    /// Adds a name from the configuration. The error says what a name must look like.
    pub fn add(&mut self, name: &str) -> Result<(), String> {
        match parse(name) {
            Some((Host::Name(bare), None)) => {
                let bare = bare.to_ascii_lowercase().into_boxed_str();
                if self.listed.insert(bare.clone()) {
                    self.names.push(bare);
                }
                Ok(())
            }
            Some((Host::Ip(_), None)) => {
                Err(format!("{name:?}: IP literals are always allowed and need not be listed"))
            }
            Some((_, Some(_))) => {
                Err(format!("{name:?}: write the name without a port; every port is allowed"))
            }
            None => Err(format!(
                "{name:?} is not a host name; allowed: a DNS name in ASCII such as \"boxgate.internal\", without scheme, path or wildcard"
            )),
        }
    }

    /// Whether no name is listed.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether this name is listed; case does not matter.
    pub fn lists(&self, host: Host<'_>) -> bool {
        match host {
            Host::Ip(_) => false,
            Host::Name(name) => self.listed.contains(&*in_lower_case(name)),
        }
    }

    /// Whether a caller may use this host: a listed name, `localhost` (and below it, RFC 6761 §6.3) or an IP literal that
    /// names a host.
    pub fn admits(&self, host: Host<'_>) -> bool {
        match host {
            Host::Ip(_) => !host.is_no_destination(),
            Host::Name(name) => is_localhost(name) || self.lists(host),
        }
    }
}

/// The name in lower case, in which nearly all requests have it.
pub(crate) fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_authorities_are_not_parsed() {
        assert_eq!(parse("Box.internal:80"), Some((Host::Name("Box.internal"), Some(80))));
        assert_eq!(parse("box.internal."), Some((Host::Name("box.internal"), None)));
        assert_eq!(parse("[::1]:8080"), Some((Host::Ip("::1".parse().unwrap()), Some(8080))));
        assert_eq!(parse("127.0.0.1"), Some((Host::Ip("127.0.0.1".parse().unwrap()), None)));
        for bad in [
            "",
            ":80",
            "a b",
            "user@host",
            "host:80x",
            "host:99999",
            "[::1",
            "[::1]x",
            "a..b",
            "a/b",
            "::1",
            "host:+80",
            "hö.example",
            ".",
            "[127.0.0.1]",
            "a\\b",
            "a%2e",
            "*.example.com",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_listed_names_localhost_and_ip_literals_are_admitted() {
        let mut list = HostList::default();
        list.add("Gate.Internal").unwrap();
        for good in ["gate.internal", "GATE.INTERNAL.:80", "localhost:1", "a.localhost", "10.1.2.3", "[::1]"]
        {
            assert!(list.admits(parse(good).unwrap().0), "{good}");
        }
        for bad in [
            "evil.example",
            "gate.internal.evil.example",
            "x.gate.internal",
            "localhost.evil",
            "0x7f.1",
            "0.0.0.0:8080",
            "[::]",
            "[::ffff:127.0.0.1]:8080",
            "[::ffff:10.1.2.3]",
            "0.0.0.0.",
        ] {
            assert!(!list.admits(parse(bad).unwrap().0), "{bad}");
        }
    }

    #[test]
    fn a_host_list_takes_only_names() {
        let mut list = HostList::default();
        for bad in ["https://a", "a:80", "*.a", "1.2.3.4", ""] {
            assert!(list.add(bad).is_err(), "{bad:?}");
        }
    }
}
