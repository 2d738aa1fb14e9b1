//! Events and the long poll.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{json, request::ApiRequest};
use crate::sandbox::{
    http::{
        form::Form,
        random::random_text,
        response::{self, Answer, Refusal},
    },
    model::{events::EventType, item::Item, items::Store, state::State},
};

/// The time after which the long poll answers `reconnect`.
pub(crate) const PATIENCE: Duration = Duration::from_secs(610);

/// Records an event of the caller on an item.
pub(crate) fn record(request: &ApiRequest<'_>, kind: EventType, store: &Store, item: &Item) {
    record_as(&request.user_id, request.state, kind, store, item);
}

/// Records an event of this user on an item, shown in its current state.
pub(crate) fn record_as(user_id: &str, state: &State, kind: EventType, store: &Store, item: &Item) {
    record_shown(user_id, state, kind, json::standard(state, store, item));
}

/// Records an event on an item that may no longer exist, shown as it was.
pub(crate) fn record_shown(user_id: &str, state: &State, kind: EventType, item: Value) {
    let now = json::stamp(Timestamp::now());
    state.events.add(json!({
        "type": "event",
        "event_id": random_text(40).to_ascii_lowercase(),
        "created_at": now,
        "recorded_at": now,
        "created_by": json::user_mini(&state.users, user_id),
        "event_type": kind.name(),
        "session_id": random_text(22).to_ascii_lowercase(),
        "source": item,
    }));
}

/// A part of the stream: from the beginning, from a position, or only the current position.
pub(crate) fn get(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let events = &request.state.events;
    let limit = request.number("limit", 100)?.min(500);
    let (entries, next) = match request.query.get("stream_position").unwrap_or_default() {
        "now" => (Vec::new(), events.next_position()),
        "" => events.since(0, limit),
        text => {
            let bad = || Refusal::parameter("stream_position", &format!("Invalid value '{text}'."));
            events.since(text.parse().map_err(|_| bad())?, limit)
        }
    };
    // A token that is restricted to an item is told of nothing else.
    let entries: Vec<Value> = entries.into_iter().filter_map(|event| visible(request, event)).collect();
    let body = json!({ "chunk_size": entries.len(), "next_stream_position": next, "entries": entries });
    Ok(response::json(StatusCode::OK, &body))
}

fn visible(request: &ApiRequest<'_>, mut event: Value) -> Option<Value> {
    let source = event.get_mut("source").map(Value::take).unwrap_or_default();
    let source = json::below_top(request, source)?;
    event.as_object_mut()?.insert("source".to_owned(), source);
    Some(event)
}

/// The URL of the long poll. It needs only the channel.
pub(crate) fn server(request: &ApiRequest<'_>) -> Answer {
    let channel = random_text(20).to_ascii_lowercase();
    let url = format!("{}/subscribe?channel={channel}&stream_type=all", request.state.hosts.realtime);
    request.state.events.open_channel(channel);
    let server = json!({
        "type": "realtime_server",
        "url": url,
        "ttl": "10",
        "max_retries": "10",
        "retry_timeout": PATIENCE.as_secs(),
    });
    response::json(StatusCode::OK, &json!({ "chunk_size": 1, "entries": [server] }))
}

/// The long poll: answers when there is an event since the channel's last answer.
pub(crate) async fn subscribe(state: &State, query: &str, patience: Duration) -> Result<Answer, Refusal> {
    let query = Form::parse(query);
    let channel = query.get("channel").unwrap_or_default();
    let has_news = state.events.news(channel, patience).await.ok_or_else(Refusal::not_found)?;
    let message = if has_news { "new_change" } else { "reconnect" };
    Ok(response::closing(response::json(StatusCode::OK, &json!({ "version": 1, "message": message }))))
}
