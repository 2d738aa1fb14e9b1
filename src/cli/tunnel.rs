//! A tunnel through an HTTP proxy, by CONNECT.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::options::{GatewayUrl, Login};
use crate::net::connect_request::{Answer, connect};
use crate::net::error_chain::chain;
use crate::net::tls_client::Trust;

/// The timeout for TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for the proxy's response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection over TCP or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
pub(super) type AnyStream = Box<dyn Stream>;

/// A proxy and the credentials for it.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Host and port.
    pub(super) authority: Authority,
    /// Whether the connection to the proxy itself uses TLS.
    pub(super) is_https: bool,
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    pub(super) fn gateway(url: &GatewayUrl, login: Option<&Login>) -> Self {
        Self {
            authority: url.authority.clone(),
            is_https: url.is_https,
            authorization: login.map(Login::authorization),
        }
    }
}

/// Opens connections to proxies, by TCP or TLS.
#[derive(Clone)]
pub(super) struct Dialer {
    tcp: HttpConnector,
}

impl Dialer {
    pub(super) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { tcp }
    }

    /// The underlying connector, for others built on it.
    pub(super) fn connector(&self) -> HttpConnector {
        self.tcp.clone()
    }

    /// Connects to a host; `authority` must have a port.
    ///
    /// # Errors
    /// The name is not found, or nothing answers in time.
    pub(super) async fn tcp(&self, authority: &Authority) -> io::Result<TcpStream> {
        let uri = uri(authority)?;
        let connected = self.tcp.clone().call(uri).await;
        connected.map(|stream| stream.into_inner()).map_err(|error| io::Error::other(chain(&error)))
    }

    /// Asks a proxy for a tunnel to a host; `target` must have a port.
    ///
    /// # Errors
    /// The proxy cannot be reached, or its response is not HTTP.
    pub(super) async fn tunnel(&self, proxy: &Proxy, target: &Authority) -> io::Result<Answer<AnyStream>> {
        let tcp = self.tcp(&proxy.authority).await?;
        let answering = async {
            let stream: AnyStream = match proxy.is_https {
                true => Box::new(tls(tcp, proxy.authority.host()).await?),
                false => Box::new(tcp),
            };
            connect(BufReader::new(stream), target, proxy.authorization.as_ref()).await
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answering).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the proxy did not answer CONNECT within {ANSWER_TIMEOUT:?}"),
            ))
        })
    }
}

/// The authority as a URL, for connectors.
pub(super) fn uri(authority: &Authority) -> io::Result<Uri> {
    let built = Uri::builder().scheme("https").authority(authority.clone()).path_and_query("/").build();
    built.map_err(io::Error::other)
}

/// TLS to a host whose certificate the platform trusts.
///
/// # Errors
/// The platform has no roots, or the host's certificate or TLS is not in order.
pub(super) async fn tls(tcp: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    // The roots are read for each connection, since proxies with TLS are rare. Only the platform's roots are trusted.
    let trust = Trust::new(&[])?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(trust.client_config(&[b"http/1.1"])));
    connector.connect(name, tcp).await
}
