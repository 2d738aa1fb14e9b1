//! A client of a running gateway's admin listener: finds its address and sends one request, over TCP, TLS or a
//! Unix socket.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::Failure;
use super::options::scheme_and_authority;
use super::tunnel::{AnyStream, Dialer, tls};
use crate::config;
use crate::net::address::Address;
use crate::net::error_chain::chain;

/// The longest response; far above any that a gateway sends.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// The time limit for TCP and TLS, or a Unix socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time without a response, a message tells the user what the command waits for.
const SILENCE: Duration = Duration::from_secs(2);
/// The default address for operators.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The allowed forms of an admin listener's address.
const A_LISTENER: &str = "http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:PATH";

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
}

/// An admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminListener {
    address: Place,
    /// Where the address comes from, for messages.
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Host and port.
    Http {
        is_https: bool,
        authority: Authority,
    },
    Unix(PathBuf),
}

/// The response of an admin listener.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl AdminListener {
    /// From `--admin` or `BOXGATE_ADMIN`, else from the configuration file, else the default. Of the file only `[admin]
    /// address` is read: it may be one that the gateway will refuse. `default_file`: read if it exists and none is
    /// named.
    ///
    /// # Errors
    /// A message about an invalid address or an unreadable file.
    pub(super) fn find(options: &Options, default_file: &Path) -> Result<Self, String> {
        if let Some(text) = &options.admin {
            let address = Place::parse(text)?;
            return Ok(Self { address, source: "--admin or BOXGATE_ADMIN".to_owned() });
        }
        let file = options.config.as_deref().or_else(|| default_file.exists().then_some(default_file));
        let Some(file) = file else {
            return Ok(Self { address: Place::tcp(DEFAULT), source: "the default".to_owned() });
        };
        let name_it = format!("--admin names the listener of the running gateway ({A_LISTENER})");
        let addresses = config::admin_addresses(file).map_err(|problems| format!("{problems}\n{name_it}"))?;
        // A port of 0 is chosen when it is bound.
        let mut known =
            addresses.iter().filter(|address| !matches!(address, Address::Tcp(tcp) if tcp.port() == 0));
        let source = format!("[admin] address of {}", file.display());
        match known.next() {
            Some(Address::Tcp(address)) => Ok(Self { address: Place::tcp(*address), source }),
            Some(Address::Unix(address)) => Ok(Self { address: Place::Unix(address.path.clone()), source }),
            None => {
                Err(format!("{source} has port 0, which means a different port at each start; {name_it}"))
            }
        }
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
            Place::Http { authority, .. } => authority.as_str(),
            Place::Unix(_) => "localhost",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("boxgate/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
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

    async fn connect(&self) -> Result<AnyStream, String> {
        match &self.address {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| chain(&error))?;
                Ok(Box::new(stream))
            }
            Place::Http { is_https, authority } => {
                let tcp = Dialer::new().tcp(authority).await.map_err(|error| chain(&error))?;
                if !is_https {
                    return Ok(Box::new(tcp));
                }
                let stream = tls(tcp, authority.host()).await.map_err(|error| {
                    format!(
                        "the TLS handshake failed: {error}; if the platform does not trust its CA, let SSL_CERT_FILE name a file with that CA"
                    )
                })?;
                Ok(Box::new(stream))
            }
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

    /// A message about an unexpected response. `asked`: the request, such as `POST /reload`.
    pub(super) fn unexpected(&self, asked: &str, answer: &Answer) -> Failure {
        /// The shape of the gateway's errors.
        #[derive(Deserialize)]
        struct Told {
            code: String,
            message: String,
        }
        let Answer { status, body, .. } = answer;
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

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("--admin {text:?}: {why}; allowed: {A_LISTENER}");
        if let Some(rest) = text.strip_prefix("unix:") {
            // Mode and group in the address are only for the listener.
            let path = rest.split_once('?').map_or(rest, |(path, _)| path);
            return match path {
                "" => Err(wrong("it has no path")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let user = "a user or password has no meaning here";
        let (is_https, authority) =
            scheme_and_authority(text, user, "a path or query has no meaning here").map_err(wrong)?;
        // The same form as in a listener's address.
        let ip = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
        let authority = match (ip, authority.port_u16()) {
            (Ok(ip), Some(port)) => reachable(SocketAddr::new(ip, port)),
            _ => authority,
        };
        Ok(Self::Http { is_https, authority })
    }

    fn tcp(address: SocketAddr) -> Self {
        Self::Http { is_https: false, authority: reachable(address) }
    }
}

/// The address to connect to for a listener at this address: `0.0.0.0` and `[::]` mean all addresses of this machine.
fn reachable(address: SocketAddr) -> Authority {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let text = SocketAddr::new(ip, address.port()).to_string();
    text.parse().expect("an address with a port is an authority")
}

/// In the form that `--admin` accepts.
impl fmt::Display for AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Place::Http { is_https, authority } => {
                write!(f, "{}://{authority}", if *is_https { "https" } else { "http" })
            }
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
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
mod tests {
    use super::*;

    fn options(admin: Option<&str>, config: Option<&Path>) -> Options {
        Options { admin: admin.map(ToOwned::to_owned), config: config.map(ToOwned::to_owned) }
    }

    fn shown(admin: &str) -> Result<String, String> {
        AdminListener::find(&options(Some(admin), None), Path::new("/nowhere/proxy.toml"))
            .map(|listener| listener.to_string())
    }

    #[test]
    fn a_listener_is_a_url_an_address_or_a_socket() {
        for (text, want) in [
            ("127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("ops.internal:81", "http://ops.internal:81"),
            ("http://localhost:8081/", "http://localhost:8081"),
            ("HTTPS://ops.internal", "https://ops.internal:443"),
            ("http://[::1]:8081", "http://[::1]:8081"),
            ("0.0.0.0:8081", "http://127.0.0.1:8081"),
            ("http://[::]:8081", "http://[::1]:8081"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:/run/a.sock?mode=0660&group=ops", "unix:/run/a.sock"),
            ("unix:a.sock", "unix:a.sock"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(want), "{text}");
        }
        for (text, why) in [
            ("", "host and port are missing"),
            ("localhost", "the port is missing"),
            ("localhost:0", "the port is missing"),
            ("http://", "host and port are missing"),
            ("http://localhost:", "host and port are missing"),
            ("ftp://localhost:8081", "the scheme is unknown"),
            ("http://me:pw@localhost:8081", "a user or password"),
            ("http://localhost:8081/reload", "a path or query"),
            ("http://localhost:8081?x", "a path or query"),
            ("unix:", "no path"),
            ("unix:?mode=0660", "no path"),
        ] {
            let said = shown(text).unwrap_err();
            assert!(said.contains(why) && said.ends_with(A_LISTENER), "{text}: {said}");
        }
    }

    #[test]
    fn the_file_names_the_listener_even_if_the_rest_is_invalid() {
        let file = std::env::temp_dir().join(format!("boxgate-admin-{}.toml", std::process::id()));
        let found = |text: &str| {
            std::fs::write(&file, text).unwrap();
            AdminListener::find(&options(None, Some(&file)), Path::new("/nowhere/proxy.toml"))
        };
        for (text, want) in [
            ("", "http://127.0.0.1:8081"),
            ("[admin]\naddress = \"127.0.0.1:9\"", "http://127.0.0.1:9"),
            ("[admin]\naddress = \"0.0.0.0:9\"\nhots = []\n[nothing]\na = 1", "http://127.0.0.1:9"),
            ("[admin]\naddress = [\"127.0.0.1:0\", \"unix:/run/a.sock?mode=0660\"]", "unix:/run/a.sock"),
            ("[app.a]\npath = /a\n[admin]\naddress = \"127.0.0.1:9\"", "http://127.0.0.1:9"),
        ] {
            assert_eq!(found(text).unwrap().to_string(), want, "{text}");
        }
        let source = found("").unwrap().source;
        assert_eq!(source, format!("[admin] address of {}", file.display()));
        for (text, why) in [
            ("[admin]\naddress = \"8081\"", "admin.address: \"8081\" is only a port"),
            ("[admin]\naddress = []", "admin.address: an empty list"),
            ("[admin]\naddress = \"127.0.0.1:0\"", "has port 0"),
        ] {
            let said = found(text).unwrap_err();
            assert!(said.contains(why) && said.contains("--admin names the listener"), "{said}");
        }
        std::fs::remove_file(&file).unwrap();
        let said = found_nothing(&file);
        assert!(said.contains("cannot be read") && said.contains("--admin"), "{said}");
    }

    fn found_nothing(file: &Path) -> String {
        AdminListener::find(&options(None, Some(file)), file).unwrap_err()
    }

    #[test]
    fn without_a_file_the_listener_is_the_default() {
        let found = AdminListener::find(&options(None, None), Path::new("/nowhere/proxy.toml")).unwrap();
        assert_eq!(found.to_string(), "http://127.0.0.1:8081");
    }

    #[test]
    fn control_characters_are_not_printed_to_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\td ä\u{9b}"), "a\\u{1b}[2Jb\\r\nc\td ä\\u{9b}");
    }
}
