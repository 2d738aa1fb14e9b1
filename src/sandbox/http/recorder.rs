//! Records every request as it was received, and keeps counters that tests can wait for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Version, header::HOST, request::Parts};
use tokio::sync::watch;

use super::{
    host::{PerRole, Role},
    lock::lock,
};

/// How much of a request's body is kept.
pub(crate) const KEPT_BODY: usize = 64 * 1024;

/// One request as the sandbox received it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The host it was sent to.
    pub role: Role,
    /// The method of the request.
    pub method: Method,
    /// `:authority` or the `Host` header.
    pub authority: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// All its headers.
    pub headers: HeaderMap,
    /// The version of HTTP.
    pub version: Version,
    /// How many bytes of its body have been read so far: all, once it was answered (early answers apart).
    pub body_bytes: u64,
    /// The first 64 KiB of what was read.
    pub body: Bytes,
    /// What followed it.
    pub trailers: HeaderMap,
    /// Its access token; `None` without one, or with one that this sandbox has not given.
    pub token: Option<SeenToken>,
}

/// The access token of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenToken {
    /// It had neither expired nor been revoked.
    pub is_live: bool,
    /// What a token exchange restricted it to; `None`: it is a full token.
    pub downscoped: Option<Downscoped>,
}

/// What a downscoped token is restricted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downscoped {
    /// Its scopes, in the order in which they were asked for.
    pub scopes: Vec<String>,
    /// The item to which it is restricted, `folders/ID` or `files/ID`; `None`: to none.
    pub resource: Option<String>,
}

/// The part of a request's body read so far, which the body writes and tests read.
#[derive(Default)]
pub(crate) struct BodyRecord {
    pub(crate) total: u64,
    pub(crate) beginning: BytesMut,
    pub(crate) trailers: HeaderMap,
}

/// A counter that others can wait for.
pub(crate) struct Counter(watch::Sender<usize>);

impl Counter {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn get(&self) -> usize {
        *self.0.borrow()
    }

    pub(crate) fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    fn subtract(&self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }

    pub(crate) async fn at_least(&self, wanted: usize) {
        // The sender is borrowed from self, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|count| *count >= wanted).await;
    }

    pub(crate) async fn exactly(&self, wanted: usize) {
        let _ = self.0.subscribe().wait_for(|count| *count == wanted).await;
    }
}

struct Entry {
    role: Role,
    method: Method,
    authority: String,
    target: String,
    headers: HeaderMap,
    version: Version,
    body: Arc<Mutex<BodyRecord>>,
    token: Option<SeenToken>,
}

impl Entry {
    fn seen(&self) -> Seen {
        let body = lock(&self.body);
        Seen {
            role: self.role,
            method: self.method.clone(),
            authority: self.authority.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            version: self.version,
            body_bytes: body.total,
            body: Bytes::copy_from_slice(&body.beginning),
            trailers: body.trailers.clone(),
            token: self.token.clone(),
        }
    }
}

/// The last requests of one kind, oldest first.
pub(crate) struct RequestLog {
    limit: usize,
    entries: Mutex<VecDeque<Entry>>,
}

impl RequestLog {
    fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(VecDeque::new()) }
    }

    /// Records a request; its body is recorded through the returned value.
    pub(crate) fn write(&self, role: Role, head: &Parts, token: Option<SeenToken>) -> Arc<Mutex<BodyRecord>> {
        let body = Arc::new(Mutex::new(BodyRecord::default()));
        let mut entries = lock(&self.entries);
        if entries.len() >= self.limit {
            entries.pop_front();
        }
        entries.push_back(Entry {
            role,
            method: head.method.clone(),
            authority: authority(head).to_owned(),
            target: target(head),
            headers: head.headers.clone(),
            version: head.version,
            body: body.clone(),
            token,
        });
        body
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        lock(&self.entries).iter().map(Entry::seen).collect()
    }

    pub(crate) fn last(&self) -> Option<Seen> {
        lock(&self.entries).back().map(Entry::seen)
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }
}

/// All that is counted and remembered.
pub(crate) struct Recorder {
    pub(crate) requests: RequestLog,
    pub(crate) token_calls: RequestLog,
    pub(crate) calls: Counter,
    pub(crate) token_requests: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) connections: PerRole<Counter>,
}

impl Recorder {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            requests: RequestLog::new(limit),
            token_calls: RequestLog::new(limit),
            calls: Counter::new(),
            token_requests: Counter::new(),
            in_flight: Counter::new(),
            cancelled: Counter::new(),
            connections: PerRole { api: Counter::new(), upload: Counter::new(), download: Counter::new() },
        }
    }

    /// Records a call, then counts it, so that a test that waited for the count can read it.
    pub(crate) fn arrived(
        self: &Arc<Self>,
        role: Role,
        head: &Parts,
        token: Option<SeenToken>,
    ) -> (Arc<Mutex<BodyRecord>>, InFlight) {
        let record = self.requests.write(role, head, token);
        self.in_flight.add();
        self.calls.add();
        (record, InFlight { recorder: self.clone(), finished: false })
    }
}

/// Path and query as received.
pub(crate) fn target(head: &Parts) -> String {
    head.uri.path_and_query().map_or_else(|| head.uri.path().to_owned(), ToString::to_string)
}

/// The name by which a request was sent, with the port if it says one.
pub(crate) fn authority(head: &Parts) -> &str {
    let named = head.uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| head.headers.get(HOST)?.to_str().ok()).unwrap_or_default()
}

/// A request under way. If it is dropped before it finished, it counts as cancelled, since its caller left.
pub(crate) struct InFlight {
    recorder: Arc<Recorder>,
    finished: bool,
}

impl InFlight {
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.recorder.in_flight.subtract();
        if !self.finished {
            self.recorder.cancelled.add();
        }
    }
}
