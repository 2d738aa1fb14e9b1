//! The handles by which a test makes this Box slow, wrong or absent.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::watch;

use crate::sandbox::http::{lock::lock, response::Refusal};

/// How the token endpoint answers one call.
#[derive(Debug, Clone)]
pub enum TokenAnswer {
    /// As Box would.
    Normal,
    /// 400 with this OAuth error.
    Refuse {
        /// The OAuth error code, `invalid_grant` for example.
        error: String,
        /// Its text.
        description: String,
    },
    /// This status, with Box's error shape.
    Status(u16),
    /// Anything at all.
    Body {
        /// The status.
        status: u16,
        /// The body, sent as it is.
        body: String,
        /// Its type.
        content_type: String,
    },
    /// No answer, until the caller goes away.
    Hang,
    /// The connection is dropped without an answer.
    Close,
}

impl TokenAnswer {
    /// 400 with this OAuth error.
    pub fn refuse(error: &str, description: &str) -> Self {
        Self::Refuse { error: error.to_owned(), description: description.to_owned() }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, after the request's body was read.
    Status {
        /// The status.
        status: StatusCode,
        /// Headers that replace or complete Box's usual ones.
        headers: HeaderMap,
        /// The body, sent as it is.
        body: Bytes,
    },
    /// 429 as Box sends it.
    RateLimited {
        /// Seconds in `Retry-After`.
        retry_after: u64,
    },
    /// The request is read and the connection dropped (HTTP/2: the stream reset) without an answer.
    CloseBeforeHead,
    /// The usual answer, but the connection is dropped (HTTP/2: the stream reset) after so many bytes of the
    /// body, which must be fewer than it has.
    BreakBodyAfter(u64),
    /// An error in Box's shape before the request's body is read; it never is.
    EarlyAnswer {
        /// The status.
        status: StatusCode,
    },
    /// The usual answer without a length, with `Trailer: x-checksum` and that trailer. An HTTP/1.1 caller
    /// gets it only when it sent `TE: trailers`.
    Trailers,
    /// No answer, until the caller goes away.
    Hang,
    /// 200 with these headers, and this body in these pieces; without a length unless the headers have one.
    RawBody {
        /// Headers that replace or complete Box's usual ones.
        headers: HeaderMap,
        /// The pieces.
        pieces: Vec<Bytes>,
    },
    /// 403 `forbidden` to a request with `Expect: 100-continue`, whose body is never invited nor read.
    RefuseExpectation,
}

impl Fault {
    /// An error of this status in Box's shape.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::Status { status, headers: json_headers(), body: Refusal::usual(status).body(status) }
    }

    /// 200 with this JSON, as if Box had said it.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::Status { status: StatusCode::OK, headers: json_headers(), body: value.to_string().into() }
    }

    /// The same with one more header, where a fault has headers.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Self::Status { headers, .. } | Self::RawBody { headers, .. } = &mut self {
            headers.append(name, value);
        }
        self
    }
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// How far the thumbnail of every file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thumbnail {
    /// 200 with a picture: a PNG, also where a JPEG was asked for.
    #[default]
    Ready,
    /// 202 with `Location` (a placeholder) and `Retry-After`.
    Pending,
    /// 302 to a placeholder: there will never be one.
    Impossible,
}

/// Answers wait as long as this lives.
#[derive(Debug)]
#[must_use = "answers are released when this is dropped"]
pub struct Hold {
    /// Its end is the signal.
    _closes_on_drop: watch::Sender<()>,
}

/// The waiting side of a [`Hold`].
struct Gate {
    prefix: String,
    held: watch::Receiver<()>,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.held.has_changed().is_err()
    }
}

/// So many more times.
#[derive(Default)]
pub(crate) struct Countdown(AtomicUsize);

