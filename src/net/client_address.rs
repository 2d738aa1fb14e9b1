//! The client for whom the proxies in front of the gateway speak, by its address or, over a Unix socket, its user.

use std::fmt;
use std::net::IpAddr;

use crate::net::networks::{Networks, UNIX_PEER, unmapped};
use crate::net::user_id;

/// The client behind proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// Never an IPv4-mapped IPv6 address.
    Known(IpAddr),
    /// A process of this user that is itself connected over a Unix socket. It has the IPv4 loopback address too.
    Process {
        /// The user when it connected, as this machine numbers users.
        uid: u32,
    },
    /// The proxy names no readable address. It is in no network: if the proxy's own address were used instead, every
    /// client behind the proxy would have the proxy's rights.
    Unknown,
}

impl ClientAddress {
    /// Whether `sources` admit it. An unknown address is in none, not even in `any`.
    pub fn is_in(self, sources: &Networks) -> bool {
        match self {
            Self::Known(address) => sources.contains(address),
            Self::Process { uid } => sources.lists_user(uid) || sources.contains(UNIX_PEER),
            Self::Unknown => false,
        }
    }

    /// Its IP address; `None` where none is known.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Process { .. } => Some(UNIX_PEER),
            Self::Unknown => None,
        }
    }

    /// The entry of `sources` that admits it and as few others as possible; `unknown` where none does.
    pub(crate) fn as_source(self) -> String {
        match self {
            Self::Process { uid } => format!("{}{uid}", user_id::PREFIX),
            other => other.to_string(),
        }
    }

    /// The address, or the network of 64 bits in which an IPv6 client has its addresses, as in `2001:db8:0:1::/64`.
    pub(crate) fn of_network(self) -> String {
        match self.ip() {
            Some(IpAddr::V6(address)) => {
                format!("{}/64", std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
            _ => self.to_string(),
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
        match self.ip() {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}
