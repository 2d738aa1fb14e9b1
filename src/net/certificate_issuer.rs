//! Who issued the certificate that a server shows, also where it is not trusted. The verification is rustls's own; this
//! only looks on.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The issuer's name, once a server has shown its certificate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issuer(Arc<Mutex<Option<String>>>);

impl Issuer {
    /// The common name, else the organization, else the whole name. What a stranger wrote: not for a terminal as it is.
    pub(crate) fn name(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Verifies as the verifier in it does.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn ServerCertVerifier>,
    issuer: Issuer,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn ServerCertVerifier>, issuer: Issuer) -> Self {
        Self { inner, issuer }
    }
}

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.issuer.0.lock().unwrap_or_else(PoisonError::into_inner) = issuer(end_entity);
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let issuer = certificate.issuer();
    let name =
        issuer.iter_common_name().chain(issuer.iter_organization()).find_map(|name| name.as_str().ok());
    Some(name.map_or_else(|| issuer.to_string(), str::to_owned)).filter(|name| !name.is_empty())
}
