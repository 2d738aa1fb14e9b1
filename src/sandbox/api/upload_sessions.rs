//! Uploads in parts: the session, its parts in any order, and the commit that creates a file from them.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_RANGE};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    events,
    fields::{change, matching, may_change, text},
    json,
    request::ApiRequest,
};
use crate::sandbox::{
    http::{
        random::random_text,
        recorder::authority,
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::{
        content::Sha1,
        events::EventType,
        items::Change,
        upload_sessions::{Part, Target, UploadSession},
    },
};

const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const DIGEST: HeaderName = HeaderName::from_static("digest");

/// The result of `then` for a session that the caller may use.
fn with<T>(
    request: &ApiRequest<'_>,
    id: &str,
    then: impl FnOnce(&mut UploadSession, usize) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let hosts = &request.state.hosts;
    let named = hosts.session.trim_start_matches("https://");
    // rclone lists parts and commits at the host where it began the session, ignoring the session's URLs.
    let here = authority(request.head);
    let here = here.trim_end_matches(":443");
    if hosts.is_strict && here != named && here != "upload.box.com" {
        return Err(Refusal::not_found());
    }
    let sessions = &request.state.sessions;
    let target = sessions.with(id, &request.user_id, |session, _| session.target.clone())?;
    // The session may have been begun with a token that reaches more.
    request.store().reach(match &target {
        Target::New { parent, .. } => parent,
        Target::Version { file, .. } => file,
    })?;
    sessions.with(id, &request.user_id, then)?
}

pub(crate) fn create(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let parent = text(body, "/folder_id")?;
    let name = text(body, "/file_name")?;
    let store = request.store();
    store.vacant(store.folder(parent)?.id, name, "file", None)?;
    begin(request, body, Target::New { parent: parent.to_owned(), name: name.to_owned() })
}

pub(crate) fn create_version(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    request.store().file(id)?;
    let name = body.get("file_name").and_then(Value::as_str).map(str::to_owned);
    begin(request, body, Target::Version { file: id.to_owned(), name })
}

fn begin(request: &ApiRequest<'_>, body: &Value, target: Target) -> Result<Answer, Refusal> {
    let options = &request.state.options;
    let size = body
        .get("file_size")
        .and_then(Value::as_u64)
        .ok_or_else(|| Refusal::parameter("file_size", "'file_size' is required"))?;
    if size < options.smallest_session {
        let message = format!("The file size must be at least {} bytes", options.smallest_session);
        return Err(Refusal::error(400, "file_size_too_small", message));
    }
    let session = UploadSession {
        target,
        user_id: request.user_id.clone(),
        size,
        part_size: options.part_size.max(1),
        expires: Timestamp::now() + LIFE,
        parts: BTreeMap::new(),
        hash: Sha1::new(),
        summed: 0,
        is_over: false,
    };
    let id = random_text(32).to_ascii_uppercase();
    let answer = response::json(StatusCode::CREATED, &session_json(request, &session, &id));
    request.state.sessions.add(id, session);
    Ok(answer)
}

pub(crate) fn status(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let session = with(request, id, |session, _| Ok(session_json(request, session, id)))?;
    Ok(response::json(StatusCode::OK, &session))
}

pub(crate) async fn part(
    request: &ApiRequest<'_>,
    id: &str,
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    let range = request.head.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = range.ok_or_else(|| Refusal::parameter("content-range", "'content-range' is required"))?;
    let range = Range::parse(range).ok_or_else(|| unsatisfiable("The content range is not one"))?;
    let part_size = with(request, id, |session, _| range.fits(session).map(|()| session.part_size))?;
    // Checked again below, since concurrent parts may overlap.
    let bytes = body.read_all(usize::try_from(part_size).unwrap_or(usize::MAX)).await?;
    if bytes.len() as u64 != range.length() {
        return Err(Refusal::bad_request("The body is not as long as the content range says"));
    }
    let mut hash = Sha1::new();
    hash.update(&bytes);
    promised(request, &hash)?;
    let part = with(request, id, |session, kept| {
        range.fits(session)?;
        let part = Part {
            id: random_text(8).to_ascii_uppercase(),
            size: range.length(),
            sha1: hash.finish(),
            bytes,
        };
        let json = part_json(&part, range.first);
        session.parts.insert(range.first, part);
        session.sum_up(kept);
        Ok(json)
    })?;
    Ok(response::json(StatusCode::OK, &json!({ "part": part })))
}

pub(crate) fn parts(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let page = request.paging()?;
    let body = with(request, id, |session, _| {
        let shown = session.parts.iter().skip(page.offset).take(page.limit);
        Ok(json!({
            "total_count": session.parts.len(),
            "limit": page.limit,
            "offset": page.offset,
            "order": [{ "by": "offset", "direction": "ASC" }],
            "entries": shown.map(|(offset, part)| part_json(part, *offset)).collect::<Vec<_>>(),
        }))
    })?;
    Ok(response::json(StatusCode::OK, &body))
}

pub(crate) fn commit(request: &ApiRequest<'_>, id: &str, body: &Value) -> Result<Answer, Refusal> {
    let target = with(request, id, |session, _| Ok(session.target.clone()))?;
    if request.state.control.commits_held.take() {
        return Ok(response::later());
    }
    let listed = body
        .get("parts")
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::parameter("parts", "'parts' is required"))?;
    let (content, sha1) = with(request, id, |session, _| {
        if session.summed != session.size || !all_listed(session, listed) {
            return Err(Refusal::error(400, "parts_mismatch", "The parts do not make up the file"));
        }
        promised(request, &session.hash)?;
        Ok((session.content(), session.hash.clone().finish()))
    })?;

    let attributes = body.get("attributes").unwrap_or(&Value::Null);
    // The session has the folder and the name.
    let description = change(attributes).description;
    let mut store = request.store();
    let key = match &target {
        Target::New { parent, name } => store.create_file(parent, name, &request.user_id, content, sha1)?.id,
        Target::Version { file, name } => {
            let key = matching(request, store.file(file)?)?;
            let change = Change { name: name.clone(), description: description.clone(), ..Change::default() };
            may_change(request, store.file(file)?, &change)?;
            if name.is_some() {
                store.update(key, Change { description: None, ..change }, &request.user_id)?;
            }
            store.new_version(file, &request.user_id, content, sha1)?.id
        }
    };
    if description.is_some() {
        store.update(key, Change { description, ..Change::default() }, &request.user_id)?;
    }
    let file = store.file(&key.to_string())?;
    events::record(request, EventType::Upload, &store, file);
    let file = json::item(request, &store, file);
    drop(store);
    with(request, id, |session, _| {
        session.end();
        Ok(())
    })?;
    Ok(response::json(StatusCode::CREATED, &json!({ "total_count": 1, "entries": [file] })))
}

