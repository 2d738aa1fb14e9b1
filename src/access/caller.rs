//! Who calls, as far as the connection tells.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::net::client_address::ClientAddress;
use crate::net::peer::Peer;
use crate::routing::box_hosts::Named;
use crate::routing::proxy_user::ProxyUser;

/// The other end of a connection, and the tunnel in which it is.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The other end.
    pub peer: Peer,
    /// The connection is the inside of a tunnel to one of Box's hosts.
    pub inside: Option<Arc<Inside>>,
    /// The certificates that it has shown to a listener that speaks TLS, its own first; `None` on a plain one.
    pub shown: Option<Arc<Vec<CertificateDer<'static>>>>,
}

impl Caller {
    /// Outside of any tunnel.
    pub(crate) fn outside(peer: Peer) -> Self {
        Self { peer, inside: None, shown: None }
    }
}

/// What a CONNECT said and was judged by; the same for all requests in its tunnel.
#[derive(Debug)]
pub(crate) struct Inside {
    /// The host that was asked for, as every request must name it: lower case, without port 443.
    pub authority: String,
    /// What that host is.
    pub named: Named,
    /// The caller behind trusted proxies.
    pub client: ClientAddress,
    /// The app that the program named.
    pub user: Option<ProxyUser>,
    /// The handshake was for another host.
    pub is_misdirected: bool,
}

impl Inside {
    /// The name for a certificate.
    pub(crate) fn server_name(&self) -> &str {
        self.authority.split(':').next().unwrap_or_default()
    }
}
