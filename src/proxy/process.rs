//! What outlives a configuration.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::telemetry::access_log::AccessLog;

/// Shared by the workers, whatever their configuration.
pub(crate) struct Process {
    pub clock: Clock,
    /// Where access lines go.
    pub access: AccessLog,
    /// Of callers' connections.
    pub connection_limit: Arc<ConnectionLimit>,
    /// It was logged that a balancer sends no PROXY protocol header that can be read.
    pub balancer_told: AtomicBool,
}

impl Process {
    /// A balancer's connection did not begin as it must. Logged once: it goes on with every connection until somebody
    /// changes a setting.
    pub(crate) fn balancer_failed(&self, peer: IpAddr, cause: &str) {
        if self.balancer_told.swap(true, Ordering::Relaxed) {
            debug!(%peer, cause, "a connection from [listen] proxy_protocol was closed");
        } else {
            warn!(
                %peer,
                cause,
                "a connection was closed: peers in [listen] proxy_protocol must begin each with a PROXY protocol header; \
                 let the balancer send it, or take its address out. Further ones are logged at level debug"
            );
        }
    }
}
