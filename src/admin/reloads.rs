//! Reloads of the configuration: who asks for one, and what operators are told of the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new configuration holds for every request that begins from now on.
    TakenOver {
        /// In words: what is allowed but not advised, and the keys that take effect only at a restart.
        notes: Vec<String>,
    },
    /// The configuration stays as it was.
    Refused {
        /// Each with its location, in the words of a start.
        problems: Vec<String>,
    },
}

/// A reload that somebody asks for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Begins the lines of the log, such as `SIGHUP`.
    pub why: &'static str,
    /// Is told what came of it; its other half may be gone.
    pub reply: Option<oneshot::Sender<Outcome>>,
}

/// The last reload that was refused, until one is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastRefused {
    pub at: SystemTime,
    /// What asked for it.
    pub why: &'static str,
    /// Each with its location.
    pub problems: Vec<String>,
}

impl LastRefused {
    /// A line for operators, with the line break at its end.
    pub(crate) fn note(&self) -> String {
        let at = Timestamp::try_from(self.at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ");
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems, the first"),
        };
        // One line, whatever a value of the file that is repeated there may hold.
        let first = self.problems.first().map(String::as_str).unwrap_or_default();
        let first = first.replace(char::is_control, " ");
        format!("the configuration was not taken over at {at} ({}): {count}: {first}\n", self.why)
    }
}

/// Asks for reloads, and knows how they went. Shared by whoever may ask.
#[derive(Debug)]
pub(crate) struct Reloads {
    asks: mpsc::UnboundedSender<Ask>,
    taken_over: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    taken_over: SystemTime,
    refused: Option<LastRefused>,
}

impl Reloads {
    /// `now`: the configuration of the start was taken over then. Whoever has the other half does what is asked for.
    pub(crate) fn new(now: SystemTime) -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let last = Mutex::new(Last { taken_over: now, refused: None });
        (Self { asks, taken_over: AtomicU64::new(0), refused: AtomicU64::new(0), last }, asked)
    }

    /// Asks for a reload and does not wait for it.
    pub(crate) fn ask(&self, why: &'static str) {
        // Nobody hears it once the process stops.
        let _ = self.asks.send(Ask { why, reply: None });
    }

    /// Asks for a reload and waits for what comes of it; `None` where the process stops before.
    pub(crate) async fn request(&self, why: &'static str) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.asks.send(Ask { why, reply: Some(reply) }).ok()?;
        outcome.await.ok()
    }

    /// Notes what came of a reload.
    pub(crate) fn note(&self, why: &'static str, outcome: &Outcome, now: SystemTime) {
        let mut last = self.lock();
        match outcome {
            Outcome::TakenOver { .. } => {
                *last = Last { taken_over: now, refused: None };
                self.taken_over.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Refused { problems } => {
                last.refused = Some(LastRefused { at: now, why, problems: problems.clone() });
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many reloads were taken over, and how many were refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.taken_over.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// When the configuration that holds was taken over.
    pub(crate) fn last_taken_over(&self) -> SystemTime {
        self.lock().taken_over
    }

    /// Why the file is not what holds; `None` where the last reload was taken over.
    pub(crate) fn last_refused(&self) -> Option<LastRefused> {
        self.lock().refused.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
