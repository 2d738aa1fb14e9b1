//! What the connection reveals about the caller.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::net::client_address::ClientAddress;
use crate::net::peer::Peer;
use crate::routing::box_hosts::Named;
use crate::routing::proxy_user::ProxyUser;

/// The peer of a connection, and the tunnel inside which it is, if any.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The peer of the connection.
    pub peer: Peer,
    /// Set if the connection is inside a tunnel to one of Box's hosts.
    pub inside: Option<Arc<Inside>>,
    /// The certificates that it has shown to a listener that speaks TLS, its own first; `None` on a plain one.
    pub shown: Option<Arc<Vec<CertificateDer<'static>>>>,
}

impl Caller {
    /// A caller outside of any tunnel.
    pub(crate) fn outside(peer: Peer) -> Self {
        Self { peer, inside: None, shown: None }
    }
}

/// What a CONNECT named and was admitted with; it holds for all requests in its tunnel.
#[derive(Debug)]
pub(crate) struct Inside {
    /// The host of the CONNECT, which every request must name: lower case, without port 443.
    pub authority: String,
    /// Which host of Box that is.
    pub named: Named,
    /// The caller behind trusted proxies.
    pub client: ClientAddress,
    /// The app that `Proxy-Authorization` named.
    pub user: Option<ProxyUser>,
    /// The TLS handshake was for another host.
    pub is_misdirected: bool,
}

impl Inside {
    /// The DNS name for the certificate.
    pub(crate) fn server_name(&self) -> &str {
        self.authority.split(':').next().unwrap_or_default()
    }
}
