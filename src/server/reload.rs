//! Reloads: reads the configuration again while requests go on, and replaces the running gateway by a new one.
//!
//! The next gateway is built completely. Only if that succeeds does each worker take it over, and its requests begin
//! with it from then on; requests that began before keep the old one to their end. If anything is wrong, nothing
//! changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::assembly::{Assembled, Assembly, Prepared};
use super::bounded_reading::{BoundedReading, Hanging};
use super::file_watch::FileWatch;
use super::supervision;
use super::workers::{Replacement, WorkerThread};
use crate::admin::Overview;
use crate::admin::reloads::{Ask, Outcome};
use crate::config::{Config, Frame, Problems, Source, Text};
use crate::net::file_fingerprint::FileRead;
use crate::net::service_manager::ServiceManager;

/// How long to wait for a worker to take a gateway over, which it does between two tasks.
const TAKING_OVER: Duration = Duration::from_secs(5);

/// Which files are taken over when they change.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// The configuration file.
    pub configuration: bool,
    /// The files named in it: secrets and certificates.
    pub named: bool,
}

impl Watch {
    /// What to read again after a change.
    fn scope(self) -> Scope {
        if self.configuration { Scope::All } else { Scope::Named }
    }
}

/// Where the running configuration was read from, and what makes it be read again.
pub struct Reloading {
    /// The file or the environment.
    pub source: Source,
    /// Its text when it was read.
    pub text: Text,
    /// The files whose changes cause a reload.
    pub watch: Watch,
    /// One message for each SIGHUP.
    pub hangups: mpsc::UnboundedReceiver<()>,
}

/// Performs reloads, one after the other.
pub(super) struct Reloader {
    pub(super) assembly: Assembly,
    pub(super) assembled: Assembled,
    pub(super) overview: Arc<Overview>,
    pub(super) workers: Arc<Vec<WorkerThread>>,
    pub(super) asks: mpsc::UnboundedReceiver<Ask>,
    pub(super) manager: ServiceManager,
}

/// What a reload reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The configuration and all files that it names.
    All,
    /// Only the files named in it, because the configuration file may be half edited.
    Named,
}

impl Reloader {
    /// Never returns.
    pub(super) async fn run(mut self, reloading: Reloading) {
        let Reloading { source, mut text, watch, mut hangups } = reloading;
        let source = Arc::new(source);
        let reading = BoundedReading::new();
        // What the watch has reported, which it does once, or a refusal of Box may have mended, and that could not be read.
        let mut missed: Option<Hanging> = None;
        let mut files = FileWatch::default();
        let named = &self.assembled.gateway.config.files;
        files.watch(watched(watch, source.path(), text.file().into_iter().chain(named)));
        loop {
            let mut replies = Vec::new();
            let (mut is_watched, mut is_asked) = (false, false);
            let hanging = missed.as_ref().map_or(0, |hanging| hanging.count);
            let (why, scope) = tokio::select! {
                Some(ask) = self.asks.recv() => {
                    replies.push(ask.reply);
                    is_asked = true;
                    (ask.why, Scope::All)
                }
                Some(()) = hangups.recv() => {
                    is_asked = true;
                    ("SIGHUP", Scope::All)
                }
                () = files.changed() => {
                    is_watched = true;
                    ("a file has changed", watch.scope())
                }
                () = reading.has_fewer_hanging(hanging), if missed.is_some() => {
                    is_watched = true;
                    ("what hung has ended", watch.scope())
                }
                // While a read hangs, another would hang, too.
                () = self.assembly.refused.notified(), if missed.is_none() => {
                    match self.has_new_secrets(&reading, &source, &text).await {
                        Ok(true) => ("Box refuses an identity, and its secret has changed", Scope::Named),
                        Ok(false) => continue,
                        Err(hanging) => {
                            let outcome = Outcome::Refused { problems: vec![hanging.why.clone()] };
                            missed = Some(hanging);
                            self.tell("Box refuses an identity", &outcome, Vec::new(), replies).await;
                            continue;
                        }
                    }
                }
            };
            // All requests up to here get the same outcome: the files are read only now.
            while let Ok(ask) = self.asks.try_recv() {
                replies.push(ask.reply);
                is_asked = true;
            }
            while hangups.try_recv().is_ok() {
                is_asked = true;
            }
            supervision::tell_reloading(&self.manager, why).await;
            // Whoever asks may have moved the audit log away, also where the configuration is refused.
            let audit_log = if is_asked { self.reopen_audit_log().await } else { None };
            let paths = self.named_files();
            let read = match read(&reading, paths, &source, &text, scope).await {
                Ok(read) => read,
                // The watch goes on as it is: it sees another file in that one's place. Whoever asked for a reload is told,
                // and asks again.
                Err(hanging) => {
                    let outcome = Outcome::Refused { problems: vec![hanging.why.clone()] }.with(audit_log);
                    if is_watched {
                        missed = Some(hanging);
                    }
                    self.tell(why, &outcome, Vec::new(), replies).await;
                    continue;
                }
            };
            // What is watched from now on is what was read.
            missed = None;
            let read_now = match &read {
                Ok((config, text)) => {
                    watched(watch, source.path(), text.file().into_iter().chain(&config.files))
                }
                Err(problems) => {
                    // Watch those of the running configuration too: the corrected file may name them again.
                    let running = self.files_now(&reading).await;
                    watched(watch, source.path(), problems.files().iter().chain(&running))
                }
            };
            files.watch(read_now);
            let mut frames = Vec::new();
            let outcome = match read {
                Ok((config, read)) => {
                    let outcome = self.take_over(config).await;
                    if matches!(outcome, Outcome::TakenOver { .. }) {
                        text = read;
                    }
                    outcome
                }
                Err(problems) => {
                    frames = problems.iter().map(|problem| problem.frame().cloned()).collect();
                    Outcome::Refused { problems: problems.iter().map(ToString::to_string).collect() }
                }
            };
            self.tell(why, &outcome.with(audit_log), frames, replies).await;
        }
    }

