//! What one worker thread holds: the process and the gateway, its own connections to Box and its own counters.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::proxy::drain::Drain;
use crate::proxy::gateway::{Gateway, LocalGateway};
use crate::proxy::process::Process;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::audit_log::AuditLog;
use crate::telemetry::metrics::Tally;
use crate::telemetry::outages::Outages;
use crate::telemetry::recent_requests::Recorder;
use crate::telemetry::repeats::Repeats;
use crate::upstream::pool::Upstream;

/// The state of one worker. The stages of a request do not see it: each gets only what it needs.
pub(crate) struct Worker {
    process: Arc<Process>,
    gateway: RefCell<LocalGateway>,
    tally: Tally,
    recent: Recorder,
    drain: Rc<Drain>,
}

impl Worker {
    pub(crate) fn new(
        process: Arc<Process>,
        gateway: Arc<Gateway>,
        upstream: Upstream,
        tally: Tally,
        recent: Recorder,
    ) -> Self {
        recent.resize(gateway.config.recent_requests);
        let gateway = RefCell::new(LocalGateway::new(gateway, Rc::new(upstream)));
        Self { process, gateway, tally, recent, drain: Rc::default() }
    }

    /// The gateway of the current configuration. A request keeps the one with which it began.
    pub(crate) fn gateway(&self) -> LocalGateway {
        self.gateway.borrow().clone()
    }

    /// Serves requests that begin from now on by this gateway.
    pub(crate) fn replace_gateway(&self, gateway: LocalGateway) {
        self.recent.resize(gateway.config.recent_requests);
        self.gateway.replace(gateway);
    }

    /// This worker's counters.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Where its requests are kept for operators, once they have ended.
    pub(crate) fn recent(&self) -> &Recorder {
        &self.recent
    }

    /// Tells its requests that the process stops.
    pub(crate) fn drain(&self) -> &Rc<Drain> {
        &self.drain
    }

    /// The state that outlives a configuration.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.process.clock
    }

    /// Where access lines go.
    pub(crate) fn access(&self) -> &AccessLog {
        &self.process.access
    }

    /// Where audit lines go.
    pub(crate) fn audit(&self) -> Option<&AuditLog> {
        self.process.audit.as_ref()
    }

    /// The outages that are being logged.
    pub(crate) fn outages(&self) -> &Outages {
        &self.process.outages
    }

    /// Suppresses repeated log lines.
    pub(crate) fn repeats(&self) -> &Repeats {
        &self.process.repeats
    }

    /// The limit of callers' connections.
    pub(crate) fn connection_limit(&self) -> &Arc<ConnectionLimit> {
        &self.process.connection_limit
    }
}
