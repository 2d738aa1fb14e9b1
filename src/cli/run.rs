//! `boxgate run`: reads the configuration, binds, logs the addresses, serves until a signal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tracing::{debug, info, warn};

use super::exit::{BAD_CONFIGURATION, bad_configuration, block_on, logged};
use super::hardening::{Hardened, harden};
use super::{core_dumps, first_run};
use crate::config::{Overrides, Source};
use crate::net::clock::Clock;
use crate::net::inherited_sockets::InheritedSockets;
use crate::net::service_manager::ServiceManager;
use crate::server::signals::{self, Signals};
use crate::server::{self, Reloading, Watch};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::line_writer::unbuffered;
use crate::telemetry::log;

/// Read if no file is named and this one exists.
pub(super) const DEFAULT_FILE: &str = "proxy.toml";

/// The options of `boxgate run`.
#[derive(Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "--help is not Markdown: [listen] is a table of the configuration"
)]
pub struct Options {
    /// The configuration file [default: proxy.toml; without one, BOX_CLIENT_ID, BOX_CLIENT_SECRET and one of
    /// BOX_ENTERPRISE_ID, BOX_USER_ID]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address for callers, instead of [listen] address
    #[arg(long, value_name = "ADDR", env = "BOXGATE_LISTEN")]
    listen: Option<String>,
    /// The address for operators, instead of [admin] address
    #[arg(long, value_name = "ADDR", env = "BOXGATE_ADMIN")]
    admin: Option<String>,
    /// A name that callers may use in Host, instead of [listen] hosts; may be repeated
    #[arg(long = "host", value_name = "NAME", env = "BOXGATE_HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Reload the configuration file when it changes, not only on SIGHUP and `boxgate reload`
    #[arg(long)]
    watch: bool,
    /// Do not reload the files of secrets and certificates when they change
    #[arg(long)]
    no_watch: bool,
}

/// Serves until a signal.
pub fn run(options: Options) -> ExitCode {
    let Options { config, listen, admin, hosts, watch, no_watch } = options;
    if config.is_none() && first_run::is_unconfigured(Path::new(DEFAULT_FILE)) {
        eprintln!("{}", first_run::WORDS);
        return ExitCode::from(BAD_CONFIGURATION);
    }
    // Before there is another thread.
    let service = match Service::from_environment() {
        Ok(service) => service,
        Err(why) => return bad_service(&why),
    };
    let hosts = hosts.into_iter().filter(|host| !host.is_empty()).collect();
    let source = source(config.as_deref(), Overrides { listen, admin, hosts, ..Overrides::default() });
    let watch = Watch { configuration: watch, named: !no_watch };
    if watch.configuration && source.path().is_none() {
        eprintln!("boxgate: --watch: there is no configuration file to watch");
    }
    logged(block_on(serve(source, watch, service, harden(), |_, _| {})))
}

/// What a service manager gives the process that it starts.
#[derive(Default)]
pub(super) struct Service {
    sockets: InheritedSockets,
    manager: ServiceManager,
}

impl Service {
    fn from_environment() -> Result<Self, String> {
        let sockets = InheritedSockets::from_environment()?;
        let manager = ServiceManager::of(|name| std::env::var(name).ok(), std::process::id())?;
        Ok(Self { sockets, manager })
    }
}

/// What the service manager gives does not fit. A start without a change would fail again.
fn bad_service(why: &str) -> ExitCode {
    eprintln!("boxgate: {why}");
    ExitCode::from(BAD_CONFIGURATION)
}

/// The given file, else the default one, else the environment.
pub(super) fn source(file: Option<&Path>, overrides: Overrides) -> Source {
    let variables = Box::new(|name: &str| std::env::var(name).ok());
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(file) => Source::file(file.to_owned(), overrides, variables),
        None if default.exists() => Source::file(default.to_owned(), overrides, variables),
        None => Source::environment(overrides, variables),
    }
}

/// Serves until a signal, in a process that was hardened so. `ready` receives the addresses for callers.
pub(super) async fn serve(
    source: Source,
    watch: Watch,
    service: Service,
    hardened: Hardened,
    ready: impl FnOnce(&[String], &AccessLog),
) -> io::Result<ExitCode> {
    let (config, text) = match source.read() {
        Ok(read) => read,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let Service { sockets, manager } = service;
    if let Err(why) = sockets.check(&config.listen.addresses, &config.admin.addresses) {
        return Ok(bad_service(&why));
    }
    let passed = sockets.addresses().join(" ");
    log::init(&config.log)?;
    if core_dumps::allowed() {
        warn!("{}", core_dumps::WARNING);
    }
    let Hardened { hardening, missing } = hardened;
    debug!(?hardening, "the process is hardened");
    for why in missing {
        debug!("{why}");
    }
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("the limit of open files cannot be raised: {error}");
    }
    let Signals { stop, hangups } = signals::listen()?;
    let out = config.log.access.then(|| unbuffered(io::stdout())).transpose()?;
    let access = AccessLog::new(out, config.log.format)?;
    let reloading = Reloading { source, text, watch, hangups };
    let bound =
        server::bind_with(config, sockets).await?.reloading(reloading).telling(manager).hardened(hardening);
    info!(
        callers = bound.addresses().join(" "),
        operators = bound.admin_addresses().join(" "),
        passed = (!passed.is_empty()).then_some(passed),
        "boxgate listens"
    );
    ready(&bound.addresses(), &access);
    let served = bound.run(Clock::real(), access.clone(), stop).await;
    access.flush();
    served.map(|()| ExitCode::SUCCESS)
}
