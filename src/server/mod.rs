//! Starting and stopping: one accepting thread (the caller's), a current-thread runtime for each worker, the tasks
//! that renew tokens. Why: `docs/decisions/runtime-for-each-worker.md`.

pub mod shutdown; // how far stopping has come
pub(crate) mod signals; // what tells it to stop

use std::io;

use tokio::sync::watch;

use crate::config::Config;
use crate::net::clock::Clock;
use crate::net::listener::Listener;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{Audience, blanked_text};
use crate::telemetry::access_log::AccessLog;

mod assembly; // what a configuration is made into
mod reload; // another configuration while requests go on
mod running; // threads and tasks, and how they end
mod connection;
mod connections;
mod file_watch; // which files have changed?
pub(crate) mod frame_watch;
pub(crate) mod socket;
pub(crate) mod stream_task;
mod tunnel;
pub(crate) mod watched_socket;
mod workers;

use self::assembly::Assembly;
pub use self::reload::{Reloading, Watch};
use self::running::Running;
use self::shutdown::{Stop, wait_for};

/// Sockets that are bound, with nobody served yet.
pub struct Bound {
    callers: Vec<Listener>,
    operators: Vec<Listener>,
    config: Config,
    reloading: Option<Reloading>,
}

/// Binds every address of the configuration.
///
/// # Errors
/// An address cannot be bound; nothing stays bound then.
pub async fn bind(config: Config) -> io::Result<Bound> {
    let mut callers = Vec::new();
    for address in &config.listen.addresses {
        callers.push(Listener::bind(address, config.tls.is_some()).await?);
    }
    let mut operators = Vec::new();
    for address in &config.admin.addresses {
        operators.push(Listener::bind(address, false).await?);
    }
    Ok(Bound { callers, operators, config, reloading: None })
}

impl Bound {
    /// Where callers connect; with `https://` in front where TLS is spoken.
    pub fn addresses(&self) -> Vec<String> {
        self.callers.iter().map(Listener::address).collect()
    }

    /// Where operators connect.
    pub fn admin_addresses(&self) -> Vec<String> {
        self.operators.iter().map(Listener::address).collect()
    }

    /// Reads the configuration again when it is asked to, or without being asked. Without this, it stays as it is.
    #[must_use]
    pub fn reloading(self, reloading: Reloading) -> Self {
        Self { reloading: Some(reloading), ..self }
    }

    /// Serves until it is told to stop. Runs on the current runtime, which accepts, renews tokens and answers
    /// operators.
    ///
    /// # Errors
    /// No certificate roots, a proxy URL that is none, or a thread that cannot be started.
    pub async fn run(
        self,
        clock: Clock,
        access: AccessLog,
        mut stop: watch::Receiver<Stop>,
    ) -> io::Result<()> {
        let Self { callers, operators, config, reloading } = self;
        let own = OwnListeners::new(callers.iter().chain(&operators).filter_map(Listener::tcp_address));
        // Its secrets live until it runs: what is wrong is searched for them. Later ones may replace them.
        let secrets = config.clone();
        let starting = async {
            let assembled = Assembly::begin(config, own, clock, access)?;
            Running::start(assembled, callers, operators, reloading).await
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
