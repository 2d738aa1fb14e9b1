//! The program: what was asked for, configuration, bind, say where we listen, wait, drain.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use boxgate::cli::check;
use boxgate::cli::options::Options as GatewayOptions;
use boxgate::cli::shell::Shell;
use boxgate::cli::{self, Failure};
use boxgate::config::{self, Config, Overrides, Problems};
use boxgate::net::clock::Clock;
use boxgate::server::{self, signals};
use boxgate::telemetry::access_log::AccessLog;
use boxgate::telemetry::line_writer::unbuffered;
use boxgate::telemetry::log;
use clap::{Args, Parser, Subcommand};
use tracing::{info, warn};

// Why: docs/decisions/mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of a configuration that cannot be used, so that a service manager need not restart into it.
const BAD_CONFIGURATION: u8 = 2;
const DEFAULT_FILE: &str = "proxy.toml";

/// An authenticating reverse proxy in front of the Box API.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Run(Run),
    /// Validate the configuration; unless offline, also get a token for every identity and ask Box who it is
    Check {
        /// The configuration file [default: proxy.toml, or the environment where there is none]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Call nobody
        #[arg(long)]
        offline: bool,
    },
    /// Run an in-process Box with the gateway in front: no Box account, no file
    #[cfg(feature = "sandbox")]
    Sandbox {
        /// Where callers connect
        #[arg(long, value_name = "ADDR", env = "BOXGATE_LISTEN", default_value = sandbox_command::DEFAULT_ADDRESS)]
        listen: String,
        /// Where operators connect
        #[arg(long, value_name = "ADDR", env = "BOXGATE_ADMIN", default_value = "127.0.0.1:8081")]
        admin: String,
        /// Where the page is that shows the sandbox in a browser
        #[arg(long, value_name = "ADDR", env = "BOXGATE_PAGE", default_value_t = boxgate::sandbox::page::ADDRESS)]
        page: std::net::SocketAddr,
    },
    /// Print the environment in which programs that have Box's hosts built in go through a gateway
    ///
    /// Use it with: eval "$(boxgate env)". The gateway must have a [forward_proxy] table. Its CA is checked, since it may
    /// be good for Box's domains alone, and is written to files in the user's cache folder. The gateway refuses all
    /// hosts but Box's; `boxgate exec` runs programs that need others too.
    Env {
        #[command(flatten)]
        gateway: GatewayOptions,
        /// What reads the output
        #[arg(long, value_enum, default_value = "sh")]
        shell: Shell,
    },
    /// Run a command whose calls to Box go through a gateway, for programs that have Box's hosts built in
    ///
    /// Calls to all other hosts go the way they went before: directly, or by HTTPS_PROXY and NO_PROXY. The gateway must
    /// have a [forward_proxy] table. The exit status is the command's; 2 where the gateway cannot be reached, used or
    /// trusted, 126 and 127 where the command cannot be run or found.
    Exec {
        #[command(flatten)]
        gateway: GatewayOptions,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

#[derive(Args)]
struct Run {
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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(Run { config, listen, admin, hosts }) => {
            let overrides = Overrides {
                listen,
                admin,
                hosts: hosts.into_iter().filter(|host| !host.is_empty()).collect(),
            };
            match configuration(config.as_deref(), &overrides) {
                Ok(config) => concluded(run(config)),
                Err(problems) => bad_configuration(&problems),
            }
        }
        Command::Check { config, offline } => match configuration(config.as_deref(), &Overrides::default()) {
            Ok(config) => concluded(checked(&config, offline)),
            Err(problems) => bad_configuration(&problems),
        },
        #[cfg(feature = "sandbox")]
        Command::Sandbox { listen, admin, page } => sandbox_command::run(&listen, &admin, page),
        Command::Env { gateway, shell } => ended(async {
            let printed = cli::env::run(&gateway, shell).await?;
            let mut out = io::stdout();
            let written = io::Write::write_all(&mut out, printed.assignments.as_bytes());
            written.and_then(|()| io::Write::flush(&mut out)).map_err(|error| error.to_string())?;
            eprint!("{}", printed.notes);
            Ok(0)
        }),
        Command::Exec { gateway, command } => ended(cli::exec::run(&gateway, &command)),
    }
}

