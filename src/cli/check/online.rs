//! What checks need that ask Box: the same client, connections and trust with which the gateway would run.

use std::rc::Rc;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::net::address::Address;
use crate::net::clock::Clock;
use crate::net::descriptors::UpstreamRoom;
use crate::net::egress_proxy::proxy_matcher;
use crate::net::own_listeners::OwnListeners;
use crate::net::tls_client::Trust;
use crate::oauth::http_client::token_client;
use crate::oauth::token_endpoint::TokenEndpoint;
use crate::upstream::connector::Connector;
use crate::upstream::pool::Upstream;

/// Connections that may be open at the same time; what needs one more waits.
const CONNECTIONS: usize = 64;
/// Identities that are checked at the same time, so that Box is not asked for a thousand tokens at once.
const AT_ONCE: usize = 8;

/// Shared by the checks, which run side by side on one thread.
pub(super) struct Online {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) trust: Trust,
    pub(super) own: OwnListeners,
    pub(super) proxies: Matcher,
    pub(super) token_endpoint: TokenEndpoint,
    /// For connections that are looked at step by step.
    pub(super) connector: Connector,
    /// For calls.
    pub(super) pool: Upstream,
    pub(super) turns: Semaphore,
}

impl Online {
    /// # Errors
    /// There are no certificate roots, or the proxy's URL is none: the gateway could not start.
    pub(super) fn new(config: Config, clock: Clock) -> Result<Rc<Self>, String> {
        let trust = Trust::new(&config.hosts.extra_roots).map_err(|error| error.to_string())?;
        let upstream = &config.upstream;
        let client = token_client(&trust, &upstream.proxy, upstream.connect_timeout)
            .map_err(|error| format!("[upstream] proxy: {error}"))?;
        let listening = config.listen.addresses.iter().chain(&config.admin.addresses);
        let own = OwnListeners::new(listening.filter_map(|address| match address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }));
        let proxies = || proxy_matcher(&upstream.proxy);
        let token_endpoint =
            TokenEndpoint::new(client, config.hosts.token_url.clone(), proxies(), own.clone());
        let room = UpstreamRoom::new();
        room.add(CONNECTIONS);
        let connector = || Connector::new(&trust, upstream.connector(), room.clone(), own.clone());
        let hosts = config.hosts.authorities().into_iter();
        let pool = Upstream::new(connector(), upstream.pool_idle_timeout, hosts);
        let (connector, proxies) = (connector(), proxies());
        let turns = Semaphore::new(AT_ONCE);
        Ok(Rc::new(Self { config, clock, trust, own, proxies, token_endpoint, connector, pool, turns }))
    }
}
