//! Configuration: what was written becomes what is meant.
//!
//! `raw` mirrors `proxy.toml` and has no logic; `sections` turns it into the [`Config`] below,
//! already parsed and checked, and notes every problem with its location. Stages own the grammar of their rules
//! (patterns, networks, host names) and never see the file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::access::admission::Listen;
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
use crate::routing::box_hosts::BoxHosts;
use crate::routing::tunnel_list::TunnelList;
use crate::telemetry::log::Log;
use crate::upstream::connector;

mod diagnostics;
mod raw;
mod sections;
mod source;
mod succession;
mod syntax;
mod values;

pub use diagnostics::Problems;
pub(crate) use sections::admin_addresses;
pub use sections::{Overrides, from_environment, from_file, from_text};
pub use source::{Source, Text, Variables};

/// A configuration that has been checked as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where callers connect.
    pub listen: Listen,
    /// Where operators connect.
    pub admin: Listen,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// Connections of callers at once; 0: as many as the limit of open files leaves room for.
    pub max_connections: usize,
    /// Of the TCP addresses where callers connect.
    pub tls: Option<Arc<Tls>>,
    /// For programs that have Box's hosts built in; `None`: CONNECT is refused.
    pub forward_proxy: Option<ForwardProxy>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Networks,
    /// Networks of balancers that begin every TCP connection with a PROXY protocol header.
    pub proxy_protocol: Networks,
    /// Where Box is.
    pub hosts: BoxHosts,
    /// Accounts at Box, in the order of their names.
    pub identities: Vec<Identity>,
    /// Who may call.
    pub apps: Apps,
    /// How often callers may ask, as configured; Box's own limits are not among them.
    pub limits: Vec<Limit>,
    /// Whether Box's published limits are kept to.
    pub box_defaults: bool,
    /// How often callers may ask in a day or a month.
    pub budgets: Vec<Budget>,
    /// What outlives the process or is shared with others.
    pub state: State,
    /// Towards Box.
    pub upstream: Upstream,
    /// Towards callers.
    pub server: Server,
    /// What is logged.
    pub log: Log,
    /// What is allowed but not advised, in words for operators.
    pub warnings: Vec<String>,
    /// The files that it names: secrets, certificates and their authorities.
    pub files: Vec<FileRead>,
}

/// How programs that have Box's hosts built in use the gateway as their proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardProxy {
    /// What is shown for Box's hosts.
    pub certificate: ProxyCertificate,
    /// Hosts besides Box's that may be reached.
    pub tunnel: TunnelList,
}

/// Where the certificates for Box's hosts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyCertificate {
    /// From an authority of this gateway's own, in the state folder.
    Own,
    /// From an authority that replicas share.
    Authority {
        /// Roots and intermediates, as PEM.
        certificates: Vec<u8>,
        /// Of an intermediate, as PEM.
        key: Secret,
    },
    /// One certificate of somebody else's authority.
    One(Arc<Tls>),
}

/// Where counts are kept.
#[derive(Debug, Clone)]
pub struct State {
    /// Budgets survive a restart here. It may not exist yet.
    pub dir: PathBuf,
    /// A URL, `redis://`, `rediss://` or `redis+unix://`: what is shared by all replicas. May hold a password.
    pub redis: Option<Secret>,
    /// Before every key in it.
    pub redis_prefix: String,
}

/// How Box is spoken to.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// TCP, proxy tunnel and TLS together.
    pub connect_timeout: Duration,
    /// To the response's head.
    pub response_timeout: Duration,
    /// Without a byte moving in either direction while a body is under way.
    pub body_timeout: Duration,
    /// A pooled connection unused for so long is closed.
    pub pool_idle_timeout: Duration,
    /// Further tries after a failed first one.
    pub retries: u32,
    /// Bytes of a request body that are kept to be sent again.
    pub replay_buffer: usize,
    /// The longest that a `Retry-After` of Box can hold other requests back.
    pub max_pause: Duration,
    /// Whether HTTP/2 is offered to Box.
    pub http2: bool,
    /// The proxy on the way to Box.
    pub proxy: Proxy,
    /// What becomes of a download's redirect; an app may choose otherwise.
    pub follow_downloads: Redirects,
    /// Whether Box's URLs in answers point back at the gateway.
    pub rewrite_urls: bool,
}

impl Config {
    /// The certificates that stand in files, each with the key that names it.
    pub(crate) fn certificates(&self) -> Vec<(&'static str, Arc<Tls>)> {
        let listen = self.tls.clone().map(|tls| ("[listen] tls", tls));
        let proxy = self.forward_proxy.as_ref().and_then(|proxy| match &proxy.certificate {
            ProxyCertificate::One(tls) => Some(("[forward_proxy] cert", tls.clone())),
            ProxyCertificate::Own | ProxyCertificate::Authority { .. } => None,
        });
        listen.into_iter().chain(proxy).collect()
    }

    /// What holds requests back.
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
    /// How connections to Box are opened.
    pub fn connector(&self) -> connector::Settings {
        connector::Settings {
            proxy: self.proxy.clone(),
            connect_timeout: self.connect_timeout,
            write_timeout: self.body_timeout,
            http2: self.http2,
        }
    }
}

/// How callers are served.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// An idle connection between requests.
    pub keepalive_timeout: Duration,
    /// Bytes of a request's head.
    pub max_header_size: usize,
    /// Between failing `/readyz` and closing the listeners.
    pub drain_delay: Duration,
    /// What is in flight may take so long to finish.
    pub drain_timeout: Duration,
}