/// Runs what ends with a status of its own.
fn ended(running: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let status = block_on(async {
        Ok(ExitCode::from(running.await.unwrap_or_else(|Failure { status, words }| {
            eprintln!("boxgate: {words}");
            status
        })))
    });
    status.unwrap_or_else(|error| {
        eprintln!("boxgate: {error}");
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// The given file, else the default one, else the environment.
fn configuration(file: Option<&Path>, overrides: &Overrides) -> Result<Config, Problems> {
    let env = |name: &str| std::env::var(name).ok();
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(file) => config::from_file(file, overrides, &env),
        None if default.exists() => config::from_file(default, overrides, &env),
        None => config::from_environment(overrides, &env),
    }
}

fn bad_configuration(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(BAD_CONFIGURATION)
}

fn concluded(result: io::Result<ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|error| {
        log::say(&format!("boxgate: {error}"));
        ExitCode::FAILURE
    });
    log::flush();
    code
}

fn checked(config: &Config, offline: bool) -> io::Result<ExitCode> {
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    println!("the configuration is well formed");
    if offline || check::run(config, |line| println!("{line}"))? {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn run(config: Config) -> io::Result<ExitCode> {
    block_on(serve(config, |_, _| {}))
}

fn block_on(serving: impl Future<Output = io::Result<ExitCode>>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serving);
    // Dropped, it would wait for name look-ups that are still under way.
    runtime.shutdown_background();
    served
}

/// Serves until a signal. `ready` is told where callers connect.
async fn serve(config: Config, ready: impl FnOnce(&[String], &AccessLog)) -> io::Result<ExitCode> {
    log::init(&config.log)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("the limit of open files cannot be raised: {error}");
    }
    let stop = signals::listen(config.tls.clone())?;
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

/// The subcommand `sandbox`.
#[cfg(feature = "sandbox")]
mod sandbox_command {
    use std::fmt::Write;
    use std::net::SocketAddr;
    use std::os::unix::fs::DirBuilderExt as _;
    use std::process::ExitCode;

    use boxgate::config::{self, Overrides};
    use boxgate::sandbox::page::PageListener;
    use boxgate::sandbox::{Names, Options, Sandbox};
    use boxgate::telemetry::access_log::AccessLog;

    use super::{bad_configuration, block_on, concluded, serve};

    /// Where callers connect unless something else is said.
    pub(super) const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

    /// Serves until a signal.
    pub(super) fn run(listen: &str, admin: &str, page: SocketAddr) -> ExitCode {
        // Nobody else may have prepared it: what is read and written there decides whom callers trust.
        let name = format!("boxgate-sandbox-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        let served = block_on(async {
            // By Box's own names, as programs know them that have them built in; only the sandbox's proxy leads to it.
            let options = Options { names: Names::Box, ..Options::default() };
            let sandbox = Sandbox::start(options).await?;
            let page = PageListener::bind(page).await?;
            std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
            std::fs::write(folder.join("ca.pem"), sandbox.ca_pem())?;
            let overrides = Overrides {
                listen: Some(listen.to_owned()),
                admin: Some(admin.to_owned()),
                hosts: Vec::new(),
            };
            let secret = |name: &str| (name == "SANDBOX_SECRET").then(|| sandbox.client_secret().to_owned());
            let name = folder.join("sandbox.toml");
            match config::from_text(&sandbox_file(&sandbox, &page), &name, &overrides, &secret) {
                Ok(config) => serve(config, |addresses, out| introduce(addresses, page, out)).await,
                Err(problems) => Ok(bad_configuration(&problems)),
            }
        });
        let _ = std::fs::remove_dir_all(&folder);
        concluded(served)
    }

    fn sandbox_file(sandbox: &Sandbox, page: &PageListener) -> String {
        format!(
            r#"[box]
ca_file = "ca.pem"

[identity.service]
client_id     = "{}"
client_secret = {{ env = "SANDBOX_SECRET" }}
enterprise_id = "{}"

[upstream]
proxy = "{}"

[state]
dir = "state"

[forward_proxy]

{}"#,
            sandbox.client_id(),
            sandbox.enterprise_id(),
            sandbox.proxy_url(),
            page.app(),
        )
    }

    /// On standard output, before the access lines and written as they are. The page is served from here on; a browser
    /// does not reach Unix sockets.
    fn introduce(addresses: &[String], page: PageListener, out: &AccessLog) {
        let address = addresses.first().map(String::as_str).unwrap_or_default();
        let mut text = match address.strip_prefix("unix:") {
            Some(path) => format!(
                "A sandbox of Box with boxgate in front. No credential is needed; try:\n\n  curl --unix-socket {path} http://localhost/2.0/users/me\n\n"
            ),
            None => format!(
                "A sandbox of Box with boxgate in front, at http://{address}\nNo credential is needed; try:\n\n  curl http://{address}/2.0/users/me\n\n\
                 or any program that has Box's hosts built in:\n\n  boxgate exec{} -- curl https://api.box.com/2.0/users/me\n\n",
                if address == DEFAULT_ADDRESS {
                    String::new()
                } else {
                    format!(" --gateway http://{address}")
                },
            ),
        };
        if let Ok(gateway) = address.parse() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "or open {}/ in a browser.\n", page.url());
            page.serve(gateway);
        }
        out.write(text);
    }
}
