//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

use crate::net::client_address::ClientAddress;
use crate::net::networks::{Networks, UNIX_PEER};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The TCP peer, never an IPv4-mapped address; on a Unix socket the loopback address.
    pub address: IpAddr,
    /// The user whose process is at the other end of a Unix socket; `None`: TCP, or the system does not say.
    pub uid: Option<u32>,
    /// The client that PROXY protocol names, else the peer's own address.
    pub client: ClientAddress,
    /// The connection is TLS.
    pub secure: bool,
    /// The listener requires a client certificate, and this connection has none.
    pub uncertified: bool,
    /// The local address of the connection; `None` on a Unix socket.
    pub here: Option<Here>,
}

/// A local address of a connection or listener. The caller of that connection can reach it, unless addresses are
/// translated on the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// Never an IPv4-mapped address; unspecified only for a listener.
    pub address: SocketAddr,
    /// The listener speaks TLS.
    pub secure: bool,
}

impl Here {
    /// `scheme://address:port`, without a path.
    pub(crate) fn url(self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        // A URL cannot hold the scope of an IPv6 address.
        format!("{scheme}://{}", SocketAddr::new(self.address.ip(), self.address.port()))
    }
}

impl Peer {
    /// A peer that is itself the client; `here` is not known.
    pub(crate) fn new(address: IpAddr, secure: bool) -> Self {
        Self { address, uid: None, client: address.into(), secure, uncertified: false, here: None }
    }

    /// A process at the other end of a Unix socket. `uid`: its user, if the system says so.
    pub(crate) fn process(uid: Option<u32>) -> Self {
        let peer = Self::new(UNIX_PEER, false);
        Self { uid, client: uid.map_or(peer.client, |uid| ClientAddress::Process { uid }), ..peer }
    }

    /// What connected, whatever it says of its client.
    pub(crate) fn source(&self) -> ClientAddress {
        self.uid.map_or(ClientAddress::Known(self.address), |uid| ClientAddress::Process { uid })
    }

    /// Whether `sources` admit what connected.
    pub(crate) fn is_in(&self, sources: &Networks) -> bool {
        self.source().is_in(sources)
    }
}
