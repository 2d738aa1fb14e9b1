//! Addresses: sockets to listen on, and URLs of Box, of proxies and of Redis.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;
use http::uri::Authority;
use url::Url;

use super::nothing_hidden;
use super::unix_address::unix_address;
use crate::http::host::{self, Host};
use crate::net::address::Address;
use crate::net::egress_proxy::Proxy;
use crate::net::secret::Secret;

/// The allowed forms of an address, for messages.
pub(in crate::config) const AN_ADDRESS: &str = "\"127.0.0.1:8080\", \"[::1]:8080\", \"unix:/run/boxgate.sock\" or \"unix:/run/boxgate.sock?mode=0660&group=apps\"";
/// The allowed forms of a URL of Box, for messages.
pub(in crate::config) const AN_ORIGIN: &str = "\"https://HOST\" or \"https://HOST:PORT\"";
/// The form of the token endpoint's URL, for messages.
pub(in crate::config) const A_TOKEN_URL: &str = "a URL such as \"https://api.box.com/oauth2/token\"";
/// The allowed values of `[upstream] proxy`, for messages.
pub(in crate::config) const A_PROXY: &str =
    "\"environment\", \"none\" or \"http://[USER:PASSWORD@]HOST:PORT\"";

/// The allowed forms of the Redis URL, for messages.
const A_REDIS: &str = "\"redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]\", the same with \"rediss://\" for TLS, or \"redis+unix:///PATH\"";

