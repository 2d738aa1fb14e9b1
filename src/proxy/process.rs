//! What outlives a configuration.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::warn;

use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::AppLabels;
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;

/// Shared by the workers, whatever their configuration.
pub(crate) struct Process {
    pub clock: Clock,
    /// Where access lines go.
    pub access: AccessLog,
    /// Of callers' connections.
    pub connection_limit: Arc<ConnectionLimit>,
    /// What cannot be reached.
    pub outages: Arc<Outages>,
    /// What would fill the log.
    pub repeats: Repeats,
    /// The labels of metrics.
    pub app_labels: AppLabels,
}

impl Process {
    /// A balancer's connection did not begin as it must, which goes on with every connection until somebody changes a
    /// setting.
    pub(crate) fn balancer_failed(&self, peer: IpAddr, cause: &str) {
        if let Some(left_out) = self.repeats.note(&format!("proxy_protocol {peer}")) {
            warn!(
                %peer,
                cause,
                "a connection was closed: peers in [listen] proxy_protocol must begin each with a PROXY protocol header; \
                 let the balancer send it, or take its address out{left_out}"
            );
        }
    }
}
