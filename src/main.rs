//! The program: parses the command line and runs the subcommand.

use std::ffi::OsString;
use std::process::ExitCode;

use boxgate::cli::options::Options as GatewayOptions;
use boxgate::cli::shell::Shell;
use boxgate::cli::{
    admin_client, audit, check, core_dumps, env, exec, explain, health, huge_pages, init, manual, reload,
    run, status, usage,
};
use clap::{CommandFactory as _, Parser, Subcommand, ValueHint};

// Why: docs/decisions/mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENVIRONMENT: &str = "\
Core dumps are disabled, since they would reveal tokens and secrets. For a diagnosis, BOXGATE_CORE_DUMPS=allow
leaves them to the system's limits.";

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
    /// Check the configuration, the way to Box, and what each identity may do there
    ///
    /// Each check prints a line with what to do. They only read. The exit status is 0 where all is well, 1 where a check
    /// failed, and 2 where the configuration has problems.
    Check(check::Options),
    /// Say what an error code means, or how the configuration decides a request
    ///
    /// A request is decided as a running gateway decides it, step by step, up to limits and budgets, which are named with
    /// what they would count. Nothing is sent: neither Box nor a running gateway is called. The exit status is 0 for a code
    /// and for a request that passes, 1 for one that is refused or served by another app than --app names, and 2 where the
    /// configuration or an argument cannot be used.
    Explain(explain::Options),
    /// Ask for the account at Box, try it, and write proxy.toml and the file of the secret
    ///
    /// Environment variables that are set are not asked for: BOX_CLIENT_ID, BOX_CLIENT_SECRET, and BOX_ENTERPRISE_ID or
    /// BOX_USER_ID. With all of them no terminal is needed. Box is reached through HTTPS_PROXY, and certificates are
    /// checked against the system's authorities, or those in the file that SSL_CERT_FILE names. The exit status is 0 where
    /// the files were written, 1 where Box refuses the account, and 2 where nothing was written for another reason.
    Init(init::Options),
    /// Let a running gateway read its configuration again, and print what came of it
    ///
    /// As SIGHUP does, the whole configuration is read again: the file, all secret files, all certificates. A configuration
    /// with a problem changes nothing. The exit status is 0 where it was taken over, 1 where it was refused, with the
    /// problems on standard error, and 2 where no gateway answers.
    Reload(admin_client::Options),
    /// Ask a running gateway whether it is alive, for health checks of containers
    ///
    /// One line is printed within 5 seconds: on standard output with exit status 0 where the gateway is alive, or ready
    /// with --ready; else on standard error with 1.
    Health(health::Options),
    /// Show on one screen what a running gateway is doing
    ///
    /// Box by host, identities and their tokens, apps with their requests of the last five minutes, limits, pauses and
    /// budgets, what needs attention first. The exit status is 0 where the gateway is ready, 1 where it is not, and 2 where
    /// no gateway answers; with --watch, as the last answer said.
    Status(status::Options),
    /// Ask a running gateway who spent Box's calls in a month
    ///
    /// A table is printed with the calls by app, identity, class or day (UTC), and each one's share. Requests for tokens
    /// count, too; they have no app. The exit status is 0, or 2 where no gateway answers.
    Usage(usage::Options),
    /// Check audit logs
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Run an in-process Box with the gateway in front, without a Box account or a configuration file
    #[cfg(feature = "sandbox")]
    Sandbox(boxgate::cli::sandbox::Options),
    /// Print the environment in which programs that have Box's hosts built in go through a gateway
    ///
    /// Use it with: eval "$(boxgate env)". The gateway must have a [forward_proxy] table. Its CA, which must be limited
    /// to Box's domains, is checked and written to files in the user's cache folder. The gateway refuses all hosts but
    /// Box's; `boxgate exec` runs programs that need others too.
    Env {
        #[command(flatten)]
        gateway: GatewayOptions,
        /// The program that reads the output
        #[arg(long, value_enum, default_value = "sh")]
        shell: Shell,
    },
    /// Run a command whose calls to Box go through a gateway, for programs that have Box's hosts built in
    ///
    /// Calls to other hosts go as before: directly, or as HTTPS_PROXY and NO_PROXY say. The gateway must have a
    /// [forward_proxy] table. The exit status is the command's; 2 if the gateway cannot be reached, used or trusted,
    /// 126 and 127 if the command cannot be run or found.
    Exec {
        #[command(flatten)]
        gateway: GatewayOptions,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Print the script that completes command lines of boxgate in a shell
    ///
    /// For bash: boxgate completions bash > ~/.local/share/bash-completion/completions/boxgate
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: manual::Shell,
    },
    /// Print the manual page
    ///
    /// To read it: boxgate man > boxgate.1; man ./boxgate.1
    Man,
}

fn main() -> ExitCode {
    let declined = huge_pages::decline();
    // Before anything is read, since the environment may already hold secrets.
    if let Err(code) = core_dumps::forbid() {
        return code;
    }
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    if !matches!(command, Command::Exec { .. }) {
        // `exec` runs another program, whose core dumps are up to its user.
        core_dumps::forbid_for_children();
    } else if declined {
        huge_pages::accept();
    }
    match command {
        Command::Run(options) => run::run(options),
        Command::Check(options) => check::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Init(options) => init::run(&options),
        Command::Reload(options) => reload::run(&options),
        Command::Health(options) => health::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Usage(options) => usage::run(&options),
        Command::Audit { command } => audit::run(&command),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => boxgate::cli::sandbox::run(options),
        Command::Env { gateway, shell } => env::run(&gateway, shell),
        Command::Exec { gateway, command } => exec::run(&gateway, &command),
        Command::Completions { shell } => manual::completions(shell, Cli::command()),
        Command::Man => manual::page(Cli::command()),
    }
}
