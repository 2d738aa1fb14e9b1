//! Whether an address is one where this process itself listens: what leads there would call itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::network::unmapped;

/// The TCP addresses where this process listens, for callers and operators.
#[derive(Debug, Clone, Default)]
pub struct OwnListeners(Vec<SocketAddr>);

impl OwnListeners {
    /// These addresses; one that is unspecified stands for all of this machine's.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Whether a connection to this address would reach one of them.
    pub fn contain(&self, address: SocketAddr) -> bool {
        let ip = unmapped(address.ip());
        self.0.iter().filter(|own| own.port() == address.port()).any(|own| {
            let own = unmapped(own.ip());
            own == ip || ip.is_unspecified() || own.is_unspecified() && is_of_this_machine(ip)
        })
    }
}

/// Only an address of this machine can be bound.
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
