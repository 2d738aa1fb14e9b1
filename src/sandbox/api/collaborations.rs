//! Collaborations: who may work on which files and folders. They are stored, not enforced.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{events, fields::text, json, request::ApiRequest};
use crate::sandbox::{
    http::{
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::{events::EventType, item::Item, view::View},
};

const ROLES: [&str; 8] = [
    "editor",
    "viewer",
    "previewer",
    "uploader",
    "previewer uploader",
    "viewer uploader",
    "co-owner",
    "owner",
];

/// Everything under `/collaborations`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    let objects = &request.state.collaborations;
    if let ("GET" | "PUT" | "DELETE", [id]) = (request.head.method.as_str(), segments) {
        // A collaboration is in the trash or deleted with its item.
        find_item(&request.store(), &objects.get(id)?)?;
    }
    match (request.head.method.as_str(), segments) {
        ("POST", []) => create(request, &body.json().await?),
        ("GET", []) => pending(request),
        ("GET", [id]) => Ok(response::json(StatusCode::OK, &objects.get(id)?)),
        ("PUT", [id]) => {
            let body = body.json().await?;
            if body.get("role").is_some() {
                role(&body)?;
            }
            let changed = objects.change(id, &body, &["role", "status", "expires_at"])?;
            // A user who gives ownership away no longer sees the collaboration.
            if changed.get("role").and_then(Value::as_str) == Some("owner") {
                return Ok(response::empty(StatusCode::NO_CONTENT));
            }
            Ok(response::json(StatusCode::OK, &changed))
        }
        ("DELETE", [id]) => {
            objects.remove(id)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

/// The collaborations on one item.
pub(crate) fn of_item(request: &ApiRequest<'_>, item: &Item) -> Result<Answer, Refusal> {
    let entries = request.state.collaborations.of(&owner(item));
    let limit = request.number("limit", 100)?;
    let body = json!({ "limit": limit, "next_marker": null, "prev_marker": null, "entries": entries });
    Ok(response::json(StatusCode::OK, &body))
}

/// The caller's invitations.
fn pending(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    if request.query.get("status") != Some("pending") {
        return Err(Refusal::parameter("status", "The status must be 'pending'"));
    }
    let page = request.paging()?;
    let store = request.store();
    let is_pending = |one: &Value| {
        one.get("status").and_then(Value::as_str) == Some("pending") && find_item(&store, one).is_ok()
    };
    let all: Vec<Value> = request.state.collaborations.all().into_iter().filter(is_pending).collect();
    let total_count = all.len();
    let entries: Vec<Value> = all.into_iter().skip(page.offset).take(page.limit).collect();
    let body =
        json!({ "total_count": total_count, "entries": entries, "limit": page.limit, "offset": page.offset });
    Ok(response::json(StatusCode::OK, &body))
}

fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let state = request.state;
    let role = role(body)?;
    let store = request.store();
    let item = find_item(&store, body)?;
    if item.parent.is_none() {
        let message = "Collaborations cannot be created on the root folder";
        return Err(Refusal::error(400, "collaborations_not_available_on_root_folder", message));
    }
    let login = body.pointer("/accessible_by/login").and_then(Value::as_str);
    let known = match login {
        Some(login) => state.users.by_login(login).map(|user| json::user_mini(&state.users, &user.id)),
        None => {
            let user = text(body, "/accessible_by/id")?;
            let known = Some(json::user_mini(&state.users, user)).filter(Value::is_object);
            Some(known.ok_or_else(|| Refusal::no_such_item(user))?)
        }
    };
    let is_same = |one: &Value| one.get("accessible_by") == known.as_ref();
    let owner = owner(item);
    if known.is_some() && state.collaborations.of(&owner).iter().any(is_same) {
        return Err(Refusal::error(400, "user_already_collaborator", "User is already a collaborator"));
    }
    let now = json::stamp(Timestamp::now());
    let made = state.collaborations.add(&owner, |new| {
        json!({
            "type": "collaboration",
            "id": new,
            "created_by": json::user_mini(&state.users, &request.user_id),
            "created_at": now,
            "modified_at": now,
            "expires_at": body.get("expires_at"),
            "status": if known.is_some() { "accepted" } else { "pending" },
            // An unknown user is invited.
            "invite_email": login.filter(|_| known.is_none()),
            "accessible_by": known,
            "role": role,
            "acknowledged_at": known.is_some().then_some(&now),
            "item": json::mini(item),
            "is_access_only": false,
        })
    });
    events::record(request, EventType::Collaborate, &store, item);
    Ok(response::json(StatusCode::CREATED, &made))
}

/// What the `item` of this JSON names.
fn find_item<'s>(store: &'s View<'_>, value: &Value) -> Result<&'s Item, Refusal> {
    let id = text(value, "/item/id")?;
    Ok(match text(value, "/item/type")? {
        "folder" => store.folder(id)?,
        _ => store.file(id)?,
    })
}

fn role(body: &Value) -> Result<&str, Refusal> {
    let role = text(body, "/role")?;
    if ROLES.contains(&role) {
        return Ok(role);
    }
    Err(Refusal::parameter("role", &format!("Invalid value '{role}'.")))
}

fn owner(item: &Item) -> String {
    format!("{}_{}", item.type_name(), item.id)
}
