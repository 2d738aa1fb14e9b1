//! What has happened, for those who ask and for those who wait.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    answer::{self, Answer, Refusal},
    call::Call,
    form::Form,
    http::{lock::lock, random::random_text},
    shape,
    world::World,
};

/// How many events are remembered.
const REMEMBERED: usize = 1000;

/// Positions begin like Box's, and stay where a JavaScript client can count (2^53).
const FIRST_POSITION: u64 = 1_348_790_499_819;

/// After so long the long poll says `reconnect`.
pub(super) const PATIENCE: Duration = Duration::from_secs(610);

/// What Box calls a thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Create,
    Upload,
    Rename,
    Move,
    Copy,
    Trash,
    Share,
    Unshare,
    Comment,
    CommentDelete,
    Collaborate,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "ITEM_CREATE",
            Self::Upload => "ITEM_UPLOAD",
            Self::Rename => "ITEM_RENAME",
            Self::Move => "ITEM_MOVE",
            Self::Copy => "ITEM_COPY",
            Self::Trash => "ITEM_TRASH",
            Self::Share => "ITEM_SHARED_CREATE",
            Self::Unshare => "ITEM_SHARED_UNSHARE",
            Self::Comment => "COMMENT_CREATE",
            Self::CommentDelete => "COMMENT_DELETE",
            Self::Collaborate => "COLLAB_ADD_COLLABORATOR",
        }
    }
}

/// The stream of events, and the channels on which news of it is given.
pub(super) struct Events {
    latest: Mutex<VecDeque<(u64, Value)>>,
    /// The position after the last event.
    next: watch::Sender<u64>,
    /// And up to which position there is no more news on each.
    channels: Mutex<HashMap<String, u64>>,
}

impl Default for Events {
    fn default() -> Self {
        let next = watch::Sender::new(FIRST_POSITION);
        Self { latest: Mutex::default(), next, channels: Mutex::default() }
    }
}

impl Events {
    pub(super) fn add(&self, kind: Kind, who: Value, source: Value) {
        let now = shape::stamp(Timestamp::now());
        let event = json!({
            "type": "event",
            "event_id": random_text(40).to_ascii_lowercase(),
            "created_at": now,
            "recorded_at": now,
            "created_by": who,
            "event_type": kind.name(),
            "session_id": random_text(22).to_ascii_lowercase(),
            "source": source,
        });
        let mut latest = lock(&self.latest);
        if latest.len() >= REMEMBERED {
            latest.pop_front();
        }
        // While the list is locked, so that positions are in its order.
        self.next.send_modify(|next| {
            latest.push_back((*next, event));
            *next += 1;
        });
    }

    /// The events from a position on, and the position after them.
    fn since(&self, position: u64, limit: usize) -> (Vec<Value>, u64) {
        let latest = lock(&self.latest);
        let chunk: Vec<&(u64, Value)> = latest.iter().filter(|(at, _)| *at >= position).take(limit).collect();
        let next = chunk.last().map_or_else(|| position.max(FIRST_POSITION), |(at, _)| at + 1);
        (chunk.into_iter().map(|(_, event)| event.clone()).collect(), next)
    }
}

/// A chunk of the stream: from the beginning, from a position, or none but the position of now.
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let events = &call.world.events;
    let limit = call.number("limit", 100)?.min(500);
    let (entries, next) = match call.query.get("stream_position").unwrap_or_default() {
        "now" => (Vec::new(), *events.next.borrow()),
        "" => events.since(0, limit),
        text => {
            let bad = || Refusal::parameter("stream_position", &format!("Invalid value '{text}'."));
            events.since(text.parse().map_err(|_| bad())?, limit)
        }
    };
    let body = json!({ "chunk_size": entries.len(), "next_stream_position": next, "entries": entries });
    Ok(answer::json(StatusCode::OK, &body))
}

/// Where to wait for news. The channel is all that is needed there.
pub(super) fn server(call: &Call<'_>) -> Answer {
    let channel = random_text(20).to_ascii_lowercase();
    let url = format!("{}/subscribe?channel={channel}&stream_type=all", call.world.hosts.realtime);
    let events = &call.world.events;
    lock(&events.channels).insert(channel, *events.next.borrow());
    let server = json!({
        "type": "realtime_server",
        "url": url,
        "ttl": "10",
        "max_retries": "10",
        "retry_timeout": PATIENCE.as_secs(),
    });
    answer::json(StatusCode::OK, &json!({ "chunk_size": 1, "entries": [server] }))
}

/// The long poll: an answer when something has happened since the channel last told.
pub(super) async fn subscribe(world: &World, query: &str, patience: Duration) -> Result<Answer, Refusal> {
    let query = Form::parse(query);
    let channel = query.get("channel").unwrap_or_default();
    let channels = &world.events.channels;
    let known = lock(channels).get(channel).copied().ok_or_else(Refusal::not_found)?;
    let mut news = world.events.next.subscribe();
    let news = tokio::time::timeout(patience, news.wait_for(|next| *next > known)).await;
    // The sender lives as long as the world.
    let news = news.ok().and_then(Result::ok).map(|next| *next);
    if let Some(next) = news {
        lock(channels).insert(channel.to_owned(), next);
    }
    let message = if news.is_some() { "new_change" } else { "reconnect" };
    Ok(answer::closing(answer::json(StatusCode::OK, &json!({ "version": 1, "message": message }))))
}
