//! What a configuration is made into before anybody is served.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::config::{Config, ProxyCertificate};
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::budget::writer::{self, CountsWriter};
use crate::limits::limiter::Limiter;
use crate::limits::redis::replicas::{self, Replicas, Settings};
use crate::net::ca_chain::CaChain;
use crate::net::certificate_authority::CertificateAuthority;
use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::net::descriptors::UpstreamRoom;
use crate::net::egress_proxy::proxy_matcher;
use crate::net::leaf_certificates::LeafCertificates;
use crate::net::own_listeners::OwnListeners;
use crate::net::tls_client::Trust;
use crate::oauth::client_credentials::Grant;
use crate::oauth::http_client::token_client;
use crate::oauth::identity::Identity;
use crate::oauth::token_cache::Tokens;
use crate::proxy::blind_tunnel::{BlindTunnels, LOOK_UPS};
use crate::proxy::forward_proxy::{Certificates, ForwardProxy};
use crate::proxy::gateway::Gateway;
use crate::proxy::process::Process;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;
use crate::upstream::connector::Connector;
use crate::upstream::pool::Upstream;

/// Everything that serving takes.
pub(super) struct Assembled {
    pub(super) process: Arc<Process>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) grant: Arc<Grant>,
    pub(super) replicas: Option<Arc<Replicas>>,
    pub(super) counts_writer: CountsWriter,
    pub(super) outward: Outward,
}

/// What connections to Box have in common.
#[derive(Clone)]
pub(super) struct Outward {
    trust: Trust,
    /// Descriptors for connections to Box; none until callers' have their share.
    pub(super) room: UpstreamRoom,
    own: OwnListeners,
}

impl Outward {
    /// A worker's connections to Box.
    pub(super) fn upstream(self, config: &Config) -> Upstream {
        let connector = Connector::new(&self.trust, config.upstream.connector(), self.room, self.own);
        let authorities = [&config.hosts.api, &config.hosts.upload, &config.hosts.download].into_iter();
        Upstream::new(connector, config.upstream.pool_idle_timeout, authorities)
    }
}

/// Makes the process and the gateway from a configuration. `own`: where this process listens itself.
///
/// # Errors
/// No certificate roots, a proxy URL that is none, or state that cannot be read.
pub(super) fn assemble(
    config: Config,
    own: OwnListeners,
    clock: Clock,
    access: AccessLog,
) -> io::Result<Assembled> {
    let trust = Trust::new(&config.hosts.extra_roots)?;
    let client = token_client(&trust, &config.upstream.proxy, config.upstream.connect_timeout)
        .map_err(|error| io::Error::other(format!("[upstream] proxy: {error}")))?;
    let proxies = proxy_matcher(&config.upstream.proxy);
    let grant = Arc::new(Grant::new(client, config.hosts.token_url.clone(), proxies, own.clone()));
    let outages = Arc::new(Outages::new(clock.clone()));
    let tokens = |identity: &Identity| {
        Tokens::new(identity.clone(), clock.clone(), grant.authority(), outages.clone())
    };
    let tokens = config.identities.iter().map(tokens).collect();
    let (counts, counts_writer) = writer::start(&config.state.dir, !config.budgets.is_empty(), clock.clone())
        .map_err(|error| io::Error::other(format!("[state] dir: {error}")))?;
    let apps = config.apps.iter().map(|app| app.name.as_str().into()).collect();
    let identities = config.identities.iter().map(|identity| identity.name.as_str().into()).collect();
    let ledger = BudgetLedger::new(config.budgets.clone(), apps, identities, counts, clock.wall());
    let replicas = replicas(&config, &trust, &outages)?;
    let limiter = Limiter::new(config.limiter(), clock.clone(), replicas.clone());
    let room = UpstreamRoom::new();
    let forward_proxy = forward_proxy(&config, own.clone(), &room, &clock)?;
    let repeats = Repeats::new(clock.clone());
    let connection_limit = Arc::new(ConnectionLimit::default());
    let process = Arc::new(Process { clock, access, connection_limit, outages, repeats });
    let gateway = Arc::new(Gateway { config, tokens, ledger, limiter, forward_proxy });
    Ok(Assembled { process, gateway, grant, replicas, counts_writer, outward: Outward { trust, room, own } })
}

/// The forward proxy, where there is one. Its authority is made here where it is this gateway's own and missing.
fn forward_proxy(
    config: &Config,
    own: OwnListeners,
    room: &UpstreamRoom,
    clock: &Clock,
) -> io::Result<Option<Arc<ForwardProxy>>> {
    let Some(settings) = &config.forward_proxy else { return Ok(None) };
    let leaves = |authority: CertificateAuthority| {
        let leaves = LeafCertificates::new(authority).map_err(io::Error::other)?;
        Ok::<_, io::Error>(Certificates::Leaves(Box::new(leaves)))
    };
    let certificates = match &settings.certificate {
        ProxyCertificate::Own => leaves(CertificateAuthority::open(&config.state.dir, clock.wall())?)?,
        ProxyCertificate::Authority { certificates, key } => {
            let given = CertificateAuthority::given(certificates, key.expose().as_bytes());
            leaves(given.map_err(|error| io::Error::other(format!("[forward_proxy] ca: {error}")))?)?
        }
        ProxyCertificate::One(tls) => Certificates::One(tls.clone()),
    };
    if let Certificates::Leaves(leaves) = &certificates {
        // Whoever pins the CA needs it from a source that is trusted.
        match CaChain::parse(leaves.pem().as_bytes(), jiff::Timestamp::now()) {
            Ok(chain) => info!(
                fingerprint = chain.fingerprint(),
                "the forward proxy has a CA (boxgate exec --ca-fingerprint)"
            ),
            Err(why) => warn!("boxgate env and exec will not trust the forward proxy's CA: {why}"),
        }
    }
    let blind = BlindTunnels {
        list: settings.tunnel.clone(),
        egress: proxy_matcher(&config.upstream.proxy),
        own,
        connect_timeout: config.upstream.connect_timeout,
        room: room.clone(),
        look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
    };
    Ok(Some(Arc::new(ForwardProxy::new(certificates, blind))))
}

/// What replicas share, where they do.
fn replicas(config: &Config, trust: &Trust, outages: &Arc<Outages>) -> io::Result<Option<Arc<Replicas>>> {
    let Some(url) = config.state.redis.clone() else { return Ok(None) };
    let settings = Settings {
        url,
        prefix: config.state.redis_prefix.clone(),
        max_pause: config.upstream.max_pause,
        bound: replicas::BOUND,
    };
    let replicas = Replicas::new(settings, trust).map(|replicas| replicas.telling(outages.clone()));
    replicas.map(Arc::new).map(Some).map_err(|error| io::Error::other(format!("[state] redis {error}")))
}
