//! Origins of web pages: parsing of `Origin`, and the list of allowed origins.
//!
//! A browser serializes an origin in one way (RFC 6454 §6.2): scheme, host, and the port where it is not the scheme's
//! own. Any other text is not an origin. Letter case and an explicit default port make no difference; everything else
//! does, including a final dot.

use std::cmp::Ordering;
use std::net::IpAddr;

use url::Url;

use crate::http::host::{self, Host};

/// An origin that a caller names, borrowed from its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'a str,
    /// A name, or an IP address as in a URL.
    host: &'a str,
    /// `None`: the scheme's own.
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// Reads the value of an `Origin` header. `None` for `null`, for several values, and for anything longer than an
    /// origin.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => {
                let end = inside.find(']')?;
                if !inside.get(..end)?.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
                    return None;
                }
                let (host, after) = rest.split_at_checked(end + 2)?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let fits = host.starts_with('[') || is_name(host);
        let port = match port {
            None => None,
            Some(digits) => Some(port_number(digits)?),
        };
        fits.then_some(Self { scheme, host, port: port.filter(|port| Some(*port) != default_port(scheme)) })
    }

    /// Reads the origin of a page from its URL, as `Referer` has it.
    pub fn of_url(url: &'a str) -> Option<Self> {
        let host = url.find("://")? + 3;
        let end = url.get(host..)?.find(['/', '?', '#']).map_or(url.len(), |at| host + at);
        Self::parse(url.get(..end)?)
    }

    /// Whether it is the gateway's own, where a caller has reached it at this authority. `secure`: the caller used
    /// https. It may be false for an https caller if a proxy in front does not say so, but is never true for a plain
    /// one.
    pub fn is_own(self, authority: &str, secure: bool) -> bool {
        let Some((own, port)) = host::parse(authority) else { return true };
        let port = port.filter(|port| Some(*port) != default_port(self.scheme));
        let is_same_host = match (host::parse(self.host), own) {
            (Some((Host::Name(name), None)), Host::Name(own)) => name.eq_ignore_ascii_case(own),
            (Some((host, None)), own) => host == own,
            _ => false,
        };
        let is_web = default_port(self.scheme).is_some();
        let is_other_scheme = secure && !self.scheme.eq_ignore_ascii_case("https");
        is_same_host && port == self.port && is_web && !is_other_scheme
    }

    /// Whether it is exactly the origin of what is served with this scheme at this authority, without the benefit of the
    /// doubt that [`Self::is_own`] gives.
    pub(crate) fn is_at(self, scheme: &str, authority: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
            && host::parse(authority).is_some()
            && self.is_own(authority, false)
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// No empty label: a name with a final dot is a different host to a browser.
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !text.split('.').any(str::is_empty)
}

fn port_number(digits: &str) -> Option<u16> {
    let fits = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| fits)
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

/// One entry of an app's `origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Lower case, as the host.
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
    /// The entry begins with `*.`: it matches subdomains of the host, not the host itself.
    below: bool,
}

/// The allowed forms of an entry, for error messages.
const AN_ENTRY: &str = "allowed: \"https://HOST\", \"https://HOST:PORT\", \"https://*.HOST\" for every subdomain, http in place of https, or an app's or extension's own such as \"capacitor://localhost\"";

