//! Comments on files, and replies to comments.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{events, fields::text, json, request::ApiRequest};
use crate::sandbox::{
    http::{
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::events::EventType,
};

/// Everything under `/comments`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    let objects = &request.state.comments;
    if let ("GET" | "PUT" | "DELETE", [id]) = (request.head.method.as_str(), segments) {
        // A comment is in the trash or deleted with its file.
        let file = objects.owner(id)?;
        request.store().file(&file)?;
    }
    match (request.head.method.as_str(), segments) {
        ("POST", []) => create(request, &body.json().await?),
        ("GET", [id]) => Ok(response::json(StatusCode::OK, &shown(request, objects.get(id)?))),
        ("PUT", [id]) => {
            objects.change(id, &body.json().await?, &["message"])?;
            let modified = json!({ "modified_at": json::stamp(Timestamp::now()) });
            let comment = objects.change(id, &modified, &["modified_at"])?;
            Ok(response::json(StatusCode::OK, &shown(request, comment)))
        }
        ("DELETE", [id]) => {
            let owner = objects.owner(id)?;
            objects.remove(id)?;
            let store = request.store();
            events::record(request, EventType::CommentDelete, &store, store.file(&owner)?);
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

/// The comments on a file.
pub(crate) fn of_file(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    request.store().file(id)?;
    let page = request.paging()?;
    let all = request.state.comments.of(id);
    let total_count = all.len();
    let shown = all.into_iter().skip(page.offset).take(page.limit).map(|comment| shown(request, comment));
    let body = json!({
        "total_count": total_count,
        "limit": page.limit,
        "offset": page.offset,
        "entries": shown.collect::<Vec<_>>(),
    });
    Ok(response::json(StatusCode::OK, &body))
}

fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let message =
        text(body, "/message").or_else(|refusal| text(body, "/tagged_message").map_err(|_| refusal))?;
    let (kind, id) = (text(body, "/item/type")?, text(body, "/item/id")?);
    let (file, is_reply) = match kind {
        "file" => (id.to_owned(), false),
        // A reply belongs to the same file.
        "comment" => (request.state.comments.owner(id)?, true),
        _ => return Err(Refusal::parameter("item.type", &format!("Invalid value '{kind}'."))),
    };
    let store = request.store();
    let item = store.file(&file)?;
    let now = json::stamp(Timestamp::now());
    let comment = request.state.comments.add(&file, |new| {
        json!({
            "type": "comment",
            "id": new,
            "is_reply_comment": is_reply,
            "message": message,
            "created_by": json::user_mini(&request.state.users, &request.user_id),
            "created_at": now,
            "modified_at": now,
            "item": { "type": kind, "id": id },
        })
    });
    events::record(request, EventType::Comment, &store, item);
    Ok(response::json(StatusCode::CREATED, &shown(request, comment)))
}

fn shown(request: &ApiRequest<'_>, mut comment: Value) -> Value {
    let Some(fields) = request.fields() else { return comment };
    if let Some(object) = comment.as_object_mut() {
        let message = object.get("message").cloned().unwrap_or_default();
        object.insert("tagged_message".to_owned(), message);
    }
    json::picked(comment, &fields)
}
