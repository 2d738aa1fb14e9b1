//! The operations on users.

use http::StatusCode;
use serde_json::{Value, json};

use super::{json, request::ApiRequest};
use crate::sandbox::http::response::{self, Answer, Refusal};

pub(crate) fn get(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let users = &request.state.users;
    let user = users.find(id).ok_or_else(|| Refusal::no_such_item(id))?;
    Ok(response::json(StatusCode::OK, &json::user(users, user, request.fields().as_deref())))
}

/// The managed users, those of `filter_term` where it is given.
pub(crate) fn list(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let page = request.paging()?;
    let (users, fields) = (&request.state.users, request.fields());
    let term = request.query.get("filter_term").unwrap_or_default();
    let total_count = users.managed(term).count();
    let shown = users.managed(term).skip(page.offset).take(page.limit);
    let entries: Vec<Value> = shown.map(|user| json::user(users, user, fields.as_deref())).collect();
    let body =
        json!({ "total_count": total_count, "entries": entries, "limit": page.limit, "offset": page.offset });
    Ok(response::json(StatusCode::OK, &body))
}
