//! Shared links, and the items behind them.

use http::{HeaderName, StatusCode, header::IF_NONE_MATCH};
use serde_json::Value;

use super::{events, json, request::ApiRequest};
use crate::sandbox::{
    http::{
        form::Form,
        response::{self, Answer, Refusal},
    },
    model::{events::EventType, items::Store, shared_link::SharedLink},
};

const BOX_API: HeaderName = HeaderName::from_static("boxapi");

/// Creates, changes or removes the link of an item, as the body of an update says.
pub(crate) fn update(request: &ApiRequest<'_>, store: &mut Store, key: u64, body: &Value) {
    let (Some(wanted), Some(item)) = (body.get("shared_link"), store.get_mut(key)) else { return };
    let kind = if wanted.is_null() { EventType::Unshare } else { EventType::Share };
    let old = item.shared_link.take();
    item.shared_link = (!wanted.is_null()).then(|| changed(old.unwrap_or_else(SharedLink::new), wanted));
    if let Some(item) = store.get(key) {
        events::record(request, kind, store, item);
    }
}

/// Fields that are not given stay unchanged.
fn changed(mut link: SharedLink, wanted: &Value) -> SharedLink {
    if let Some(access) = wanted.get("access").and_then(Value::as_str) {
        access.clone_into(&mut link.access);
    }
    if let Some(password) = wanted.get("password") {
        link.password = password.as_str().map(str::to_owned);
    }
    if let Some(can_download) = wanted.pointer("/permissions/can_download").and_then(Value::as_bool) {
        link.can_download = can_download;
    }
    if let Some(unshared_at) = wanted.get("unshared_at") {
        link.unshared_at = unshared_at.clone();
    }
    link
}

/// The item of the shared link in the `BoxApi` header.
pub(crate) fn get(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let header = request.head.headers.get(BOX_API).and_then(|value| value.to_str().ok());
    let header = Form::parse(header.unwrap_or_default());
    let url = header.get("shared_link").ok_or_else(|| Refusal::parameter("shared_link", "It is required"))?;
    let store = request.store();
    let found = store.all().find_map(|item| {
        let link = item.shared_link.as_ref().filter(|link| link.url() == url)?;
        Some((item, link))
    });
    let (item, link) = found.ok_or_else(Refusal::not_found)?;
    if link.password.as_deref().is_some_and(|password| header.get("shared_link_password") != Some(password)) {
        let message = "The shared link password is missing or wrong";
        return Err(Refusal::error(403, "incorrect_shared_item_password", message));
    }
    if request.names_etag(IF_NONE_MATCH, item.etag) == Some(true) {
        return Ok(response::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(response::json(StatusCode::OK, &json::item(request, &store, item)))
}
