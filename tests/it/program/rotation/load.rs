//! Callers that go on while secrets, certificates and the configuration are replaced: by HTTP/1.1 and HTTP/2, on connections
//! that stay and on new ones, reads and uploads, as two apps. No request is sent again: one that is lost fails the test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::program::certificates::Made;
use crate::program::ways::{Caller, KEPT, Pieces, Place, Sender, Way};

const HTTP_2: Way = Way { is_http2: true, ..KEPT };
/// Each of these calls again and again, one request after the other.
const WAYS: [Way; 10] = [
    KEPT,
    KEPT,
    KEPT,
    KEPT,
    HTTP_2,
    HTTP_2,
    HTTP_2,
    Way { is_new: true, ..HTTP_2 },
    Way { is_new: true, ..KEPT },
    Way { is_new: true, ..KEPT },
];
/// From one request of a caller to its next: 200 in a second in all, where the machine keeps up.
const PERIOD: Duration = Duration::from_millis(50);
/// Each caller answers for so many requests in a round.
const REQUESTS: usize = 8;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Read,
    Upload,
    /// An upload by the app whose identity is downscoped.
    Narrow,
    /// Denied while [`Rule::Denies`].
    Ruled,
}

const ASKS: [Ask; 5] = [Ask::Read, Ask::Upload, Ask::Narrow, Ask::Read, Ask::Ruled];

/// What the rules of the app say of [`Ask::Ruled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Allows,
    /// The configuration is being replaced.
    AllowsOrDenies,
    Denies,
}

/// What callers show, and what they may expect.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) key: String,
    pub(super) certificate: Made,
    /// Grows when callers are to connect anew.
    pub(super) connection: usize,
    pub(super) rule: Rule,
    pub(super) is_over: bool,
    /// Grows with each change.
    round: usize,
}

/// A request that was answered.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) ask: Ask,
    pub(super) status: u16,
    /// Of [`Ask::Ruled`]: the rule, where it was the same from the first byte of the request to the last of the answer.
    pub(super) rule: Option<Rule>,
}

pub(super) struct Shared {
    place: Place,
    /// Into which [`Ask::Narrow`] uploads.
    folder: String,
    moment: Mutex<Arc<Moment>>,
    /// How many requests of each caller were answered that it began in this round.
    answered: [AtomicUsize; WAYS.len()],
    records: Mutex<Vec<Record>>,
}

impl Shared {
    fn moment(&self) -> Arc<Moment> {
        self.moment.lock().unwrap().clone()
    }

    fn answers(&self, caller: usize, began: &Moment, record: Record) {
        // Locked, so that what is counted was begun in this round.
        let moment = self.moment.lock().unwrap();
        if moment.round == began.round {
            self.answered[caller].fetch_add(1, Ordering::Relaxed);
        }
        drop(moment);
        self.records.lock().unwrap().push(record);
    }
}

/// Callers at work on a thread of their own.
pub(super) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// `folder`: the only one that the downscoped identity reaches.
    pub(super) fn start(place: Place, folder: String, key: &str, certificate: Made) -> Self {
        let moment = Moment {
            key: key.to_owned(),
            certificate,
            connection: 0,
            rule: Rule::Allows,
            is_over: false,
            round: 0,
        };
        let shared = Arc::new(Shared {
            place,
            folder,
            moment: Mutex::new(Arc::new(moment)),
            answered: Default::default(),
            records: Mutex::default(),
        });
        let callers = shared.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for (number, way) in WAYS.into_iter().enumerate() {
                    tasks.spawn(call(callers.clone(), way, number));
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
            });
        });
        Self { shared, thread: Some(thread) }
    }

    /// Begins a round, in which this holds.
    pub(super) fn change(&self, change: impl FnOnce(&mut Moment)) {
        let mut moment = self.shared.moment.lock().unwrap();
        let mut next = Moment::clone(&moment);
        change(&mut next);
        next.round += 1;
        *moment = Arc::new(next);
        self.shared.answered.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Whether each caller has been answered often enough in this round. Fails where a caller has failed.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
            panic!("callers have ended too early");
        }
        self.shared.answered.iter().all(|count| count.load(Ordering::Relaxed) >= REQUESTS)
    }

    /// All requests, once each is answered.
    pub(super) fn finish(&mut self) -> Vec<Record> {
        self.change(|moment| moment.is_over = true);
        self.join();
        std::mem::take(&mut self.shared.records.lock().unwrap())
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panicked) = thread.join()
        {
            std::panic::resume_unwind(panicked);
        }
    }
}

async fn call(shared: Arc<Shared>, way: Way, number: usize) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept: Option<(usize, Sender)> = None;
    for count in 0.. {
        tick.tick().await;
        let moment = shared.moment();
        if moment.is_over {
            return;
        }
        let mut sender = match kept.take() {
            Some((connection, sender)) if connection == moment.connection && !way.is_new => sender,
            _ => {
                let caller = Caller { certificate: Some(moment.certificate.clone()), ..Caller::default() };
                way.connect_as(&caller, &shared.place, "").await.unwrap()
            }
        };
        let ask = ASKS[(number + count) % ASKS.len()];
        let id = format!("call-{number}-{count}");
        let status = ask.send(&mut sender, way, &id, &moment.key, &shared.folder).await;
        let rule = Some(moment.rule).filter(|rule| *rule == shared.moment().rule);
        shared.answers(number, &moment, Record { id, ask, status, rule });
        kept = Some((moment.connection, sender));
    }
}

impl Ask {
    /// Whether it changes something at Box.
    pub(super) fn is_change(self) -> bool {
        matches!(self, Self::Upload | Self::Narrow)
    }

    /// The app that is asked, and its identity.
    pub(super) fn serves(self) -> (&'static str, &'static str) {
        if self == Self::Narrow { ("narrow", "narrow") } else { ("intranet", "service") }
    }

    /// Sends it once, and returns the status of the answer, which is there whole.
    async fn send(self, sender: &mut Sender, way: Way, id: &str, key: &str, folder: &str) -> u16 {
        let fields = [("x-request-id", id), ("x-boxgate-key", key)];
        // That app has no key, and takes none.
        let fields = if self == Self::Narrow { &fields[..1] } else { &fields };
        let (method, path, body) = match self {
            Self::Read => (Method::GET, format!("/intranet/2.0/users/me?for={id}"), Vec::new()),
            Self::Ruled => (Method::GET, format!("/intranet/2.0/folders/0?for={id}"), Vec::new()),
            Self::Upload => {
                (Method::POST, format!("/intranet/2.0/files/content?for={id}"), form(id, "0").into_bytes())
            }
            Self::Narrow => {
                (Method::POST, format!("/narrow/2.0/files/content?for={id}"), form(id, folder).into_bytes())
            }
        };
        let (pieces, pieces_of_body) = Pieces::of(body.len() as u64);
        let feeding = async move {
            if !body.is_empty() {
                // A gateway that refuses the request may not read it.
                let _ = pieces.send(Bytes::from(body)).await;
            }
        };
        let sending = sender.send_with(method, &path, way.host(), fields, pieces_of_body);
        let (answer, ()) = tokio::join!(sending, feeding);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        if self.is_change() && status == 201 {
            assert_eq!(body["entries"][0]["name"], *id, "{body}");
        }
        status
    }
}

/// An upload of a file with this name into this folder.
fn form(name: &str, folder: &str) -> String {
    let attributes = json!({ "name": name, "parent": { "id": folder } });
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{attributes}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncontent\r\n--b--\r\n"
    )
}
