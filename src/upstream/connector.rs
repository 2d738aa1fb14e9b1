//! Connecting to Box: DNS, TCP (happy eyeballs, RFC 8305), a forward proxy's tunnel, TLS.
//!
//! Certificates are always verified, against the platform's roots and `[box] ca_file`; there is no switch.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::net::descriptors::{Room, UpstreamRoom};
use crate::net::egress_proxy::{Proxy, host_and_port, proxy_matcher};
use crate::net::error_chain::chain;
use crate::net::own_listeners::OwnListeners;
use crate::net::tls_client::Trust;
use crate::net::unsent;

/// Opens TCP connections, except to this process itself.
#[derive(Clone)]
pub(crate) struct OutwardTcp {
    tcp: HttpConnector,
    own: OwnListeners,
}

impl OutwardTcp {
    /// `own`: the addresses on which this process listens.
    pub(crate) fn new(own: OwnListeners, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, own }
    }
}

/// A connection would lead to a listener of this process.
#[derive(Debug)]
struct LeadsHere(SocketAddr);

impl fmt::Display for LeadsHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is where this gateway itself listens", self.0)
    }
}

impl Error for LeadsHere {}

impl Service<Uri> for OutwardTcp {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, own) = (self.tcp.call(uri), self.own.clone());
        Box::pin(async move {
            let stream = connecting.await?;
            // Nothing was written yet.
            match stream.inner().peer_addr() {
                Ok(peer) if own.contain(peer) => Err(LeadsHere(peer).into()),
                _ => Ok(stream),
            }
        })
    }
}

