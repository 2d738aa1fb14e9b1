//! `boxgate exec`: runs a command whose calls to Box go through the gateway; its other calls go as before.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use hyper_util::client::proxy::matcher::Matcher;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Failure;
use super::environment::{JavaProxy, variables};
use super::exit::with_status;
use super::gateway;
use super::options::{GatewayUrl, KEY_VARIABLE, Login, Options};
use super::splitter::Splitter;
use super::trust_files::{Folder, TrustFiles};
use crate::net::secret::Secret;
use crate::net::service_manager;

/// The exit status for a command that was not found, as in shells.
const NOT_FOUND: u8 = 127;
/// The exit status for a command that cannot be run, as in shells.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status of a command ended by a signal is this plus the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Runs the command; the exit status is the command's.
pub fn run(options: &Options, command: &[OsString]) -> ExitCode {
    with_status(exec(options, command))
}

/// Checks the gateway, then runs the command to its end. The exit status is the command's. `command`: its name and its
/// arguments.
///
/// # Errors
/// The options are contradictory, the gateway cannot be used or trusted, or the command cannot be started.
async fn exec(options: &Options, command: &[OsString]) -> Result<u8, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no command is given".to_owned().into());
    };
    let url = GatewayUrl::parse(&options.gateway)?;
    let login = Login::of(options, std::env::var(KEY_VARIABLE).ok())?;
    let now = jiff::Timestamp::now();
    let ca = gateway::find(&url, login.as_ref(), options.ca_fingerprint.as_deref(), now).await?;

    // Any program of this machine can connect to the splitter and could use the key, or the caller's own proxy with its
    // password; so the splitter requires a password that only the command is given. Without these there is nothing to
    // protect, and some programs cannot send a password.
    let has_key = login.as_ref().is_some_and(|login| !login.key.expose().is_empty());
    let earlier = Matcher::from_env();
    let lends_proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|url| url.to_string_lossy().contains('@')));
    let password = if has_key || lends_proxy { Some(random_password()?) } else { None };
    let bound = Splitter::bind(url, login.as_ref(), earlier, password.as_ref()).await;
    let splitter = bound.map_err(|error| format!("cannot listen on 127.0.0.1: {error}"))?;

    // Before the temporary folder is created, which a signal would leave behind.
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let unwritten = |error| format!("cannot write a file with the gateway's CA: {error}");
    let folder = Folder::temporary().map_err(unwritten)?;
    let files = ca.map(|ca| TrustFiles::new(&folder, &ca.fingerprint(), ca.roots().cloned().collect()));
    let address = splitter.address();
    let host = address.ip().to_string();
    let java = JavaProxy { host: &host, port: address.port() };
    let caller = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let set = variables(&caller, &splitter.proxy_url(password.as_ref()), Some(java), files.as_ref());
    let set = set.map_err(unwritten)?;
    drop(files);

    let splitting = tokio::spawn(splitter.serve());
    // The splitter has the key; the command needs none.
    let mut run = Command::new(program);
    run.args(arguments).envs(set).env_remove(KEY_VARIABLE);
    // What a service manager says to this process is not said to another.
    for variable in service_manager::VARIABLES {
        run.env_remove(variable);
    }
    let mut child = run.spawn().map_err(|error| not_started(program, &error))?;
    let status = signals.until_end_of(&mut child).await;
    splitting.abort();
    let status = status.map_err(|error| format!("cannot wait for the end of the command: {error}"))?;
    Ok(exit_code(status))
}

/// A random password of 32 hexadecimal digits.
fn random_password() -> Result<Secret, String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn not_started(program: &OsString, error: &io::Error) -> Failure {
    let shown = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure { status: NOT_FOUND, words: format!("{shown}: command not found") }
        }
        _ => Failure { status: NOT_EXECUTABLE, words: format!("{shown}: cannot be run: {error}") },
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| ENDED_BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The signals that are forwarded to the command.
struct Signals(mpsc::Receiver<Signal>);

/// Signals that a terminal sends to all its foreground processes, including the command.
const FROM_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::WINCH];
const FORWARDED: [Signal; 7] =
    [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2];

impl Signals {
    /// Starts to catch these signals, so that none of them ends this process.
    fn listen() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(16);
        let ignored = ignored_signals();
        for forwarded in FORWARDED {
            let number = forwarded.as_raw();
            // An ignored signal (by nohup, or in a script's background) must stay ignored for the command, which would
            // not be the case if this process caught it.
            if ignored & (1_u64 << (number - 1)) != 0 {
                continue;
            }
            let mut stream = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() && sender.send(forwarded).await.is_ok() {}
            });
        }
        Ok(Self(receiver))
    }

    /// Forwards signals until the command has ended.
    async fn until_end_of(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            let forwarded = tokio::select! {
                status = child.wait() => return status,
                Some(forwarded) = self.0.recv() => forwarded,
            };
            // The command is in the same process group. In the foreground it gets Ctrl-C from the terminal itself;
            // forwarding would send it twice, upon which many programs end at once.
            if FROM_TERMINAL.contains(&forwarded) && is_in_foreground() {
                continue;
            }
            // The process was not waited for yet, so no other process can have its id.
            let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(id) = id {
                let _ = kill_process(id, forwarded);
            }
        }
    }
}

fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}

/// A bit for each signal that was ignored when this process started; the lowest bit is signal 1. Known only on Linux.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
