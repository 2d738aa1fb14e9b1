//! Reloads of the configuration: who asks for one, and what operators are told of the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    pub reply: oneshot::Sender<Outcome>,
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
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Last {
    taken_over: SystemTime,
    refused: Option<LastRefused>,
}

/// Who waits in [`Reloads::request_shared`].
#[derive(Debug, Default)]
struct Shared {
    /// A reload that was asked for is under way. It may have read files before a later request changed them.
    under_way: bool,
    /// Those whom the next reload will answer.
    next: Vec<oneshot::Sender<Outcome>>,
}

impl Reloads {
    /// `now`: the configuration of the start was taken over then. Whoever has the other half does what is asked for.
    pub(crate) fn new(now: SystemTime) -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let last = Mutex::new(Last { taken_over: now, refused: None });
        let (taken_over, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        (Self { asks, taken_over, refused, last, shared: Mutex::default() }, asked)
    }

    /// Asks for a reload and waits for what comes of it; `None` where the process stops before.
    pub(crate) async fn request(&self, why: &'static str) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.asks.send(Ask { why, reply }).ok()?;
        outcome.await.ok()
    }

    /// The same for callers of whom there may be many. One reload is under way at a time; all who ask meanwhile get
    /// the outcome of the one after it, which begins after they asked. A caller that goes away cancels nothing.
    ///
    /// `why`: of the first of those who share a reload. Needs a tokio runtime.
    pub(crate) async fn request_shared(self: &Arc<Self>, why: &'static str) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        let is_first = {
            let mut shared = lock(&self.shared);
            shared.next.retain(|waiting| !waiting.is_closed());
            shared.next.push(reply);
            !std::mem::replace(&mut shared.under_way, true)
        };
        if is_first {
            // A task of its own: were it a caller's, each caller that goes away would leave a reload behind that nobody
            // counts as under way.
            tokio::spawn(self.clone().serve_shared(why));
        }
        outcome.await.ok()
    }

    /// Asks for one reload after the other, until nobody waits for one.
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
            // Without an outcome the process stops, which those who wait learn as their channels close.
            let Some(outcome) = self.request(why).await else { continue };
            for reply in waiting {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    /// Notes what came of a reload.
    pub(crate) fn note(&self, why: &'static str, outcome: &Outcome, now: SystemTime) {
        let mut last = lock(&self.last);
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
        lock(&self.last).taken_over
    }

    /// Why the file is not what holds; `None` where the last reload was taken over.
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
    fn what_was_refused_is_told_until_a_reload_is_taken_over() {
        let (reloads, _asked) = reloads();
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let problems = vec!["proxy.toml:1:1: a".to_owned()];
        reloads.note("SIGHUP", &Outcome::Refused { problems: problems.clone() }, at(5));
        let refused = reloads.last_refused();
        assert_eq!(refused, Some(LastRefused { at: at(5), why: "SIGHUP", problems }));
        assert_eq!((reloads.counts(), reloads.last_taken_over()), ((0, 1), at(0)));
        reloads.note("SIGHUP", &taken_over(""), at(7));
        assert_eq!((reloads.last_refused(), reloads.counts()), (None, (1, 1)));
        assert_eq!(reloads.last_taken_over(), at(7));
    }

    #[test]
    fn a_refused_reload_is_one_line_with_its_first_problem() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_767_323_045_900);
        let note = |problems: &[&str]| {
            let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
            LastRefused { at, why: "SIGHUP", problems }.note()
        };
        let begin = "the configuration was not taken over at 2026-01-02T03:04:05Z (SIGHUP): ";
        assert_eq!(note(&["a:1:1: b"]), format!("{begin}1 problem: a:1:1: b\n"));
        assert_eq!(note(&["a\n\u{1b}b", "c"]), format!("{begin}2 problems, the first: a  b\n"));
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
        // Once all are answered, the next request begins a reload again.
        let later = request();
        asked.recv().await.unwrap().reply.send(taken_over("third")).unwrap();
        assert_eq!(later.await.unwrap(), Some(taken_over("third")));
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn callers_that_go_away_neither_pile_up_nor_begin_more_reloads() {
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
    async fn whoever_waits_when_the_process_stops_is_told() {
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