/// Whether the cause is that the connection would have led to a listener of this process.
pub(crate) fn is_loop(error: &(dyn Error + 'static)) -> bool {
    error.is::<LeadsHere>() || error.source().is_some_and(is_loop)
}

/// The settings of connections to Box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The proxy on the way to Box.
    pub proxy: Proxy,
    /// The time limit for TCP, proxy tunnel and TLS together.
    pub connect_timeout: Duration,
    /// How long Box may read nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// Opens connections to Box.
pub(crate) struct Connector {
    tcp: OutwardTcp,
    proxies: Matcher,
    tls: TlsConnector,
    tls_http1: TlsConnector,
    timeout: Duration,
    write_timeout: Duration,
    room: UpstreamRoom,
}

/// Which versions of HTTP a connection is opened for, and whether it may wait for a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The one that Box chooses.
    Both,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/1.1 alone, and only if a descriptor is free now.
    Http1AtOnce,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(crate) enum ConnectError {
    /// DNS, TCP, proxy or TLS failed; the text names the authority and the cause.
    Unreachable(String),
    /// Box does not support the only version that was offered.
    NotSpoken(String),
    /// It would have led to this process itself.
    Loop(String),
    /// No descriptor is free for one more.
    NoRoom,
}

/// A connection on which TLS is established.
pub(crate) type Connection = TlsStream<BufReader<TcpStream>>;

/// The read buffer. rustls reads 4 KiB at a time, a quarter of a record; this reads several records at once.
const READ_AHEAD: usize = 64 * 1024;
/// How much rustls encrypts before it writes. With its 64 KiB an upload takes more CPU time.
const ENCRYPTED: usize = 256 * 1024;

impl Connector {
    /// `room`: the descriptors for all connections of the process. `own`: the addresses on which it listens.
    pub(crate) fn new(trust: &Trust, settings: Settings, room: UpstreamRoom, own: OwnListeners) -> Self {
        let (proxies, timeout) = (proxy_matcher(&settings.proxy), settings.connect_timeout);
        let tcp = OutwardTcp::new(own, timeout);
        let tls_http1 = TlsConnector::from(Arc::new(trust.client_config(&[b"http/1.1"])));
        let tls = if settings.http2 {
            TlsConnector::from(Arc::new(trust.client_config(&[b"h2", b"http/1.1"])))
        } else {
            tls_http1.clone()
        };
        Self { tcp, proxies, tls, tls_http1, timeout, write_timeout: settings.write_timeout, room }
    }

    /// Connects. `make_room`: closes idle connections if no descriptor is free.
    ///
    /// # Errors
    /// No connection could be established in time.
    pub(crate) async fn connect(
        &self,
        authority: &Authority,
        server_name: &ServerName<'static>,
        offer: Offer,
        make_room: impl FnOnce(),
    ) -> Result<(Connection, Room), ConnectError> {
        let http1_only = offer != Offer::Both;
        let tls = if http1_only { &self.tls_http1 } else { &self.tls };
        // HTTP/1.1 is requested only for content, large uploads and answers, and a few small ones.
        let room = match self.room.try_take(http1_only) {
            Some(room) => room,
            None if offer == Offer::Http1AtOnce => return Err(ConnectError::NoRoom),
            None => {
                make_room();
                let taken = tokio::time::timeout(self.timeout, self.room.take(http1_only)).await;
                taken.ok().flatten().ok_or(ConnectError::NoRoom)?
            }
        };
        let connecting = async {
            let unreachable =
                |cause| ConnectError::Unreachable(format!("cannot connect to {authority}: {cause}"));
            let tcp = self.tcp(authority).await.map_err(|failed| match failed {
                TcpError::Loop(cause) => ConnectError::Loop(format!("{authority}: {cause}")),
                TcpError::Failed(cause) => unreachable(cause),
            })?;
            let tcp = BufReader::with_capacity(READ_AHEAD, tcp);
            let gathering = |session: &mut ClientConnection| session.set_buffer_limit(Some(ENCRYPTED));
            let shaking = tls.connect_with(server_name.clone(), tcp, gathering);
            shaking.await.map_err(|error| match is_not_spoken(&error) {
                true => ConnectError::NotSpoken(format!("{authority} does not speak HTTP/1.1")),
                false => unreachable(format!("TLS: {}", chain(&error))),
            })
        };
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(connected) => connected.map(|connection| (connection, room)),
            Err(_) => Err(ConnectError::Unreachable(format!(
                "cannot connect to {authority}: not established in {:?}",
                self.timeout
            ))),
        }
    }

    /// How long Box may read nothing of what is sent to it.
    pub(crate) fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// Whether another connection waits for a descriptor.
    pub(crate) fn is_room_wanted(&self) -> bool {
        self.room.is_wanted()
    }

    /// The egress proxy on the way to this host, where there is one.
    pub(crate) fn proxy_to(&self, authority: &Authority) -> Option<Uri> {
        let uri = Uri::builder().scheme("https").authority(authority.clone()).path_and_query("/").build();
        self.proxies.intercept(&uri.ok()?).map(|proxy| proxy.uri().clone())
    }

    /// TCP alone, through an egress proxy where there is one.
    pub(crate) async fn tcp(&self, authority: &Authority) -> Result<TcpStream, TcpError> {
        let port = authority.port_u16().unwrap_or(443);
        let uri = Uri::builder()
            .scheme("https")
            .authority(format!("{}:{port}", authority.host()))
            .path_and_query("/")
            .build()
            .map_err(|error| TcpError::Failed(error.to_string()))?;
        let mut tcp = self.tcp.clone();
        let stream = match self.proxies.intercept(&uri) {
            None => tcp.call(uri).await.map_err(|error| TcpError::of(&*error, String::new()))?,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(credentials) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(credentials.clone());
                }
                let host = host_and_port(proxy.uri());
                tunnel
                    .call(uri)
                    .await
                    .map_err(|error| TcpError::of(&error, format!("through the proxy {host}: ")))?
            }
        };
        let stream = stream.into_inner();
        unsent::bound(&stream, unsent::BOX);
        Ok(stream)
    }
}

/// Why there is no TCP connection; the words name the cause.
pub(crate) enum TcpError {
    /// It would have led to this process itself.
    Loop(String),
    /// Name, TCP or proxy failed.
    Failed(String),
}

impl TcpError {
    fn of(error: &(dyn Error + 'static), before: String) -> Self {
        let cause = before + &chain(error);
        if is_loop(error) { Self::Loop(cause) } else { Self::Failed(cause) }
    }
}

/// RFC 7301 §3.2.
fn is_not_spoken(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}
