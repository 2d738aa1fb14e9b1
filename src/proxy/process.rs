//! The state of the process that outlives a configuration.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tracing::warn;

use crate::net::clock::Clock;
use crate::net::connection_limit::ConnectionLimit;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::audit_log::AuditLog;
use crate::telemetry::labels::{AppLabels, HostLabels};
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::Repeats;
use crate::telemetry::trace::traces::Traces;

/// Shared by the workers and by all configurations.
pub(crate) struct Process {
    pub clock: Clock,
    /// Where access lines go.
    pub access: AccessLog,
    /// Where audit lines go; `None`: there is no audit log.
    pub audit: Option<AuditLog>,
    /// The limit of callers' connections.
    pub connection_limit: Arc<ConnectionLimit>,
    /// The outages that are being logged.
    pub outages: Arc<Outages>,
    /// Suppresses repeated log lines.
    pub repeats: Repeats,
    /// Origins of web pages that were refused. Apart from the others, since any program can invent origins until no
    /// more kinds are tracked.
    pub refused_origins: Repeats,
    /// The apps' labels in metrics.
    pub app_labels: AppLabels,
    /// The labels of Box's hosts in what is counted of them.
    pub host_labels: HostLabels,
    /// Traces, and what became of their spans.
    pub traces: Traces,
    /// Whether it is stopping: set when `drain_delay` begins.
    pub draining: AtomicBool,
}

impl Process {
    /// Logs a load balancer's connection without a valid header. Every connection fails so until an operator changes a
    /// setting, so repeats are suppressed.
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
