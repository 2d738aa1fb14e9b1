//! Builds the gateway from a configuration: at the start, and again at each reload, where it reuses the running parts
//! whose settings have not changed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Notify, Semaphore};
use tracing::{info, warn};

use crate::config::{Config, ProxyCertificate, Upstream as UpstreamSettings};
use crate::limits::budget::counts::CallCounts;
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
use crate::oauth::http_client::token_client;
use crate::oauth::identity::{Identity, IdentityId};
use crate::oauth::login_lookup::{LoginLookup, Lookups};
use crate::oauth::token_cache::{Renewal, Tokens};
use crate::oauth::token_endpoint::TokenEndpoint;
use crate::oauth::user::Login;
use crate::oauth::users_api::UsersApi;
use crate::proxy::blind_tunnel::{BlindTunnels, LOOK_UPS};
use crate::proxy::forward_proxy::{Certificates, ForwardProxy};
use crate::proxy::gateway::Gateway;
use crate::proxy::process::Process;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::audit_log::AuditLog;
use crate::telemetry::labels::{AppLabels, HostLabels};
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;
use crate::telemetry::trace::collector::Collector;
use crate::telemetry::trace::tracer::Tracer;
use crate::telemetry::trace::traces::Traces;
use crate::upstream::connector::Connector;
use crate::upstream::pool::Upstream;

/// What all gateways of this process share.
pub(super) struct Assembly {
    pub(super) process: Arc<Process>,
    /// Notified when Box refuses an identity.
    pub(super) refused: Arc<Notify>,
    /// Descriptors for connections to Box; none until the callers' share is reserved.
    pub(super) room: UpstreamRoom,
    pub(super) replicas: Option<Arc<Replicas>>,
    counts: Arc<CallCounts>,
    lookups: Arc<Lookups>,
    /// The addresses on which this process listens.
    own: OwnListeners,
}

/// Everything built from a configuration.
#[derive(Clone)]
pub(super) struct Assembled {
    pub(super) gateway: Arc<Gateway>,
    pub(super) outward: Outward,
    token_endpoint: Arc<TokenEndpoint>,
}

/// The parts of the next gateway whose construction can fail. Nothing has changed yet.
pub(super) struct Prepared {
    config: Config,
    pub(super) outward: Outward,
    token_endpoint: Arc<TokenEndpoint>,
    forward_proxy: Option<Arc<ForwardProxy>>,
    /// A collector to which spans did not go before.
    collector: Option<Collector>,
    /// The settings of connections to Box have changed.
    pub(super) has_new_pools: bool,
}

/// What the workers' connections to Box share.
#[derive(Clone)]
pub(super) struct Outward {
    trust: Trust,
    room: UpstreamRoom,
    own: OwnListeners,
}

impl Outward {
    /// A worker's connections to Box.
    pub(super) fn upstream(self, config: &Config) -> Upstream {
        let connector = Connector::new(&self.trust, config.upstream.connector(), self.room, self.own);
        let authorities = config.hosts.authorities().into_iter();
        Upstream::new(connector, config.upstream.pool_idle_timeout, authorities)
    }
}

impl Assembly {
    /// Builds the process and its first gateway. `own`: the addresses on which this process listens.
    ///
    /// # Errors
    /// There are no certificate roots, the proxy URL is invalid, the state cannot be read, or the audit log cannot be opened.
    pub(super) fn begin(
        config: Config,
        own: OwnListeners,
        clock: Clock,
        access: AccessLog,
    ) -> io::Result<(Self, Assembled, CountsWriter)> {
        let trust = Trust::new(&config.hosts.extra_roots)?;
        let outages = Arc::new(Outages::new(clock.clone()));
        let audit = config.log.audit.clone();
        let audit = audit.map(|file| AuditLog::start(file, outages.clone(), clock.clone())).transpose()?;
        let (counts, counts_writer) =
            writer::start(&config.state.dir, !config.budgets.is_empty(), clock.clone())
                .map_err(|error| io::Error::other(format!("[state] dir: {error}")))?;
        let replicas = replicas(&config, &trust, &outages)?;
        let repeats = Repeats::new(clock.clone());
        let connection_limit = Arc::new(ConnectionLimit::default());
        let (app_labels, host_labels) = (AppLabels::default(), HostLabels::default());
        let refused_origins = Repeats::new(clock.clone());
        let traces = Traces::new(clock.clone(), outages.clone());
        let lookups = Arc::new(Lookups::new(clock.clone()));
        let process = Process {
            clock,
            access,
            audit,
            connection_limit,
            outages,
            repeats,
            refused_origins,
            app_labels,
            host_labels,
            traces,
            draining: AtomicBool::new(false),
        };
        let (process, room) = (Arc::new(process), UpstreamRoom::new());
        let assembly = Self { process, refused: Arc::default(), room, replicas, counts, lookups, own };
        let token_endpoint = assembly.token_endpoint(&config, &trust)?;
        let forward_proxy = assembly.forward_proxy(&config, None)?;
        let collector = assembly.collector(&config, &trust)?;
        let tracer = assembly.tracer(&config, collector, None);
        let gateway = assembly.gateway(config, &token_endpoint, forward_proxy, tracer, None);
        let outward = assembly.outward(trust);
        Ok((assembly, Assembled { gateway, outward, token_endpoint }, counts_writer))
    }

