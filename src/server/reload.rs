//! Reloads: the configuration is read again while requests go on, and what is made from it follows what runs.
//!
//! The next gateway is built whole. Only when all of it is good, each worker takes it over, and its requests begin with
//! it from then on; those that began before keep theirs to their end. Where anything is wrong, nothing has changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::assembly::{Assembled, Assembly, Prepared};
use super::file_watch::FileWatch;
use super::workers::{Replacement, WorkerThread};
use crate::admin::Overview;
use crate::admin::reloads::{Ask, Outcome};
use crate::config::{Config, Problems, Source, Text};
use crate::net::file_fingerprint::FileRead;

/// A worker takes a gateway over between two of its tasks. One that is stuck for longer is not waited for.
const TAKING_OVER: Duration = Duration::from_secs(5);

/// Which files are taken over when they change.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// The configuration file.
    pub configuration: bool,
    /// The files that it names: secrets and certificates.
    pub named: bool,
}

/// What a running configuration was read from, and when it is read again.
pub struct Reloading {
    /// Where it stands.
    pub source: Source,
    /// As it was read.
    pub text: Text,
    /// What is read again by itself.
    pub watch: Watch,
    /// SIGHUP was heard.
    pub hangups: mpsc::UnboundedReceiver<()>,
}

/// Carries reloads out, one after the other.
pub(super) struct Reloader {
    pub(super) assembly: Assembly,
    pub(super) assembled: Assembled,
    pub(super) overview: Arc<Overview>,
    pub(super) workers: Arc<Vec<WorkerThread>>,
    pub(super) asks: mpsc::UnboundedReceiver<Ask>,
}

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The configuration and all files that it names.
    All,
    /// The files that it names; the configuration file may be in the midst of being edited.
    Named,
}

impl Reloader {
    /// Never returns.
    pub(super) async fn run(mut self, reloading: Reloading) {
        let Reloading { source, mut text, watch, mut hangups } = reloading;
        let source = Arc::new(source);
        let mut files = FileWatch::default();
        let named = &self.assembled.gateway.config.files;
        files.watch(watched(watch, source.path(), text.file().into_iter().chain(named)));
        loop {
            let mut replies = Vec::new();
            let (why, scope) = tokio::select! {
                Some(ask) = self.asks.recv() => {
                    replies.push(ask.reply);
                    (ask.why, Scope::All)
                }
                Some(()) = hangups.recv() => ("SIGHUP", Scope::All),
                () = files.changed() => {
                    ("a file has changed", if watch.configuration { Scope::All } else { Scope::Named })
                }
                () = self.assembly.refused.notified() => {
                    if !self.has_new_secrets(&source, &text).await {
                        continue;
                    }
                    ("Box refuses an identity, and its secret has changed", Scope::Named)
                }
            };
            // Whoever has asked up to here gets the same answer: the files are read only now.
            while let Ok(ask) = self.asks.try_recv() {
                replies.push(ask.reply);
            }
            while hangups.try_recv().is_ok() {}
            let read = read(&source, &text, scope).await;
            let read_now = match &read {
                Ok((config, text)) => {
                    watched(watch, source.path(), text.file().into_iter().chain(&config.files))
                }
                Err(problems) => {
                    // Those of the running configuration may be named again once this one is mended.
                    let running = self.assembled.gateway.config.files.clone();
                    let running = blocking(move || {
                        running.iter().map(|file| FileRead::now(&file.path)).collect::<Vec<_>>()
                    });
                    watched(watch, source.path(), problems.files().iter().chain(&running.await))
                }
            };
            files.watch(read_now);
            let outcome = match read {
                Ok((config, read)) => {
                    let outcome = self.take_over(config).await;
                    if matches!(outcome, Outcome::TakenOver { .. }) {
                        text = read;
                    }
                    outcome
                }
                Err(problems) => {
                    Outcome::Refused { problems: problems.iter().map(ToString::to_string).collect() }
                }
            };
            log(why, &outcome);
            self.overview.reloads.note(why, &outcome, self.assembly.process.clock.wall());
            for reply in replies {
                // Whoever asked may have gone.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    /// Whether a secret of an identity is another than the one that is in use.
    async fn has_new_secrets(&self, source: &Arc<Source>, text: &Text) -> bool {
        let Ok((config, _)) = read(source, text, Scope::Named).await else { return false };
        let running = &self.assembled.gateway.config.identities;
        config.identities.iter().zip(running).any(|(now, before)| now.client_secret != before.client_secret)
    }

    async fn take_over(&mut self, mut config: Config) -> Outcome {
        let running = &self.assembled.gateway.config;
        let mut notes = config.warnings.clone();
        let waiting = config.keep_until_restart(running);
        if !waiting.is_empty() {
            notes
                .push(format!("takes effect only at a restart, and stays as it was: {}", waiting.join("; ")));
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

    /// On this thread, which accepts connections: it reads no file but the platform's certificate roots.
    fn prepare(&self, config: Config) -> std::io::Result<Prepared> {
        self.assembly.prepare(config, &self.assembled)
    }
}

/// Reads files, which may be slow.
async fn read(source: &Arc<Source>, text: &Text, scope: Scope) -> Result<(Config, Text), Problems> {
    let (source, text) = (source.clone(), text.clone());
    let reading = move || match scope {
        Scope::All => source.read(),
        Scope::Named => source.read_files_of(&text).map(|config| (config, text)),
    };
    blocking(reading).await
}

/// Does what may have to wait for a file system.
async fn blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(task).await {
        Ok(done) => done,
        // Nobody aborts it.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Of these files, those that are looked at; where a path stands more than once, the first.
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
