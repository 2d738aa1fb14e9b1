//! What all tunnels share: certificates for Box's hosts, the list of other hosts, and who was told what.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use lru::LruCache;
use rustls::ServerConfig;
use tracing::warn;

use super::blind_tunnel::BlindTunnels;
use crate::net::client_address::ClientAddress;
use crate::net::leaf_certificates::LeafCertificates;
use crate::net::tls_server::Tls;

/// Callers whose mistrust was logged; the one that was told longest ago is forgotten for a new one.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Where the certificates for Box's hosts come from.
pub(crate) enum Certificates {
    /// Made here, one for each host.
    Leaves(Box<LeafCertificates>),
    /// One for all, from an authority that callers trust already.
    One(Arc<Tls>),
}

/// Tunnels, as metrics count them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Opened to Box's hosts.
    pub to_box: AtomicU64,
    /// Opened to others.
    pub blind: AtomicU64,
    /// Handshakes in tunnels that came to nothing.
    pub failed_handshakes: AtomicU64,
}

/// The forward proxy of this process.
pub(crate) struct ForwardProxy {
    certificates: Arc<Certificates>,
    /// To hosts that are not Box's.
    pub blind: BlindTunnels,
    /// Tunnels since the start.
    pub counts: Arc<Counts>,
    told: Mutex<LruCache<ClientAddress, ()>>,
}

impl ForwardProxy {
    /// With these certificates, counting on in `counts`.
    pub(crate) fn new(certificates: Arc<Certificates>, blind: BlindTunnels, counts: Arc<Counts>) -> Self {
        let told = Mutex::new(LruCache::new(REMEMBERED));
        Self { certificates, blind, counts, told }
    }

    /// What is shown for Box's hosts.
    pub(crate) fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// TLS for this host, a DNS name in lower case.
    ///
    /// # Errors
    /// There is no certificate for it.
    pub(crate) fn settings(&self, host: &str, now: SystemTime) -> Result<Arc<ServerConfig>, String> {
        match &*self.certificates {
            Certificates::Leaves(leaves) => leaves.settings(host, now),
            Certificates::One(tls) => Ok(tls.settings().clone()),
        }
    }

    /// What callers must trust, as PEM; `None` where it is an authority of somebody else.
    pub(crate) fn ca_pem(&self) -> Option<Bytes> {
        match &*self.certificates {
            Certificates::Leaves(leaves) => Some(leaves.pem().into()),
            Certificates::One(_) => None,
        }
    }

    /// Looks after the authority, see
    /// [`CertificateAuthority::maintain`](crate::net::certificate_authority::CertificateAuthority::maintain).
    pub(crate) fn maintain(&self, now: SystemTime) {
        let Certificates::Leaves(leaves) = &*self.certificates else { return };
        match leaves.maintain(now) {
            Ok(false) => {}
            Ok(true) => warn!(
                "the forward proxy's CA is at its end; a new root is given to callers beside the old one: let them run boxgate env again"
            ),
            Err(error) => warn!("the forward proxy's CA must be renewed and cannot be written: {error}"),
        }
    }

    /// A handshake in a tunnel came to nothing. Logged once for each client, as programs try again and again.
    pub(crate) fn handshake_failed(&self, client: ClientAddress, host: &str, cause: &str, is_mistrust: bool) {
        self.counts.failed_handshakes.fetch_add(1, Ordering::Relaxed);
        if !is_mistrust || self.told.lock().unwrap_or_else(PoisonError::into_inner).put(client, ()).is_some()
        {
            return;
        }
        let advice = match &*self.certificates {
            Certificates::Leaves(_) => "does not trust the CA of the forward proxy: see boxgate env",
            Certificates::One(_) => "does not trust the certificate of [forward_proxy] cert",
        };
        warn!(%client, host, "a program {advice} ({cause})");
    }
}
