//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

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
    /// The end of the connection that is this process's; `None` on a Unix socket.
    pub here: Option<Here>,
}

/// The address on which this process accepted a connection or listens. A caller of that connection has just reached it,
/// unless addresses are translated on the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// Unmapped; unspecified only where it is that of a listener.
    pub address: SocketAddr,
    /// The listener speaks TLS.
    pub secure: bool,
}

impl Here {
    /// `scheme://address:port`, without a path.
    pub(crate) fn url(self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        // A URL has no room for the scope of an IPv6 address.
        format!("{scheme}://{}", SocketAddr::new(self.address.ip(), self.address.port()))
    }
}

impl Peer {
    /// One that connects for itself; `here` is not known.
    pub(crate) fn new(address: IpAddr, secure: bool) -> Self {
        Self { address, client: address.into(), secure, uncertified: false, here: None }
    }
}
