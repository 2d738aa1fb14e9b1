//! Configuration: from the text of `proxy.toml` to checked settings.
//!
//! `raw` mirrors `proxy.toml` and has no logic; `sections` turns it into the [`Config`] below,
//! parsed and checked, and reports every problem with its location. The stages of a request parse their own rules
//! (patterns, networks, host names) and never read the file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::access::admission::{Admission, Listen};
use crate::limits::budget::definition::Budget;
use crate::limits::limiter;
use crate::limits::rate::limit::Limit;
use crate::net::egress_proxy::Proxy;
use crate::net::file_fingerprint::FileRead;
use crate::net::networks::Networks;
use crate::net::secret::Secret;
use crate::net::tls_server::Tls;
use crate::oauth::identity::Identity;
use crate::routing::app::{App, Apps, Redirects};
use crate::routing::app_key::AppKeys;
use crate::routing::box_hosts::BoxHosts;
use crate::routing::tunnel_list::TunnelList;
use crate::telemetry::log::Log;
use crate::telemetry::trace;
use crate::upstream::connector;

mod diagnostics;
mod frame;
mod raw;
mod redacted;
mod sections;
mod source;
mod succession;
mod syntax;
mod values;

pub(crate) use diagnostics::{Frame, Problem, nearest};
pub use diagnostics::{Problems, UnreadSecret};
pub use redacted::Redacted;
pub(crate) use sections::operators::{AdminAccess, admin_access};
pub use sections::{Overrides, from_environment, from_file, from_text};
pub use source::{Source, Text, Variables};
pub(crate) use values::{box_id, certificate_name, credential, duration};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The callers' listeners.
    pub listen: Listen,
    /// The operators' listeners.
    pub admin: Listen,
    /// TLS of the operators' TCP addresses; `None`: plain HTTP.
    pub admin_tls: Option<Arc<Tls>>,
    /// The keys that operators show, any of which admits; `None`: they need none.
    pub admin_keys: Option<AppKeys>,
    /// How many of the last requests are kept for operators; 0: none.
    pub recent_requests: usize,
    /// The number of threads that serve requests.
    pub workers: NonZeroUsize,
    /// The most connections of callers at once; 0: as many as the limit of open files allows.
    pub max_connections: usize,
    /// TLS of the callers' TCP addresses; `None`: plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// For programs with built-in Box hosts; `None`: CONNECT is refused.
    pub forward_proxy: Option<ForwardProxy>,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Networks,
    /// Networks of load balancers that begin every TCP connection with a PROXY protocol header.
    pub proxy_protocol: Networks,
    /// What is to be said if programs on other machines may call, and nothing was set that decides which.
    pub exposure: Option<String>,
    /// Box's hosts.
    pub hosts: BoxHosts,
    /// Accounts at Box, in the order of their names.
    pub identities: Vec<Identity>,
    /// The apps that may call.
    pub apps: Apps,
    /// The configured rate limits, without Box's own.
    pub limits: Vec<Limit>,
    /// Whether Box's published limits are applied.
    pub box_defaults: bool,
    /// The budgets of calls in a day or a month.
    pub budgets: Vec<Budget>,
    /// Where state is stored.
    pub state: State,
    /// Settings of requests to Box.
    pub upstream: Upstream,
    /// Settings of callers' connections.
    pub server: Server,
    /// What is logged.
    pub log: Log,
    /// Where traces go; `None`: nowhere.
    pub trace: Option<trace::settings::Settings>,
    /// Warnings for operators about settings that are allowed but not advised.
    pub warnings: Vec<String>,
    /// The files named in it: secrets, certificates and CAs.
    pub files: Vec<FileRead>,
    /// Those that hold secrets, the configuration file too if it does.
    pub secret_files: Vec<PathBuf>,
    /// Secrets and ids for which another text stands, since they cannot be read; none in a configuration that serves requests.
    pub unread_secrets: Vec<UnreadSecret>,
    /// What was written, for operators: without comments and secrets.
    pub written: Redacted,
}

/// Settings for programs with built-in Box hosts that use the gateway as their proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardProxy {
    /// The certificate for Box's hosts.
    pub certificate: ProxyCertificate,
    /// The other hosts that CONNECT may reach.
    pub tunnel: TunnelList,
}