    /// Builds the parts of the next gateway whose construction can fail.
    ///
    /// # Errors
    /// Problems in words for operators, each with its key.
    pub(super) fn prepare(&self, config: Config, running: &Assembled) -> io::Result<Prepared> {
        let (before, now) = (&running.gateway.config, &config);
        if !now.budgets.is_empty() && before.budgets.is_empty() && self.counts.is_in_memory() {
            return Err(io::Error::other(
                "[[budget]]: counts of calls cannot be written to [state] dir (the log has the reason since the start); fix that and restart",
            ));
        }
        let same_trust = before.hosts.extra_roots == now.hosts.extra_roots;
        let outward = if same_trust {
            running.outward.clone()
        } else {
            self.outward(Trust::new(&now.hosts.extra_roots)?)
        };
        let same_way = same_trust
            && before.upstream.proxy == now.upstream.proxy
            && before.upstream.connect_timeout == now.upstream.connect_timeout;
        let token_endpoint = if same_way && before.hosts.token_url == now.hosts.token_url {
            running.token_endpoint.clone()
        } else {
            self.token_endpoint(now, &outward.trust)?
        };
        let has_new_pools = !same_way
            || before.upstream.connector() != now.upstream.connector()
            || before.upstream.pool_idle_timeout != now.upstream.pool_idle_timeout
            || before.hosts.authorities() != now.hosts.authorities();
        let forward_proxy = match &running.gateway.forward_proxy {
            Some(proxy) if same_way && before.forward_proxy == now.forward_proxy => Some(proxy.clone()),
            _ => self.forward_proxy(now, Some(&running.gateway))?,
        };
        let endpoint = |config: &Config| config.trace.as_ref().map(|trace| trace.endpoint.clone());
        let has_collector = same_way && endpoint(before) == endpoint(now);
        let collector = if has_collector { None } else { self.collector(now, &outward.trust)? };
        Ok(Prepared { config, outward, token_endpoint, forward_proxy, collector, has_new_pools })
    }

    /// Builds the gateway that replaces the running one. From here on, requests of both share all counts.
    pub(super) fn follow(&self, prepared: Prepared, running: &Assembled) -> Assembled {
        let Prepared { config, outward, token_endpoint, forward_proxy, collector, has_new_pools: _ } =
            prepared;
        if let Some(replicas) = &self.replicas {
            replicas.set_max_pause(config.upstream.max_pause);
        }
        let tracer = self.tracer(&config, collector, running.gateway.tracer.as_ref());
        let gateway = self.gateway(config, &token_endpoint, forward_proxy, tracer, Some(&running.gateway));
        Assembled { gateway, outward, token_endpoint }
    }

    fn outward(&self, trust: Trust) -> Outward {
        Outward { trust, room: self.room.clone(), own: self.own.clone() }
    }

    fn token_endpoint(&self, config: &Config, trust: &Trust) -> io::Result<Arc<TokenEndpoint>> {
        let client = token_client(trust, &config.upstream.proxy, config.upstream.connect_timeout)
            .map_err(|error| io::Error::other(format!("[upstream] proxy: {error}")))?;
        let proxies = proxy_matcher(&config.upstream.proxy);
        Ok(Arc::new(TokenEndpoint::new(client, config.hosts.token_url.clone(), proxies, self.own.clone())))
    }

