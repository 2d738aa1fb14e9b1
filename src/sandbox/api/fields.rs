//! Fields that several operations have in common.

use http::header::IF_MATCH;
use serde_json::Value;

use super::request::ApiRequest;
use crate::sandbox::{
    http::response::Refusal,
    model::{
        events::EventType,
        item::Item,
        items::Change,
        scopes::{self, Privilege},
    },
};

/// A string that the JSON must have.
pub(crate) fn text<'a>(body: &'a Value, pointer: &str) -> Result<&'a str, Refusal> {
    let name = pointer.trim_start_matches('/').replace('/', ".");
    body.pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::parameter(&name, &format!("'{name}' is required")))
}

/// The changes that an update requests.
pub(crate) fn change(body: &Value) -> Change {
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Change { name: text("/name"), parent: text("/parent/id"), description: text("/description"), url: None }
}

/// Whether the caller's token has a scope for each member that an update changes.
pub(crate) fn may_update(request: &ApiRequest<'_>, body: &Value) -> Result<(), Refusal> {
    match body.as_object().filter(|members| !members.is_empty()) {
        Some(members) => members.keys().try_for_each(|name| request.require(scopes::to_change(name))),
        None => request.require(Privilege::Write),
    }
}

/// Whether the caller's token has a scope for what a new version changes besides the content.
pub(crate) fn may_change(request: &ApiRequest<'_>, file: &Item, change: &Change) -> Result<(), Refusal> {
    if change.name.as_ref().is_some_and(|name| *name != file.name) {
        request.require(Privilege::Rename)?;
    }
    let is_same_parent = |parent: &String| file.parent.is_some_and(|id| id.to_string() == *parent);
    let moves = change.parent.as_ref().is_some_and(|parent| !is_same_parent(parent));
    if moves || change.description.as_ref().is_some_and(|description| *description != file.description) {
        request.require(Privilege::Write)?;
    }
    Ok(())
}

/// The event for an update; `None` if neither name nor parent changes.
pub(crate) fn moved(body: &Value) -> Option<EventType> {
    let is_there = |pointer| body.pointer(pointer).is_some();
    if is_there("/parent/id") {
        return Some(EventType::Move);
    }
    is_there("/name").then_some(EventType::Rename)
}

/// The file's key, if the caller's `If-Match` allows to change it.
pub(crate) fn matching(request: &ApiRequest<'_>, file: &Item) -> Result<u64, Refusal> {
    if request.names_etag(IF_MATCH, file.etag) == Some(false) {
        return Err(Refusal::precondition_failed());
    }
    Ok(file.id)
}
