//! The download host: content, complete or ranges, for pre-signed URLs and for tokens. It also serves the long poll.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
        IF_RANGE, LOCATION, RANGE,
    },
    request::Parts,
};

use super::{events, representations, request::ApiRequest, thumbnails, zip_downloads};
use crate::sandbox::{
    http::{
        response::{self, Answer, Refusal, disposition},
        response_body::ResponseBody,
    },
    model::{
        content::Content,
        item::{FileVersion, Item},
        state::State,
    },
};

/// Answers everything of the download host.
pub(crate) async fn answer(state: &State, head: &Parts) -> Result<Answer, Refusal> {
    let segments: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
    if segments == ["subscribe"] {
        return events::subscribe(state, head.uri.query().unwrap_or_default(), events::PATIENCE).await;
    }
    if !matches!(head.method.as_str(), "GET" | "HEAD") {
        return Err(Refusal::method_not_allowed());
    }
    let (id, version) = match segments.as_slice() {
        ["placeholder", "1.png"] => return Ok(thumbnails::picture()),
        ["2.0", "zip_downloads", id, "content"] => return zip_downloads::content(state, id),
        ["d", "1", ticket, ..] => {
            let known = state.tickets.file(ticket).ok_or_else(Refusal::not_found)?;
            if let Some(hop) = next_hop(state, &segments)? {
                return Ok(hop);
            }
            known
        }
        ["api", "2.0", "files", id, "content"] | ["api", "2.0", "internal_files", id, ..] => {
            ApiRequest::admit(state, head)?.store().reach(id)?;
            ((*id).to_owned(), None)
        }
        _ => return Err(Refusal::not_found()),
    };
    let store = state.store();
    let file = store.file(&id)?;
    let version = file.version_or_newest(version).ok_or_else(|| Refusal::no_such_item(&id))?;
    let is_picture = media_type(&file.name).starts_with("image/");
    if !is_picture
        && matches!(segments.as_slice(), [_, _, "internal_files", _, _, _, _, kind, ..] if representations::is_picture(kind))
    {
        return Ok(thumbnails::picture());
    }
    Ok(content(file, version, &head.headers))
}

/// The next redirect from `/d/1/TICKET/download` to `/d/1/TICKET/hop/1` and so on; `None` after the last one.
fn next_hop(state: &State, segments: &[&str]) -> Result<Option<Answer>, Refusal> {
    let (ticket, hop) = match segments {
        ["d", "1", ticket, "download"] => (ticket, 0),
        ["d", "1", ticket, "hop", hop] => (ticket, hop.parse().map_err(|_| Refusal::not_found())?),
        _ => return Err(Refusal::not_found()),
    };
    if hop >= state.control.hops() {
        return Ok(None);
    }
    let next = format!("/d/1/{ticket}/hop/{}", hop + 1);
    let is_relative = hop % 2 == 0;
    let mut answer = response::empty(StatusCode::FOUND);
    set(&mut answer, LOCATION, &if is_relative { next } else { state.hosts.presigned.clone() + &next });
    Ok(Some(answer))
}

/// Evaluates conditions in the order of RFC 9110 §13.2.2.
fn content(file: &Item, version: &FileVersion, asked: &HeaderMap) -> Answer {
    let size = version.content.size();
    let etag = format!("\"{}\"", version.sha1);
    let names_it = |header| {
        let value = asked.get(header)?.to_str().unwrap_or_default();
        Some(value.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag))
    };
    if names_it(IF_MATCH) == Some(false) {
        return response::empty(StatusCode::PRECONDITION_FAILED);
    }
    if names_it(IF_NONE_MATCH) == Some(true) {
        let mut answer = response::empty(StatusCode::NOT_MODIFIED);
        set(&mut answer, ETAG, &etag);
        return answer;
    }
    let wanted = match asked.get(RANGE).and_then(|value| value.to_str().ok()) {
        // A range of something that has changed meanwhile would not fit what the caller has.
        Some(range) if asked.get(IF_RANGE).is_none_or(|known| known.as_bytes() == etag.as_bytes()) => {
            Wanted::parse(range, size)
        }
        _ => Wanted::All,
    };
    let mut answer = match wanted {
        Wanted::All => Answer::new(part(&version.content, 0, size)),
        Wanted::Part { first, last } => {
            let mut answer = Answer::new(part(&version.content, first, last - first + 1));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            answer
        }
        Wanted::Nothing => {
            let mut answer = response::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
            return answer;
        }
    };
    set(&mut answer, CONTENT_TYPE, media_type(&file.name));
    set(&mut answer, CONTENT_DISPOSITION, &disposition(&file.name));
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, ETAG, &etag);
    answer
}

/// At most `length` bytes from `start` on.
fn part(content: &Content, start: u64, length: u64) -> ResponseBody {
    let length = length.min(content.size().saturating_sub(start));
    match content {
        Content::Zeros(_) => ResponseBody::zeros(length),
        Content::Bytes(bytes) => {
            let start = usize::try_from(start).unwrap_or(bytes.len()).min(bytes.len());
            let length = usize::try_from(length).unwrap_or(0);
            ResponseBody::bytes(bytes.slice(start..start + length))
        }
    }
}

fn set(answer: &mut Answer, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// How much of a file a `Range` header asks for.
#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Part { first: u64, last: u64 },
    Nothing,
}

impl Wanted {
    /// One range of bytes; whatever else it says is ignored, as RFC 9110 (14.2) allows.
    fn parse(header: &str, size: u64) -> Self {
        let Some((first, last)) =
            header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
        else {
            return Self::All;
        };
        let end = size.saturating_sub(1);
        let range = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, last.min(end)),
            (Ok(first), Err(_)) if last.is_empty() => (first, end),
            // A suffix range: the last bytes.
            (Err(_), Ok(length)) if first.is_empty() => {
                if length == 0 {
                    return Self::Nothing;
                }
                (size.saturating_sub(length), end)
            }
            _ => return Self::All,
        };
        if range.0 >= size { Self::Nothing } else { Self::Part { first: range.0, last: range.1 } }
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("txt") => "text/plain",
        Some("html") => "text/html",
        Some("json") => "application/json",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        assert_eq!(Wanted::parse("bytes=0-3", 10), Wanted::Part { first: 0, last: 3 });
        assert_eq!(Wanted::parse("bytes=4-", 10), Wanted::Part { first: 4, last: 9 });
        assert_eq!(Wanted::parse("bytes=-3", 10), Wanted::Part { first: 7, last: 9 });
        assert_eq!(Wanted::parse("bytes=-30", 10), Wanted::Part { first: 0, last: 9 });
        assert_eq!(Wanted::parse("bytes=5-99", 10), Wanted::Part { first: 5, last: 9 });
        assert_eq!(Wanted::parse("bytes=10-", 10), Wanted::Nothing);
        assert_eq!(Wanted::parse("bytes=-1", 0), Wanted::Nothing);
        assert_eq!(Wanted::parse("bytes=0-0", 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for header in ["bytes=3-1", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=a-b"] {
            assert_eq!(Wanted::parse(header, 10), Wanted::All, "{header}");
        }
    }
}