    /// The collector, if configured.
    fn collector(&self, config: &Config, trust: &Trust) -> io::Result<Option<Collector>> {
        let Some(settings) = &config.trace else { return Ok(None) };
        let UpstreamSettings { proxy, connect_timeout, .. } = &config.upstream;
        Collector::new(
            &settings.endpoint,
            trust,
            proxy,
            self.own.clone(),
            *connect_timeout,
            self.process.clock.clone(),
        )
        .map(Some)
        .map_err(|error| io::Error::other(format!("[trace] otlp: {error}")))
    }

    /// The tracer, if configured: with an exporter for this collector or, if there is none, with the running one.
    fn tracer(
        &self,
        config: &Config,
        collector: Option<Collector>,
        running: Option<&Arc<Tracer>>,
    ) -> Option<Arc<Tracer>> {
        let traces = &self.process.traces;
        let tracer = config.trace.as_ref().and_then(|settings| match collector {
            Some(collector) => Some(Tracer::new(settings.sample, traces.start_exporter(collector))),
            None => running.map(|running| running.with_sample(settings.sample)),
        });
        let tracer = tracer.map(Arc::new);
        traces.set_current(tracer.clone());
        tracer
    }

    fn gateway(
        &self,
        config: Config,
        token_endpoint: &Arc<TokenEndpoint>,
        forward_proxy: Option<Arc<ForwardProxy>>,
        tracer: Option<Arc<Tracer>>,
        running: Option<&Gateway>,
    ) -> Arc<Gateway> {
        let Process { clock, app_labels, host_labels, .. } = &*self.process;
        let (tokens, renewals): (Vec<_>, Vec<_>) =
            config.identities.iter().map(|identity| self.tokens(identity, token_endpoint, running)).unzip();
        let logins = self.logins(&config, &tokens, token_endpoint, running);
        let apps: Vec<Arc<str>> = config.apps.iter().map(|app| app.name.as_str().into()).collect();
        let identities = config.identities.iter().map(|identity| identity.name.as_str().into()).collect();
        let (budgets, now) = (config.budgets.clone(), clock.wall());
        let app_labels = apps.iter().map(|name| app_labels.label(name)).collect();
        let hosts = config.hosts.authorities().into_iter();
        let host_labels = hosts.map(|host| (host.clone(), host_labels.label(host.as_str()))).collect();
        let (ledger, limiter) = match running {
            None => (
                BudgetLedger::new(budgets, apps, identities, self.counts.clone(), now),
                Limiter::new(config.limiter(), clock.clone(), self.replicas.clone()),
            ),
            Some(running) => (
                running.ledger.successor(budgets, apps, identities, now),
                running.limiter.successor(config.limiter()),
            ),
        };
        Arc::new(Gateway {
            config,
            tokens,
            renewals,
            logins,
            app_labels,
            host_labels,
            ledger,
            limiter,
            forward_proxy,
            tracer,
        })
    }

    /// The tokens of an identity: the running ones if they belong to the same account at Box.
    fn tokens(
        &self,
        identity: &Identity,
        token_endpoint: &Arc<TokenEndpoint>,
        running: Option<&Gateway>,
    ) -> (Arc<Tokens>, Arc<Renewal>) {
        let running = running.map(|running| running.tokens.iter().zip(&running.renewals));
        let same = running.into_iter().flatten().find(|(tokens, _)| tokens.are_of(identity, token_endpoint));
        if let Some((tokens, renewal)) = same {
            tokens.ask_by(identity, token_endpoint);
            return (tokens.clone(), renewal.clone());
        }
        let Process { clock, outages, traces, .. } = &*self.process;
        let tokens = Tokens::new(identity.clone(), token_endpoint.clone(), clock.clone(), outages.clone());
        let (counts, clock, refused) = (self.counts.clone(), clock.clone(), self.refused.clone());
        let name: Arc<str> = identity.name.as_str().into();
        let sent = move || counts.count_token_call(name.clone(), clock.wall());
        let tracer = traces.current().clone();
        let renewal = Renewal::begin(tokens.clone(), tracer, sent, move || refused.notify_one());
        (tokens, Arc::new(renewal))
    }

