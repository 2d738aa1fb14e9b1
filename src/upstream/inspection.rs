//! One connection to a host of Box, opened step by step, so that whoever looks for a fault learns which step failed.

use std::sync::Arc;
use std::{error::Error, io};

use http::uri::Authority;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ProtocolVersion};
use tokio::net::lookup_host;
use tokio_rustls::TlsConnector;

use crate::net::certificate_issuer::Issuer;
use crate::net::error_chain::chain;
use crate::net::tls_client::Trust;
use crate::upstream::connector::{Connector, TcpError};

/// What was agreed on with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Such as `TLS 1.3`.
    pub tls: &'static str,
    /// Such as `HTTP/2`.
    pub http: &'static str,
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// A name has no address. `name`: that of the host, or of the egress proxy.
    Name { name: String, cause: String },
    /// It would have led to this process itself.
    Loop(String),
    /// No connection to the host.
    Tcp(String),
    /// The egress proxy, `HOST:PORT`, cannot be reached, or opens no tunnel.
    Proxy(String),
    /// The certificate's authority is not trusted.
    Untrusted {
        /// Who issued it, as the certificate says.
        issuer: Option<String>,
    },
    /// The certificate has expired or is not valid yet by this machine's clock.
    NotNow(String),
    /// The certificate is another host's.
    OtherHost(String),
    /// TLS failed for another reason.
    Tls(String),
}

/// Opens a connection to this host and closes it. `http2`: whether HTTP/2 is offered.
///
/// # Errors
/// The first step that failed.
pub(crate) async fn inspect(
    connector: &Connector,
    trust: &Trust,
    http2: bool,
    authority: &Authority,
) -> Result<Reached, Unreached> {
    let proxy = connector.proxy_to(authority);
    let dialled = match &proxy {
        Some(proxy) => (proxy.host().unwrap_or_default(), proxy.port_u16().unwrap_or(80)),
        None => (authority.host(), authority.port_u16().unwrap_or(443)),
    };
    let name = bare(dialled.0);
    if let Err(cause) = lookup_host((name, dialled.1)).await {
        return Err(Unreached::Name { name: name.to_owned(), cause: chain(&cause) });
    }
    let tcp = connector.tcp(authority).await.map_err(|error| match error {
        TcpError::Loop(cause) => Unreached::Loop(cause),
        TcpError::Failed(cause) if proxy.is_some() => Unreached::Proxy(cause),
        TcpError::Failed(cause) => Unreached::Tcp(cause),
    })?;
    let issuer = Issuer::default();
    let offered: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    let settings =
        trust.watched_client_config(offered, &issuer).map_err(|error| Unreached::Tls(chain(&error)))?;
    let server_name = ServerName::try_from(bare(authority.host()).to_owned())
        .map_err(|error| Unreached::Tls(error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(settings)).connect(server_name, tcp).await;
    let stream = connecting.map_err(|error| of_tls(&error, &issuer))?;
    let (_, session) = stream.get_ref();
    Ok(Reached {
        tls: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        },
        http: match session.alpn_protocol() {
            Some(b"h2") => "HTTP/2",
            _ => "HTTP/1.1",
        },
    })
}

fn of_tls(error: &io::Error, issuer: &Issuer) -> Unreached {
    let words = chain(error);
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    let Some(rustls::Error::InvalidCertificate(fault)) = inner.and_then(|inner| inner.downcast_ref()) else {
        return Unreached::Tls(words);
    };
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Unreached::Untrusted { issuer: issuer.name() }
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Unreached::NotNow(words),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Unreached::OtherHost(words)
        }
        _ => Unreached::Tls(words),
    }
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}
