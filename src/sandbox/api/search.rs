//! The search for items by name.

use http::StatusCode;
use serde_json::{Value, json};

use super::{json, request::ApiRequest};
use crate::sandbox::http::response::{self, Answer, Refusal};

pub(crate) fn get(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let text =
        request.query.get("query").ok_or_else(|| Refusal::parameter("query", "The query is missing"))?;
    let page = request.paging()?;
    let fields = request.fields();
    let store = request.state.store();
    let found = store.search(text);
    let shown = found.iter().skip(page.offset).take(page.limit);
    let entries: Vec<Value> = shown
        .map(|item| match &fields {
            Some(fields) => json::listed(request, &store, item, Some(fields)),
            None => json::item(request, &store, item),
        })
        .collect();
    let body = json!({
        "type": "search_results_items",
        "total_count": found.len(),
        "entries": entries,
        "limit": page.limit,
        "offset": page.offset,
    });
    Ok(response::json(StatusCode::OK, &body))
}
