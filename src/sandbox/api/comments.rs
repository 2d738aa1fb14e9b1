//! Comments on files, and replies to comments.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{events, fields::text, json, request::Call};
use crate::sandbox::{
    http::{
        request_body::Received,
        response::{self, Answer, Refusal},
    },
    model::events::Kind,
};

/// Everything under `/comments`.
pub(crate) async fn answer(
    call: &Call<'_>,
    segments: &[&str],
    body: &mut Received,
) -> Result<Answer, Refusal> {
    let shelf = &call.world.comments;
    match (call.head.method.as_str(), segments) {
        ("POST", []) => create(call, &body.json().await?),
        ("GET", [id]) => Ok(response::json(StatusCode::OK, &shown(call, shelf.get(id)?))),
        ("PUT", [id]) => {
            shelf.change(id, &body.json().await?, &["message"])?;
            let modified = json!({ "modified_at": json::stamp(Timestamp::now()) });
            let comment = shelf.change(id, &modified, &["modified_at"])?;
            Ok(response::json(StatusCode::OK, &shown(call, comment)))
        }
        ("DELETE", [id]) => {
            let owner = shelf.owner(id)?;
            shelf.remove(id)?;
            let store = call.world.store();
            // The file may be gone by now.
            if let Ok(file) = store.file(&owner) {
                events::record(call, Kind::CommentDelete, &store, file);
            }
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

/// The comments on a file.
pub(crate) fn of_file(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    call.world.store().file(id)?;
    let page = call.page()?;
    let all = call.world.comments.of(id);
    let total_count = all.len();
    let shown = all.into_iter().skip(page.offset).take(page.limit).map(|comment| shown(call, comment));
    let body = json!({
        "total_count": total_count,
        "limit": page.limit,
        "offset": page.offset,
        "entries": shown.collect::<Vec<_>>(),
    });
    Ok(response::json(StatusCode::OK, &body))
}

fn create(call: &Call<'_>, body: &Value) -> Result<Answer, Refusal> {
    let message =
        text(body, "/message").or_else(|refusal| text(body, "/tagged_message").map_err(|_| refusal))?;
    let (kind, id) = (text(body, "/item/type")?, text(body, "/item/id")?);
    let (file, is_reply) = match kind {
        "file" => (id.to_owned(), false),
        // A reply hangs on the same file.
        "comment" => (call.world.comments.owner(id)?, true),
        _ => return Err(Refusal::parameter("item.type", &format!("Invalid value '{kind}'."))),
    };
    let store = call.world.store();
    let item = store.file(&file)?;
    let now = json::stamp(Timestamp::now());
    let comment = call.world.comments.add(&file, |new| {
        json!({
            "type": "comment",
            "id": new,
            "is_reply_comment": is_reply,
            "message": message,
            "created_by": json::user_mini(&call.world.users, &call.who),
            "created_at": now,
            "modified_at": now,
            "item": { "type": kind, "id": id },
        })
    });
    events::record(call, Kind::Comment, &store, item);
    Ok(response::json(StatusCode::CREATED, &shown(call, comment)))
}

fn shown(call: &Call<'_>, mut comment: Value) -> Value {
    let Some(fields) = call.fields() else { return comment };
    if let Some(object) = comment.as_object_mut() {
        let message = object.get("message").cloned().unwrap_or_default();
        object.insert("tagged_message".to_owned(), message);
    }
    json::picked(comment, &fields)
}
