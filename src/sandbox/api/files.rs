//! The operations on files that the API host has.

use http::{
    HeaderValue, StatusCode,
    header::{IF_NONE_MATCH, LOCATION},
};
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, matching, moved, text},
    json,
    request::Call,
    shared_links,
};
use crate::sandbox::{
    http::{
        random::random_text,
        response::{self, Answer, Refusal},
    },
    model::{events::Kind, items::FileVersion},
};

pub(crate) fn get(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let store = call.world.store();
    let file = store.file(id)?;
    if call.names_etag(IF_NONE_MATCH, file.etag) == Some(true) {
        return Ok(response::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(response::json(StatusCode::OK, &json::item(call, &store, file)))
}

pub(crate) fn update(call: &Call<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = call.world.store();
    let key = matching(call, store.file(id)?)?;
    store.update(key, change(body), &call.who)?;
    let file = store.file(id)?;
    if let Some(kind) = moved(body) {
        events::record(call, kind, &store, file);
    }
    shared_links::update(call, &mut store, key, body);
    let file = store.file(id)?;
    Ok(response::json(StatusCode::OK, &json::item(call, &store, file)))
}

pub(crate) fn delete(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let mut store = call.world.store();
    let key = matching(call, store.file(id)?)?;
    events::record(call, Kind::Trash, &store, store.file(id)?);
    store.remove(key, false)?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn copy(call: &Call<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let parent = text(body, "/parent/id")?;
    let mut store = call.world.store();
    let file = store.file(id)?;
    let name = body.pointer("/name").and_then(Value::as_str).unwrap_or(&file.name).to_owned();
    let version = file.version().cloned().ok_or_else(|| Refusal::no_such_item(id))?;
    let copy = store.create_file(parent, &name, &call.who, version.content, version.sha1)?.id;
    let copy = store.file(&copy.to_string())?;
    events::record(call, Kind::Copy, &store, copy);
    Ok(response::json(StatusCode::CREATED, &json::item(call, &store, copy)))
}

/// Box does not stream from this host: it sends callers to the download host.
pub(crate) fn redirect(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    call.world.store().file(id)?;
    let control = &call.world.control;
    if control.downloads_pending.take() {
        return Ok(response::later());
    }
    let mut answer = response::empty(StatusCode::FOUND);
    let version = call.query.get("version").and_then(|version| version.parse().ok());
    let target = control.download_target().unwrap_or_else(|| call.world.ticket_url(id, version));
    if let Ok(location) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

/// What the file was before, newest first.
pub(crate) fn versions(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let page = call.page()?;
    let store = call.world.store();
    let file = store.file(id)?;
    let shape = |version: &FileVersion| {
        let created = json::stamp(version.created_at);
        let full = json!({
            "type": "file_version",
            "id": version.id.to_string(),
            "sha1": version.sha1,
            "name": file.name,
            "size": version.content.size(),
            "created_at": created,
            "modified_at": created,
            "modified_by": json::user_mini(&call.world.users, &version.created_by),
            "trashed_at": null,
            "trashed_by": null,
            "restored_at": null,
            "restored_by": null,
            "purged_at": null,
            "version_number": version.number.to_string(),
            "uploader_display_name": json::user_mini(&call.world.users, &version.created_by).get("name"),
        });
        call.fields().map_or_else(|| full.clone(), |fields| json::picked(full.clone(), &fields))
    };
    let shown = file.history.iter().rev().skip(page.offset).take(page.limit);
    let body = json!({
        "total_count": file.history.len(),
        "limit": page.limit,
        "offset": page.offset,
        "order": [{ "by": "created_at", "direction": "DESC" }],
        "entries": shown.map(shape).collect::<Vec<_>>(),
    });
    Ok(response::json(StatusCode::OK, &body))
}

/// The check before the upload of a new file.
pub(crate) fn check_new(call: &Call<'_>, body: &Value) -> Result<Answer, Refusal> {
    let name = text(body, "/name")?;
    let parent = body.pointer("/parent/id").and_then(Value::as_str).unwrap_or("0");
    let store = call.world.store();
    let parent = store.folder(parent)?.id;
    store.vacant(parent, name, "file", None)?;
    Ok(upload_url(call, "/api/2.0/files/content"))
}

/// The check before the upload of a new version.
pub(crate) fn check_version(call: &Call<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let store = call.world.store();
    let file = store.file(id)?;
    if let (Some(name), Some(parent)) = (body.pointer("/name").and_then(Value::as_str), file.parent) {
        store.vacant(parent, name, "file", Some(file.id))?;
    }
    Ok(upload_url(call, &format!("/api/2.0/files/{id}/content")))
}

fn upload_url(call: &Call<'_>, path: &str) -> Answer {
    let url = format!("{}{path}?upload_session_id={}", call.world.hosts.preflight, random_text(16));
    let (token, _) = call.world.tokens().issue(&call.who);
    response::json(StatusCode::OK, &json!({ "upload_url": url, "upload_token": token }))
}
