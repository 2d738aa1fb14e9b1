//! The client behind trusted proxies.

use std::net::IpAddr;

use http::HeaderMap;

use crate::net::networks::{Networks, unmapped};

/// The client that `X-Forwarded-For` names, as far as it is believed. `peer`: the other end of the connection.
pub(crate) fn client_ip(trusted: &Networks, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if trusted.is_empty() {
        return peer;
    }
    let hops: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        // What is no address ends the chain: nothing left of it can be located.
        .map(|hop| hop.trim().parse().ok())
        .fold(Vec::new(), |mut hops, hop| {
            match hop {
                Some(hop) => hops.push(hop),
                None => hops.clear(),
            }
            hops
        });
    behind(trusted, peer, hops.into_iter())
}

/// Goes back along `X-Forwarded-For` as long as the last hop is trusted: what stands left of an untrusted one can be
/// invented.
fn behind(
    trusted: &Networks,
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = IpAddr>,
) -> IpAddr {
    let mut client = peer;
    for hop in forwarded_for.rev() {
        if !trusted.contains(client) {
            break;
        }
        client = unmapped(hop);
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        let mut trusted = Networks::default();
        trusted.add("10.0.0.0/8").unwrap();
        let of = |peer: &str, hops: &[&str]| {
            let hops: Vec<IpAddr> = hops.iter().map(|hop| hop.parse().unwrap()).collect();
            behind(&trusted, peer.parse().unwrap(), hops.into_iter()).to_string()
        };
        assert_eq!(of("192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "203.0.113.5"]), "203.0.113.5");
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "203.0.113.5", "10.0.0.2"]), "203.0.113.5");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["::ffff:203.0.113.5"]), "203.0.113.5");
    }
}
