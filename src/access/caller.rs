//! What the connection reveals about the caller.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::net::certificate_names::CertificateNames;
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
#[derive(Debug)]
pub(crate) struct Shown {
    /// The caller's own first; empty where it has shown none, and for a decision without a connection.
    pub chain: Vec<CertificateDer<'static>>,
    /// The names in the caller's own; `None` where it has shown none.
    pub names: Option<CertificateNames>,
    /// A reload has replaced `client_ca` by one that does not admit this caller.
    pub is_revoked: Cell<bool>,
}

impl Shown {
    /// The chain of a connection, the caller's own certificate first.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        let names = chain.first().map(|own| CertificateNames::of(own));
        Self { chain, names, is_revoked: Cell::new(false) }
    }

    /// A certificate with these names, for a decision without a connection.
    pub(crate) fn with_names(names: CertificateNames) -> Self {
        Self { chain: Vec::new(), names: Some(names), is_revoked: Cell::new(false) }
    }
}

impl Caller {
    /// A caller outside of any tunnel.
    pub(crate) fn outside(peer: Peer) -> Self {
        Self { peer, inside: None, shown: None }
    }

    /// The names in its certificate; `None` if it has shown none.
    pub(crate) fn certificate(&self) -> Option<&CertificateNames> {
        self.shown.as_ref()?.names.as_ref()
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
