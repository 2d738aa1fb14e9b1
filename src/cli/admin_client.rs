//! A client of a running gateway's admin listener: finds its address and sends one request, over TCP, TLS or a
//! Unix socket.

mod endpoint; // where it is

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use self::endpoint::{A_LISTENER, Endpoint};
use super::Failure;
use super::options::{key_in, plain_key};
use super::tunnel::{AnyStream, Dialer};
use crate::admin::access::is_probe;
use crate::config::{self, AdminAccess};
use crate::http::host::{self, Host};
use crate::net::address::Address;
use crate::net::error_chain::chain;
use crate::net::pinned_certificate;
use crate::net::secret::{Secret, wiped_when_sent};
use crate::net::tls_server;
use crate::routing::app_key::APP_KEY;

/// The longest response; far above any that a gateway sends.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// The time limit for TCP and TLS, or a Unix socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time without a response, a message tells the user what the command waits for.
const SILENCE: Duration = Duration::from_secs(2);
/// The default address for operators.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The environment variable with the key of `[admin]`.
const KEY_VARIABLE: &str = "BOXGATE_ADMIN_KEY";
/// The source of an address that was named.
const NAMED: &str = "--admin or BOXGATE_ADMIN";

/// Options that name the gateway.
#[allow(rustdoc::broken_intra_doc_links, reason = "--help prints these texts as they stand")]
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The gateway's admin listener: a URL, HOST:PORT or unix:PATH [default: [admin] address of the configuration file,
    /// else http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", env = "BOXGATE_ADMIN")]
    admin: Option<String>,
    /// The configuration file of the gateway [default: proxy.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the key of [admin], instead of BOXGATE_ADMIN_KEY [default: [admin] key of the configuration file, if
    /// the listener is from there, or is named without a scheme and is this machine's]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A PEM file with certificates that are trusted besides the platform's: authorities, or the listener's own [default:
    /// [admin] tls of the configuration file, if the listener is from there, or is named without a scheme and is this
    /// machine's]
    #[arg(long, value_name = "FILE", env = "BOXGATE_ADMIN_CA")]
    ca_file: Option<PathBuf>,
}

/// An admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminListener {
    address: Endpoint,
    /// Where the address comes from, for messages.
    source: String,
    key: Key,
    /// Trusted besides the platform's roots: authorities, or the listener's own certificate.
    trusted: Vec<CertificateDer<'static>>,
}

/// The key of `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    None,
    /// The key, and where it comes from.
    Known(Secret, String),
    /// The configuration file names one that cannot be read, and why.
    Unread(String),
}

