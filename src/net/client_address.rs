//! Whose request it is, behind the proxies in front of the gateway.

use std::fmt;
use std::net::IpAddr;

use crate::net::networks::{Networks, unmapped};

/// The address of the client behind proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// Unmapped: never an IPv6 address that stands for one of IPv4.
    Known(IpAddr),
    /// The proxy names no address that can be read. It is in no network: were the proxy's own address taken for it, every
    /// client behind the proxy would pass for the proxy.
    Unknown,
}

impl ClientAddress {
    /// Whether it lies in one of the networks; an unknown one lies in none, whatever they are.
    pub fn is_in(self, networks: &Networks) -> bool {
        match self {
            Self::Known(address) => networks.contains(address),
            Self::Unknown => false,
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
