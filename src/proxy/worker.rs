//! What one worker thread holds: the gateway's shared parts, its own connections to Box and its own counters.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::access::admission::Admission;
use crate::config::Config;
use crate::limits::budget::spending::Ledger;
use crate::limits::limiter::Throttle;
use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::oauth::token_cache::Tokens;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Tally;
use crate::upstream::pool::Upstream;

/// What all workers share; nothing in it changes but through its own atomics.
pub struct Shared {
    /// As checked.
    pub config: Config,
    /// By the identities' places.
    pub tokens: Vec<Arc<Tokens>>,
    /// The time.
    pub clock: Clock,
    /// Where access lines go.
    pub access: AccessLog,
    /// Calls of Box's API, and what is left of them.
    pub ledger: Ledger,
    /// What can hold a request back.
    pub throttle: Throttle,
    /// For programs that use the gateway as their proxy.
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    /// Of callers' connections.
    pub connection_limit: Arc<ConnectionLimit>,
}

/// One worker's own.
pub struct Worker {
    shared: Arc<Shared>,
    upstream: Upstream,
    tally: Tally,
    stopping: Cell<bool>,
    told_to_stop: Notify,
    cut_off: Cell<bool>,
}

impl Worker {
    /// Assembles a worker.
    pub fn new(shared: Arc<Shared>, upstream: Upstream, tally: Tally) -> Self {
        Self {
            shared,
            upstream,
            tally,
            stopping: Cell::new(false),
            told_to_stop: Notify::new(),
            cut_off: Cell::new(false),
        }
    }

    /// Ends what a drain does not wait for.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.told_to_stop.notify_waiters();
    }

    /// What is still in flight is dropped from here on.
    pub fn cut_off(&self) {
        self.cut_off.set(true);
    }

    /// Whether what is in flight is dropped because the gateway stops.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// Returns once a drain has begun.
    pub async fn stopping(&self) {
        let told = self.told_to_stop.notified();
        if !self.stopping.get() {
            told.await;
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The tokens of an identity.
    pub fn tokens(&self, identity: usize) -> Option<&Arc<Tokens>> {
        self.shared.tokens.get(identity)
    }

    /// This worker's way to Box.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// This worker's counters.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Where access lines go.
    pub fn access(&self) -> &AccessLog {
        &self.shared.access
    }

    /// Calls of Box's API, and what is left of them.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// What can hold a request back.
    pub fn throttle(&self) -> &Throttle {
        &self.shared.throttle
    }

    /// Of callers' connections.
    pub fn connection_limit(&self) -> &Arc<ConnectionLimit> {
        &self.shared.connection_limit
    }

    /// For programs that use the gateway as their proxy; `None`: they cannot.
    pub fn forward_proxy(&self) -> Option<&Arc<ForwardProxy>> {
        self.shared.forward_proxy.as_ref()
    }

    /// What callers' requests are held against.
    pub fn admission(&self) -> Admission<'_> {
        let config = self.config();
        Admission {
            listen: &config.listen,
            trusted_proxies: &config.trusted_proxies,
            proxied: self.shared.forward_proxy.as_ref().map(|_| &config.hosts),
        }
    }

    /// An app's name by its place.
    pub fn app_name(&self, app: usize) -> Option<&str> {
        self.config().apps.iter().nth(app).map(|app| app.name.as_str())
    }

    /// An identity's name by its place.
    pub fn identity_name(&self, identity: usize) -> Option<&str> {
        self.config().identities.get(identity).map(|identity| identity.name.as_str())
    }
}
