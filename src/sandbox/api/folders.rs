//! The operations on folders.

use http::{
    StatusCode,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, may_update, moved, text},
    json,
    request::{ApiRequest, Paging},
    shared_links,
};
use crate::sandbox::{
    http::response::{self, Answer, Refusal},
    model::events::EventType,
};

pub(crate) fn get(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let store = request.store();
    let folder = store.folder(id)?;
    if request.names_etag(IF_NONE_MATCH, folder.etag) == Some(true) {
        return Ok(response::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(response::json(StatusCode::OK, &json::item(request, &store, folder)))
}

pub(crate) fn items(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let fields = request.fields();
    let page = request.paging()?;
    let store = request.store();
    let folder = store.folder(id)?;
    let by_marker = request.flag("usemarker") || request.query.get("marker").is_some();
    let body = if by_marker {
        let offset = position(request.query.get("marker").unwrap_or_default())?;
        let next = offset.saturating_add(page.limit);
        let mut list = json::items(request, &store, folder, &Paging { offset, ..page }, fields.as_deref());
        let more = store.children(folder.id).len() > next;
        json!({
            "entries": list.get_mut("entries").map(Value::take),
            "limit": page.limit,
            "next_marker": more.then(|| marker(next)),
        })
    } else {
        json::items(request, &store, folder, &page, fields.as_deref())
    };
    Ok(response::json(StatusCode::OK, &body))
}

pub(crate) fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let name = text(body, "/name")?;
    let parent = text(body, "/parent/id")?;
    let mut store = request.store();
    let id = store.create_folder(parent, name, &request.user_id)?.id;
    let folder = store.folder(&id.to_string())?;
    events::record(request, EventType::Create, &store, folder);
    Ok(response::json(StatusCode::CREATED, &json::item(request, &store, folder)))
}

pub(crate) fn update(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = request.store();
    let folder = store.folder(id)?;
    if request.names_etag(IF_MATCH, folder.etag) == Some(false) {
        return Err(Refusal::precondition_failed());
    }
    let key = folder.id;
    may_update(request, body)?;
    store.update(key, change(body), &request.user_id)?;
    let folder = store.folder(id)?;
    if let Some(kind) = moved(body) {
        events::record(request, kind, &store, folder);
    }
    shared_links::update(request, &mut store, key, body);
    let folder = store.folder(id)?;
    Ok(response::json(StatusCode::OK, &json::item(request, &store, folder)))
}

pub(crate) fn delete(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let mut store = request.store();
    let folder = store.folder(id)?;
    if request.names_etag(IF_MATCH, folder.etag) == Some(false) {
        return Err(Refusal::precondition_failed());
    }
    let key = folder.id;
    let trashed = json::standard(request.state, &store, folder);
    store.move_to_trash(key, request.flag("recursive"))?;
    events::record_shown(&request.user_id, request.state, EventType::Trash, trashed);
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// A marker, opaque to callers; here it encodes a position.
pub(crate) fn marker(position: usize) -> String {
    format!("JV9IRGZmieiBasejOG9y{position:x}")
}

pub(crate) fn position(marker: &str) -> Result<usize, Refusal> {
    if marker.is_empty() {
        return Ok(0);
    }
    marker
        .strip_prefix("JV9IRGZmieiBasejOG9y")
        .and_then(|hex| usize::from_str_radix(hex, 16).ok())
        .ok_or_else(|| Refusal::parameter("marker", &format!("Invalid value '{marker}'.")))
}
