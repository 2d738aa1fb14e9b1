//! A forward proxy on loopback for one command: connections to Box's hosts go through the gateway, all others as
//! before.
//!
//! The gateway refuses other hosts, but a program that calls Box often calls other hosts too. With the splitter it
//! needs only one proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncWriteExt, BufReader, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::box_names::BoxNames;
use super::options::{GatewayUrl, Login};
use super::tunnel::{AnyStream, Dialer, Proxy, uri};
use crate::net::connect_request::{Answer, Head, Refusal, head};
use crate::net::error_chain::chain;
use crate::net::secret::Secret;

/// The most connections at once; more wait. Each takes two descriptors, of which a process usually has 1024.
const MOST_CONNECTIONS: usize = 450;
/// The timeout for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to read what the program still sends after a refusal, so that a reset does not destroy the refusal.
const LINGER: Duration = Duration::from_secs(1);
/// The buffer for each direction of a tunnel.
const BUFFER: usize = 16 * 1024;

/// The user name that belongs to the splitter's password.
const USER: &str = "boxgate";

/// A splitter that is bound and does not serve yet.
pub(super) struct Splitter {
    listener: TcpListener,
    address: SocketAddr,
    routes: Arc<Routes>,
}

struct Routes {
    dialer: Dialer,
    names: BoxNames,
    url: GatewayUrl,
    gateway: Proxy,
    earlier: Matcher,
    /// The digest of the required credentials. Digests are compared, so that the time of the comparison reveals
    /// nothing.
    expected: Option<[u8; 32]>,
}

