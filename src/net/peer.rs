//! Who is at the other end of a connection.

use std::net::IpAddr;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The TCP peer, unmapped; on a Unix socket the loopback address.
    pub address: IpAddr,
    /// The listener is plain HTTP beyond loopback.
    pub open: bool,
    /// The connection is TLS.
    pub secure: bool,
    /// Callers of this listener need a certificate, and this one has shown none.
    pub uncertified: bool,
}
