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
use crate::telemetry::metrics::Tally;
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;
use crate::upstream::pool::Upstream;

/// One worker's own. The stages of a request do not see it: each is given what it needs.
pub(crate) struct Worker {
    process: Arc<Process>,
    gateway: RefCell<LocalGateway>,
    tally: Tally,
    drain: Rc<Drain>,
}

impl Worker {
    pub(crate) fn new(
        process: Arc<Process>,
        gateway: Arc<Gateway>,
        upstream: Upstream,
        tally: Tally,
    ) -> Self {
        let gateway = RefCell::new(LocalGateway::new(gateway, Rc::new(upstream)));
        Self { process, gateway, tally, drain: Rc::default() }
    }

    /// What is made from the configuration of this moment. A request keeps the one it began with.
    pub(crate) fn gateway(&self) -> LocalGateway {
        self.gateway.borrow().clone()
    }

    /// Requests that begin from now on are served by this one.
    pub(crate) fn replace_gateway(&self, gateway: LocalGateway) {
        self.gateway.replace(gateway);
    }

    /// This worker's counters.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What its requests are told when the process stops.
    pub(crate) fn drain(&self) -> &Rc<Drain> {
        &self.drain
    }

    /// What outlives a configuration.
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

    /// What cannot be reached.
    pub(crate) fn outages(&self) -> &Outages {
        &self.process.outages
    }

    /// What would fill the log.
    pub(crate) fn repeats(&self) -> &Repeats {
        &self.process.repeats
    }

    /// Of callers' connections.
    pub(crate) fn connection_limit(&self) -> &Arc<ConnectionLimit> {
        &self.process.connection_limit
    }
}