/// URLs of these schemes have no origin, or no page has it.
const NEVER: [&str; 10] =
    ["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "mailto", "ws", "wss"];

impl Pattern {
    /// Parses an entry of the configuration. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{text:?}: {why}; {AN_ENTRY}"));
        match text {
            "*" => {
                return bad("every web page could act as the account; list your own origins");
            }
            "null" => {
                return bad(
                    "browsers send \"null\" for sandboxed frames, local files and redirects of any page",
                );
            }
            _ => {}
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
            return bad("an entry is one origin, without white space or commas");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return bad("it has no scheme; write \"https://\" in front");
        };
        let scheme = scheme.to_ascii_lowercase();
        if !is_scheme(&scheme) || NEVER.contains(&scheme.as_str()) {
            return bad("pages of this scheme have no origin to list");
        }
        if rest.contains('@') {
            // Not shown: it may contain a password.
            return Err(format!("an origin has no user name or password; {AN_ENTRY}"));
        }
        if let Some(bare) = text.strip_suffix('/').filter(|_| rest.matches('/').count() == 1) {
            return Err(format!("{text:?}: an origin has no slash at its end; write {bare:?}"));
        }
        if rest.contains(['/', '?', '#', '\\', '%']) {
            return bad("an origin has no path, query or escape");
        }
        if default_port(&scheme).is_some() {
            return Self::of_the_web(text, scheme, rest);
        }
        if let Some(meant) =
            ["https", "http"].iter().find(|web| strsim::damerau_levenshtein(web, &scheme) < 2)
        {
            return bad(&format!("did you mean \"{meant}://\"?"));
        }
        if rest.contains('*') {
            return bad("only http and https origins can have a wildcard; write the origin out");
        }
        match Origin::parse(text) {
            Some(Origin { host, port, .. }) => {
                Ok(Self { scheme: scheme.into(), host: host.to_ascii_lowercase().into(), port, below: false })
            }
            None => bad("what follows :// is not a host"),
        }
    }

    /// http and https, whose hosts are read as browsers read them (WHATWG URL, IDNA).
    fn of_the_web(text: &str, scheme: String, rest: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{text:?}: {why}; {AN_ENTRY}"));
        let (plain, below) = match rest.strip_prefix("*.") {
            Some(plain) => (plain, true),
            None => (rest, false),
        };
        if plain.contains('*') {
            return bad("a * can only stand for whole labels at the front of a host");
        }
        if plain.ends_with(':') {
            return bad("the port is missing");
        }
        let Ok(url) = Url::parse(&format!("{scheme}://{plain}")) else {
            return bad("what follows :// is not a host");
        };
        let host = url.host_str().unwrap_or_default();
        if host.ends_with('.') {
            return bad("to a browser, a host with a final dot is a different host; leave the dot out");
        }
        let is_ip = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        let is_as_written = plain.get(..host.len()).is_some_and(|start| start.eq_ignore_ascii_case(host));
        if is_ip && !is_as_written {
            return bad(&format!("browsers write this address as {host}"));
        }
        if url.port() == Some(0) || !(is_ip || is_name(host)) {
            return bad("no web page can have this host and port");
        }
        if below && is_ip {
            return bad("an IP address has no subdomains");
        }
        if below && psl::domain_str(host).is_none() {
            return bad(
                "anybody can have a name below this one (a public suffix, or a name without a dot); list a domain of your own",
            );
        }
        Ok(Self { scheme: scheme.into(), host: host.into(), port: url.port(), below })
    }

    /// Whether the entry admits the origin. Does not allocate.
    pub fn matches(&self, origin: Origin<'_>) -> bool {
        if self.port != origin.port || !self.scheme.eq_ignore_ascii_case(origin.scheme) {
            return false;
        }
        if !self.below {
            return self.host.eq_ignore_ascii_case(origin.host);
        }
        let Some(above) = origin.host.len().checked_sub(self.host.len()) else { return false };
        let Some((labels, host)) = origin.host.split_at_checked(above) else { return false };
        labels.len() > 1 && labels.ends_with('.') && self.host.eq_ignore_ascii_case(host)
    }

    /// The order of the entry and another, whose scheme and host may be in any case.
    fn compared(&self, scheme: &str, host: &str, port: Option<u16>, below: bool) -> Ordering {
        let compared =
            |own: &str, other: &str| own.bytes().cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()));
        compared(&self.host, host)
            .then_with(|| compared(&self.scheme, scheme))
            .then_with(|| (self.port, self.below).cmp(&(port, below)))
    }

    /// Whether the entry is exactly the gateway's own origin, reached at this authority.
    pub fn is_own(&self, authority: &str, secure: bool) -> bool {
        let scheme = if secure { "https" } else { "http" };
        let origin = Origin { scheme: &self.scheme, host: &self.host, port: self.port };
        !self.below && &*self.scheme == scheme && origin.is_own(authority, secure)
    }
}

/// The origins whose pages may call an app. Empty: no web page may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginList {
    /// In the order of [`Pattern::compared`], so that a long list is not walked.
    sorted: Vec<Pattern>,
    /// Whether one of them stands for subdomains.
    has_wildcards: bool,
}

impl OriginList {
    pub fn new(mut patterns: Vec<Pattern>) -> Self {
        patterns.sort_by(|a, b| a.compared(&b.scheme, &b.host, b.port, b.below));
        Self { has_wildcards: patterns.iter().any(|pattern| pattern.below), sorted: patterns }
    }

    /// Whether no origin is listed.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether pages of this origin may call: whether one of the patterns matches. Does not allocate.
    pub fn admits(&self, origin: Origin<'_>) -> bool {
        let Origin { scheme, host, port } = origin;
        let is_listed = |host: &str, below| {
            self.sorted.binary_search_by(|pattern| pattern.compared(scheme, host, port, below)).is_ok()
        };
        // The domains above the host. A dot at the front of the host ends no label.
        let mut above = host.match_indices('.').filter(|(at, _)| *at > 0);
        is_listed(host, false)
            || self.has_wildcards
                && above.any(|(at, _)| host.get(at + 1..).is_some_and(|host| is_listed(host, true)))
    }
}

/// The `Origin` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim<'a> {
    Nothing,
    Of(Origin<'a>),
    /// `null`, the gateway's own origin, or not an origin: no app can list it.
    Unusable,
}

impl Claim<'_> {
    /// Whether an app with these origins admits the request.
    pub fn fits(self, origins: &OriginList) -> bool {
        match self {
            Self::Nothing => true,
            Self::Of(origin) => origins.admits(origin),
            Self::Unusable => false,
        }
    }
}

#[cfg(test)]
mod tests;
