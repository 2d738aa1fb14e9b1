//! Starting and stopping: one accepting thread (the caller's), a current-thread runtime for each worker, the tasks
//! that renew tokens. Why: `docs/decisions/runtime-for-each-worker.md`.

pub mod shutdown; // how far stopping has come
pub(crate) mod signals; // signals that stop or reload

use std::io;

use tokio::sync::watch;

use crate::admin::hardening::Hardening;
use crate::config::Config;
use crate::net::address::Address;
use crate::net::clock::Clock;
use crate::net::inherited_sockets::InheritedSockets;
use crate::net::listener::Listener;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{Audience, blanked_text};
use crate::net::service_manager::ServiceManager;
use crate::telemetry::access_log::AccessLog;

mod assembly; // builds the gateway from a configuration
mod reload; // replaces the configuration while requests go on
mod running; // threads and tasks, and how they end
mod connection;
mod connections;
mod file_watch; // which files have changed?
mod bounded_reading; // reads files that may hang
pub(crate) mod frame_watch;
mod supervision; // what the service manager is told
mod parked; // idle HTTP/1.1 connections
pub(crate) mod socket;
pub(crate) mod stream_task;
mod tunnel;
mod unused_memory; // goes back to the system
pub(crate) mod watched_socket;
mod workers;

use self::assembly::Assembly;
pub use self::reload::{Reloading, Watch};
use self::running::Running;
use self::shutdown::{Stop, wait_for};

/// Bound sockets, before any connection is accepted.
pub struct Bound {
    callers: Vec<Listener>,
    operators: Vec<Listener>,
    config: Config,
    reloading: Option<Reloading>,
    manager: ServiceManager,
    hardening: Hardening,
}

/// Binds every address of the configuration.
///
/// # Errors
/// An address cannot be bound; nothing stays bound then.
pub async fn bind(config: Config) -> io::Result<Bound> {
    bind_with(config, InheritedSockets::default()).await
}

/// The same; where one of these sockets has the address, it takes that socket.
///
/// # Errors
/// An address cannot be bound, or its socket not be used; nothing stays bound then.
pub(crate) async fn bind_with(config: Config, mut inherited: InheritedSockets) -> io::Result<Bound> {
    let callers = listeners(&config.listen.addresses, config.tls.is_some(), &mut inherited)
        .await
        .map_err(|error| or_elsewhere(&error, "--listen or [listen] address"))?;
    let operators = listeners(&config.admin.addresses, config.admin_tls.is_some(), &mut inherited)
        .await
        .map_err(|error| or_elsewhere(&error, "--admin or [admin] address"))?;
    let (manager, hardening) = (ServiceManager::default(), Hardening::default());
    Ok(Bound { callers, operators, config, reloading: None, manager, hardening })
}

async fn listeners(
    addresses: &[Address],
    secure: bool,
    inherited: &mut InheritedSockets,
) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(match inherited.take(address) {
            Some(socket) => Listener::inherited(address, socket, secure)?,
            None => Listener::bind(address, secure).await?,
        });
    }
    Ok(listeners)
}

/// With what to do about an address that is taken.
fn or_elsewhere(error: &io::Error, keys: &str) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            io::Error::new(error.kind(), format!("{error}; choose another address with {keys}"))
        }
        kind => io::Error::new(kind, error.to_string()),
    }
}

impl Bound {
    /// The addresses of the callers' listeners; they begin with `https://` if TLS is on.
    pub fn addresses(&self) -> Vec<String> {
        self.callers.iter().map(Listener::address).collect()
    }

    /// The addresses of the operators' listeners; they begin with `https://` if TLS is on.
    pub fn admin_addresses(&self) -> Vec<String> {
        self.operators.iter().map(Listener::address).collect()
    }

    /// Enables reloads, by request and by watching files. Without this, the configuration never changes.
    #[must_use]
    pub fn reloading(self, reloading: Reloading) -> Self {
        Self { reloading: Some(reloading), ..self }
    }

    /// Tells this service manager when requests are accepted, and what the process does until it ends.
    #[must_use]
    pub(crate) fn telling(self, manager: ServiceManager) -> Self {
        Self { manager, ..self }
    }

    /// Tells operators that the process was hardened so.
    #[must_use]
    pub(crate) fn hardened(self, hardening: Hardening) -> Self {
        Self { hardening, ..self }
    }

    /// Serves until `stop` says otherwise. Runs on the current runtime, which accepts, renews tokens and answers
    /// operators.
    ///
    /// # Errors
    /// There are no certificate roots, the proxy URL is invalid, the audit log cannot be opened, or a thread cannot be
    /// started.
    pub async fn run(
        self,
        clock: Clock,
        access: AccessLog,
        mut stop: watch::Receiver<Stop>,
    ) -> io::Result<()> {
        let Self { callers, operators, config, reloading, manager, hardening } = self;
        let own = OwnListeners::new(callers.iter().chain(&operators).filter_map(Listener::tcp_address));
        // Its secrets live until it runs: what is wrong is searched for them. Later ones may replace them.
        let secrets = config.clone();
        let starting = async {
            let assembled = Assembly::begin(config, own, clock, access)?;
            Running::start(assembled, callers, operators, reloading, (manager, hardening)).await
        };
        let running = starting.await.map_err(|error| {
            io::Error::new(error.kind(), blanked_text(error.to_string(), Audience::Operators))
        })?;
        drop(secrets);
        wait_for(&mut stop, Stop::Drain).await;
        running.stop(&mut stop).await;
        Ok(())
    }
}
