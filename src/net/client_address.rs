//! The address of the client for whom the proxies in front of the gateway speak.

use std::fmt;
use std::net::IpAddr;

use crate::net::networks::{Networks, unmapped};

/// The address of the client behind proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// Never an IPv4-mapped IPv6 address.
    Known(IpAddr),
    /// The proxy names no readable address. It is in no network: if the proxy's own address were used instead, every
    /// client behind the proxy would have the proxy's rights.
    Unknown,
}

impl ClientAddress {
    /// Whether it is in one of the networks. An unknown address is in none, not even in `any`.
    pub fn is_in(self, networks: &Networks) -> bool {
        match self {
            Self::Known(address) => networks.contains(address),
            Self::Unknown => false,
        }
    }
}

impl ClientAddress {
    /// The address, or the network of 64 bits in which an IPv6 client has its addresses, as in `2001:db8:0:1::/64`.
    pub(crate) fn of_network(self) -> String {
        match self {
            Self::Known(IpAddr::V6(address)) => {
                format!("{}/64", std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
            other => other.to_string(),
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Known(unmapped(address))
    }
}

/// The address, or `unknown`.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
