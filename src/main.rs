//! The program: reads the command line and runs what it asks for.

use std::ffi::OsString;
use std::process::ExitCode;

use boxgate::cli::options::Options as GatewayOptions;
use boxgate::cli::shell::Shell;
use boxgate::cli::{admin_client, check, core_dumps, env, exec, reload, run};
use clap::{Parser, Subcommand};

// Why: docs/decisions/mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENVIRONMENT: &str = "\
No core dumps are made, since they would hold tokens and secrets. For a diagnosis, BOXGATE_CORE_DUMPS=allow leaves them to
the system's limits.";

/// An authenticating reverse proxy in front of the Box API.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Run(run::Options),
    /// Validate the configuration; unless offline, also get a token for every identity and ask Box who it is
    Check(check::Options),
    /// Let a running gateway read its configuration again, and print what came of it
    ///
    /// As SIGHUP does, the whole configuration is read again: the file, all secret files, all certificates. A configuration
    /// with a problem changes nothing. The exit status is 0 where it was taken over, 1 where it was refused, with the
    /// problems on standard error, and 2 where no gateway answers.
    Reload(admin_client::Options),
    /// Run an in-process Box with the gateway in front: no Box account, no file
    #[cfg(feature = "sandbox")]
    Sandbox(boxgate::cli::sandbox::Options),
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

fn main() -> ExitCode {
    // First of all: the environment may hold secrets already.
    if let Err(code) = core_dumps::forbid() {
        return code;
    }
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    if !matches!(command, Command::Exec { .. }) {
        // The command of `exec` is a program of its own, whose core dumps are its user's affair.
        core_dumps::forbid_for_children();
    }
    match command {
        Command::Run(options) => run::run(options),
        Command::Check(options) => check::run(&options),
        Command::Reload(options) => reload::run(&options),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => boxgate::cli::sandbox::run(options),
        Command::Env { gateway, shell } => env::run(&gateway, shell),
        Command::Exec { gateway, command } => exec::run(&gateway, &command),
    }
}
