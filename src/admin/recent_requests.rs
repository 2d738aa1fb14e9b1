//! `GET /requests.json`: the last requests, the newest first, without bodies, queries and credentials.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::request_entry::Entry;
use super::request_filter::Filter;
use super::{Overview, json_page};
use crate::http::error::Refusal;
use crate::http::query;
use crate::telemetry::recent_requests::RecentRequest;

/// The document.
#[derive(Serialize)]
struct Document<'r> {
    requests: Vec<Entry<'r>>,
}

/// The requests that the filter admits, the newest first: at most `most`, whatever its `max` is.
pub(super) fn admitted(overview: &Overview, filter: &Filter, most: usize) -> Vec<RecentRequest> {
    let kept = overview.gateway.load().config.recent_requests;
    let newest = overview.recent.newest(kept).filter(|request| filter.admits(request));
    newest.take(most).collect()
}

/// The answer to a request with this query.
///
/// # Errors
/// A parameter is unknown, malformed or there twice.
pub(super) fn page(overview: &Overview, query: Option<&str>) -> Result<Response<Bytes>, Refusal> {
    let parameters = query::parameters(query.unwrap_or_default());
    let filter = Filter::read(parameters, &[]).map_err(Refusal::BadQuery)?;
    let requests = admitted(overview, &filter, filter.max.unwrap_or(usize::MAX));
    Ok(json_page(&Document { requests: requests.iter().map(Entry::of).collect() }))
}
