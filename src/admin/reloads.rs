//! Reloads of the configuration: requests for one, their outcomes, and what operators see of the last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use crate::config::Frame;
use crate::telemetry::words::rfc_3339;

/// The outcome of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new configuration applies to every request that begins from now on.
    TakenOver {
        /// Sentences for operators: warnings, and the keys that take effect only at a restart.
        notes: Vec<String>,
    },
    /// The configuration stays as it was.
    Refused {
        /// Each with its location, in the same words as at a start.
        problems: Vec<String>,
    },
}

impl Outcome {
    /// Adds a sentence for operators about something else that the reload was to do.
    pub(crate) fn with(mut self, sentence: Option<String>) -> Self {
        match &mut self {
            Self::TakenOver { notes } => notes.extend(sentence),
            Self::Refused { problems } => problems.extend(sentence),
        }
        self
    }
}

/// A request for a reload.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Its cause, such as `SIGHUP`; log lines begin with it.
    pub why: &'static str,
    /// Receives the outcome; the receiver may be gone.
    pub reply: oneshot::Sender<Outcome>,
}

/// The last reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastReload {
    pub at: SystemTime,
    /// Its cause, such as `SIGHUP`.
    pub why: &'static str,
    pub outcome: Outcome,
    /// The line of the file for each problem that is in one; fewer than problems if none is.
    pub frames: Vec<Option<Frame>>,
}

/// The last refused reload, until one is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastRefused {
    pub at: SystemTime,
    /// Its cause, such as `SIGHUP`.
    pub why: &'static str,
    /// The problems, each with its location.
    pub problems: Vec<String>,
}

impl LastRefused {
    /// A line for operators, without its line break.
    pub(crate) fn note(&self) -> String {
        let at = rfc_3339(self.at);
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems, the first"),
        };
        // A problem may quote a value of the file: control characters would break the line.
        let first = self.problems.first().map(String::as_str).unwrap_or_default();
        let first = first.replace(char::is_control, " ");
        format!("the configuration was not taken over at {at} ({}): {count}: {first}", self.why)
    }
}

/// Requests reloads, and records their outcomes. Shared by all that may request one.
#[derive(Debug)]
pub(crate) struct Reloads {
    asks: mpsc::UnboundedSender<Ask>,
    taken_over: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Last>,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Last {
    taken_over: SystemTime,
    refused: Option<LastRefused>,
    reload: Option<LastReload>,
}

/// The callers that wait in [`Reloads::request_shared`].
#[derive(Debug, Default)]
struct Shared {
    /// A reload is under way. It may have read the files before they changed, so later requests wait for the next one.
    under_way: bool,
    /// The callers that the next reload will answer.
    next: Vec<oneshot::Sender<Outcome>>,
}

impl Reloads {
    /// `now`: when the configuration of the start was taken over. The owner of the receiver carries the requests out.
    pub(crate) fn new(now: SystemTime) -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let last = Mutex::new(Last { taken_over: now, refused: None, reload: None });
        let (taken_over, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        (Self { asks, taken_over, refused, last, shared: Mutex::default() }, asked)
    }

    /// Requests a reload and waits for its outcome; `None` if the process stops before.
    pub(crate) async fn request(&self, why: &'static str) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.asks.send(Ask { why, reply }).ok()?;
        outcome.await.ok()
    }

    /// The same for many callers. One reload is under way at a time; all requests meanwhile share
    /// the outcome of the next, which begins after them. A caller that goes away cancels nothing.
    ///
    /// `why`: the cause; of requests that share a reload, the first one's is used. Needs a tokio runtime.
    pub(crate) async fn request_shared(self: &Arc<Self>, why: &'static str) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        let is_first = {
            let mut shared = lock(&self.shared);
            shared.next.retain(|waiting| !waiting.is_closed());
            shared.next.push(reply);
            !std::mem::replace(&mut shared.under_way, true)
        };
        if is_first {
            // A task of its own: in a caller's task, each caller that goes away would leave a reload behind that is not
            // recorded as under way.
            tokio::spawn(self.clone().serve_shared(why));
        }
        outcome.await.ok()
    }

