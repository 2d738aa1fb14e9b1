//! The address of Redis, and connecting to it.
//!
//! The redis crate gets an open connection: the gateway does TLS itself, with the same roots and provider as towards
//! Box, so that no second TLS library is needed.

use std::path::PathBuf;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError,
};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::net::error_chain::chain;
use crate::net::secret::Secret;
use crate::net::secret_filter;
use crate::net::tls_client::Trust;

/// The most characters of a server's error message that are logged.
const WORDS: usize = 300;
const FORMS: &str = "is none of redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], the same with rediss:// for TLS, \
                     redis+unix://PATH[?db=DB&user=USER&pass=PASSWORD]";

enum Address {
    Tcp { host: String, port: u16, tls: Option<TlsConnector> },
    Unix(PathBuf),
}

/// A server, with how to log in.
pub(super) struct Target {
    address: Address,
    settings: RedisConnectionInfo,
}

impl Target {
    /// Reads `redis://`, `rediss://` (TLS) or `redis+unix://`. The error shows nothing of the URL.
    pub(super) fn new(url: &Secret, trust: &Trust) -> Result<Self, String> {
        let mut url = Url::parse(url.expose()).map_err(|error| {
            format!("is not a URL ({error}); characters such as / # @ in a password must be written as %2F %23 %40")
        })?;
        if url.fragment().is_some() {
            return Err(
                "has a part after #; certificates are always verified, which cannot be turned off".into()
            );
        }
        let tls = matches!(url.scheme(), "rediss" | "valkeys");
        if tls && url.set_scheme("redis").is_err() {
            return Err("has no host".into());
        }
        let info = url.into_connection_info().map_err(|_| FORMS.to_owned())?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let tls = tls.then(|| TlsConnector::from(Arc::new(trust.client_config(&[]))));
                Address::Tcp { host: host.clone(), port: *port, tls }
            }
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(FORMS.to_owned()),
        };
        // Sending the crate's name and version would cost two more commands.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self { address, settings })
    }

    /// The server's name for the log.
    pub(super) fn name(&self) -> String {
        match &self.address {
            Address::Tcp { host, port, tls } => {
                format!("{host}:{port}{}", if tls.is_some() { " (TLS)" } else { "" })
            }
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// Connects and logs in; to another node, if one of a cluster redirected. The returned task carries the connection
    /// and ends with it.
    pub(super) async fn open(
        &self,
        moved: Option<&(String, u16)>,
    ) -> Result<(MultiplexedConnection, JoinHandle<()>), String> {
        match &self.address {
            Address::Unix(path) => {
                let unix = UnixStream::connect(path).await.map_err(|error| chain(&error))?;
                self.begin(unix).await
            }
            Address::Tcp { host, port, tls } => {
                let (host, port) = moved.map_or((host, *port), |(host, port)| (host, *port));
                let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| chain(&error))?;
                tcp.set_nodelay(true).map_err(|error| chain(&error))?;
                match tls {
                    None => self.begin(tcp).await,
                    Some(connector) => {
                        let name =
                            ServerName::try_from(host.clone()).map_err(|error| format!("TLS: {error}"))?;
                        let connecting = connector.connect(name, tcp);
                        self.begin(connecting.await.map_err(|error| format!("TLS: {error}"))?).await
                    }
                }
            }
        }
    }

    /// The cluster node that has the keys, if the error is a redirection.
    pub(super) fn moved(&self, error: &RedisError) -> Option<(String, u16)> {
        let Address::Tcp { host: own, .. } = &self.address else { return None };
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        // A node that does not know its own host name leaves it out.
        let host = if host.is_empty() { own.as_str() } else { host };
        Some((host.to_owned(), port.parse().ok()?))
    }

    async fn begin<S>(&self, stream: S) -> Result<(MultiplexedConnection, JoinHandle<()>), String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // Timeouts are applied to each operation.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1024);
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.settings, stream, config)
            .await
            .map_err(|error| self.words(&error))?;
        Ok((connection, tokio::spawn(driver)))
    }

    /// The message of an error. A server that does not know a command repeats its arguments; the password is removed,
    /// however short.
    pub(super) fn words(&self, error: &RedisError) -> String {
        let mut text = words(error);
        if let Some(password) = self.settings.password().filter(|password| !password.is_empty()) {
            text = text.replace(password, "…");
        }
        secret_filter::shortened(text, WORDS)
    }
}

fn words(error: &RedisError) -> String {
    if error.is_connection_dropped() && !error.is_connection_refusal() {
        return "the connection was closed".into();
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => {
            // The server repeats long arguments only in part, so a long password could not be recognized.
            let detail = detail.split(", with args beginning with").next().unwrap_or_default();
            format!("{SAYS} {code} {detail}{}", advice(code, detail))
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            format!("{SAYS} that user or password is wrong{WRONG_USER}")
        }
        _ => chain(error),
    }
}

/// Begins the messages of errors that the server itself reported.
pub(super) const SAYS: &str = "the server says";
const WRONG_USER: &str = "; check user and password in [state] redis";

/// What an operator must do about the error, if anything.
fn advice(code: &str, detail: &str) -> &'static str {
    match code {
        "NOAUTH" | "WRONGPASS" => WRONG_USER,
        // The second form is the error of a script whose user lacks a permission.
        _ if code == "NOPERM" || detail.contains("can't run this command") => {
            "; the user in [state] redis lacks rights: docs/replicas.md lists them"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::new(&Secret::new(url.to_owned()), &Trust::new(&[]).unwrap())
    }

    #[test]
    fn errors_of_configuration_come_with_what_to_do() {
        let said = advice;
        assert_eq!(said("NOAUTH", "Authentication required."), WRONG_USER);
        assert_eq!(said("LOADING", "Redis is loading the dataset in memory"), "");
        for (code, detail) in [
            ("NOPERM", "User boxgate has no permissions to run the 'llen' command"),
            ("ERR", "The user executing the script can't run this command or subcommand script: d911"),
        ] {
            assert!(said(code, detail).contains("lacks rights"), "{code} {detail}");
        }
        let refused = RedisError::from((ErrorKind::AuthenticationFailed, "Password authentication failed"));
        assert_eq!(words(&refused), format!("{SAYS} that user or password is wrong{WRONG_USER}"));
    }

    #[test]
    fn urls_are_read() {
        let target = parse("rediss://user:p%40ss@redis.internal/3").unwrap();
        assert_eq!(target.name(), "redis.internal:6379 (TLS)");
        assert_eq!(target.settings.username(), Some("user"));
        assert_eq!(target.settings.password(), Some("p@ss"));
        assert_eq!(target.settings.db(), 3);
        assert_eq!(parse("redis://[::1]:7000").unwrap().name(), "::1:7000");
        let unix = parse("redis+unix:///run/redis.sock?db=2&pass=hunter2").unwrap();
        assert_eq!((unix.name().as_str(), unix.settings.db()), ("/run/redis.sock", 2));
        assert_eq!(unix.settings.password(), Some("hunter2"));
    }

    #[test]
    fn invalid_urls_are_refused_without_being_shown() {
        for url in [
            "hunter2",
            "http://:hunter2@host",
            "redis://:hunter2@host/db",
            "redis://:hunter2@host:port",
            "redis://:hun/ter2@host",
            "rediss://:hunter2@host/#insecure",
            "redis://:hunter2@0.0.0.0",
            "redis://:hunter2@host?protocol=hunter2",
            "redis:///0",
        ] {
            let why = parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!why.contains("hunter2") && !why.contains("ter2@"), "{url}: {why}");
        }
    }
}
