//! The operations on files at the API host.

use http::{
    HeaderValue, StatusCode,
    header::{IF_NONE_MATCH, LOCATION},
};
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, matching, may_update, moved, text},
    json,
    request::ApiRequest,
    shared_links,
};
use crate::sandbox::{
    http::{
        random::random_text,
        response::{self, Answer, Refusal},
    },
    model::{events::EventType, item::FileVersion},
};

pub(crate) fn get(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let store = request.store();
    let file = store.file(id)?;
    if request.names_etag(IF_NONE_MATCH, file.etag) == Some(true) {
        return Ok(response::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(response::json(StatusCode::OK, &json::item(request, &store, file)))
}

pub(crate) fn update(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let mut store = request.store();
    let key = matching(request, store.file(id)?)?;
    may_update(request, body)?;
    store.update(key, change(body), &request.user_id)?;
    let file = store.file(id)?;
    if let Some(kind) = moved(body) {
        events::record(request, kind, &store, file);
    }
    shared_links::update(request, &mut store, key, body);
    let file = store.file(id)?;
    Ok(response::json(StatusCode::OK, &json::item(request, &store, file)))
}

pub(crate) fn delete(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let mut store = request.store();
    let key = matching(request, store.file(id)?)?;
    events::record(request, EventType::Trash, &store, store.file(id)?);
    store.move_to_trash(key, false)?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn copy(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let parent = text(body, "/parent/id")?;
    let mut store = request.store();
    let file = store.file(id)?;
    let name = body.pointer("/name").and_then(Value::as_str).unwrap_or(&file.name).to_owned();
    let version = file.version().cloned().ok_or_else(|| Refusal::no_such_item(id))?;
    let copy = store.create_file(parent, &name, &request.user_id, version.content, version.sha1)?.id;
    let copy = store.file(&copy.to_string())?;
    events::record(request, EventType::Copy, &store, copy);
    Ok(response::json(StatusCode::CREATED, &json::item(request, &store, copy)))
}

/// Box does not serve content at this host but redirects to the download host.
pub(crate) fn redirect(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    request.store().file(id)?;
    let control = &request.state.control;
    if control.downloads_pending.take() {
        return Ok(response::later());
    }
    let mut answer = response::empty(StatusCode::FOUND);
    let version = request.query.get("version").and_then(|version| version.parse().ok());
    let target = control.download_target().unwrap_or_else(|| request.state.presigned_url(id, version));
    if let Ok(location) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

/// The earlier versions of the file, newest first.
pub(crate) fn versions(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let page = request.paging()?;
    let store = request.store();
    let file = store.file(id)?;
    let version_json = |version: &FileVersion| {
        let created = json::stamp(version.created_at);
        let full = json!({
            "type": "file_version",
            "id": version.id.to_string(),
            "sha1": version.sha1,
            "name": file.name,
            "size": version.content.size(),
            "created_at": created,
            "modified_at": created,
            "modified_by": json::user_mini(&request.state.users, &version.created_by),
            "trashed_at": null,
            "trashed_by": null,
            "restored_at": null,
            "restored_by": null,
            "purged_at": null,
            "version_number": version.number.to_string(),
            "uploader_display_name": json::user_mini(&request.state.users, &version.created_by).get("name"),
        });
        request.fields().map_or_else(|| full.clone(), |fields| json::picked(full.clone(), &fields))
    };
    let shown = file.history.iter().rev().skip(page.offset).take(page.limit);
    let body = json!({
        "total_count": file.history.len(),
        "limit": page.limit,
        "offset": page.offset,
        "order": [{ "by": "created_at", "direction": "DESC" }],
        "entries": shown.map(version_json).collect::<Vec<_>>(),
    });
    Ok(response::json(StatusCode::OK, &body))
}

/// The check before the upload of a new file.
pub(crate) fn check_new(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let name = text(body, "/name")?;
    let parent = body.pointer("/parent/id").and_then(Value::as_str).unwrap_or("0");
    let store = request.store();
    let parent = store.folder(parent)?.id;
    store.vacant(parent, name, "file", None)?;
    Ok(upload_url(request, "/api/2.0/files/content"))
}

/// The check before the upload of a new version.
pub(crate) fn check_version(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let store = request.store();
    let file = store.file(id)?;
    if let (Some(name), Some(parent)) = (body.pointer("/name").and_then(Value::as_str), file.parent) {
        store.vacant(parent, name, "file", Some(file.id))?;
    }
    Ok(upload_url(request, &format!("/api/2.0/files/{id}/content")))
}

fn upload_url(request: &ApiRequest<'_>, path: &str) -> Answer {
    let url = format!("{}{path}?upload_session_id={}", request.state.hosts.preflight, random_text(16));
    let (token, _) = request.issue_token();
    response::json(StatusCode::OK, &json!({ "upload_url": url, "upload_token": token }))
}
