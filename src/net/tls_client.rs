//! TLS as a client: which certificates are trusted. They are always verified; no setting turns that off.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

use crate::net::certificate_issuer::{Issuer, Watched};

/// The trusted roots, shared by both clients (reqwest and hyper).
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Trusts the platform's roots and these.
    ///
    /// # Errors
    /// An extra root is not a certificate authority, or there is no root at all, so that nothing could be verified.
    pub fn new(extra: &[CertificateDer<'static>]) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            warn!("some of the platform's certificate roots cannot be read: {error}");
        }
        roots.add_parsable_certificates(native.certs);
        for certificate in extra {
            roots.add(certificate.clone()).map_err(|error| {
                io::Error::other(format!("[box] ca_file holds a certificate that cannot be a root: {error}"))
            })?;
        }
        if roots.is_empty() {
            return Err(io::Error::other(
                "the platform has no certificate roots (install ca-certificates) and [box] ca_file gives none",
            ));
        }
        Ok(Self { roots: Arc::new(roots), provider: Arc::new(rustls::crypto::ring::default_provider()) })
    }

    /// Client settings that offer these ALPN protocols.
    pub fn client_config(&self, alpn: &[&[u8]]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3");
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
    /// The same, and `issuer` learns who issued the certificate that the server shows.
    ///
    /// # Errors
    /// rustls makes no verifier of the roots.
    pub(crate) fn watched_client_config(&self, alpn: &[&[u8]], issuer: &Issuer) -> io::Result<ClientConfig> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots.clone(), self.provider.clone()).build();
        let verifier = Watched::new(verifier.map_err(io::Error::other)?, issuer.clone());
        let mut config = self.client_config(alpn);
        // Despite its name: the verifier verifies as the one that it replaces.
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Ok(config)
    }
}
