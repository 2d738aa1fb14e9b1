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
    if let [id] = segments
        && let Ok(hook) = objects.get(id)
    {
        reach(request, &hook)?;
    }
    match (request.head.method.as_str(), segments) {
        ("POST", []) => create(request, &body.json().await?),
        ("GET", []) => {
            let mut hooks = objects.all();
            hooks.retain(|hook| reach(request, hook).is_ok());
            let entries: Vec<Value> = hooks.into_iter().map(|hook| json::picked(hook, &["target"])).collect();
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
            reach(request, &body)?;
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
        "folder" => request.store().folder(id).map(drop)?,
        _ => request.store().file(id).map(drop)?,
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

/// Whether the token reaches the target, where there is one.
fn reach(request: &ApiRequest<'_>, hook: &Value) -> Result<(), Refusal> {
    let target = hook.pointer("/target/id").and_then(Value::as_str).unwrap_or_default();
    Ok(request.store().reach(target)?)
}

fn address(body: &Value) -> Result<&str, Refusal> {
    let address = text(body, "/address")?;
    if address.starts_with("https://") {
        return Ok(address);
    }
    Err(Refusal::parameter("address", "The address must be an https URL"))
}
