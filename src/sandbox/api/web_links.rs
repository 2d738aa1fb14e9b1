//! Web links (bookmarks). Their URLs are data and are never changed.

use http::StatusCode;
use serde_json::Value;

use super::{
    events,
    fields::{change, matching, may_update, moved, text},
    json,
    request::ApiRequest,
    shared_links, trash,
};
use crate::sandbox::{
    http::{
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::{events::EventType, items::Change},
};

/// Everything under `/web_links`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    match (request.head.method.as_str(), segments) {
        ("POST", []) => create(request, &body.json().await?),
        ("GET", [id]) => {
            let store = request.store();
            let link = store.web_link(id)?;
            Ok(response::json(StatusCode::OK, &json::item(request, &store, link)))
        }
        ("POST", [id]) => trash::restore(request, "web_link", id, &body.json_or_empty().await?),
        ("GET", [id, "trash"]) => trash::get(request, "web_link", id),
        ("DELETE", [id, "trash"]) => trash::purge(request, "web_link", id),
        ("PUT", [id]) => update(request, id, &body.json().await?),
        ("DELETE", [id]) => {
            let mut store = request.store();
            let key = matching(request, store.web_link(id)?)?;
            events::record(request, EventType::Trash, &store, store.web_link(id)?);
            store.move_to_trash(key, false)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_] | [_, "trash"]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let (url, parent) = (text(body, "/url")?, text(body, "/parent/id")?);
    // The default name is the URL's host.
    let host = || url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or(url);
    let name = body.get("name").and_then(Value::as_str).unwrap_or_else(host);
    let mut store = request.store();
    let key = store.create_web_link(parent, name, &request.user_id, url)?.id;
    let description = change(body).description.unwrap_or_default();
    if let Some(link) = store.get_mut(key) {
        link.description = description;
    }
    let link = store.web_link(&key.to_string())?;
    events::record(request, EventType::Create, &store, link);
    // Not 201: so says the OpenAPI document.
    Ok(response::json(StatusCode::OK, &json::item(request, &store, link)))
}

fn update(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = request.store();
    let key = matching(request, store.web_link(id)?)?;
    may_update(request, body)?;
    let url = body.get("url").and_then(Value::as_str).map(str::to_owned);
    store.update(key, Change { url, ..change(body) }, &request.user_id)?;
    if let Some(kind) = moved(body) {
        events::record(request, kind, &store, store.web_link(id)?);
    }
    shared_links::update(request, &mut store, key, body);
    let link = store.web_link(id)?;
    Ok(response::json(StatusCode::OK, &json::item(request, &store, link)))
}
