//! The trash: deleted items, until they are restored or deleted permanently. A type is `file`, `folder` or `web_link`.

use http::StatusCode;
use serde_json::{Value, json};

use super::{events, folders, json, request::ApiRequest};
use crate::sandbox::{
    http::response::{self, Answer, Refusal},
    model::{events::EventType, items::Store, trash::Trashed},
};

/// The largest offset that Box takes (OpenAPI, `GET /folders/trash/items`).
const LARGEST_OFFSET: usize = 10_000;

/// One item that was deleted itself.
pub(crate) fn get(request: &ApiRequest<'_>, type_name: &str, id: &str) -> Result<Answer, Refusal> {
    let store = request.store();
    let trashed = full(request, &store, store.trashed(id, type_name)?);
    Ok(response::json(StatusCode::OK, &shown(request, trashed)))
}

/// Everything that was deleted itself.
pub(crate) fn list(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let store = request.store();
    let by_marker = request.flag("usemarker");
    let is_given = |name: &&str| request.query.get(name).is_some_and(|value| !value.is_empty());
    let misplaced: &[&str] = if by_marker { &["sort", "direction", "offset"] } else { &["marker"] };
    if let Some(name) = misplaced.iter().find(|name| is_given(name)) {
        let message = format!("'{name}' is not for this kind of paging");
        return Err(Refusal::parameter(name, &message));
    }
    let mut all = store.trash();
    let (by, direction) = sort(request, &mut all)?;
    let page = request.paging()?;
    let first = if by_marker {
        folders::position(request.query.get("marker").unwrap_or_default())?
    } else {
        page.offset
    };
    if page.offset > LARGEST_OFFSET {
        let message = format!("The offset must be at most {LARGEST_OFFSET}");
        return Err(Refusal::parameter("offset", &message));
    }
    let entry = |trashed: &&Trashed| match request.fields() {
        None => json::mini(&trashed.item),
        Some(fields) => json::picked(full(request, &store, trashed), &fields),
    };
    let entries: Vec<Value> = all.iter().skip(first).take(page.limit).map(entry).collect();
    let next = first.saturating_add(page.limit);
    let body = if by_marker {
        let marker = (next < all.len()).then(|| folders::marker(next));
        json!({ "entries": entries, "limit": page.limit, "next_marker": marker })
    } else {
        json!({
            "total_count": all.len(),
            "entries": entries,
            "offset": page.offset,
            "limit": page.limit,
            "order": [{ "by": "type", "direction": "ASC" }, { "by": by, "direction": direction }],
        })
    };
    Ok(response::json(StatusCode::OK, &body))
}

/// Restores an item to its folder, or, if that no longer exists, to the parent in the body.
pub(crate) fn restore(
    request: &ApiRequest<'_>,
    type_name: &str,
    id: &str,
    body: &Value,
) -> Result<Answer, Refusal> {
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str);
    let mut store = request.store();
    let name = text("/name").map(str::to_owned);
    let key = store.restore(id, type_name, name, text("/parent/id"), &request.user_id)?.id;
    let item = store.get(key).ok_or_else(|| Refusal::no_such_item(id))?;
    events::record(request, EventType::Restore, &store, item);
    let mut restored = json::shown(request, json::standard(request.state, &store, item));
    // It is active again, but Box does not say so here (OpenAPI, schema `TrashFileRestored`).
    set(&mut restored, "shared_link", Value::Null);
    Ok(response::json(StatusCode::CREATED, &shown(request, restored)))
}

/// Deletes permanently.
pub(crate) fn purge(request: &ApiRequest<'_>, type_name: &str, id: &str) -> Result<Answer, Refusal> {
    request.store().purge(id, type_name)?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// The standard fields of an item in the trash.
pub(crate) fn full(request: &ApiRequest<'_>, store: &Store, trashed: &Trashed) -> Value {
    let trash = json!({ "type": "folder", "id": "1", "sequence_id": null, "etag": null, "name": "Trash" });
    let mut value = json::standard(request.state, store, &trashed.item);
    if request.top() == Some(trashed.item.id) {
        set(&mut value, "parent", Value::Null);
    }
    set(&mut value, "path_collection", json!({ "total_count": 1, "entries": [trash] }));
    set(&mut value, "trashed_at", json!(json::stamp(trashed.at)));
    set(&mut value, "purged_at", json!(json::stamp(trashed.purged_at())));
    set(&mut value, "shared_link", Value::Null);
    set(&mut value, "item_status", json!("trashed"));
    if value.get("size").is_some() {
        set(&mut value, "size", json!(trashed.size()));
    }
    value
}

fn shown(request: &ApiRequest<'_>, value: Value) -> Value {
    match request.fields() {
        None => value,
        Some(fields) => json::picked(value, &fields),
    }
}

fn set(value: &mut Value, name: &str, member: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), member);
    }
}

/// Sorts within each type as requested, and returns the order.
fn sort<'a>(request: &'a ApiRequest<'_>, all: &mut [&Trashed]) -> Result<(&'a str, &'static str), Refusal> {
    let by = request.query.get("sort").filter(|by| !by.is_empty()).unwrap_or("name");
    let direction = match request.query.get("direction").unwrap_or_default() {
        "" | "ASC" => "ASC",
        "DESC" => "DESC",
        other => return Err(Refusal::parameter("direction", &format!("Invalid value '{other}'."))),
    };
    // They come in the order of type and name, and sorting is stable.
    match by {
        "name" => {}
        "date" => all.sort_by_key(|trashed| (rank(trashed), trashed.item.modified_at)),
        "size" => all.sort_by_key(|trashed| (rank(trashed), trashed.size())),
        other => return Err(Refusal::parameter("sort", &format!("Invalid value '{other}'."))),
    }
    if direction == "DESC" {
        all.reverse();
        all.sort_by_key(|trashed| rank(trashed));
    }
    Ok((by, direction))
}

/// Folders come first, then files, then web links.
fn rank(trashed: &Trashed) -> usize {
    ["folder", "file"].iter().position(|name| *name == trashed.item.type_name()).unwrap_or(2)
}
