//! Server certificates for Box's hosts, signed on demand, and the TLS settings that present them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lru::LruCache;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use crate::net::certificate_authority::CertificateAuthority;
use crate::net::tls_server::{PROTOCOLS, provider};

/// How many are cached. Programs use a handful of Box's hosts; one that uses more causes more signatures.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// A cached leaf is replaced this long before it expires.
const RENEWED_BEFORE: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// Leaves of one CA, all with the same key.
pub(crate) struct LeafCertificates {
    authority: Mutex<CertificateAuthority>,
    kept: Mutex<LruCache<String, Kept>>,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    ticketer: Arc<dyn ProducesTickets>,
}

struct Kept {
    settings: Arc<ServerConfig>,
    not_after: SystemTime,
}

impl LeafCertificates {
    /// Signs with this CA.
    ///
    /// # Errors
    /// No key can be generated.
    pub(crate) fn new(authority: CertificateAuthority) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("TLS cannot be set up: {error}");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))?;
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let signing = provider().key_provider.load_private_key(der.into()).map_err(|error| failed(&error))?;
        let ticketer = ring::Ticketer::new().map_err(|error| failed(&error))?;
        let (authority, kept) = (Mutex::new(authority), Mutex::new(LruCache::new(KEPT)));
        Ok(Self { authority, kept, key, signing, ticketer })
    }

    /// What callers must trust, as PEM.
    pub(crate) fn pem(&self) -> String {
        locked(&self.authority).pem()
    }

    /// Renews the CA where needed, see [`CertificateAuthority::maintain`].
    ///
    /// # Errors
    /// A successor cannot be written.
    pub(crate) fn maintain(&self, now: SystemTime) -> std::io::Result<bool> {
        locked(&self.authority).maintain(now)
    }

    /// TLS with a certificate for this host, a DNS name in lower case.
    ///
    /// # Errors
    /// No certificate can be signed.
    pub(crate) fn settings(&self, host: &str, now: SystemTime) -> Result<Arc<ServerConfig>, String> {
        if let Some(kept) = locked(&self.kept).get(host).filter(|kept| kept.not_after > now + RENEWED_BEFORE)
        {
            return Ok(kept.settings.clone());
        }
        let leaf = locked(&self.authority).issue(host, &self.key, now)?;
        let settings = Arc::new(self.serving(leaf.chain)?);
        let kept = Kept { settings: settings.clone(), not_after: leaf.not_after };
        locked(&self.kept).put(host.to_owned(), kept);
        Ok(settings)
    }

    fn serving(&self, chain: Vec<CertificateDer<'static>>) -> Result<ServerConfig, String> {
        let certified = CertifiedKey::new(chain, self.signing.clone());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut settings = builder.with_no_client_auth().with_cert_resolver(resolver);
        settings.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.ticketer = self.ticketer.clone();
        Ok(settings)
    }
}

/// Ignores poisoning: a panic leaves no half-done change behind these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
