//! The API host: which operation a request is, and those that fit on one line.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    collaborations, comments, events, files, folders, json, metadata, representations, request::Call,
    shared_links, thumbnails, web_links, webhooks, zip_downloads,
};
use crate::sandbox::http::{
    request_body::Received,
    response::{self, Answer, Refusal},
};

/// Answers everything of the API host but the token endpoint.
pub(crate) async fn answer(call: &Call<'_>, body: &mut Received) -> Result<Answer, Refusal> {
    let path = call.head.uri.path().strip_prefix("/2.0/").ok_or_else(Refusal::not_found)?;
    let segments: Vec<&str> = path.split('/').collect();
    let method = call.head.method.as_str();
    match (method, segments.as_slice()) {
        ("GET", ["users", "me"]) => user(call, &call.who),
        ("GET", ["users", id]) => user(call, id),
        ("GET", ["users"]) => users(call),
        ("GET", ["search"]) => search(call),
        ("GET", ["events"]) => events::get(call),
        ("OPTIONS", ["events"]) => Ok(events::server(call)),
        ("GET", ["folders", id]) => folders::get(call, id),
        ("GET", ["folders", id, "items"]) => folders::items(call, id),
        ("POST", ["folders"]) => folders::create(call, &body.json().await?),
        ("PUT", ["folders", id]) => folders::update(call, id, &body.json().await?),
        ("DELETE", ["folders", id]) => folders::delete(call, id),
        // With a slash behind it rclone asks, and Box answers.
        ("OPTIONS", ["files", "content"] | ["files", "content", ""]) => {
            files::check_new(call, &body.json().await?)
        }
        ("OPTIONS", ["files", id, "content"] | ["files", id, "content", ""]) => {
            files::check_version(call, id, &body.json().await?)
        }
        ("GET" | "HEAD", ["files", id, "content"]) => files::redirect(call, id),
        ("GET", ["files", id, "thumbnail.png" | "thumbnail.jpg"]) => thumbnails::get(call, id),
        ("POST", ["zip_downloads"]) => zip_downloads::create(call, &body.json().await?),
        ("GET", ["zip_downloads", id, "status"]) => zip_downloads::status(call, id),
        ("GET", ["files", id, "versions"]) => files::versions(call, id),
        ("GET", ["files", id, "comments"]) => comments::of_file(call, id),
        ("GET", ["files", id, "collaborations"]) => {
            collaborations::of_item(call, call.world.store().file(id)?)
        }
        ("GET", ["folders", id, "collaborations"]) => {
            collaborations::of_item(call, call.world.store().folder(id)?)
        }
        (_, ["files", id, "metadata", rest @ ..]) => {
            let item = format!("file_{}", call.world.store().file(id)?.id);
            metadata::answer(call, item, rest, body).await
        }
        (_, ["folders", id, "metadata", rest @ ..]) => {
            let item = format!("folder_{}", call.world.store().folder(id)?.id);
            metadata::answer(call, item, rest, body).await
        }
        (_, ["comments", rest @ ..]) => comments::answer(call, rest, body).await,
        (_, ["collaborations", rest @ ..]) => collaborations::answer(call, rest, body).await,
        (_, ["webhooks", rest @ ..]) => webhooks::answer(call, rest, body).await,
        (_, ["web_links", rest @ ..]) => web_links::answer(call, rest, body).await,
        ("GET", ["shared_items"]) => shared_links::get(call),
        ("GET", ["files", id]) => files::get(call, id),
        ("PUT", ["files", id]) => files::update(call, id, &body.json().await?),
        ("DELETE", ["files", id]) => files::delete(call, id),
        ("POST", ["files", id, "copy"]) => files::copy(call, id, &body.json().await?),
        ("GET", ["internal_files", id, "versions", version, "representations", name]) => {
            representations::info(call, id, version, name)
        }
        (_, ["users" | "folders" | "files", _] | ["search" | "folders"]) => {
            Err(Refusal::method_not_allowed())
        }
        _ => Err(Refusal::not_found()),
    }
}

fn user(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let users = &call.world.users;
    let user = users.find(id).ok_or_else(|| Refusal::no_such_item(id))?;
    Ok(response::json(StatusCode::OK, &json::user(users, user, call.fields().as_deref())))
}

fn users(call: &Call<'_>) -> Result<Answer, Refusal> {
    let page = call.page()?;
    let (users, fields) = (&call.world.users, call.fields());
    let total_count = users.managed().count();
    let shown = users.managed().skip(page.offset).take(page.limit);
    let entries: Vec<Value> = shown.map(|user| json::user(users, user, fields.as_deref())).collect();
    let body =
        json!({ "total_count": total_count, "entries": entries, "limit": page.limit, "offset": page.offset });
    Ok(response::json(StatusCode::OK, &body))
}

fn search(call: &Call<'_>) -> Result<Answer, Refusal> {
    let text = call.query.get("query").ok_or_else(|| Refusal::parameter("query", "The query is missing"))?;
    let page = call.page()?;
    let fields = call.fields();
    let store = call.world.store();
    let found = store.search(text);
    let shown = found.iter().skip(page.offset).take(page.limit);
    let entries: Vec<Value> = shown
        .map(|item| match &fields {
            Some(fields) => json::listed(call, &store, item, Some(fields)),
            None => json::item(call, &store, item),
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