    /// Opens the file of the audit log again; returns why that failed.
    async fn reopen_audit_log(&self) -> Option<String> {
        self.assembly.process.audit.as_ref()?.reopen().await.err()
    }

    /// Logs and records the outcome, and tells it the service manager and those who asked for the reload.
    async fn tell(
        &self,
        why: &'static str,
        outcome: &Outcome,
        frames: Vec<Option<Frame>>,
        replies: Vec<oneshot::Sender<Outcome>>,
    ) {
        log(why, outcome);
        self.overview.reloads.note(why, outcome, frames, self.assembly.process.clock.wall());
        // Before the replies: whoever runs `boxgate reload` as ExecReload= finds the reload ended.
        supervision::tell_ready(&self.manager, &self.overview).await;
        for reply in replies {
            // The receiver may be gone.
            let _ = reply.send(outcome.clone());
        }
    }

    /// The files that the running configuration names.
    fn named_files(&self) -> Vec<PathBuf> {
        self.assembled.gateway.config.files.iter().map(|file| file.path.clone()).collect()
    }

    /// The same, as they are now; where looking at them hangs, as they were when they were read.
    async fn files_now(&self, reading: &BoundedReading) -> Vec<FileRead> {
        let paths = self.named_files();
        let look = {
            let paths = paths.clone();
            move || paths.iter().map(|path| FileRead::now(path)).collect()
        };
        match reading.run(paths, look).await {
            Ok(files) => files,
            Err(_) => self.assembled.gateway.config.files.clone(),
        }
    }

    /// Whether the secret of an identity differs from the one in use.
    ///
    /// # Errors
    /// The files take too long.
    async fn has_new_secrets(
        &self,
        reading: &BoundedReading,
        source: &Arc<Source>,
        text: &Text,
    ) -> Result<bool, Hanging> {
        let read = read(reading, self.named_files(), source, text, Scope::Named).await?;
        let Ok((config, _)) = read else { return Ok(false) };
        let running = self.assembled.gateway.config.identities.iter();
        let mut pairs = config.identities.iter().zip(running);
        Ok(pairs.any(|(now, before)| now.client_secret != before.client_secret))
    }

    async fn take_over(&mut self, mut config: Config) -> Outcome {
        let running = &self.assembled.gateway.config;
        let mut notes = config.warnings.clone();
        let waiting = config.keep_until_restart(running);
        if !waiting.is_empty() {
            notes.push(format!(
                "takes effect only at a restart, unchanged until then: {}",
                waiting.join("; ")
            ));
        }
        config.keep_certificates(running);
        let prepared = match self.prepare(config) {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Refused { problems: vec![error.to_string()] },
        };
        let outward = prepared.has_new_pools.then(|| prepared.outward.clone());
        let assembled = self.assembly.follow(prepared, &self.assembled);
        let mut taking = Vec::new();
        for worker in &*self.workers {
            let (done, is_done) = oneshot::channel();
            let gateway = assembled.gateway.clone();
            worker.replace(Replacement { gateway, outward: outward.clone(), done });
            taking.push(is_done);
        }
        let all = async {
            for is_done in taking {
                // A worker that has ended serves nobody.
                let _ = is_done.await;
            }
        };
        if tokio::time::timeout(TAKING_OVER, all).await.is_err() {
            notes.push("a worker is stuck; it takes the configuration over once it goes on".to_owned());
        }
        self.overview.gateway.store(assembled.gateway.clone());
        self.assembled = assembled;
        Outcome::TakenOver { notes }
    }

    /// Runs on the accepting thread. The files that the configuration names have been read; it reads the platform's certificate
    /// roots, and where a forward proxy is new or has another certificate, its CA in the state folder.
    fn prepare(&self, config: Config) -> std::io::Result<Prepared> {
        self.assembly.prepare(config, &self.assembled)
    }
}

/// Reads the files on a thread of its own, since they may be slow.
///
/// # Errors
/// They take too long. `paths`: files that may be the cause.
async fn read(
    reading: &BoundedReading,
    paths: Vec<PathBuf>,
    source: &Arc<Source>,
    text: &Text,
    scope: Scope,
) -> Result<Result<(Config, Text), Problems>, Hanging> {
    let (source, text) = (source.clone(), text.clone());
    let task = move || match scope {
        Scope::All => source.read(),
        Scope::Named => source.read_files_of(&text).map(|config| (config, text)),
    };
    reading.run(paths, task).await
}

/// The files to watch; if a path is listed more than once, the first.
fn watched<'f>(
    watch: Watch,
    configuration: Option<&Path>,
    files: impl IntoIterator<Item = &'f FileRead>,
) -> Vec<FileRead> {
    let mut watched: Vec<FileRead> = Vec::new();
    for file in files {
        let is_configuration = configuration == Some(&*file.path);
        let is_watched = if is_configuration { watch.configuration } else { watch.named };
        if is_watched && watched.iter().all(|other| other.path != file.path) {
            watched.push(file.clone());
        }
    }
    watched
}

fn log(why: &str, outcome: &Outcome) {
    match outcome {
        Outcome::TakenOver { notes } => {
            for note in notes {
                warn!("{why}: {note}");
            }
            info!("{why}: the configuration was taken over");
        }
        Outcome::Refused { problems } => {
            for problem in problems {
                error!("{why}: {problem}");
            }
            error!(problems = problems.len(), "{why}: the configuration stays as it was");
        }
    }
}
