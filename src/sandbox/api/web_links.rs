//! Bookmarks among the files. Their URLs are the callers' and stay as they are.

use http::StatusCode;
use serde_json::Value;

use super::{
    events,
    fields::{change, matching, moved, text},
    json,
    request::Call,
    shared_links,
};
use crate::sandbox::{
    http::{
        request_body::Received,
        response::{self, Answer, Refusal},
    },
    model::{events::Kind, items::Change},
};

/// Everything under `/web_links`.
pub(crate) async fn answer(
    call: &Call<'_>,
    segments: &[&str],
    body: &mut Received,
) -> Result<Answer, Refusal> {
    match (call.head.method.as_str(), segments) {
        ("POST", []) => create(call, &body.json().await?),
        ("GET", [id]) => {
            let store = call.world.store();
            let link = store.web_link(id)?;
            Ok(response::json(StatusCode::OK, &json::item(call, &store, link)))
        }
        ("PUT", [id]) => update(call, id, &body.json().await?),
        ("DELETE", [id]) => {
            let mut store = call.world.store();
            let key = matching(call, store.web_link(id)?)?;
            events::record(call, Kind::Trash, &store, store.web_link(id)?);
            store.remove(key, false)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

fn create(call: &Call<'_>, body: &Value) -> Result<Answer, Refusal> {
    let (url, parent) = (text(body, "/url")?, text(body, "/parent/id")?);
    // Without a name it goes by its host.
    let host = || url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or(url);
    let name = body.get("name").and_then(Value::as_str).unwrap_or_else(host);
    let mut store = call.world.store();
    let key = store.create_web_link(parent, name, &call.who, url)?.id;
    let description = change(body).description.unwrap_or_default();
    if let Some(link) = store.get_mut(key) {
        link.description = description;
    }
    let link = store.web_link(&key.to_string())?;
    events::record(call, Kind::Create, &store, link);
    // Not 201: so says the OpenAPI document.
    Ok(response::json(StatusCode::OK, &json::item(call, &store, link)))
}

fn update(call: &Call<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = call.world.store();
    let key = matching(call, store.web_link(id)?)?;
    let url = body.get("url").and_then(Value::as_str).map(str::to_owned);
    store.update(key, Change { url, ..change(body) }, &call.who)?;
    if let Some(kind) = moved(body) {
        events::record(call, kind, &store, store.web_link(id)?);
    }
    shared_links::update(call, &mut store, key, body);
    let link = store.web_link(id)?;
    Ok(response::json(StatusCode::OK, &json::item(call, &store, link)))
}
