//! `boxgate run`: reads the configuration, binds, says where callers connect, serves until a signal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tracing::{info, warn};

use super::core_dumps;
use super::exit::{bad_configuration, block_on, logged};
use crate::config::{self, Config, Overrides, Problems};
use crate::net::clock::Clock;
use crate::server::{self, signals};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::line_writer::unbuffered;
use crate::telemetry::log;

const DEFAULT_FILE: &str = "proxy.toml";

/// What the command line says.
#[derive(Args)]
pub struct Options {
    /// The configuration file [default: proxy.toml; without one, BOX_CLIENT_ID, BOX_CLIENT_SECRET and one of
    /// BOX_ENTERPRISE_ID, BOX_USER_ID]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where callers connect, in place of [listen] address
    #[arg(long, value_name = "ADDR", env = "BOXGATE_LISTEN")]
    listen: Option<String>,
    /// Where operators connect, in place of [admin] address
    #[arg(long, value_name = "ADDR", env = "BOXGATE_ADMIN")]
    admin: Option<String>,
    /// A name that callers may put in Host, in place of [listen] hosts; may be repeated
    #[arg(long = "host", value_name = "NAME", env = "BOXGATE_HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Read the files of certificates again on SIGHUP alone, not when they change
    #[arg(long)]
    no_watch: bool,
}

/// Serves until a signal.
pub fn run(options: Options) -> ExitCode {
    let Options { config, listen, admin, hosts, no_watch } = options;
    let hosts = hosts.into_iter().filter(|host| !host.is_empty()).collect();
    match configuration(config.as_deref(), &Overrides { listen, admin, hosts }) {
        Ok(config) => {
            // Its secrets live to the very end: what the program ends with is searched for them too.
            let _secrets = config.clone();
            logged(block_on(serve(config, !no_watch, |_, _| {})))
        }
        Err(problems) => bad_configuration(&problems),
    }
}

/// The given file, else the default one, else the environment.
pub(super) fn configuration(file: Option<&Path>, overrides: &Overrides) -> Result<Config, Problems> {
    let env = |name: &str| std::env::var(name).ok();
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(file) => config::from_file(file, overrides, &env),
        None if default.exists() => config::from_file(default, overrides, &env),
        None => config::from_environment(overrides, &env),
    }
}

/// Serves until a signal. `watch`: the files of certificates are read again when they change. `ready` is told where
/// callers connect.
pub(super) async fn serve(
    config: Config,
    watch: bool,
    ready: impl FnOnce(&[String], &AccessLog),
) -> io::Result<ExitCode> {
    log::init(&config.log)?;
    if core_dumps::allowed() {
        warn!("{}", core_dumps::WARNING);
    }
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("the limit of open files cannot be raised: {error}");
    }
    let stop = signals::listen(config.certificates(), watch)?;
    let out = config.log.access.then(|| unbuffered(io::stdout())).transpose()?;
    let access = AccessLog::new(out, config.log.format)?;
    let bound = server::bind(config).await?;
    info!(
        callers = bound.addresses().join(" "),
        operators = bound.admin_addresses().join(" "),
        "boxgate listens"
    );
    ready(&bound.addresses(), &access);
    let served = bound.run(Clock::real(), access.clone(), stop).await;
    access.flush();
    served.map(|()| ExitCode::SUCCESS)
}