/// Where the certificates for Box's hosts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyCertificate {
    /// From this gateway's own CA, in the state folder.
    Own,
    /// From a CA that replicas share.
    Authority {
        /// Roots and intermediates, as PEM.
        certificates: Vec<u8>,
        /// The key of an intermediate, as PEM.
        key: Secret,
    },
    /// One certificate of another CA.
    One(Arc<Tls>),
}

/// Where state is stored.
#[derive(Debug, Clone)]
pub struct State {
    /// The state folder, in which counts of budgets survive a restart. It may not exist yet.
    pub dir: PathBuf,
    /// The URL of the Redis that all replicas share: `redis://`, `rediss://` or `redis+unix://`. It may hold a
    /// password.
    pub redis: Option<Secret>,
    /// The prefix of every key in Redis.
    pub redis_prefix: String,
}

/// Settings of requests to Box.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The time limit for TCP, proxy tunnel and TLS together.
    pub connect_timeout: Duration,
    /// The time limit for the response's head.
    pub response_timeout: Duration,
    /// The longest time without progress of a body, in either direction.
    pub body_timeout: Duration,
    /// A pooled connection unused for this long is closed.
    pub pool_idle_timeout: Duration,
    /// The number of attempts after a failed first one.
    pub retries: u32,
    /// The most bytes of a request body that are kept for a retry.
    pub replay_buffer: usize,
    /// The longest pause after a `Retry-After` of Box.
    pub max_pause: Duration,
    /// Whether HTTP/2 is offered to Box.
    pub http2: bool,
    /// The proxy on the way to Box.
    pub proxy: Proxy,
    /// How redirects of downloads are handled; an app may override it.
    pub follow_downloads: Redirects,
    /// Whether Box's URLs in responses are rewritten to the gateway.
    pub rewrite_urls: bool,
}

impl Config {
    /// The certificates from files, each with the key that names it.
    pub(crate) fn certificates(&self) -> Vec<(&'static str, Arc<Tls>)> {
        let listen = self.tls.clone().map(|tls| ("[listen] tls", tls));
        let proxy = self.forward_proxy.as_ref().and_then(|proxy| match &proxy.certificate {
            ProxyCertificate::One(tls) => Some(("[forward_proxy] cert", tls.clone())),
            ProxyCertificate::Own | ProxyCertificate::Authority { .. } => None,
        });
        let admin = self.admin_tls.clone().map(|tls| ("[admin] tls", tls));
        listen.into_iter().chain(admin).chain(proxy).collect()
    }

    /// The settings against which a caller's request is checked.
    pub(crate) fn admission(&self) -> Admission<'_> {
        Admission {
            listen: &self.listen,
            trusted_proxies: &self.trusted_proxies,
            proxied: self.forward_proxy.as_ref().map(|_| &self.hosts),
        }
    }

    /// Whether the forward proxy has a CA of its own, which callers can get from the gateway.
    pub(crate) fn has_ca(&self) -> bool {
        self.forward_proxy.as_ref().is_some_and(|proxy| match proxy.certificate {
            ProxyCertificate::Own | ProxyCertificate::Authority { .. } => true,
            ProxyCertificate::One(_) => false,
        })
    }

    /// The settings of limits, pauses and concurrency.
    pub fn limiter(&self) -> limiter::Settings {
        let identity = |identity: &Identity| limiter::Identity {
            name: identity.name.clone(),
            client_id: identity.client_id.clone(),
            subject: identity.subject.clone(),
        };
        let app = |app: &App| limiter::App { name: app.name.clone(), max_in_flight: app.max_in_flight };
        limiter::Settings {
            limits: self.limits.clone(),
            box_defaults: self.box_defaults,
            max_pause: self.upstream.max_pause,
            identities: self.identities.iter().map(identity).collect(),
            apps: self.apps.iter().map(app).collect(),
        }
    }
}

impl Upstream {
    /// The settings of connections to Box.
    pub fn connector(&self) -> connector::Settings {
        connector::Settings {
            proxy: self.proxy.clone(),
            connect_timeout: self.connect_timeout,
            write_timeout: self.body_timeout,
            http2: self.http2,
        }
    }
}

/// Settings of callers' connections.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// The time limit from the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// An idle connection is closed after this time.
    pub keepalive_timeout: Duration,
    /// The most bytes of a request's head.
    pub max_header_size: usize,
    /// The time between failing `/readyz` and closing the listeners.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish.
    pub drain_timeout: Duration,
}
