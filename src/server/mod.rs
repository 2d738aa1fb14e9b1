//! Starting and stopping: one accepting thread (the caller's), a current-thread runtime for each worker, the tasks
//! that renew tokens. Why: `docs/decisions/runtime-for-each-worker.md`.

pub mod shutdown; // how far stopping has come
pub mod signals; // what tells it to stop

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::admin;
use crate::config::{Config, ProxyCertificate};
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::budget::writer;
use crate::limits::limiter::Limiter;
use crate::limits::redis::replicas::{self, Replicas, Settings};
use crate::net::ca_chain::CaChain;
use crate::net::certificate_authority::CertificateAuthority;
use crate::net::clock::Clock;
use crate::net::descriptors::{Shares, UpstreamRoom};
use crate::net::egress_proxy::proxy_matcher;
use crate::net::leaf_certificates::LeafCertificates;
use crate::net::listener::Listener;
use crate::net::own_listeners::OwnListeners;
use crate::net::tls_client::Trust;
use crate::oauth::client_credentials::Grant;
use crate::oauth::http_client::token_client;
use crate::oauth::token_cache::Tokens;
use crate::proxy::blind_tunnel::{BlindTunnels, LOOK_UPS};
use crate::proxy::forward_proxy::{Certificates, ForwardProxy};
use crate::proxy::gateway::Gateway;
use crate::proxy::process::Process;
use crate::proxy::worker::Worker;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream::connector::Connector;
use crate::upstream::pool::Upstream;

mod connection;
mod connections;
pub(crate) mod frame_watch;
pub(crate) mod socket;
pub(crate) mod stream_task;
mod tunnel;
mod workers;
pub(crate) mod watched_socket;

use self::shutdown::{Stop, wait_for};
use self::workers::{WorkerThread, hand_out};
use crate::net::connection_limit::ConnectionLimit;

/// The forward proxy's CA, which lives for years, is looked after this often.
const MAINTENANCE: Duration = Duration::from_secs(6 * 60 * 60);
/// What has been told to end gets this long. It takes milliseconds, unless a thread is stuck; the process ends then
/// all the same.
const ENDING: Duration = Duration::from_secs(2);

/// Sockets that are bound, with nobody served yet.
pub struct Bound {
    callers: Vec<Listener>,
    operators: Vec<Listener>,
    config: Config,
}

/// Binds every address of the configuration.
///
/// # Errors
/// An address cannot be bound; nothing stays bound then.
pub async fn bind(config: Config) -> io::Result<Bound> {
    let mut callers = Vec::new();
    for address in &config.listen.addresses {
        callers.push(Listener::bind(address, config.tls.is_some()).await?);
    }
    let mut operators = Vec::new();
    for address in &config.admin.addresses {
        operators.push(Listener::bind(address, false).await?);
    }
    Ok(Bound { callers, operators, config })
}

impl Bound {
    /// Where callers connect; with `https://` in front where TLS is spoken.
    pub fn addresses(&self) -> Vec<String> {
        self.callers.iter().map(Listener::address).collect()
    }

    /// Where operators connect.
    pub fn admin_addresses(&self) -> Vec<String> {
        self.operators.iter().map(Listener::address).collect()
    }

