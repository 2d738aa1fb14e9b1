//! `boxgate check`: is all well with a configuration, from the file to the first answer of Box? Each check finds rows;
//! checks run side by side.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Args;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::exit::{BAD_CONFIGURATION, bad_configuration, block_on, logged};
use super::first_run;
use super::run::{DEFAULT_FILE, source};
use crate::config::{Config, Overrides};
use crate::net::clock::Clock;
use crate::oauth::identity::IdentityId;

use self::findings::{About, Report, Row};
use self::online::Online;
use self::progress::Progress;
use self::table::{Style, table};

mod call; // one call to Box
mod clock; // this machine's time compared with Box's
mod configuration; // the file
mod downscope; // what a token with fewer rights may do
mod files; // secrets, certificates, state, audit log
mod findings; // rows: what was found
mod hosts; // Box's hosts
mod identities; // tokens, and whose they are
mod listeners; // are the addresses free?
mod online; // what checks need that ask Box
mod progress; // how far it has come, on a terminal
mod redis; // can it be used?
mod rights; // what an identity may do
mod table; // rows for people

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The configuration file [default: proxy.toml, or the environment where there is none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check only the configuration and its files; connect to nothing
    #[arg(long)]
    offline: bool,
    /// A warning is a failure, too
    #[arg(long)]
    strict: bool,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
}

/// Checks a configuration and, unless offline, what it needs to run.
pub fn run(options: &Options) -> ExitCode {
    if !options.json && options.config.is_none() && first_run::is_unconfigured(Path::new(DEFAULT_FILE)) {
        eprintln!("{}", first_run::WORDS);
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let source = source(options.config.as_deref(), Overrides::default());
    let name = match source.path() {
        Some(path) => path.display().to_string(),
        None => "environment".to_owned(),
    };
    let config = match source.read() {
        Ok((config, _)) => config,
        Err(problems) if options.json => {
            let report = Report(configuration::problems(&name, &problems));
            println!("{}", report.json(BAD_CONFIGURATION));
            return ExitCode::from(BAD_CONFIGURATION);
        }
        Err(problems) => return bad_configuration(&problems),
    };
    // Its secrets live to the end: whatever is printed is searched for them.
    let _secrets = config.clone();
    let mut report = Report(configuration::rows(&name, &config));
    report.0.extend(files::rows(&config, Clock::real().wall()));
    if !options.offline {
        let checked = block_on(async {
            // A local set, since the tasks of connections to Box run on this thread.
            let checking = online(config, !options.json);
            report.0.extend(LocalSet::new().run_until(checking).await);
            Ok(ExitCode::SUCCESS)
        });
        if checked.is_err() {
            return logged(checked);
        }
    }
    let exit = u8::from(!report.is_well(options.strict));
    if options.json {
        println!("{}", report.json(exit));
    } else {
        print!("{}", table(&report, style()));
    }
    ExitCode::from(exit)
}

/// On a terminal: with colours unless `NO_COLOR` is set, and no wider than it is.
fn style() -> Style {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return Style { colour: false, width: None };
    }
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    Style { colour, width: size.map(|size| size.ws_col.into()).filter(|columns| *columns > 0) }
}

/// Checks what needs the network, all at once.
async fn online(config: Config, progress: bool) -> Vec<Row> {
    let online = match Online::new(config, Clock::real()) {
        Ok(online) => online,
        Err(cause) => return vec![About::new("network", "network").failed(cause, "")],
    };
    let hosts = hosts::hosts(&online);
    let identities = online.config.identities.len();
    let progress = Rc::new(Progress::begin(hosts.len() + identities + 1, progress));
    // Needs no network, and is not worth a step of its own.
    let mut around = listeners::rows(&online.config).await;
    around.push(files::state(&online.config));
    let hosts: Vec<_> = hosts
        .into_iter()
        .map(|(host, keys)| {
            let online = online.clone();
            begin(&progress, async move { hosts::check(&online, &host, &keys).await })
        })
        .collect();
    let identities: Vec<_> = (0..identities)
        .map(|index| begin(&progress, identities::check(online.clone(), IdentityId::new(index))))
        .collect();
    let redis = {
        let online = online.clone();
        begin(&progress, async move { redis::check(&online).await })
    };

    let (mut rows, mut clocks) = (Vec::new(), None);
    for found in done(hosts).await {
        clocks = clocks.or(found.clocks);
        rows.push(found.row);
    }
    rows.extend(done(identities).await.into_iter().flatten());
    rows.extend(done(vec![redis]).await.into_iter().flatten());
    rows.extend(clock::row(clocks));
    rows.extend(around);
    rows
}

/// Runs a check beside the others.
fn begin<T: 'static>(progress: &Rc<Progress>, check: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let progress = progress.clone();
    spawn_local(async move {
        let found = check.await;
        progress.step();
        found
    })
}

/// What these checks found, in their order.
async fn done<T>(checks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut found = Vec::new();
    for check in checks {
        // It panicked, which has been printed, and ends as a failure of the program does.
        found.push(check.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    found
}
