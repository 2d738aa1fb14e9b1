//! Where Redis is, and connecting to it.
//!
//! The client crate gets a connection that is open: TLS is ours, with the same roots and the same provider as
//! towards Box, and no second TLS library comes in.

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

/// Words of a server end up in the log; so many characters of them.
const WORDS: usize = 300;
const FORMS: &str = "is none of redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], the same with rediss:// for TLS, \
                     redis+unix://PATH[?db=DB&user=USER&pass=PASSWORD]";

enum Address {
    Tcp { host: String, port: u16, tls: Option<TlsConnector> },
    Unix(PathBuf),
}

/// A server, with what to say to it first.
pub(super) struct Target {
    address: Address,
    settings: RedisConnectionInfo,
}

impl Target {
    /// Reads `redis://`, `rediss://` (TLS) or `redis+unix://`. The error's words hold nothing of the URL.
    pub(super) fn new(url: &Secret, trust: &Trust) -> Result<Self, String> {
        let mut url = Url::parse(url.expose()).map_err(|error| {
            format!("is no URL ({error}); characters like / # @ in a password are written as %2F %23 %40")
        })?;
        if url.fragment().is_some() {
            return Err("has a part after #; certificates are always verified, there is no switch".into());
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
        // The crate's own name and version are nobody's business and two commands more.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self { address, settings })
    }

    /// For the log.
    pub(super) fn name(&self) -> String {
        match &self.address {
            Address::Tcp { host, port, tls } => {
                format!("{host}:{port}{}", if tls.is_some() { " (TLS)" } else { "" })
            }
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// Connects and logs in; elsewhere, where a node of a cluster said so. The task carries the connection; it ends
    /// with it.
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

    /// Which node of a cluster has the keys, where an error says that.
    pub(super) fn moved(&self, error: &RedisError) -> Option<(String, u16)> {
        let Address::Tcp { host: own, .. } = &self.address else { return None };
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        // A node that does not know its own name leaves it out.
        let host = if host.is_empty() { own.as_str() } else { host };
        Some((host.to_owned(), port.parse().ok()?))
    }

    async fn begin<S>(&self, stream: S) -> Result<(MultiplexedConnection, JoinHandle<()>), String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // Who asks also says how long it waits.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1024);
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.settings, stream, config)
            .await
            .map_err(|error| self.words(&error))?;
        Ok((connection, tokio::spawn(driver)))
    }

    /// An error's words. A server that does not know a command says its arguments back: never the password, however short.
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
            // A long password would be said back in part.
            let detail = detail.split(", with args beginning with").next().unwrap_or_default();
            format!("{SAYS} {code} {detail}{}", advice(code, detail))
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            format!("{SAYS} that user or password is wrong{WRONG_USER}")
        }
        _ => chain(error),
    }
}

/// Before an error of the server's own: it was reached.
pub(super) const SAYS: &str = "the server says";
const WRONG_USER: &str = "; check user and password in [state] redis";

/// What to do about it, where a person must.
fn advice(code: &str, detail: &str) -> &'static str {
    match code {
        "NOAUTH" | "WRONGPASS" => WRONG_USER,
        // The second form is what a script says whose user lacks a command.
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
    fn what_a_person_must_mend_comes_with_what_to_do() {
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
    fn what_is_none_is_refused_without_its_words() {
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
