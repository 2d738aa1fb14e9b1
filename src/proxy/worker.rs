//! What one worker thread holds: the process and the gateway, its own connections to Box and its own counters.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::Config;
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::limiter::Limiter;
use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::oauth::identity::IdentityId;
use crate::oauth::token_cache::Tokens;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::proxy::gateway::Gateway;
use crate::proxy::process::Process;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Tally;
use crate::upstream::pool::Upstream;

/// One worker's own.
pub struct Worker {
    process: Arc<Process>,
    gateway: Arc<Gateway>,
    upstream: Upstream,
    tally: Tally,
    stopping: Cell<bool>,
    told_to_stop: Notify,
    cut_off: Cell<bool>,
}

impl Worker {
    /// Assembles a worker.
    pub fn new(process: Arc<Process>, gateway: Arc<Gateway>, upstream: Upstream, tally: Tally) -> Self {
        Self {
            process,
            gateway,
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

    /// What is made from the configuration.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.gateway.config
    }

    /// The tokens of an identity.
    pub fn tokens(&self, identity: IdentityId) -> Option<&Arc<Tokens>> {
        self.gateway.tokens(identity)
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
        &self.process.clock
    }

    /// Where access lines go.
    pub fn access(&self) -> &AccessLog {
        &self.process.access
    }

    /// Calls of Box's API, and what is left of them.
    pub fn ledger(&self) -> &BudgetLedger {
        &self.gateway.ledger
    }

    /// What can hold a request back.
    pub fn limiter(&self) -> &Limiter {
        &self.gateway.limiter
    }

    /// Of callers' connections.
    pub fn connection_limit(&self) -> &Arc<ConnectionLimit> {
        &self.process.connection_limit
    }

    /// For programs that use the gateway as their proxy; `None`: they cannot.
    pub fn forward_proxy(&self) -> Option<&Arc<ForwardProxy>> {
        self.gateway.forward_proxy.as_ref()
    }
}
