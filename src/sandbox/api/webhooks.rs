//! Webhooks: stored, never called.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{fields::text, json, request::ApiRequest};
use crate::sandbox::http::{
    request_body::RequestBody,
    response::{self, Answer, Refusal},
};

/// Everything under `/webhooks`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    let objects = &request.state.webhooks;
    match (request.head.method.as_str(), segments) {
        ("POST", []) => create(request, &body.json().await?),
        ("GET", []) => {
            let entries = objects.all().into_iter().map(|hook| json::picked(hook, &["target"]));
            let entries: Vec<Value> = entries.collect();
            let limit = request.number("limit", 100)?;
            Ok(response::json(
                StatusCode::OK,
                &json!({ "limit": limit, "next_marker": null, "entries": entries }),
            ))
        }
        ("GET", [id]) => Ok(response::json(StatusCode::OK, &objects.get(id)?)),
        ("PUT", [id]) => {
            let body = body.json().await?;
            if body.get("address").is_some() {
                address(&body)?;
            }
            let hook = objects.change(id, &body, &["target", "address", "triggers"])?;
            Ok(response::json(StatusCode::OK, &hook))
        }
        ("DELETE", [id]) => {
            objects.remove(id)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        (_, [] | [_]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let (kind, id, address) = (text(body, "/target/type")?, text(body, "/target/id")?, address(body)?);
    let triggers = body.get("triggers").and_then(Value::as_array).filter(|triggers| !triggers.is_empty());
    let triggers = triggers.ok_or_else(|| Refusal::parameter("triggers", "'triggers' is required"))?;
    match kind {
        "folder" => request.state.store().folder(id).map(drop)?,
        _ => request.state.store().file(id).map(drop)?,
    }
    let owner = format!("{kind}_{id}");
    // One app has one webhook on one item.
    if !request.state.webhooks.of(&owner).is_empty() {
        let message = "A webhook with the same target already exists";
        return Err(Refusal::error(409, "conflict", message));
    }
    let hook = request.state.webhooks.add(&owner, |new| {
        json!({
            "type": "webhook",
            "id": new,
            "target": { "type": kind, "id": id },
            "created_by": json::user_mini(&request.state.users, &request.user_id),
            "created_at": json::stamp(Timestamp::now()),
            "address": address,
            "triggers": triggers,
        })
    });
    Ok(response::json(StatusCode::CREATED, &hook))
}

fn address(body: &Value) -> Result<&str, Refusal> {
    let address = text(body, "/address")?;
    if address.starts_with("https://") {
        return Ok(address);
    }
    Err(Refusal::parameter("address", "The address must be an https URL"))
}