impl Splitter {
    /// Binds to a free port of loopback. `earlier`: the caller's proxies for other hosts. If there is a password, every
    /// request must have it.
    ///
    /// # Errors
    /// No port can be bound.
    pub(super) async fn bind(
        url: GatewayUrl,
        login: Option<&Login>,
        earlier: Matcher,
        password: Option<&Secret>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let expected = password.map(|password| {
            let shown = Login { name: USER.to_owned(), key: password.clone() }.authorization();
            digested(shown.as_bytes().strip_prefix(b"Basic ").unwrap_or_default())
        });
        let gateway = Proxy::gateway(&url, login);
        let routes =
            Routes { dialer: Dialer::new(), names: BoxNames::new(), url, gateway, earlier, expected };
        Ok(Self { listener, address, routes: Arc::new(routes) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The proxy URL for programs.
    pub(super) fn proxy_url(&self, password: Option<&Secret>) -> String {
        match password {
            None => format!("http://{}", self.address),
            Some(password) => format!("http://{USER}:{}@{}", password.expose(), self.address),
        }
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let routes = self.routes.clone();
                    tokio::spawn(async move {
                        routes.serve(stream).await;
                        drop(permit);
                    });
                }
                // No descriptor is free; without a pause this would take a whole core.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// The result of a request for a tunnel.
enum Opened {
    Tunnel(BufReader<AnyStream>),
    Refused(Refusal),
}

impl Routes {
    async fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut stream = BufReader::new(stream);
        let Ok(read) = tokio::time::timeout(HEAD_TIMEOUT, head(&mut stream)).await else { return };
        let opened = match read {
            Ok(head) => self.open(&head).await,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Opened::Refused(refusal(400, "Bad Request", "this is not HTTP"))
            }
            Err(error) => Opened::Refused(refusal(400, "Bad Request", &error.to_string())),
        };
        match opened {
            Opened::Tunnel(mut host) => {
                if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                    // Ends when both directions have ended or one fails; an error cannot be reported to anyone.
                    let _ = copy_bidirectional_with_sizes(&mut stream, &mut host, BUFFER, BUFFER).await;
                }
            }
            Opened::Refused(refusal) => {
                let _ = stream.write_all(&written(&refusal)).await;
                let _ = stream.shutdown().await;
                let mut nowhere = tokio::io::sink();
                let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut stream, &mut nowhere)).await;
            }
        }
    }

    async fn open(&self, head: &Head) -> Opened {
        let mut words = head.first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Opened::Refused(refusal(400, "Bad Request", "this is not HTTP"));
        };
        if !version.starts_with("HTTP/1.") {
            return Opened::Refused(refusal(505, "HTTP Version Not Supported", "use HTTP/1.1"));
        }
        if method != "CONNECT" {
            let why = "boxgate exec is a proxy only for https; do not set HTTP_PROXY to it";
            return Opened::Refused(refusal(501, "Not Implemented", why));
        }
        if !self.may(head) {
            let why = "this proxy is only for the command that boxgate exec runs, which has its password";
            let mut refusal = refusal(407, "Proxy Authentication Required", why);
            refusal.fields.push("Proxy-Authenticate: Basic realm=\"boxgate exec\"".to_owned());
            return Opened::Refused(refusal);
        }
        let authority = target.parse::<Authority>().ok().filter(|authority| {
            !authority.as_str().contains('@')
                && !authority.host().is_empty()
                && authority.port_u16().is_some_and(|port| port > 0)
        });
        let Some(authority) = authority else {
            return Opened::Refused(refusal(400, "Bad Request", "CONNECT takes HOST:PORT"));
        };
        match self.tunnel(&authority).await {
            Ok(Answer::Open(stream)) => Opened::Tunnel(stream),
            Ok(Answer::Refused(refusal)) => Opened::Refused(refusal),
            Err(words) => Opened::Refused(refusal(502, "Bad Gateway", &words)),
        }
    }

    fn may(&self, head: &Head) -> bool {
        let Some(expected) = &self.expected else { return true };
        let mut shown = head.fields.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("proxy-authorization").then_some(value.trim())
        });
        let (Some(value), None) = (shown.next(), shown.next()) else { return false };
        value.split_once(' ').is_some_and(|(scheme, credentials)| {
            scheme.eq_ignore_ascii_case("basic") && digested(credentials.trim().as_bytes()) == *expected
        })
    }

    async fn tunnel(&self, target: &Authority) -> Result<Answer<AnyStream>, String> {
        if target.port_u16() == Some(443) && self.names.has(target.host()) {
            let answer = self.dialer.tunnel(&self.gateway, target).await;
            return answer.map_err(|error| format!("cannot reach the gateway at {}: {error}", self.url));
        }
        let uri = uri(target).map_err(|error| error.to_string())?;
        // If the caller's proxy is the gateway itself (after `boxgate env`), it would refuse other hosts.
        let proxy = self.earlier.intercept(&uri).filter(|proxy| !self.url.is(proxy.uri()));
        let Some(proxy) = proxy else {
            let stream = self.dialer.tcp(target).await;
            let stream = stream.map_err(|error| format!("cannot connect to {target}: {error}"))?;
            return Ok(Answer::Open(BufReader::new(Box::new(stream))));
        };
        let host = proxy.uri().host().unwrap_or_default().to_owned();
        let through = self.through(&proxy, target, uri).await;
        through.map_err(|error| format!("cannot connect to {target} through the proxy {host}: {error}"))
    }

    /// A tunnel through the caller's own proxy.
    async fn through(
        &self,
        proxy: &Intercept,
        target: &Authority,
        uri: http::Uri,
    ) -> io::Result<Answer<AnyStream>> {
        let is_https = match proxy.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(socks @ ("socks5" | "socks5h")) => {
                let mut connector =
                    SocksV5::new(proxy.uri().clone(), self.dialer.connector()).local_dns(socks == "socks5");
                if let Some((user, password)) = proxy.raw_auth() {
                    connector = connector.with_auth(user.to_owned(), password.to_owned());
                }
                let connected = connector.call(uri).await;
                let stream = connected.map_err(|error| io::Error::other(chain(&error)))?.into_inner();
                return Ok(Answer::Open(BufReader::new(Box::new(stream))));
            }
            other => {
                let scheme = other.unwrap_or_default();
                return Err(io::Error::other(format!("boxgate exec does not speak {scheme} to proxies")));
            }
        };
        let authority = proxy.uri().authority().ok_or_else(|| io::Error::other("it has no host"))?;
        let authority = match authority.port() {
            Some(_) => authority.clone(),
            None => {
                let port = if is_https { 443 } else { 80 };
                format!("{authority}:{port}").parse().map_err(io::Error::other)?
            }
        };
        let proxy = Proxy { authority, is_https, authorization: proxy.basic_auth().cloned() };
        self.dialer.tunnel(&proxy, target).await
    }
}

fn digested(text: &[u8]) -> [u8; 32] {
    let mut whole = [0; 32];
    whole.copy_from_slice(digest(&SHA256, text).as_ref());
    whole
}

/// A refusal of the splitter's own. Many programs show only the reason phrase, so it has the message too.
fn refusal(status: u16, name: &str, words: &str) -> Refusal {
    let printable = |c: char| c == ' ' || c.is_ascii_graphic();
    let shown: String = words.chars().map(|c| if printable(c) { c } else { '?' }).collect();
    Refusal {
        status,
        reason: format!("{name}: {shown}"),
        fields: vec!["Content-Type: text/plain; charset=utf-8".to_owned()],
        body: format!("boxgate exec: {words}\n").into_bytes(),
    }
}

/// The response as sent to the program; the connection ends after it.
fn written(refusal: &Refusal) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} {}\r\n", refusal.status, refusal.reason);
    let mut is_encoded = false;
    for field in &refusal.fields {
        is_encoded |= field.to_ascii_lowercase().starts_with("transfer-encoding:");
        text.push_str(field);
        text.push_str("\r\n");
    }
    if !is_encoded {
        text.push_str(&format!("Content-Length: {}\r\n", refusal.body.len()));
    }
    text.push_str("Connection: close\r\n\r\n");
    [text.as_bytes(), &refusal.body].concat()
}

#[cfg(test)]
mod tests;
