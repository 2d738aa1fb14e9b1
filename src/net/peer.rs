//! Who is at the other end of a connection.

use std::net::IpAddr;

use crate::net::client_address::ClientAddress;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The TCP peer, unmapped; on a Unix socket the loopback address.
    pub address: IpAddr,
    /// For whom it connects: the address that PROXY protocol names, else its own.
    pub client: ClientAddress,
    /// The connection is TLS.
    pub secure: bool,
    /// Callers of this listener need a certificate, and this one has shown none.
    pub uncertified: bool,
}

impl Peer {
    /// One that connects for itself.
    pub(crate) fn new(address: IpAddr, secure: bool) -> Self {
        Self { address, client: address.into(), secure, uncertified: false }
    }
}