/// Parses the address of a socket to listen on. `localhost` is the only name that is accepted.
pub(in crate::config) fn address(text: &str) -> Result<Address, String> {
    if let Some(rest) = text.strip_prefix("unix:") {
        return unix_address(rest).map(Address::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Tcp(address));
    }
    // BOXGATE_ADMIN may be the URL that the other commands ask, in the environment in which the gateway is started.
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(format!("{text:?} is a URL, and a listener has an address: write \"{rest}\""));
    }
    let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
    match (name, port_number(port)) {
        (_, Some(port)) if name.eq_ignore_ascii_case("localhost") => {
            Ok(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        }
        ("" | "*", Some(port)) => Err(format!(
            "{text:?} has no IP address; write \"127.0.0.1:{port}\" for this host only, or \"[::]:{port}\" for all interfaces"
        )),
        _ if port_number(text).is_some() => {
            Err(format!("{text:?} is only a port; write \"127.0.0.1:{text}\""))
        }
        _ if text.parse::<IpAddr>().is_ok() || text.eq_ignore_ascii_case("localhost") => {
            Err(format!("{text:?} has no port; allowed: {AN_ADDRESS}"))
        }
        (_, Some(_)) => Err(format!(
            "{text:?}: names are not resolved, except localhost; give an IP address: {AN_ADDRESS}"
        )),
        _ => Err(format!("{text:?} is not an address; allowed: {AN_ADDRESS}")),
    }
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Parses `https://host[:port]` into an authority, lower case and without the port 443.
pub(in crate::config) fn location(text: &str) -> Result<Authority, String> {
    let rest = after_https(text, AN_ORIGIN)?;
    if rest.contains('@') {
        return Err(format!("no user or password belongs in this URL; allowed: {AN_ORIGIN}"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(format!("{text:?}: no path or query belongs here; allowed: {AN_ORIGIN}"));
    }
    authority(rest).ok_or_else(|| format!("{text:?}: {rest:?} is not a host; allowed: {AN_ORIGIN}"))
}

pub(in crate::config) fn token_url(text: &str) -> Result<String, String> {
    let rest = after_https(text, A_TOKEN_URL)?;
    let bad = |why: &str| format!("{text:?}: {why}; allowed: {A_TOKEN_URL}");
    let (before, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if before.contains('@') {
        return Err(format!("no user or password belongs in this URL; allowed: {A_TOKEN_URL}"));
    }
    let authority = authority(before).ok_or_else(|| bad("it has no valid host"))?;
    if path.contains('#') || path.parse::<Uri>().is_err() || !path.starts_with('/') {
        return Err(bad("it has no valid path"));
    }
    Ok(format!("https://{authority}{path}"))
}

pub(super) fn after_https<'t>(text: &'t str, allowed: &str) -> Result<&'t str, String> {
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => Ok(rest),
        // The value is not shown, since it may contain a password.
        _ if text.contains('@') => {
            Err(format!("no user or password belongs in this URL; allowed: {allowed}"))
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
            Err(format!("{text:?}: boxgate speaks to Box over TLS only; allowed: {allowed}"))
        }
        Some((scheme, _)) => Err(format!("{text:?}: {scheme:?} is not a scheme for Box; allowed: {allowed}")),
        None => Err(format!("{text:?} has no \"https://\"; allowed: {allowed}")),
    }
}

pub(super) fn authority(text: &str) -> Option<Authority> {
    let (host, port) = host::parse(text)?;
    let host = match host {
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
        Host::Name(name) => name.to_ascii_lowercase(),
    };
    match port {
        Some(0) => None,
        None | Some(443) => Authority::try_from(host).ok(),
        Some(port) => Authority::try_from(format!("{host}:{port}")).ok(),
    }
}

/// Parses `[upstream] proxy`. The error does not show the value, which may contain a password.
pub(in crate::config) fn proxy(text: &str) -> Result<Proxy, String> {
    match text {
        "environment" => Ok(Proxy::Environment),
        "none" => Ok(Proxy::None),
        url => {
            nothing_hidden(url)?;
            proxy_url(url).map(Proxy::Url)
        }
    }
}

fn proxy_url(text: &str) -> Result<Secret, String> {
    let bad = |why: &str| format!("{why}; allowed: {A_PROXY}");
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(bad(
                "a proxy that is itself reached over TLS is not supported; Box's own TLS passes through an http:// proxy end to end",
            ));
        }
        Some((scheme, _)) if scheme.to_ascii_lowercase().starts_with("socks") => {
            return Err(bad("SOCKS proxies are not supported"));
        }
        _ => return Err(bad("the value is neither one of the keywords nor a URL")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    if user.is_some_and(|user| {
        user.is_empty() || user.bytes().any(|b| b <= b' ' || b >= 0x7f || b"/?#@[]\\".contains(&b))
    }) {
        return Err(bad("a character of the user or password must be percent-encoded, such as @ as %40"));
    }
    match host::parse(host) {
        Some((_, Some(1..))) => Ok(Secret::new(format!("http://{rest}"))),
        _ => Err(bad("the URL has no valid host and port, or it has a path")),
    }
}

/// Checks the Redis URL. The error does not show the value, which may contain a password.
pub(in crate::config) fn redis_url(text: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("{why}; allowed: {A_REDIS}"));
    // If a password is not encoded, one of its characters may end the URL's authority.
    let encode = "in a user or password / ? # @ : and % must be percent-encoded, such as @ as %40";
    let Ok(url) = Url::parse(text) else {
        return bad(&format!("the value is not a URL; {encode}"));
    };
    let is_socket = match url.scheme() {
        "redis" | "rediss" => false,
        "redis+unix" => true,
        "unix" => return bad("the URL of a Unix socket begins with redis+unix://"),
        _ => return bad("the URL's scheme is not one of Redis"),
    };
    if url.fragment().is_some() {
        return bad(&format!(
            "the URL has a #; TLS without verification (#insecure) is not supported; {encode}"
        ));
    }
    if is_socket {
        return match url.has_host() || url.path().len() < 2 || !url.path().starts_with('/') {
            true => {
                bad("the URL has no absolute path of a socket; write redis+unix:///PATH with three slashes")
            }
            false => database(url.query_pairs().find(|(key, _)| key == "db").map(|(_, db)| db).as_deref()),
        };
    }
    let rest = &url[url::Position::BeforePath..];
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) || rest.contains('@') {
        return bad(&format!("the URL has no valid host and port; {encode}"));
    }
    if !url.username().is_empty() && url.password().is_none() {
        return bad(
            "the URL has a user without a password; for a password without a user, write \":PASSWORD@\"",
        );
    }
    database(Some(url.path().trim_matches('/')).filter(|path| !path.is_empty()))
}

