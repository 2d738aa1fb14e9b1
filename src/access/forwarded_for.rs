//! The client behind trusted proxies, as `X-Forwarded-For` names it.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::net::client_address::ClientAddress;
use crate::net::networks::Networks;

/// The client that `X-Forwarded-For` names. Hops are read from the last one backwards, as long as the proxy that added
/// each is trusted: everything to the left of an untrusted hop may be forged. `peer`: the client of the connection.
///
/// A hop that is neither an address nor `address:port` is [`ClientAddress::Unknown`]. Several fields are read as one list
/// (RFC 9110 §5.3).
pub(crate) fn client_address(trusted: &Networks, peer: ClientAddress, headers: &HeaderMap) -> ClientAddress {
    let mut client = peer;
    if trusted.is_empty() {
        return client;
    }
    let fields: Vec<&[u8]> =
        headers.get_all("x-forwarded-for").iter().map(http::HeaderValue::as_bytes).collect();
    for hop in fields.iter().rev().flat_map(|field| field.rsplit(|byte| *byte == b',')) {
        if !client.is_in(trusted) {
            break;
        }
        client = std::str::from_utf8(hop).map_or(ClientAddress::Unknown, read);
    }
    client
}

/// `203.0.113.9`, `203.0.113.9:51234`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`.
fn read(hop: &str) -> ClientAddress {
    let hop = hop.trim_matches([' ', '\t']);
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = hop.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(bracketed).map_or(ClientAddress::Unknown, ClientAddress::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, fields: &[&str]) -> String {
        let mut trusted = Networks::default();
        trusted.add("10.0.0.0/8").unwrap();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("x-forwarded-for", field.parse().unwrap());
        }
        client_address(&trusted, peer.parse::<IpAddr>().unwrap().into(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(of("192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["1.1.1.1, 203.0.113.5"]), "203.0.113.5");
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "203.0.113.5"]), "203.0.113.5");
        assert_eq!(of("10.0.0.1", &["1.1.1.1,203.0.113.5", "10.0.0.2"]), "203.0.113.5");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["::ffff:203.0.113.5"]), "203.0.113.5");
        assert_eq!(of("192.0.2.1", &["unknown"]), "192.0.2.1");
    }

    /// A user is that of a process which is itself the client: a proxy's says nothing of the proxy's clients.
    #[test]
    fn a_process_for_which_nothing_speaks_keeps_its_user() {
        let process = ClientAddress::Process { uid: 33 };
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "203.0.113.5".parse().unwrap());
        let of = |trusted: &str, headers: &HeaderMap| {
            let mut networks = Networks::default();
            networks.add(trusted).unwrap();
            client_address(&networks, process, headers)
        };
        assert_eq!(of("loopback", &headers).to_string(), "203.0.113.5");
        assert_eq!(of("loopback", &HeaderMap::new()), process);
        assert_eq!(of("10.0.0.0/8", &headers), process);
        headers.append("x-forwarded-for", "127.0.0.1".parse().unwrap());
        assert_eq!(of("loopback", &headers).to_string(), "203.0.113.5");
        headers.insert("x-forwarded-for", "uid:33".parse().unwrap());
        assert_eq!(of("loopback", &headers), ClientAddress::Unknown);
    }

    #[test]
    fn an_address_with_a_port_is_an_address() {
        for (hop, want) in [
            ("203.0.113.9:51234", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
            ("\t203.0.113.9:1 ", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9:51234", "203.0.113.9"),
            ("203.0.113.9:51234, 10.0.0.2:80", "203.0.113.9"),
        ] {
            assert_eq!(of("10.0.0.1", &[hop]), want, "{hop}");
        }
    }

    #[test]
    fn an_unreadable_client_is_unknown_and_not_the_proxy() {
        for hop in [
            "",
            "unknown",
            "203.0.113.9,",
            "203.0.113.9, ",
            "10.0.0.2,,10.0.0.3",
            "203.0.113.9:",
            "203.0.113.9:99999",
            "203.0.113.9 10.0.0.1",
            "203.0.113",
            "[203.0.113.9]",
            "2001:db8::1%eth0",
            "_hidden",
            "for=203.0.113.9",
            "\"203.0.113.9\"",
            "unknown, 10.0.0.2",
            "0x7f.1",
            "ä",
        ] {
            assert_eq!(of("10.0.0.1", &[hop]), "unknown", "{hop:?}");
        }
        assert_eq!(of("10.0.0.1", &["unknown, 203.0.113.9"]), "203.0.113.9");
    }
}
