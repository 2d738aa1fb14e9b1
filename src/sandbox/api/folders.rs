//! The operations on folders.

use http::{
    StatusCode,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, moved, text},
    json,
    request::{Call, Page},
    shared_links,
};
use crate::sandbox::{
    http::response::{self, Answer, Refusal},
    model::events::Kind,
};

pub(crate) fn get(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let store = call.world.store();
    let folder = store.folder(id)?;
    if call.names_etag(IF_NONE_MATCH, folder.etag) == Some(true) {
        return Ok(response::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(response::json(StatusCode::OK, &json::item(call, &store, folder)))
}

pub(crate) fn items(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let fields = call.fields();
    let page = call.page()?;
    let store = call.world.store();
    let folder = store.folder(id)?;
    let by_marker = call.flag("usemarker") || call.query.get("marker").is_some();
    let body = if by_marker {
        let offset = position(call.query.get("marker").unwrap_or_default())?;
        let next = offset.saturating_add(page.limit);
        let mut list = json::items(call, &store, folder, &Page { offset, ..page }, fields.as_deref());
        let more = store.children(folder.id).len() > next;
        json!({
            "entries": list.get_mut("entries").map(Value::take),
            "limit": page.limit,
            "next_marker": more.then(|| marker(next)),
        })
    } else {
        json::items(call, &store, folder, &page, fields.as_deref())
    };
    Ok(response::json(StatusCode::OK, &body))
}

pub(crate) fn create(call: &Call<'_>, body: &Value) -> Result<Answer, Refusal> {
    let name = text(body, "/name")?;
    let parent = text(body, "/parent/id")?;
    let mut store = call.world.store();
    let id = store.create_folder(parent, name, &call.who)?.id;
    let folder = store.folder(&id.to_string())?;
    events::record(call, Kind::Create, &store, folder);
    Ok(response::json(StatusCode::CREATED, &json::item(call, &store, folder)))
}

pub(crate) fn update(call: &Call<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = call.world.store();
    let folder = store.folder(id)?;
    if call.names_etag(IF_MATCH, folder.etag) == Some(false) {
        return Err(Refusal::precondition_failed());
    }
    let key = folder.id;
    store.update(key, change(body), &call.who)?;
    let folder = store.folder(id)?;
    if let Some(kind) = moved(body) {
        events::record(call, kind, &store, folder);
    }
    shared_links::update(call, &mut store, key, body);
    let folder = store.folder(id)?;
    Ok(response::json(StatusCode::OK, &json::item(call, &store, folder)))
}

pub(crate) fn delete(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let mut store = call.world.store();
    let folder = store.folder(id)?;
    if call.names_etag(IF_MATCH, folder.etag) == Some(false) {
        return Err(Refusal::precondition_failed());
    }
    let key = folder.id;
    let trashed = json::standard(call.world, &store, folder);
    store.remove(key, call.flag("recursive"))?;
    events::record_shown(&call.who, call.world, Kind::Trash, trashed);
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// A marker is opaque to callers; here it is a position in disguise.
fn marker(position: usize) -> String {
    format!("JV9IRGZmieiBasejOG9y{position:x}")
}

fn position(marker: &str) -> Result<usize, Refusal> {
    if marker.is_empty() {
        return Ok(0);
    }
    marker
        .strip_prefix("JV9IRGZmieiBasejOG9y")
        .and_then(|hex| usize::from_str_radix(hex, 16).ok())
        .ok_or_else(|| Refusal::parameter("marker", &format!("Invalid value '{marker}'.")))
}