impl Countdown {
    pub(crate) fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Whether this is one of them.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// What is to be done with which requests; every list is worked off in order.
#[derive(Default)]
pub(crate) struct Control {
    gates: Mutex<Vec<Gate>>,
    token_gates: Mutex<Vec<Gate>>,
    scripts: Mutex<Vec<(String, VecDeque<Fault>)>>,
    unauthorized: Mutex<Vec<String>>,
    token_script: Mutex<VecDeque<TokenAnswer>>,
    token_always: Mutex<Option<TokenAnswer>>,
    pub(crate) commits_held: Countdown,
    pub(crate) downloads_pending: Countdown,
    thumbnail: Mutex<Thumbnail>,
    download_target: Mutex<Option<String>>,
    hops: AtomicUsize,
}

impl Control {
    pub(crate) fn hold(&self, prefix: &str) -> Hold {
        close(&self.gates, prefix)
    }

    pub(crate) fn hold_tokens(&self) -> Hold {
        close(&self.token_gates, "")
    }

    pub(crate) async fn released(&self, target: &str) {
        wait(&self.gates, target).await;
    }

    pub(crate) async fn tokens_released(&self) {
        wait(&self.token_gates, "").await;
    }

    pub(crate) fn script(&self, prefix: &str, faults: Vec<Fault>) {
        lock(&self.scripts).push((prefix.to_owned(), faults.into()));
    }

    pub(crate) fn next_fault(&self, target: &str) -> Option<Fault> {
        let mut scripts = lock(&self.scripts);
        scripts.retain(|(_, faults)| !faults.is_empty());
        let (_, faults) = scripts.iter_mut().find(|(prefix, _)| target.starts_with(prefix.as_str()))?;
        faults.pop_front()
    }

    pub(crate) fn always_unauthorized(&self, prefix: &str) {
        lock(&self.unauthorized).push(prefix.to_owned());
    }

    pub(crate) fn is_unauthorized(&self, target: &str) -> bool {
        lock(&self.unauthorized).iter().any(|prefix| target.starts_with(prefix.as_str()))
    }

    pub(crate) fn token_script(&self, answers: Vec<TokenAnswer>) {
        lock(&self.token_script).extend(answers);
    }

    pub(crate) fn token_always(&self, answer: Option<TokenAnswer>) {
        *lock(&self.token_always) = answer;
    }

    pub(crate) fn next_token_answer(&self) -> TokenAnswer {
        if let Some(answer) = lock(&self.token_script).pop_front() {
            return answer;
        }
        lock(&self.token_always).clone().unwrap_or(TokenAnswer::Normal)
    }

    pub(crate) fn thumbnail(&self) -> Thumbnail {
        *lock(&self.thumbnail)
    }

    pub(crate) fn set_thumbnail(&self, thumbnail: Thumbnail) {
        *lock(&self.thumbnail) = thumbnail;
    }

    pub(crate) fn download_target(&self) -> Option<String> {
        lock(&self.download_target).clone()
    }

    pub(crate) fn set_download_target(&self, url: Option<String>) {
        *lock(&self.download_target) = url;
    }

    pub(crate) fn hops(&self) -> usize {
        self.hops.load(Ordering::Relaxed)
    }

    pub(crate) fn set_hops(&self, hops: usize) {
        self.hops.store(hops, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        lock(&self.scripts).clear();
        lock(&self.unauthorized).clear();
        lock(&self.token_script).clear();
        self.token_always(None);
        self.commits_held.set(0);
        self.downloads_pending.set(0);
        self.set_thumbnail(Thumbnail::Ready);
        self.set_download_target(None);
        self.set_hops(0);
    }
}

fn close(gates: &Mutex<Vec<Gate>>, prefix: &str) -> Hold {
    let (sender, held) = watch::channel(());
    lock(gates).push(Gate { prefix: prefix.to_owned(), held });
    Hold { _closes_on_drop: sender }
}

async fn wait(gates: &Mutex<Vec<Gate>>, target: &str) {
    loop {
        let next = {
            let mut gates = lock(gates);
            gates.retain(|gate| !gate.is_open());
            gates.iter().find(|gate| target.starts_with(&gate.prefix)).map(|gate| gate.held.clone())
        };
        let Some(mut held) = next else { return };
        while held.changed().await.is_ok() {}
    }
}
