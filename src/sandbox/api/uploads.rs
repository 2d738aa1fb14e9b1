//! The upload host: chooses the operation of a request, and accepts files in one piece: a multipart form with the
//! attributes before the file.

use bytes::BytesMut;
use http::{HeaderName, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyDataStream;
use multer::{Field, Multipart};
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, matching, may_change, text},
    json,
    request::ApiRequest,
    upload_sessions,
};
use crate::sandbox::{
    http::{
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::{
        content::{Content, KEPT_CONTENT, Sha1},
        events::EventType,
    },
};

/// The hex SHA-1 of the file, in spite of its name.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The largest attributes; real ones are far smaller.
const ATTRIBUTES_LIMIT: usize = 64 * 1024;

/// What an upload brings.
struct Form {
    attributes: Value,
    content: Content,
    sha1: String,
}

/// Answers everything of the upload host.
pub(crate) async fn answer(request: &ApiRequest<'_>, body: &mut RequestBody) -> Result<Answer, Refusal> {
    let path = request.head.uri.path().strip_prefix("/api/2.0/").ok_or_else(Refusal::not_found)?;
    let segments: Vec<&str> = path.split('/').collect();
    match (request.head.method.as_str(), segments.as_slice()) {
        ("POST", ["files", "upload_sessions"]) => upload_sessions::create(request, &body.json().await?),
        ("POST", ["files", id, "upload_sessions"]) => {
            upload_sessions::create_version(request, id, &body.json().await?)
        }
        ("GET", ["files", "upload_sessions", id]) => upload_sessions::status(request, id),
        ("PUT", ["files", "upload_sessions", id]) => upload_sessions::part(request, id, body).await,
        ("DELETE", ["files", "upload_sessions", id]) => upload_sessions::abort(request, id),
        ("GET", ["files", "upload_sessions", id, "parts"]) => upload_sessions::parts(request, id),
        ("POST", ["files", "upload_sessions", id, "commit"]) => {
            upload_sessions::commit(request, id, &body.json().await?)
        }
        ("POST", ["files", "upload_sessions", id, "log"]) => upload_sessions::log(request, id),
        ("POST", ["files", "content"]) => new_file(request, body).await,
        ("POST", ["files", id, "content"]) => new_version(request, id, body).await,
        (_, ["files", "content"] | ["files", _, "content"] | ["files", "upload_sessions", ..]) => {
            Err(Refusal::method_not_allowed())
        }
        _ => Err(Refusal::not_found()),
    }
}

async fn new_file(request: &ApiRequest<'_>, body: &mut RequestBody) -> Result<Answer, Refusal> {
    let form = read(request, body, None).await?;
    let name = text(&form.attributes, "/name")?;
    let parent = text(&form.attributes, "/parent/id")?;
    let mut store = request.store();
    let id = store.create_file(parent, name, &request.user_id, form.content, form.sha1)?.id;
    let file = store.file(&id.to_string())?;
    events::record(request, EventType::Upload, &store, file);
    let file = json::item(request, &store, file);
    Ok(response::json(StatusCode::CREATED, &json!({ "total_count": 1, "entries": [file] })))
}

async fn new_version(request: &ApiRequest<'_>, id: &str, body: &mut RequestBody) -> Result<Answer, Refusal> {
    matching(request, request.store().file(id)?)?;
    // The file exists already; older SDKs send only its content.
    let form = read(request, body, Some(json!({}))).await?;
    let mut store = request.store();
    // Others may have changed the file while this upload was under way.
    let key = matching(request, store.file(id)?)?;
    if form.attributes.get("name").is_some() {
        let change = change(&form.attributes);
        may_change(request, store.file(id)?, &change)?;
        store.update(key, change, &request.user_id)?;
    }
    store.new_version(id, &request.user_id, form.content, form.sha1)?;
    let file = store.file(id)?;
    events::record(request, EventType::Upload, &store, file);
    let file = json::item(request, &store, file);
    Ok(response::json(StatusCode::CREATED, &json!({ "total_count": 1, "entries": [file] })))
}

/// `attributes`: those of a form that has none before the file.
async fn read(
    request: &ApiRequest<'_>,
    body: &mut RequestBody,
    mut attributes: Option<Value>,
) -> Result<Form, Refusal> {
    let headers = &request.head.headers;
    let boundary = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| multer::parse_boundary(value).ok())
        .ok_or_else(|| Refusal::error(415, "unsupported_media_type", "Unsupported Media Type"))?;
    let mut form = Multipart::new(BodyDataStream::new(body), boundary);
    while let Some(mut field) = form.next_field().await.map_err(|_| unreadable())? {
        if field.name() == Some("attributes") {
            attributes = Some(read_attributes(&mut field).await?);
            continue;
        }
        // Any other part with a name is the file: clients differ in what they call it.
        let Some(attributes) = attributes else {
            let message = "Metadata was sent after the file contents";
            return Err(Refusal::error(400, "metadata_after_file_contents", message));
        };
        let (content, sha1) = read_file(&mut field).await?;
        let promised = headers.get(CONTENT_MD5).map(|value| value.to_str().unwrap_or_default());
        if promised.is_some_and(|promised| !promised.eq_ignore_ascii_case(&sha1)) {
            let message = "The specified content-md5 did not match what was received";
            return Err(Refusal::error(400, "bad_digest", message));
        }
        return Ok(Form { attributes, content, sha1 });
    }
    Err(Refusal::parameter("file", "The file part is missing"))
}

async fn read_attributes(field: &mut Field<'_>) -> Result<Value, Refusal> {
    let mut all = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| unreadable())? {
        if all.len() + chunk.len() > ATTRIBUTES_LIMIT {
            return Err(Refusal::bad_request("The attributes are too large"));
        }
        all.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&all).map_err(|_| Refusal::bad_request("The attributes are not JSON"))
}

async fn read_file(field: &mut Field<'_>) -> Result<(Content, String), Refusal> {
    let mut hash = Sha1::new();
    let mut size = 0_u64;
    let mut kept = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| unreadable())? {
        hash.update(&chunk);
        size += chunk.len() as u64;
        if size <= KEPT_CONTENT {
            kept.extend_from_slice(&chunk);
        } else {
            kept = BytesMut::new();
        }
    }
    let content = if size <= KEPT_CONTENT { Content::Bytes(kept.freeze()) } else { Content::Zeros(size) };
    Ok((content, hash.finish()))
}

fn unreadable() -> Refusal {
    Refusal::bad_request("The multipart body could not be read")
}
