//! `[forward_proxy] tunnel`: the hosts besides Box's to which CONNECT opens blind tunnels (the gateway does not decrypt
//! them).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::http::host::{self, Host};
use crate::net::networks::unmapped;

/// The allowed forms of an entry, for error messages.
pub(crate) const AN_ENTRY: &str = "\"host:443\", \"*.example.com:443\" or \"10.1.2.3:443\"";

/// The list of hosts with their ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelList(Vec<Entry>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    host: Pattern,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(Box<str>),
    /// Any subdomain of this name, which is in lower case.
    Below(Box<str>),
    Address(IpAddr),
}

impl Entry {
    /// Parses an entry of the configuration.
    ///
    /// # Errors
    /// What an entry must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a host with a port; allowed: {AN_ENTRY}");
        let (rest, is_wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (host, port) = host::parse(rest).ok_or_else(wrong)?;
        let port = port.filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host {
            Host::Ip(_) if is_wildcard => return Err(wrong()),
            Host::Ip(address) => Pattern::Address(unmapped(address)),
            Host::Name(name) => {
                let name = name.to_ascii_lowercase();
                if is_wildcard
                    && psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == name.as_bytes())
                {
                    return Err(format!(
                        "{text:?} covers domains that anyone can register; name a domain of your own"
                    ));
                }
                if is_wildcard { Pattern::Below(name.into()) } else { Pattern::Name(name.into()) }
            }
        };
        Ok(Self { host, port })
    }

    /// Whether the entry is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host, Pattern::Below(_))
    }

    /// The host, or an example of a host that the wildcard covers.
    pub fn example(&self) -> String {
        match &self.host {
            Pattern::Name(name) => name.to_string(),
            Pattern::Below(name) => format!("any.{name}"),
            Pattern::Address(address) => address.to_string(),
        }
    }

    /// The socket address, if the entry is an IP address.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Pattern::Address(address) => Some(SocketAddr::new(address, self.port)),
            _ => None,
        }
    }

    /// Whether the entry covers this domain or any subdomain of it.
    pub fn overlaps(&self, domain: &str) -> bool {
        let below = |name: &str, above: &str| {
            name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match &self.host {
            Pattern::Name(name) => below(name, domain),
            Pattern::Below(name) => below(name, domain) || below(domain, name) && **name != *domain,
            Pattern::Address(_) => false,
        }
    }

    fn covers(&self, host: Host<'_>, port: u16) -> bool {
        self.port == port
            && match (&self.host, host) {
                (Pattern::Address(listed), Host::Ip(address)) => *listed == unmapped(address),
                (Pattern::Name(listed), Host::Name(name)) => name.eq_ignore_ascii_case(listed),
                (Pattern::Below(above), Host::Name(name)) => name
                    .to_ascii_lowercase()
                    .strip_suffix(&**above)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                _ => false,
            }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Name(name) => write!(f, "{name}:{}", self.port),
            Pattern::Below(name) => write!(f, "*.{name}:{}", self.port),
            Pattern::Address(address) => write!(f, "{}", SocketAddr::new(*address, self.port)),
        }
    }
}

impl TunnelList {
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// Whether the list covers this host and port.
    pub fn lists(&self, host: Host<'_>, port: u16) -> bool {
        self.0.iter().any(|entry| entry.covers(host, port))
    }

    /// Whether the list has this address itself.
    pub fn lists_address(&self, address: SocketAddr) -> bool {
        self.lists(Host::Ip(address.ip()), address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> TunnelList {
        TunnelList::new(entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect())
    }

    fn lists(list: &TunnelList, authority: &str) -> bool {
        let (host, port) = host::parse(authority).unwrap();
        list.lists(host, port.unwrap())
    }

    #[test]
    fn hosts_and_ports_count() {
        let list = list(&["api.openai.com:443", "*.example.com:8443", "10.1.2.3:443", "[::1]:443"]);
        for good in [
            "api.openai.com:443",
            "API.OpenAI.com.:443",
            "a.example.com:8443",
            "a.b.Example.com:8443",
            "10.1.2.3:443",
            "[::1]:443",
            "[::ffff:10.1.2.3]:443",
        ] {
            assert!(lists(&list, good), "{good}");
        }
        for bad in [
            "api.openai.com:80",
            "x.api.openai.com:443",
            "example.com:8443",
            "xexample.com:8443",
            "a.example.com:443",
            "10.1.2.4:443",
            "10.1.2.3:80",
        ] {
            assert!(!lists(&list, bad), "{bad}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for bad in [
            "",
            "host",
            "host:",
            "host:0",
            "*:443",
            "*.com:443",
            "*.co.uk:443",
            "a.*.com:443",
            "https://a:443",
            "*.10.1.2.3:443",
            "a b:443",
            "host:99999",
            "user@host:443",
        ] {
            assert!(Entry::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_is_found_in_entries_above_and_below() {
        let overlaps = |entry, domain| Entry::parse(entry).unwrap().overlaps(domain);
        assert!(overlaps("api.box.com:443", "api.box.com") && overlaps("x.box.com:443", "box.com"));
        assert!(overlaps("*.box.com:443", "api.box.com") && overlaps("*.boxcloud.com:443", "boxcloud.com"));
        assert!(!overlaps("evilbox.com:443", "box.com") && !overlaps("*.example.com:443", "box.com"));
    }
}
