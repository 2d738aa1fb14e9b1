//! The search for items by name.

use http::StatusCode;
use serde_json::{Value, json};

use super::{json, request::ApiRequest, trash};
use crate::sandbox::http::response::{self, Answer, Refusal};

pub(crate) fn get(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let text =
        request.query.get("query").ok_or_else(|| Refusal::parameter("query", "The query is missing"))?;
    let page = request.paging()?;
    let fields = request.fields();
    let store = request.store();
    let (in_tree, in_trash) = match request.query.get("trash_content").unwrap_or_default() {
        "" | "non_trashed_only" => (true, false),
        "trashed_only" => (false, true),
        "all_items" => (true, true),
        other => return Err(Refusal::parameter("trash_content", &format!("Invalid value '{other}'."))),
    };
    let mut found: Vec<Value> = Vec::new();
    if in_tree {
        found.extend(store.search(text).into_iter().map(|item| match &fields {
            Some(fields) => json::listed(request, &store, item, Some(fields)),
            None => json::item(request, &store, item),
        }));
    }
    if in_trash {
        found.extend(store.search_trash(text).into_iter().map(|trashed| {
            let full = trash::full(request, &store, trashed);
            fields.as_ref().map_or_else(|| full.clone(), |fields| json::picked(full.clone(), fields))
        }));
    }
    let total_count = found.len();
    let entries: Vec<Value> = found.into_iter().skip(page.offset).take(page.limit).collect();
    let body = json!({
        "type": "search_results_items",
        "total_count": total_count,
        "entries": entries,
        "limit": page.limit,
        "offset": page.offset,
    });
    Ok(response::json(StatusCode::OK, &body))
}
