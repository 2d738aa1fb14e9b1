//! What outlives a configuration.

use std::sync::Arc;

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
}
