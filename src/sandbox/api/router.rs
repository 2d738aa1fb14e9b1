//! The API host: chooses the operation of a request.

use super::{
    ai, collaborations, comments, events, files, folders, metadata, representations, request::ApiRequest,
    search, shared_links, thumbnails, trash, users, web_links, webhooks, zip_downloads,
};
use crate::sandbox::http::{
    request_body::RequestBody,
    response::{Answer, Refusal},
};

/// Answers everything of the API host but the token endpoint.
pub(crate) async fn answer(request: &ApiRequest<'_>, body: &mut RequestBody) -> Result<Answer, Refusal> {
    let path = request.head.uri.path().strip_prefix("/2.0/").ok_or_else(Refusal::not_found)?;
    let segments: Vec<&str> = path.split('/').collect();
    let method = request.head.method.as_str();
    match (method, segments.as_slice()) {
        ("GET", ["users", "me"]) => users::get(request, &request.user_id),
        ("GET", ["users", id]) => users::get(request, id),
        ("GET", ["users"]) => users::list(request),
        ("GET", ["search"]) => search::get(request),
        ("GET", ["events"]) => events::get(request),
        ("OPTIONS", ["events"]) => Ok(events::server(request)),
        ("GET", ["folders", "trash", "items"]) => trash::list(request),
        ("GET", ["folders", id, "trash"]) => trash::get(request, "folder", id),
        ("DELETE", ["folders", id, "trash"]) => trash::purge(request, "folder", id),
        ("POST", ["folders", id]) => trash::restore(request, "folder", id, &body.json_or_empty().await?),
        ("GET", ["files", id, "trash"]) => trash::get(request, "file", id),
        ("DELETE", ["files", id, "trash"]) => trash::purge(request, "file", id),
        // Uploads belong to the upload host.
        ("POST", ["files", id]) if *id != "content" => {
            trash::restore(request, "file", id, &body.json_or_empty().await?)
        }
        ("GET", ["folders", id]) => folders::get(request, id),
        ("GET", ["folders", id, "items"]) => folders::items(request, id),
        ("POST", ["folders"]) => folders::create(request, &body.json().await?),
        ("PUT", ["folders", id]) => folders::update(request, id, &body.json().await?),
        ("DELETE", ["folders", id]) => folders::delete(request, id),
        // rclone sends a trailing slash, which Box accepts.
        ("OPTIONS", ["files", "content"] | ["files", "content", ""]) => {
            files::check_new(request, &body.json().await?)
        }
        ("OPTIONS", ["files", id, "content"] | ["files", id, "content", ""]) => {
            files::check_version(request, id, &body.json().await?)
        }
        ("GET" | "HEAD", ["files", id, "content"]) => files::redirect(request, id),
        ("GET", ["files", id, "thumbnail.png" | "thumbnail.jpg"]) => thumbnails::get(request, id),
        ("POST", ["zip_downloads"]) => zip_downloads::create(request, &body.json().await?),
        ("GET", ["zip_downloads", id, "status"]) => zip_downloads::status(request, id),
        ("GET", ["files", id, "versions"]) => files::versions(request, id),
        ("GET", ["files", id, "comments"]) => comments::of_file(request, id),
        ("GET", ["files", id, "collaborations"]) => {
            collaborations::of_item(request, request.store().file(id)?)
        }
        ("GET", ["folders", id, "collaborations"]) => {
            collaborations::of_item(request, request.store().folder(id)?)
        }
        (_, ["files", id, "metadata", rest @ ..]) => {
            let item = format!("file_{}", request.store().file(id)?.id);
            metadata::answer(request, item, rest, body).await
        }
        (_, ["folders", id, "metadata", rest @ ..]) => {
            let item = format!("folder_{}", request.store().folder(id)?.id);
            metadata::answer(request, item, rest, body).await
        }
        ("GET", ["ai_agent_default"]) => ai::default_agent(request),
        (_, ["ai", rest @ ..]) => ai::answer(request, rest, body).await,
        (_, ["comments", rest @ ..]) => comments::answer(request, rest, body).await,
        (_, ["collaborations", rest @ ..]) => collaborations::answer(request, rest, body).await,
        (_, ["webhooks", rest @ ..]) => webhooks::answer(request, rest, body).await,
        (_, ["web_links", rest @ ..]) => web_links::answer(request, rest, body).await,
        ("GET", ["shared_items"]) => shared_links::get(request),
        ("GET", ["files", id]) => files::get(request, id),
        ("PUT", ["files", id]) => files::update(request, id, &body.json().await?),
        ("DELETE", ["files", id]) => files::delete(request, id),
        ("POST", ["files", id, "copy"]) => files::copy(request, id, &body.json().await?),
        ("GET", ["internal_files", id, "versions", version, "representations", name]) => {
            representations::info(request, id, version, name)
        }
        (
            _,
            ["users" | "folders" | "files", _]
            | ["folders" | "files", _, "trash"]
            | ["folders", "trash", "items"]
            | ["search" | "folders" | "ai_agent_default"],
        ) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}