    /// Serves until it is told to stop. Runs on the current runtime, which accepts, renews tokens and answers
    /// operators.
    ///
    /// # Errors
    /// No certificate roots, a proxy URL that is none, or a thread that cannot be started.
    pub async fn run(
        self,
        clock: Clock,
        access: AccessLog,
        mut stop: watch::Receiver<Stop>,
    ) -> io::Result<()> {
        let Self { callers, operators, config } = self;
        let trust = Trust::new(&config.hosts.extra_roots)?;
        let client = token_client(&trust, &config.upstream.proxy, config.upstream.connect_timeout)
            .map_err(|error| io::Error::other(format!("[upstream] proxy: {error}")))?;
        let tokens: Vec<Arc<Tokens>> =
            config.identities.iter().map(|identity| Tokens::new(identity.clone(), clock.clone())).collect();
        let (drain_delay, drain_timeout) = (config.server.drain_delay, config.server.drain_timeout);
        let count = config.workers.get();
        let max_connections = config.max_connections;
        // Until all is open that stays open, and the rest can be shared out.
        let room = UpstreamRoom::new();
        let (book, keeper) = writer::start(&config.state.dir, !config.budgets.is_empty(), clock.clone())
            .map_err(|error| io::Error::other(format!("[state] dir: {error}")))?;
        let apps = config.apps.iter().map(|app| app.name.as_str().into()).collect();
        let identities = config.identities.iter().map(|identity| identity.name.as_str().into()).collect();
        let ledger = BudgetLedger::new(config.budgets.clone(), apps, identities, book, clock.wall());
        let replicas = replicas(&config, &trust)?;
        let limiter = Limiter::new(config.limiter(), clock.clone(), replicas.clone());
        let own = OwnListeners::new(callers.iter().chain(&operators).filter_map(Listener::tcp_address));
        let proxies = proxy_matcher(&config.upstream.proxy);
        let grant = Arc::new(Grant::new(client, config.hosts.token_url.clone(), proxies, own.clone()));
        let forward_proxy = forward_proxy(&config, own.clone(), &room, &clock)?;
        let limit = Arc::new(ConnectionLimit::default());
        let connection_limit = limit.clone();
        let process = Arc::new(Process { clock, access, connection_limit });
        let gateway = Arc::new(Gateway { config, tokens: tokens.clone(), ledger, limiter, forward_proxy });

        let mut tasks = JoinSet::new();
        if let Some(proxy) = gateway.forward_proxy.clone() {
            let clock = process.clock.clone();
            tasks.spawn(async move {
                loop {
                    clock.sleep_until(clock.now().after(MAINTENANCE)).await;
                    proxy.maintain(clock.wall());
                }
            });
        }
        for tokens in tokens {
            let grant = grant.clone();
            tasks.spawn(async move { tokens.renew_forever(&grant).await });
        }
        let (leave, left) = oneshot::channel::<()>();
        let sharing = replicas.clone().map(|replicas| {
            tokio::spawn(async move {
                let left = async {
                    let _ = left.await;
                };
                replicas.run(left).await;
            })
        });
        // Whoever served before Redis was asked would begin with a burst of its own.
        if let Some(replicas) = replicas {
            replicas.tried().await;
        }
        let (drain, draining) = watch::channel(Stop::No);
        let mut metrics = Metrics::default();
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let tally = metrics.add_worker();
            let (process, gateway) = (process.clone(), gateway.clone());
            let (trust, draining) = (trust.clone(), draining.clone());
            let (room, own) = (room.clone(), own.clone());
            workers.push(WorkerThread::start(number, draining, move || {
                let upstream = &gateway.config.upstream;
                let connector = Connector::new(&trust, upstream.connector(), room, own);
                let hosts = &gateway.config.hosts;
                let authorities = [&hosts.api, &hosts.upload, &hosts.download].into_iter();
                let upstream = Upstream::new(connector, upstream.pool_idle_timeout, authorities);
                Worker::new(process, gateway, upstream, tally())
            })?);
        }
        let shares = Shares::of_free(max_connections);
        room.add(shares.upstream);
        if shares.callers < max_connections {
            warn!(
                max_connections,
                used = shares.callers,
                "the limit of open files leaves no room for [listen] max_connections; raise it (ulimit -n, LimitNOFILE)"
            );
        }
        limit.set_most(shares.callers);
        let draining = AtomicBool::new(false);
        let overview = Arc::new(admin::Overview { process, gateway, metrics, draining });
        for listener in operators {
            tasks.spawn(admin::serve(listener, overview.clone()));
        }

        let workers = Arc::new(workers);
        let mut accepting = JoinSet::new();
        for listener in callers {
            accepting.spawn(hand_out(listener, workers.clone(), limit.clone()));
        }
        wait_for(&mut stop, Stop::Drain).await;
        overview.draining.store(true, Ordering::Relaxed);
        let began = Instant::now();
        info!(?drain_delay, ?drain_timeout, "draining");
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            () = wait_for(&mut stop, Stop::Now) => {}
        }
        // The listeners close here.
        accepting.shutdown().await;
        drain.send_replace(Stop::Drain);
        let finished = async {
            while workers.iter().any(|worker| worker.open.load(Ordering::Acquire) > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = finished => info!(after = ?began.elapsed(), "drained"),
            () = tokio::time::sleep(drain_timeout) => {
                warn!(open = overview.metrics.connections(), "drain_timeout has passed; what is still in flight is cut off");
            }
            () = wait_for(&mut stop, Stop::Now) => warn!("told again to stop; what is in flight is cut off"),
        }
        drain.send_replace(Stop::Now);
        tasks.shutdown().await;
        drop(leave);
        if let Some(sharing) = sharing {
            let _ = timeout(ENDING, sharing).await;
        }
        drop(overview);
        let until = Instant::now() + ENDING;
        for worker in Arc::into_inner(workers).into_iter().flatten() {
            if timeout_at(until, worker.ended).await.is_err() {
                warn!(
                    "a worker is stuck and does not end; what it had in flight is neither counted nor logged"
                );
            }
        }
        keeper.stop();
        Ok(())
    }
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
        // Whoever pins the CA needs it from a place that is trusted.
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
fn replicas(config: &Config, trust: &Trust) -> io::Result<Option<Arc<Replicas>>> {
    let Some(url) = config.state.redis.clone() else { return Ok(None) };
    let settings = Settings {
        url,
        prefix: config.state.redis_prefix.clone(),
        max_pause: config.upstream.max_pause,
        bound: replicas::BOUND,
    };
    let replicas = Replicas::new(settings, trust);
    replicas.map(Arc::new).map(Some).map_err(|error| io::Error::other(format!("[state] redis {error}")))
}
