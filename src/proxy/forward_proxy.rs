//! What all tunnels share: certificates for Box's hosts, the list of other hosts, and the callers already warned about.

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

/// How many callers with an untrusted certificate are remembered as logged; a new one replaces the oldest.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Where the certificates for Box's hosts come from.
pub(crate) enum Certificates {
    /// Issued by this gateway's CA, one for each host.
    Leaves(Box<LeafCertificates>),
    /// One for all hosts, from a CA that callers already trust.
    One(Arc<Tls>),
}

/// Counts of tunnels, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Tunnels opened to Box's hosts.
    pub to_box: AtomicU64,
    /// Tunnels opened to other hosts.
    pub blind: AtomicU64,
    /// TLS handshakes in tunnels that failed.
    pub failed_handshakes: AtomicU64,
}

/// The forward proxy of this process.
pub(crate) struct ForwardProxy {
    certificates: Arc<Certificates>,
    /// The tunnels to other hosts than Box's.
    pub blind: BlindTunnels,
    /// Counts since the start of the process.
    pub counts: Arc<Counts>,
    told: Mutex<LruCache<ClientAddress, ()>>,
}

impl ForwardProxy {
    /// A forward proxy with these certificates, which continues the counts.
    pub(crate) fn new(certificates: Arc<Certificates>, blind: BlindTunnels, counts: Arc<Counts>) -> Self {
        let told = Mutex::new(LruCache::new(REMEMBERED));
        Self { certificates, blind, counts, told }
    }

    /// The certificates for Box's hosts.
    pub(crate) fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// The TLS settings for this host, a DNS name in lower case.
    ///
    /// # Errors
    /// There is no certificate for it.
    pub(crate) fn settings(&self, host: &str, now: SystemTime) -> Result<Arc<ServerConfig>, String> {
        match &*self.certificates {
            Certificates::Leaves(leaves) => leaves.settings(host, now),
            Certificates::One(tls) => Ok(tls.settings().clone()),
        }
    }

    /// The CA that callers must trust, as PEM; `None` if it is not this gateway's own.
    pub(crate) fn ca_pem(&self) -> Option<Bytes> {
        match &*self.certificates {
            Certificates::Leaves(leaves) => Some(leaves.pem().into()),
            Certificates::One(_) => None,
        }
    }

    /// Renews the CA when needed, see
    /// [`CertificateAuthority::maintain`](crate::net::certificate_authority::CertificateAuthority::maintain).
    pub(crate) fn maintain(&self, now: SystemTime) {
        let Certificates::Leaves(leaves) = &*self.certificates else { return };
        match leaves.maintain(now) {
            Ok(false) => {}
            Ok(true) => warn!(
                "the forward proxy's CA expires soon; callers get a new root beside the old one: let them run boxgate env again"
            ),
            Err(error) => warn!("the forward proxy's CA must be renewed and cannot be written: {error}"),
        }
    }

    /// Records a failed TLS handshake in a tunnel. Logged once for each client, since programs keep retrying.
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
