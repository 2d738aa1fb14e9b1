//! What the connection reveals about the caller.

use std::cell::Cell;
use std::rc::Rc;
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
    /// What it has shown to a listener that speaks TLS; `None` on a plain one.
    pub shown: Option<Rc<Shown>>,
}

/// The certificates of one connection, shared by all that goes on in it: requests, and tunnels that it has opened.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The caller's own first; empty where it has shown none.
    pub chain: Vec<CertificateDer<'static>>,
    /// A reload has replaced `client_ca` by one that does not admit this caller.
    pub is_revoked: Cell<bool>,
}

impl Caller {
    /// A caller outside of any tunnel.
    pub(crate) fn outside(peer: Peer) -> Self {
        Self { peer, inside: None, shown: None }
    }

    /// Whether a reload has withdrawn what its connection was admitted by.
    pub(crate) fn is_revoked(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.is_revoked.get())
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
