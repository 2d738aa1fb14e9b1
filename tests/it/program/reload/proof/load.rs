//! Callers: many short requests on every way to the gateway, and a few that last.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::generations::Ask;
use super::lasting;
use crate::program::ways::{KEPT, PLAIN, Pieces, Place, Sender, Way};

/// Each of these asks again and again, one request after the other.
const WAYS: [Way; 12] = [
    KEPT,
    KEPT,
    PLAIN,
    PLAIN,
    Way { is_http2: true, ..KEPT },
    Way { is_http2: true, ..KEPT },
    Way { is_http2: true, ..PLAIN },
    Way { is_new: true, ..KEPT },
    Way { is_new: true, ..PLAIN },
    Way { is_new: true, is_http2: true, ..KEPT },
    Way { in_tunnel: true, ..KEPT },
    Way { in_tunnel: true, is_http2: true, ..PLAIN },
];
/// From one request of a way to its next: 200 in a second in all, where the machine keeps up.
const PERIOD: Duration = Duration::from_millis(60);
const ASKS: [Ask; 4] = [Ask::Web, Ask::Side, Ask::Root, Ask::Ruled];

/// A request that was answered.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) ask: Ask,
    /// The last configuration that was taken over when it was sent.
    pub(super) from: usize,
    /// The last that was written when it was answered.
    pub(super) until: usize,
    pub(super) status: u16,
    /// A login or the code of an error.
    pub(super) said: String,
}

/// How far the reloads are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The last configuration that was taken over.
    pub(super) generation: usize,
    /// Requests for the list of users are to wait.
    pub(super) is_slow: bool,
    /// Nobody begins anything more.
    pub(super) is_over: bool,
}

/// What callers and reloads share.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) moment: watch::Sender<Moment>,
    /// The last configuration that was written.
    pub(super) begun: AtomicUsize,
    /// How many short requests were answered that were sent under the last configuration.
    answered: AtomicUsize,
    /// How many requests were sent so far, which is their id.
    sent: AtomicUsize,
    records: Mutex<Vec<Record>>,
}

/// A request that was not answered yet.
pub(super) struct Sent {
    pub(super) id: String,
    ask: Ask,
    from: usize,
}

impl Shared {
    pub(super) fn new(place: Place, generation: usize) -> Self {
        Self {
            place,
            moment: watch::Sender::new(Moment { generation, is_slow: false, is_over: false }),
            begun: AtomicUsize::new(generation),
            answered: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            records: Mutex::default(),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        *self.moment.borrow()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Moment)) {
        self.moment.send_modify(|moment| {
            change(moment);
            self.answered.store(0, Ordering::Relaxed);
        });
    }

    /// How many short requests were answered under the last configuration.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn sends(&self, ask: Ask) -> Sent {
        let from = self.moment().generation;
        // Unlike any of an earlier load too.
        let id = format!("from-{from}-{}", self.sent.fetch_add(1, Ordering::Relaxed));
        Sent { id, ask, from }
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn answers(&self, sent: Sent, status: u16, said: &str) {
        let Sent { id, ask, from } = sent;
        // Read before the count, so that what is counted was sent under the configuration of this moment.
        let moment = self.moment.borrow();
        if moment.generation == from && ASKS.contains(&ask) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        drop(moment);
        let until = self.begun.load(Ordering::Relaxed);
        self.records.lock().unwrap().push(Record { id, ask, from, until, status, said: said.to_owned() });
    }

    pub(super) fn records(&self) -> Vec<Record> {
        std::mem::take(&mut self.records.lock().unwrap())
    }

    /// Asks, and notes what was answered, once it is there whole.
    pub(super) async fn asks(&self, sender: &mut Sender, ask: Ask, path: &str) {
        let sent = self.sends(ask);
        let answer = sender.send(Method::GET, path, &sent.id, Pieces::none()).await;
        let (status, said) = read(answer, &sent.id).await;
        self.answers(sent, status, &said);
    }
}

/// The status of an answer, and the login or code that it says.
pub(super) async fn read(answer: Response<Incoming>, id: &str) -> (u16, String) {
    let status = answer.status().as_u16();
    let body =
        answer.into_body().collect().await.unwrap_or_else(|error| panic!("{id}: {error:?}")).to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{id} {status}: {body:?}"));
    let said = [&body["login"], &body["entries"][0]["created_by"]["login"], &body["code"]];
    // The list of users has logins too, of others than the caller.
    (status, said.iter().find_map(|said| said.as_str()).unwrap_or_default().to_owned())
}

/// Callers at work on a thread of their own.
pub(super) struct Load {
    pub(super) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// `echo`: what a blind tunnel leads to. `file`: what is downloaded, of this length.
    pub(super) fn start(shared: Arc<Shared>, echo: &TcpListener, file: (&str, u64)) -> Self {
        let (callers, echo, file) = (shared.clone(), echo.try_clone().unwrap(), (file.0.to_owned(), file.1));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for (number, way) in WAYS.into_iter().enumerate() {
                    tasks.spawn(short(callers.clone(), way, number));
                }
                for way in [KEPT, Way { is_http2: true, ..KEPT }, PLAIN] {
                    tasks.spawn(lasting::uploads(callers.clone(), way));
                }
                tasks.spawn(lasting::download(callers.clone(), PLAIN, file));
                tasks.spawn(lasting::long_polls(callers.clone(), KEPT));
                tasks.spawn(lasting::waiting(callers.clone(), Way { is_http2: true, ..PLAIN }));
                tasks.spawn(lasting::blind_tunnel(callers, KEPT, echo));
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
            });
        });
        Self { shared, thread: Some(thread) }
    }

    /// Fails where a caller has failed.
    pub(super) fn goes_on(&mut self) {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
            panic!("callers have ended too early");
        }
    }

    /// Waits until all that was begun is answered.
    pub(super) fn finish(mut self) -> Vec<Record> {
        self.shared.change(|moment| moment.is_over = true);
        self.join();
        let (records, sent) = (self.shared.records(), self.shared.sent());
        assert_eq!(records.len(), sent, "each request is answered");
        records
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panicked) = thread.join()
        {
            std::panic::resume_unwind(panicked);
        }
    }
}

/// Short requests, one after the other.
async fn short(shared: Arc<Shared>, way: Way, number: usize) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    for count in number.. {
        if shared.moment().is_over {
            return;
        }
        tick.tick().await;
        let mut sender = match kept.take() {
            Some(sender) if !way.is_new => sender,
            _ => connect(&shared, way).await,
        };
        let ask = match count % 16 {
            _ if way.in_tunnel => Ask::Root,
            15 => Ask::Few,
            _ => ASKS[count % ASKS.len()],
        };
        let path = ask.path();
        shared.asks(&mut sender, ask, path).await;
        kept = Some(sender);
    }
}

pub(super) async fn connect(shared: &Shared, way: Way) -> Sender {
    if !way.in_tunnel {
        return way.connect(&shared.place, "").await;
    }
    let sent = shared.sends(Ask::Connect);
    let sender = way.connect(&shared.place, &sent.id).await;
    shared.answers(sent, 200, "");
    sender
}