    /// The lookups of the logins that apps list, by app. Those that have found an id are kept while identity and login are the
    /// same; Box is asked again for the others.
    fn logins(
        &self,
        config: &Config,
        tokens: &[Arc<Tokens>],
        token_endpoint: &TokenEndpoint,
        running: Option<&Gateway>,
    ) -> Vec<Vec<Arc<LoginLookup>>> {
        let api = UsersApi::new(token_endpoint.client().clone(), config.hosts.api.to_string());
        let before = || running.into_iter().flat_map(|running| running.logins.iter().flatten());
        let mut known: BTreeMap<(IdentityId, &Login), Arc<LoginLookup>> = BTreeMap::new();
        let mut logins = Vec::new();
        for app in config.apps.iter() {
            let mut of_app = Vec::new();
            // A disabled app refuses all requests.
            let tokens = tokens.get(app.identity.index()).filter(|_| app.enabled);
            for (login, tokens) in app.as_user.logins().filter_map(|login| Some((login, tokens?))) {
                let lookup = known.entry((app.identity, login)).or_insert_with(|| {
                    let found = before().find(|lookup| lookup.has_found(login, tokens, api.host()));
                    found
                        .cloned()
                        .unwrap_or_else(|| Arc::new(self.lookup(tokens, api.clone(), login.clone())))
                });
                of_app.push(lookup.clone());
            }
            logins.push(of_app);
        }
        // Requests in flight may hold the running gateway for long. Of the lookups that go on, none has a task any more.
        before().for_each(|lookup| lookup.end());
        logins
    }

    /// Asks Box for the id of a login.
    fn lookup(&self, tokens: &Arc<Tokens>, api: UsersApi, login: Login) -> LoginLookup {
        let (counts, clock) = (self.counts.clone(), self.process.clock.clone());
        let identity: Arc<str> = tokens.name().into();
        let sent = move || counts.count_lookup(identity.clone(), clock.wall());
        LoginLookup::begin(self.lookups.clone(), tokens.clone(), api, login, sent)
    }

    /// The forward proxy, if configured. If it uses the gateway's own CA and that does not exist, it is created here.
    fn forward_proxy(
        &self,
        config: &Config,
        running: Option<&Gateway>,
    ) -> io::Result<Option<Arc<ForwardProxy>>> {
        let Some(settings) = &config.forward_proxy else { return Ok(None) };
        let before = running.and_then(|running| {
            let certificate = &running.config.forward_proxy.as_ref()?.certificate;
            Some((certificate, running.forward_proxy.as_ref()?))
        });
        let certificates = match before {
            Some((certificate, proxy)) if *certificate == settings.certificate => {
                proxy.certificates().clone()
            }
            _ => Arc::new(self.certificates(config, &settings.certificate)?),
        };
        let counts = before.map(|(_, proxy)| proxy.counts.clone()).unwrap_or_default();
        let blind = BlindTunnels {
            list: settings.tunnel.clone(),
            egress: proxy_matcher(&config.upstream.proxy),
            own: self.own.clone(),
            connect_timeout: config.upstream.connect_timeout,
            room: self.room.clone(),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
        };
        Ok(Some(Arc::new(ForwardProxy::new(certificates, blind, counts))))
    }

    fn certificates(&self, config: &Config, certificate: &ProxyCertificate) -> io::Result<Certificates> {
        let leaves = |authority: CertificateAuthority| {
            LeafCertificates::new(authority).map(Box::new).map_err(io::Error::other)
        };
        let leaves = match certificate {
            ProxyCertificate::Own => {
                leaves(CertificateAuthority::open(&config.state.dir, self.process.clock.wall())?)?
            }
            ProxyCertificate::Authority { certificates, key } => {
                let given = CertificateAuthority::given(certificates, key.expose().as_bytes());
                leaves(given.map_err(|error| io::Error::other(format!("[forward_proxy] ca: {error}")))?)?
            }
            ProxyCertificate::One(tls) => return Ok(Certificates::One(tls.clone())),
        };
        // Users who pin the CA need its fingerprint from a trusted source.
        match CaChain::parse(leaves.pem().as_bytes(), jiff::Timestamp::now()) {
            Ok(chain) => info!(
                fingerprint = chain.fingerprint(),
                "the forward proxy has a CA (boxgate exec --ca-fingerprint)"
            ),
            Err(why) => warn!("boxgate env and exec will not trust the forward proxy's CA: {why}"),
        }
        Ok(Certificates::Leaves(leaves))
    }
}

/// The state shared by replicas, if configured.
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