    /// Requests one reload after the other until no caller waits.
    async fn serve_shared(self: Arc<Self>, why: &'static str) {
        loop {
            let waiting = {
                let mut shared = lock(&self.shared);
                let waiting = std::mem::take(&mut shared.next);
                shared.under_way = !waiting.is_empty();
                waiting
            };
            if waiting.is_empty() {
                return;
            }
            // Without an outcome the process stops; the callers see it because their channels close.
            let Some(outcome) = self.request(why).await else { continue };
            for reply in waiting {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    /// Records the outcome of a reload, with the lines of the file that its problems are about.
    pub(crate) fn note(
        &self,
        why: &'static str,
        outcome: &Outcome,
        frames: Vec<Option<Frame>>,
        now: SystemTime,
    ) {
        let mut last = lock(&self.last);
        last.reload = Some(LastReload { at: now, why, outcome: outcome.clone(), frames });
        match outcome {
            Outcome::TakenOver { .. } => {
                (last.taken_over, last.refused) = (now, None);
                self.taken_over.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Refused { problems } => {
                last.refused = Some(LastRefused { at: now, why, problems: problems.clone() });
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The numbers of reloads taken over and refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.taken_over.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// When the configuration in use was taken over.
    pub(crate) fn last_taken_over(&self) -> SystemTime {
        lock(&self.last).taken_over
    }

    /// The last reload; `None` before the first.
    pub(crate) fn last(&self) -> Option<LastReload> {
        lock(&self.last).reload.clone()
    }

    /// Why the configuration in use is not that of the file; `None` if the last reload was taken over.
    pub(crate) fn last_refused(&self) -> Option<LastRefused> {
        lock(&self.last).refused.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_over(note: &str) -> Outcome {
        Outcome::TakenOver { notes: vec![note.to_owned()] }
    }

    fn reloads() -> (Arc<Reloads>, mpsc::UnboundedReceiver<Ask>) {
        let (reloads, asked) = Reloads::new(SystemTime::UNIX_EPOCH);
        (Arc::new(reloads), asked)
    }

    #[test]
    fn a_refused_reload_is_reported_until_one_is_taken_over() {
        let (reloads, _asked) = reloads();
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let problems = vec!["proxy.toml:1:1: a".to_owned()];
        reloads.note("SIGHUP", &Outcome::Refused { problems: problems.clone() }, Vec::new(), at(5));
        let refused = reloads.last_refused();
        assert_eq!(refused, Some(LastRefused { at: at(5), why: "SIGHUP", problems }));
        assert_eq!((reloads.counts(), reloads.last_taken_over()), ((0, 1), at(0)));
        reloads.note("SIGHUP", &taken_over(""), Vec::new(), at(7));
        assert_eq!((reloads.last_refused(), reloads.counts()), (None, (1, 1)));
        assert_eq!(reloads.last_taken_over(), at(7));
        assert_eq!(
            reloads.last(),
            Some(LastReload { at: at(7), why: "SIGHUP", outcome: taken_over(""), frames: Vec::new() })
        );
    }

    #[test]
    fn a_refused_reload_is_one_line_with_its_first_problem() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_767_323_045_900);
        let note = |problems: &[&str]| {
            let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
            LastRefused { at, why: "SIGHUP", problems }.note()
        };
        let begin = "the configuration was not taken over at 2026-01-02T03:04:05Z (SIGHUP): ";
        assert_eq!(note(&["a:1:1: b"]), format!("{begin}1 problem: a:1:1: b"));
        assert_eq!(note(&["a\n\u{1b}b", "c"]), format!("{begin}2 problems, the first: a  b"));
    }

    #[tokio::test]
    async fn requests_of_a_burst_share_the_reload_after_the_one_under_way() {
        let (reloads, mut asked) = reloads();
        let request = || {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.request_shared("POST /reload").await })
        };
        let first = request();
        let under_way = asked.recv().await.unwrap();
        assert_eq!(under_way.why, "POST /reload");
        // One of them goes away while it waits.
        let gone = request();
        let others: Vec<_> = (0..10).map(|_| request()).collect();
        while lock(&reloads.shared).next.len() < 11 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(asked.try_recv().is_err(), "one at a time");
        under_way.reply.send(taken_over("first")).unwrap();
        assert_eq!(first.await.unwrap(), Some(taken_over("first")));
        asked.recv().await.unwrap().reply.send(taken_over("second")).unwrap();
        for other in others {
            assert_eq!(other.await.unwrap(), Some(taken_over("second")));
        }
        // Once all are answered, the next request starts a new reload.
        let later = request();
        asked.recv().await.unwrap().reply.send(taken_over("third")).unwrap();
        assert_eq!(later.await.unwrap(), Some(taken_over("third")));
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn callers_that_go_away_do_not_start_more_reloads() {
        let (reloads, mut asked) = reloads();
        for _ in 0..100 {
            let reloads = reloads.clone();
            let gone = tokio::spawn(async move { reloads.request_shared("POST /reload").await });
            tokio::task::yield_now().await;
            gone.abort();
            assert!(gone.await.is_err());
        }
        let under_way = asked.recv().await.unwrap();
        assert!(asked.try_recv().is_err());
        assert!(lock(&reloads.shared).next.len() <= 1);
        drop(under_way.reply);
    }

    #[tokio::test]
    async fn waiting_callers_are_answered_when_the_process_stops() {
        let (reloads, mut asked) = reloads();
        let waiting = {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.request_shared("POST /reload").await })
        };
        let under_way = asked.recv().await.unwrap();
        drop((under_way, asked));
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(reloads.request_shared("POST /reload").await, None);
    }
}