/// The response of an admin listener.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl AdminListener {
    /// From `--admin` or `BOXGATE_ADMIN`, else from the configuration file, else the default. Of the file only `[admin]` is
    /// read: it may be one that the gateway will refuse. Its TLS, key and certificate are for an address that is from there, and for
    /// an address of this machine that is named without a scheme: by the same variable `boxgate run` listens there, with the
    /// TLS and the key of the file. `default_file`: read if it exists and none is named.
    ///
    /// # Errors
    /// A message about an invalid address, or a file that is named, is wanted and cannot be read.
    pub(super) fn find(options: &Options, default_file: &Path) -> Result<Self, String> {
        let named_key = named_key(options, std::env::var(KEY_VARIABLE).ok())?;
        let trusted = match &options.ca_file {
            Some(file) => tls_server::certificates(file).map_err(|why| format!("--ca-file: {why}"))?,
            None => Vec::new(),
        };
        let key = named_key.map_or(Key::None, |(key, source)| Key::Known(key, source));
        let file = options.config.as_deref().or_else(|| default_file.exists().then_some(default_file));
        if let Some(text) = &options.admin {
            let named = Self { address: Endpoint::parse(text)?, source: NAMED.to_owned(), key, trusted };
            return match file.filter(|_| !text.contains("://")) {
                Some(file) => named.described_by(file, options.config.is_some()),
                None => Ok(named),
            };
        }
        let Some(file) = file else {
            let address = Endpoint::tcp(DEFAULT, false);
            return Ok(Self { address, source: "the default".to_owned(), key, trusted });
        };
        let access = access_of(file)?;
        let source = format!("[admin] address of {}", file.display());
        let is_https = access.certificates.is_some();
        // A port of 0 is chosen when it is bound.
        let is_known = |address: &&Address| !matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
        let is_unix = |address: &&Address| matches!(address, Address::Unix(_));
        let mut known = access.addresses.iter().filter(is_known);
        // These commands show no client certificate; Unix sockets ask for none.
        let sockets = || access.addresses.iter().find(is_unix);
        let first = known.next();
        let chosen = if access.wants_certificates { sockets().or(first) } else { first };
        let address = match chosen {
            Some(Address::Tcp(address)) => Endpoint::tcp(*address, is_https),
            Some(Address::Unix(address)) => Endpoint::Unix(address.path.clone()),
            None => {
                return Err(format!(
                    "{source} has port 0, which means a different port at each start; {}",
                    name_it()
                ));
            }
        };
        Ok(Self { address, source, key, trusted }.with_secrets_of(access, file))
    }

    /// A listener that was named without a scheme, with TLS, key and certificate of this file if it is this machine's. A file that
    /// nobody named (`is_named`) may be unreadable for this user: then the gateway's answer says what is missing.
    fn described_by(self, file: &Path, is_named: bool) -> Result<Self, String> {
        let access = match access_of(file) {
            Ok(access) => access,
            Err(why) if is_named => return Err(why),
            Err(_) => return Ok(self),
        };
        if !self.address.is_here(&access.addresses) {
            return Ok(self);
        }
        let address = match self.address {
            Endpoint::Http { authority, .. } => {
                Endpoint::Http { is_https: access.certificates.is_some(), authority }
            }
            unix @ Endpoint::Unix(_) => unix,
        };
        Ok(Self { address, ..self }.with_secrets_of(access, file))
    }

    /// With the certificate of this file, and its key unless another is named.
    fn with_secrets_of(self, access: AdminAccess, file: &Path) -> Self {
        let key = match (self.key, access.key) {
            (Key::None, Some(Ok(key))) => Key::Known(key, format!("[admin] key of {}", file.display())),
            (Key::None, Some(Err(why))) => Key::Unread(why),
            (key, _) => key,
        };
        // The listener's own certificate, whatever its name: the address may be that of loopback.
        let own = access.certificates.and_then(Result::ok).and_then(|chain| chain.into_iter().next());
        let trusted = self.trusted.into_iter().chain(own).collect();
        Self { key, trusted, ..self }
    }

    /// Sends a request without a body and reads the answer, whatever its status. No proxy is used and no redirect is
    /// followed. `within`: for all of it. Where it takes long, the user is told what is waited for.
    ///
    /// # Errors
    /// The connection fails, the response does not arrive in time, is not HTTP, or is too long.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let asked = format!("{method} {path}");
        let mut answering = std::pin::pin!(self.request_silently(method, path, within));
        tokio::select! {
            answered = &mut answering => answered,
            () = tokio::time::sleep(SILENCE) => {
                eprintln!("boxgate: waiting for the gateway at {self} to answer {asked}, for {within:?} at most");
                answering.await
            }
        }
    }

    /// The same, and nothing is printed meanwhile.
    ///
    /// # Errors
    /// The same.
    pub(super) async fn request_silently(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let asked = format!("{method} {path}");
        tokio::time::timeout(within, self.exchange(method, path))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "the gateway at {self} ({}) does not answer {asked} within {within:?}; its log says what it is doing, and what comes of the request",
                    self.source
                ))
            })
            .map_err(Failure::from)
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<Answer, String> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, self.connect())
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")))
            .map_err(|why| self.unreachable(&why))?;
        let asked = format!("{method} {path}");
        let broken = |error: &(dyn Error + 'static)| {
            let words = chain(error);
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                return self.is_another(&words);
            }
            format!(
                "the gateway at {self} ({}) broke off its answer to {asked}: {words}; its log has the outcome of the request",
                self.source
            )
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // The task ends with the exchange.
        let connection = tokio::spawn(connection);
        let authority = match &self.address {
            Endpoint::Http { authority, .. } => authority.as_str(),
            Endpoint::Unix(_) => "localhost",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("boxgate/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let request = self.with_key(request)?;
        let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| match error
            .downcast_ref::<LengthLimitError>()
        {
            Some(_) => self.is_another("its answer is longer than 16 MiB"),
            None => broken(&*error),
        })?;
        connection.abort();
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// Adds the key, except to the probes, which ask for none.
    fn with_key(&self, mut request: Request<Empty<Bytes>>) -> Result<Request<Empty<Bytes>>, String> {
        static WARNED: Once = Once::new();
        let Key::Known(key, source) = &self.key else { return Ok(request) };
        if is_probe(request.uri().path()) {
            return Ok(request);
        }
        let bytes = wiped_when_sent(Zeroizing::new(key.expose().as_bytes().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(bytes)
            .map_err(|_| format!("the key of {source} has characters that no header field can carry"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(APP_KEY, value);
        if self.is_readable_on_the_way() {
            WARNED.call_once(|| {
                eprintln!(
                    "boxgate: the key of {source} goes to {self} over plain HTTP, where others can read it on the way; use https:// ([admin] tls) or a Unix socket"
                );
            });
        }
        Ok(request)
    }

    /// Whether requests may leave this machine over plain HTTP. The file may be one of another machine, so its addresses are
    /// judged like others.
    fn is_readable_on_the_way(&self) -> bool {
        let Endpoint::Http { is_https: false, authority } = &self.address else { return false };
        let host = host::parse(authority.as_str()).map(|(host, _)| host);
        !host.is_some_and(Host::is_loopback)
    }

    async fn connect(&self) -> Result<AnyStream, String> {
        match &self.address {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| chain(&error))?;
                Ok(Box::new(stream))
            }
            Endpoint::Http { is_https, authority } => {
                let tcp = Dialer::new().tcp(authority).await.map_err(|error| chain(&error))?;
                if !is_https {
                    return Ok(Box::new(tcp));
                }
                let name = ServerName::try_from(authority.host().trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|error| error.to_string())?;
                let config =
                    pinned_certificate::client_config(&self.trusted).map_err(|error| chain(&error))?;
                let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
                let stream = connected.map_err(|error| self.tls_failed(authority.host(), &error))?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Why a TLS handshake failed, and what to do.
    fn tls_failed(&self, host: &str, error: &io::Error) -> String {
        use rustls::{CertificateError as Wrong, Error};
        let name_it = "let --ca-file, BOXGATE_ADMIN_CA or SSL_CERT_FILE name a file with its authority, the first two also one with its own certificate";
        match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(Wrong::UnknownIssuer)) if self.trusted.is_empty() => {
                format!("no authority that this machine trusts has signed its certificate; {name_it}")
            }
            Some(Error::InvalidCertificate(Wrong::UnknownIssuer)) => format!(
                "its certificate is neither one that was named (--ca-file, or [admin] tls of the configuration file) nor signed by a trusted authority; {name_it}"
            ),
            Some(Error::InvalidCertificate(
                Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
            )) => {
                format!("its certificate is not for {host:?}; use a name that is in it, or {name_it}")
            }
            Some(Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. })) => {
                "its certificate has expired".to_owned()
            }
            Some(Error::InvalidMessage(_)) => "what listens there does not speak TLS; try http://".to_owned(),
            _ => format!("the TLS handshake failed: {error}"),
        }
    }

    fn unreachable(&self, why: &str) -> String {
        format!(
            "cannot reach the gateway's admin listener at {self} ({}): {why}; is the gateway running? --admin names another listener ({A_LISTENER})",
            self.source
        )
    }

    /// A message about a server that is something else. `why`: how that is known.
    pub(super) fn is_another(&self, why: &str) -> String {
        format!(
            "the server at {self} ({}) is not an admin listener of boxgate: {why}; --admin names another ({A_LISTENER})",
            self.source
        )
    }

    fn key_wanted(&self, asked: &str) -> String {
        let named = "name the file of [admin] key with --key-file, or set BOXGATE_ADMIN_KEY";
        let why = match &self.key {
            Key::Known(_, source) => format!("refuses the key of {source}; {named}"),
            Key::None => format!("asks for a key; {named}"),
            Key::Unread(why) => {
                format!("asks for a key, and that of the configuration file cannot be read ({why}); {named}")
            }
        };
        printable(&format!("the gateway at {self} ({}), asked {asked}, {why}", self.source))
    }

    /// A message about an unexpected response. `asked`: the request, such as `POST /reload`.
    pub(super) fn unexpected(&self, asked: &str, answer: &Answer) -> Failure {
        /// The shape of the gateway's errors.
        #[derive(Deserialize)]
        struct Told {
            code: String,
            message: String,
        }
        let Answer { status, body, .. } = answer;
        if body.starts_with(b"This port uses TLS") {
            return printable(&self.is_another("it uses TLS, so the URL must begin with https://")).into();
        }
        if *status == StatusCode::UNAUTHORIZED {
            return self.key_wanted(asked).into();
        }
        let words = match serde_json::from_slice::<Told>(body) {
            Ok(Told { code, message }) => format!(
                "the gateway at {self} ({}) answers {asked} with {} ({code}): {message}",
                self.source,
                status.as_u16()
            ),
            Err(_) if status.is_redirection() => {
                self.is_another(&format!("it answers {asked} with {status}, and redirects are not followed"))
            }
            Err(_) => self.is_another(&format!("it answers {asked} with {status}")),
        };
        printable(&words).into()
    }
}

/// How the listener of this file is reached.
///
/// # Errors
/// A message about a file that cannot be read, or whose `[admin] address` is none.
fn access_of(file: &Path) -> Result<AdminAccess, String> {
    config::admin_access(file, &|name| std::env::var(name).ok())
        .map_err(|problems| format!("{problems}\n{}", name_it()))
}

fn name_it() -> String {
    format!("--admin names the listener of the running gateway ({A_LISTENER})")
}

/// The key of `--key-file` or of the environment variable, whose value is `variable`, and its source.
///
/// # Errors
/// Both are given, or the file or the key cannot be used; the message contains no key.
fn named_key(options: &Options, variable: Option<String>) -> Result<Option<(Secret, String)>, String> {
    let variable = variable.map(Zeroizing::new).filter(|key| !key.is_empty());
    let (key, source) = match (variable, &options.key_file) {
        (Some(_), Some(_)) => {
            return Err(format!("both {KEY_VARIABLE} and --key-file are given; leave one out"));
        }
        (Some(key), None) => (key, KEY_VARIABLE.to_owned()),
        (None, Some(file)) => (key_in(file)?, format!("--key-file {}", file.display())),
        (None, None) => return Ok(None),
    };
    let key = plain_key(&key, &source)?;
    Ok(Some((Secret::new(key.to_string()), source)))
}

/// In the form that `--admin` accepts.
impl fmt::Display for AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Endpoint::Http { is_https, authority } => {
                write!(f, "{}://{authority}", if *is_https { "https" } else { "http" })
            }
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Escapes control characters of text from the network for a terminal, except line breaks.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests;