pub(crate) fn abort(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    with(request, id, |session, _| {
        session.end();
        Ok(response::empty(StatusCode::NO_CONTENT))
    })
}

/// Error reports of clients.
pub(crate) fn log(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    with(request, id, |_, _| Ok(response::empty(StatusCode::OK)))
}

fn session_json(request: &ApiRequest<'_>, session: &UploadSession, id: &str) -> Value {
    let at = format!("{}/api/2.0/files/upload_sessions/{id}", request.state.hosts.session);
    json!({
        "id": id,
        "type": "upload_session",
        "session_expires_at": json::stamp(session.expires),
        "part_size": session.part_size,
        "total_parts": session.size.div_ceil(session.part_size),
        "num_parts_processed": session.parts.len(),
        "session_endpoints": {
            "list_parts": format!("{at}/parts"),
            "commit": format!("{at}/commit"),
            "log_event": format!("{at}/log"),
            "upload_part": at,
            "status": at,
            "abort": at,
        },
    })
}

fn part_json(part: &Part, offset: u64) -> Value {
    json!({ "part_id": part.id, "offset": offset, "size": part.size, "sha1": part.sha1 })
}

/// Whether the caller lists every part exactly as it was received.
fn all_listed(session: &UploadSession, listed: &[Value]) -> bool {
    let is_known = |part: &Value| {
        let offset = part.get("offset").and_then(Value::as_u64).unwrap_or(u64::MAX);
        session.parts.get(&offset).is_some_and(|known| {
            part.get("part_id").and_then(Value::as_str) == Some(&known.id)
                && part.get("size").and_then(Value::as_u64) == Some(known.size)
        })
    };
    listed.len() == session.parts.len() && listed.iter().all(is_known)
}

/// Whether `Digest` names this sum.
fn promised(request: &ApiRequest<'_>, hash: &Sha1) -> Result<(), Refusal> {
    let promised = request.head.headers.get(DIGEST).map(HeaderValue::as_bytes).unwrap_or_default();
    // The name of an algorithm is the same in capitals (RFC 3230 §4.1.1).
    let sum = promised.get(..4).filter(|name| name.eq_ignore_ascii_case(b"sha=")).and(promised.get(4..));
    let actual = hash.clone().finish_base64();
    if sum == Some(actual.as_bytes()) {
        return Ok(());
    }
    let expected = String::from_utf8_lossy(sum.unwrap_or_default());
    // As reports about Box's SDKs for Java and .NET quote it; `bad_digest` is for `Content-MD5` alone.
    let message = format!("File digest was incorrect. Actual: {actual} Expected: {expected}");
    Err(Refusal::error(400, "digest_mismatch", message))
}

fn unsatisfiable(message: &str) -> Refusal {
    Refusal::error(416, "range_not_satisfiable", message)
}

/// A `Content-Range` with everything in it.
#[derive(Debug, PartialEq)]
struct Range {
    first: u64,
    last: u64,
    size: u64,
}

impl Range {
    fn parse(header: &str) -> Option<Self> {
        let (range, size) = header.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self { first: first.parse().ok()?, last: last.parse().ok()?, size: size.parse().ok()? };
        (range.first <= range.last && range.last < range.size).then_some(range)
    }

    fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Every part but the last has the agreed size, and none comes twice.
    fn fits(&self, session: &UploadSession) -> Result<(), Refusal> {
        if self.size != session.size {
            return Err(unsatisfiable("The size is not that of the session"));
        }
        let overlaps = |(offset, part): (&u64, &Part)| {
            *offset <= self.last && self.first < offset.saturating_add(part.size)
        };
        if session.parts.iter().any(overlaps) {
            let message = "The part overlaps with another that was uploaded before";
            return Err(Refusal::error(409, "range_overlaps_existing_part", message));
        }
        let is_aligned = self.first.is_multiple_of(session.part_size);
        if !is_aligned || self.length() != session.part_size.min(session.size - self.first) {
            return Err(unsatisfiable("The part has not the size of parts in this session"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_whole_or_nothing() {
        let range = Range { first: 0, last: 7, size: 10 };
        assert_eq!(Range::parse("bytes 0-7/10"), Some(range));
        for header in ["bytes 0-10/10", "bytes 3-2/10", "bytes */10", "bytes 0-7/*", "0-7/10", "bytes=0-7/10"]
        {
            assert_eq!(Range::parse(header), None, "{header}");
        }
    }
}