fn database(number: Option<&str>) -> Result<(), String> {
    match number
        .is_none_or(|number| number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<i64>().is_ok())
    {
        true => Ok(()),
        false => Err(format!("the URL's database is not a number; allowed: {A_REDIS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::UnixAddress;

    #[test]
    fn addresses_are_sockets() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        assert_eq!(address("127.0.0.1:8080"), tcp("127.0.0.1:8080"));
        assert_eq!(address("[::1]:0"), tcp("[::1]:0"));
        assert_eq!(address("localhost:8080"), tcp("127.0.0.1:8080"));
        let unix = UnixAddress { path: "/run/b.sock".into(), mode: Some(0o660), group: None };
        assert_eq!(address("unix:/run/b.sock?mode=0660"), Ok(Address::Unix(unix)));
        for bad in [
            "",
            "127.0.0.1",
            "::1",
            "::1:x",
            "localhost",
            "localhost:",
            "localhost:+1",
            "example.com:80",
            "127.0.0.1:99999",
            "http://127.0.0.1:80",
            "unix:",
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
        assert!(address(":80").unwrap_err().contains("\"[::]:80\""));
        assert!(address("8080").unwrap_err().contains("write \"127.0.0.1:8080\""));
        let url = address("http://127.0.0.1:8081/").unwrap_err();
        assert!(url.contains("is a URL") && url.ends_with("write \"127.0.0.1:8081\""), "{url}");
        assert!(address("gate.internal:80").unwrap_err().contains("names are not resolved"));
    }

    #[test]
    fn origins_are_https_hosts() {
        let is = |text, want: &str| assert_eq!(location(text).unwrap(), want, "{text}");
        is("https://api.box.com", "api.box.com");
        is("HTTPS://API.box.com:443", "api.box.com");
        is("https://127.0.0.1:8443", "127.0.0.1:8443");
        is("https://[::1]:8443", "[::1]:8443");
        for bad in [
            "",
            "https://",
            "api.box.com",
            "ftp://a",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a b",
            "https://a//",
            "https://a:0",
            "https://a:99999",
            "https://*.a",
        ] {
            assert!(location(bad).is_err(), "{bad:?}");
        }
        assert!(location("http://api.box.com").unwrap_err().contains("over TLS only"));
        is("https://a.example/", "a.example");
        assert!(!location("https://u:hunter2@a").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn the_token_url_has_a_path() {
        assert_eq!(
            token_url("https://API.box.com/oauth2/token").as_deref(),
            Ok("https://api.box.com/oauth2/token")
        );
        assert_eq!(token_url("https://127.0.0.1:1/t?x=1").as_deref(), Ok("https://127.0.0.1:1/t?x=1"));
        for bad in
            ["", "https://a", "http://a/b", "https://a/b#c", "https://a/b c", "https:///b", "https://u:p@a/b"]
        {
            assert!(token_url(bad).is_err(), "{bad:?}");
        }
        assert!(!token_url("https://u:hunter2@a/b").unwrap_err().contains("hunter2"));
        assert!(!token_url("http://u:hunter2@a/b").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn a_proxy_is_never_shown() {
        let is = |text, want: &str| assert_eq!(proxy(text), Ok(Proxy::Url(Secret::new(want.to_owned()))));
        is("http://u:p%40@proxy.example:3128/", "http://u:p%40@proxy.example:3128");
        is("HTTP://[::1]:3128", "http://[::1]:3128");
        assert_eq!(proxy("environment"), Ok(Proxy::Environment));
        assert_eq!(proxy("none"), Ok(Proxy::None));
        assert!(proxy("http://proxy").unwrap_err().contains("host and port"));
        for bad in [
            "https://u:hunter2@proxy:1",
            "socks5://u:hunter2@proxy:1",
            "u:hunter2@proxy:1",
            "http://u:hunter2@proxy/x",
            "http://u:hunter2@",
            "http://u:hunter2/@proxy:1",
            "http://u:hunter2@proxy:x",
            "http://u:hunter2@a@proxy:1",
        ] {
            assert!(!proxy(bad).unwrap_err().contains("hunter2"), "{bad:?}");
        }
        assert!(proxy("https://proxy:1").unwrap_err().contains("over TLS is not supported"));
        let hidden = proxy("http://u:hunter\u{200b}2@proxy:1").unwrap_err();
        assert!(hidden.contains("U+200B") && !hidden.contains("hunter"), "{hidden}");
    }

    #[test]
    fn redis_has_a_url_that_is_never_shown() {
        for good in [
            "redis://127.0.0.1",
            "redis://[::1]:6379/",
            "REDISS://redis.example:6380/15",
            "redis://:p%40%2F@redis.example/0",
            "redis://user:pa$$word@redis.example?protocol=resp3",
            "redis+unix:///run/redis.sock",
            "redis+unix:///run/redis.sock?db=2&pass=x",
        ] {
            assert_eq!(redis_url(good), Ok(()), "{good}");
        }
        for bad in [
            "hunter2",
            "hunter2.example:6379",
            "http://hunter2",
            "unix:///hunter2",
            "redis:hunter2",
            "redis:///hunter2",
            "redis://:hunter2@",
            "redis://hunter2@redis.example",
            "redis://:hunter2@redis.example:0",
            "redis://:hunter2@redis.example:x",
            "redis://:hunter2@redis.example/x",
            "redis://:hunter2@redis.example/0/1",
            "redis://:hunter2/@redis.example",
            "redis://:1/hunter2@redis.example",
            "redis://u:1?hunter2@redis.example",
            "redis://:hunter2#@redis.example",
            "rediss://:hunter2@redis.example/#insecure",
            "redis+unix://hunter2/redis.sock",
            "redis+unix:hunter2",
            "redis+unix:///",
            "redis+unix:///run/hunter2?db=x",
        ] {
            let error = redis_url(bad).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains(A_REDIS), "{bad}: {error}");
        }
    }
}
