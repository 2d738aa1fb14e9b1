//! Zip archives of files and folders: created here, downloaded from the download host with a pre-signed URL.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{json, request::ApiRequest};
use crate::sandbox::{
    http::{
        random::random_text,
        response::{self, Answer, Refusal, disposition},
        response_body::ResponseBody,
    },
    model::{content::Content, item::Item, state::State, zip_writer::Archive, zips::Zip},
};

/// The time within which a download must begin. It is stated, not enforced.
const LIFE: Duration = Duration::from_secs(10);

pub(crate) fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let items = body.get("items").and_then(Value::as_array).filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| Refusal::parameter("items", "'items' is required"))?;
    let asked_name = body.get("download_file_name").and_then(Value::as_str);
    let name = asked_name.map_or_else(|| json::stamp(Timestamp::now()), str::to_owned);
    let mut zip = Zip::new(name);
    let store = request.store();
    let mut found = Vec::new();
    for item in items {
        let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
        match item.get("type").and_then(Value::as_str) {
            // As at Box, items that the caller cannot see are left out and counted.
            Some("file") => match store.file(id) {
                Ok(file) => found.push(file),
                Err(_) => zip.skipped_files += 1,
            },
            Some("folder") => match store.folder(id) {
                Ok(folder) => found.push(folder),
                Err(_) => zip.skipped_folders += 1,
            },
            _ => return Err(Refusal::parameter("items.type", "An item must be a file or a folder")),
        }
    }
    let conflicts = conflicts(&found);
    let taken: HashSet<u64> = conflicts.iter().flatten().map(|item| item.id).collect();
    for item in found {
        let name = if taken.contains(&item.id) { distinct_name(item) } else { item.name.clone() };
        zip.add(&store, item, name);
    }
    let name_conflicts: Vec<Vec<Value>> = conflicts
        .iter()
        .map(|group| {
            let conflict = |item: &&Item| {
                json!({
                    "id": item.id.to_string(),
                    "type": item.type_name(),
                    "original_name": item.name,
                    "download_name": distinct_name(item),
                })
            };
            group.iter().map(conflict).collect()
        })
        .collect();

    // Box's ids look like this, signs of equality and all.
    let id = format!("{}-{}={}", random_text(10), random_text(12), random_text(24));
    let hosts = &request.state.hosts;
    let body = json!({
        "download_url": format!("{}/2.0/zip_downloads/{id}/content", hosts.download),
        "status_url": format!("{}/2.0/zip_downloads/{id}/status", hosts.api),
        "expires_at": json::stamp(Timestamp::now() + LIFE),
        "name_conflicts": name_conflicts,
    });
    // Not both locks at the same time: the download takes them in the opposite order.
    drop(store);
    request.state.zips.add(id, zip);
    Ok(response::json(StatusCode::ACCEPTED, &body))
}

pub(crate) fn status(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let body = request.state.zips.with(id, |zip| {
        json!({
            "total_file_count": zip.files(),
            "downloaded_file_count": if zip.is_fetched { zip.files() } else { 0 },
            "skipped_file_count": zip.skipped_files,
            "skipped_folder_count": zip.skipped_folders,
            "state": if zip.is_fetched { "succeeded" } else { "in_progress" },
        })
    });
    Ok(response::json(StatusCode::OK, &body.ok_or_else(Refusal::not_found)?))
}

/// The archive. It is stored, not compressed, and has no length beforehand, as Box's.
pub(crate) fn content(state: &State, id: &str) -> Result<Answer, Refusal> {
    state.zips.with(id, |zip| archive(state, zip)).ok_or_else(Refusal::not_found)
}

fn archive(state: &State, zip: &mut Zip) -> Answer {
    let store = state.store();
    let mut archive = Archive::default();
    for (name, file) in &zip.entries {
        let nothing = Content::Bytes(Bytes::new());
        let content = match file {
            None => Some(nothing),
            Some(id) => store.file(id).ok().and_then(Item::version).map(|version| version.content.clone()),
        };
        if !content.is_some_and(|content| archive.add(name, &content)) {
            zip.skipped_files += 1;
        }
    }
    zip.is_fetched = true;
    let mut answer = Answer::new(ResponseBody::pieces(archive.finish()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition(&format!("{}.zip", zip.name))) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    answer
}

/// The items that go by the same name, in groups.
fn conflicts<'a>(items: &[&'a Item]) -> Vec<Vec<&'a Item>> {
    let mut groups: Vec<Vec<&Item>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| group.iter().any(|other| other.name == item.name)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// A name that no other item has.
fn distinct_name(item: &Item) -> String {
    match item.name.rsplit_once('.') {
        Some((_, extension)) => format!("{:x}.{extension}", item.id),
        None => format!("{:x}", item.id),
    }
}
