//! Edits Box's responses: URLs of Box's hosts point to the gateway, and live tokens are blanked.
//!
//! Values are found by operation and JSON pointer (`docs/box-api.md#urls-in-answers`), never by their content: links
//! for people and users' own data stay byte for byte. Only responses of operations that can have such a value are
//! edited; all others stream unchanged. Edited responses are requested without compression. A small one is edited as a
//! whole, so that its length and validators are exact, a larger one as a stream without them.

pub(crate) mod json_stream; // finds and edits strings in streamed JSON

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::http::content_encoding;
use crate::http::error::Refusal;
use crate::http::incoming_body::{BrokenBody, IncomingBody};
use crate::proxy::box_error::BoxError;
use crate::proxy::error_answer::{self, Blanker};
use crate::proxy::gateway::LocalGateway;
use crate::proxy::rewrite::json_stream::{Edit, Editor, Node, unescaped};
use crate::routing::box_hosts;
use crate::routing::box_hosts::BoxHosts;
use crate::routing::operation::{Operation, plain_path};
use crate::upstream::host_pool::Lease;

/// A response up to this size is edited as a whole, before its head is sent.
const HELD: usize = 256 * 1024;

type Keys = &'static [(&'static str, &'static Node)];

const fn object(keys: &'static [Keys]) -> Node {
    Node { keys, items: None, string: None }
}

const fn list(items: &'static Node) -> Node {
    Node { keys: &[], items: Some(items), string: None }
}

static URL: Node = Node { keys: &[], items: None, string: Some(Edit::Url) };
static TOKEN: Node = Node { keys: &[], items: None, string: Some(Edit::Blank) };

/// `url_template` is an RFC 6570 template; nothing but its beginning is touched.
static REPRESENTATION: Node = object(&[&[("info", &INFO), ("content", &CONTENT)]]);
static INFO: Node = object(&[&[("url", &URL)]]);
static CONTENT: Node = object(&[&[("url_template", &URL)]]);
static REPRESENTATIONS: Node = object(&[&[("entries", &EACH_REPRESENTATION)]]);
static EACH_REPRESENTATION: Node = list(&REPRESENTATION);

/// Both objects contain tokens (`docs/box-api.md#live-tokens-in-answers`).
static EMBED_LINK: Node = object(&[TOKENS, &[("token", &EMBED_TOKEN)]]);
static EMBED_TOKEN: Node = object(&[TOKENS]);
const TOKENS: Keys = &[("access_token", &TOKEN), ("refresh_token", &TOKEN)];

const FILE: Keys = &[
    ("representations", &REPRESENTATIONS),
    ("download_url", &URL),
    ("authenticated_download_url", &URL),
    ("expiring_embed_link", &EMBED_LINK),
];

/// A file, a list of files, or something that contains files: folders, collaborations, search results with shared
/// links.
static ITEM: Node =
    object(&[FILE, &[("entries", &ITEMS), ("item", &ITEM), ("item_collection", &COLLECTION)]]);
static ITEMS: Node = list(&ITEM);
static COLLECTION: Node = object(&[&[("entries", &ITEMS)]]);

/// In a 409 `session_conflict`, the existing session (UI Elements, `MultiputUpload.js`).
static UPLOAD_SESSION: Node = object(&[SESSION, &[("context_info", &CONFLICT)]]);
static CONFLICT: Node = object(&[&[("session", &CONFLICTING)]]);
static CONFLICTING: Node = object(&[SESSION]);
const SESSION: Keys = &[("session_endpoints", &ENDPOINTS)];
static ENDPOINTS: Node = object(&[&[
    ("upload_part", &URL),
    ("commit", &URL),
    ("abort", &URL),
    ("list_parts", &URL),
    ("status", &URL),
    ("log_event", &URL),
    ("plan", &URL),
]]);
static UPLOAD_CHECK: Node = object(&[&[("upload_url", &URL), ("upload_token", &TOKEN)]]);
static ZIP_DOWNLOAD: Node = object(&[&[("download_url", &URL), ("status_url", &URL)]]);
static REALTIME: Node = object(&[&[("entries", &SERVERS)]]);
static SERVERS: Node = list(&INFO);

/// What to edit in the response of this operation; `None`: nothing.
pub(crate) fn rewrite_rules(operation: Operation<'_>) -> Option<&'static Node> {
    // Compared in any spelling that Box could read as this operation, so that no token passes.
    let path = plain_path(operation.path);
    let mut segments = path.strip_prefix("/2.0/")?.split('/');
    let mut next = || segments.next();
    let segments = [next(), next(), next(), next(), next(), next(), next()];
    let method = match operation.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    Some(match (method, segments.map(Option::unwrap_or_default)) {
        ("POST", ["files", "upload_sessions", "", ..] | ["files", _, "upload_sessions", "", ..])
        | ("GET", ["files", "upload_sessions", _, "", ..]) => &UPLOAD_SESSION,
        ("OPTIONS", ["files", "content", "", ..] | ["files", _, "content", "", ..]) => &UPLOAD_CHECK,
        ("OPTIONS", ["events", "", ..]) => &REALTIME,
        ("POST", ["zip_downloads", "", ..]) => &ZIP_DOWNLOAD,
        ("GET", ["internal_files", _, "versions", _, "representations", _, ""]) => &REPRESENTATION,
        ("GET" | "PUT" | "POST", ["files" | "folders", _, "", ..])
        | ("POST", ["files", _, "content" | "copy", "", ..])
        | ("POST", ["files", "upload_sessions", _, "commit", "", ..])
        | ("GET", ["files", _, "versions", "", ..] | ["files", _, "versions", _, "", ..])
        | ("GET", ["files" | "folders", _, "trash" | "collaborations", "", ..])
        | ("GET", ["folders", _, "items", "", ..] | ["collections", _, "items", "", ..])
        | ("POST", ["folders", "", ..] | ["folders", _, "copy", "", ..])
        | ("GET" | "PUT", ["collaborations", _, "", ..])
        | ("GET" | "POST", ["collaborations", "", ..])
        | ("GET", ["search" | "shared_items" | "recent_items", "", ..])
        | ("POST", ["metadata_queries", "execute_read", "", ..] | ["query", "", ..]) => &ITEM,
        _ => return None,
    })
}

/// How a caller reaches Box.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base<'a> {
    /// Through URLs of the gateway.
    Gateway {
        /// Whether the caller came over TLS.
        secure: bool,
        /// Host and port, as the caller wrote them.
        authority: &'a str,
        /// The app's path, without a slash at the end.
        path: &'a str,
    },
    /// By Box's own URLs, through a tunnel.
    Box,
}

impl Base<'_> {
    /// The prefix before the host in rewritten URLs; `None`: callers use Box's own URLs.
    pub(crate) fn prefix(&self) -> Option<String> {
        match self {
            Self::Gateway { secure, authority, path } => {
                let scheme = if *secure { "https" } else { "http" };
                Some(format!("{scheme}://{authority}{path}/_box/"))
            }
            Self::Box => None,
        }
    }
}

/// How Box's URLs in a response are edited.
enum Urls {
    Stay,
    /// They are rewritten to the gateway, with this prefix.
    OnGateway(String),
    /// They stay Box's, but http becomes https, for callers in a tunnel.
    Secured,
}

impl Urls {
    /// The URL for the caller; `None`: it stays as it is.
    fn rewritten(&self, hosts: &BoxHosts, url: &str) -> Option<String> {
        match self {
            Self::Stay => None,
            Self::OnGateway(prefix) => on_gateway(hosts, prefix, url),
            Self::Secured => {
                let (host, _) = box_hosts::split(url)?;
                box_hosts::find(hosts, host)?;
                let rest =
                    url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).and(url.get(7..))?;
                Some(format!("https://{rest}"))
            }
        }
    }
}

/// The gateway's URL for a URL of one of Box's hosts; `None` for other URLs. `prefix`: of [`Base::prefix`].
pub(crate) fn on_gateway(hosts: &BoxHosts, prefix: &str, url: &str) -> Option<String> {
    let (host, rest) = box_hosts::split(url)?;
    let host = box_hosts::find(hosts, host)?;
    Some(format!("{prefix}{}{rest}", host.authority))
}

/// Edits one response.
pub(crate) struct Rewriter {
    editor: Editor,
    gateway: LocalGateway,
    urls: Urls,
    /// Blanks secrets, in an error.
    blanker: Option<Blanker>,
}

impl Rewriter {
    /// For a response to which these rules apply. `is_error`: it is also searched for secrets.
    pub(crate) fn new(rules: &'static Node, gateway: LocalGateway, base: Base<'_>, is_error: bool) -> Self {
        let urls = match base.prefix() {
            None => Urls::Secured,
            Some(prefix) if gateway.config.upstream.rewrite_urls => Urls::OnGateway(prefix),
            // Tokens are blanked all the same.
            Some(_) => Urls::Stay,
        };
        let blanker = is_error.then(Blanker::default);
        Self { editor: Editor::new(rules), gateway, urls, blanker }
    }

    fn take_box_error(&mut self) -> Option<BoxError> {
        self.blanker.as_mut()?.take_box_error()
    }

    /// The output for the next frame; `None`: nothing yet.
    fn frame(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        match frame.into_data() {
            Ok(piece) => Some(self.feed(piece)).filter(|piece| !piece.is_empty()).map(Frame::data),
            Err(mut trailers) => {
                if self.blanker.is_some()
                    && let Some(fields) = trailers.trailers_mut()
                {
                    error_answer::blank_fields(fields);
                }
                Some(trailers)
            }
        }
    }

    /// The output at the end.
    fn end(&mut self) -> Option<Frame<Bytes>> {
        let mut left = self.editor.finish();
        if let Some(blanker) = &mut self.blanker {
            left = [blanker.feed(&left), blanker.finish()].concat().into();
        }
        Some(left).filter(|left| !left.is_empty()).map(Frame::data)
    }

    fn feed(&mut self, piece: Bytes) -> Bytes {
        let Self { editor, gateway, urls, blanker } = self;
        let edited = editor.feed(piece, &mut |raw| {
            let url = urls.rewritten(&gateway.config.hosts, &unescaped(raw)?)?;
            let quoted = serde_json::to_vec(&url).ok()?;
            quoted.get(1..quoted.len() - 1).map(<[u8]>::to_vec)
        });
        match blanker {
            None => edited,
            Some(blanker) => blanker.feed(&edited),
        }
    }
}

/// A response that is being edited.
pub(crate) struct Looked {
    /// Edited pieces and trailers that can be passed on.
    pub ahead: VecDeque<Frame<Bytes>>,
    /// The rest; `None` if everything is in `ahead`.
    pub rest: Option<(IncomingBody, Rewriter, Lease)>,
    /// Whether bytes have arrived since this was last reset; they may still be held back.
    pub has_moved: bool,
    /// Of an error: what it says of itself, as far as that was read and not taken.
    pub box_error: Option<BoxError>,
}

impl Looked {
    /// The next frame.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        loop {
            if let Some(frame) = self.ahead.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some((incoming, rewriter, _)) = &mut self.rest else { return Poll::Ready(None) };
            let frame = ready!(Pin::new(incoming).poll_frame(cx)).transpose()?;
            self.has_moved = true;
            match frame {
                Some(frame) => {
                    self.ahead.extend(rewriter.frame(frame));
                    self.box_error = rewriter.take_box_error().or(self.box_error.take());
                }
                None => {
                    self.ahead.extend(rewriter.end());
                    if let Some((_, _, lease)) = self.rest.take() {
                        lease.done();
                    }
                }
            }
        }
    }

    /// Exact if everything is in `ahead`.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.rest {
            Some(_) => SizeHint::default(),
            None => {
                let data = self.ahead.iter().filter_map(Frame::data_ref);
                SizeHint::with_exact(data.map(|piece| piece.len() as u64).sum())
            }
        }
    }
}

/// Reads and edits the beginning of a response and corrects its fields. `body_timeout`: the longest time without a
/// frame.
///
/// # Errors
/// Box's response is incomplete or stalled, or cannot be edited since it is partial or has a coding that was not requested.
pub(crate) async fn look(
    response: Response<IncomingBody>,
    lease: Lease,
    mut rewriter: Rewriter,
    body_timeout: Duration,
) -> Result<Response<Looked>, Refusal> {
    let (mut head, mut incoming) = response.into_parts();
    if content_encoding::of(&head.headers).is_some() || head.status == StatusCode::PARTIAL_CONTENT {
        let what =
            "Box sent a compressed or partial response although a complete uncompressed one was requested";
        return Err(Refusal::UpstreamProtocolError(what.to_owned()));
    }
    let mut ahead = VecDeque::new();
    let mut bytes = 0;
    let whole = loop {
        let frame = tokio::time::timeout(body_timeout, incoming.frame()).await;
        match frame.map_err(|_| Refusal::UpstreamTimeout)? {
            None => break true,
            Some(Err(broken)) => {
                return Err(Refusal::UpstreamProtocolError(format!("Box broke off its response: {broken}")));
            }
            Some(Ok(frame)) => {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                ahead.extend(rewriter.frame(frame));
            }
        }
        if bytes > HELD {
            break false;
        }
    };
    let box_error = rewriter.take_box_error();
    let looked = if whole {
        ahead.extend(rewriter.end());
        lease.done();
        if rewriter.editor.has_changed() {
            no_longer_exact(&mut head.headers);
        }
        Looked { ahead, rest: None, has_moved: false, box_error }
    } else {
        no_longer_exact(&mut head.headers);
        Looked { ahead, rest: Some((incoming, rewriter, lease)), has_moved: false, box_error }
    };
    Ok(Response::from_parts(head, looked))
}

/// Whether the response is JSON, which can be edited.
pub(crate) fn is_json(status: StatusCode, headers: &HeaderMap) -> bool {
    let json = headers.get(CONTENT_TYPE).is_none_or(|media| {
        let media = media.as_bytes().trim_ascii_start().to_ascii_lowercase();
        let media = media.split(|byte| matches!(byte, b';' | b' ')).next().unwrap_or_default();
        media == b"application/json" || media.starts_with(b"application/") && media.ends_with(b"+json")
    });
    (status.is_success() || status == StatusCode::CONFLICT) && json
}

/// Removes fields that are true only of Box's original bytes, and weakens the validator (RFC 9110 §8.8.3).
pub(crate) fn no_longer_exact(headers: &mut HeaderMap) {
    for name in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(name);
    }
    headers.remove(CONTENT_LENGTH);
    let weak = headers.get(ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/"));
    if let Some(weak) = weak.and_then(|etag| HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()).ok())
    {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn looked(method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        rewrite_rules(Operation { method: &method, path }).is_some()
    }

    #[test]
    fn only_responses_that_can_have_a_box_url_are_edited() {
        for (method, path) in [
            ("POST", "/2.0/files/upload_sessions"),
            ("POST", "/2.0/files/1/upload_sessions"),
            ("GET", "/2.0/files/upload_sessions/A"),
            ("POST", "/2.0/files/upload_sessions/A/commit"),
            ("OPTIONS", "/2.0/files/content"),
            ("OPTIONS", "/2.0/files/1/content"),
            ("OPTIONS", "/2.0/events"),
            ("POST", "/2.0/zip_downloads"),
            ("GET", "/2.0/files/1"),
            ("HEAD", "/2.0/files/1"),
            ("GET", "/2.0/FILES/1/"),
            ("GET", "/2.0/f%69les;a=b/1"),
            ("PUT", "/2.0/files/1"),
            ("POST", "/2.0/files/content"),
            ("POST", "/2.0/files/1/content"),
            ("POST", "/2.0/files/1/copy"),
            ("GET", "/2.0/folders/0/items"),
            ("GET", "/2.0/folders/trash/items"),
            ("GET", "/2.0/collections/1/items"),
            ("GET", "/2.0/search"),
            ("GET", "/2.0/shared_items"),
            ("POST", "/2.0/metadata_queries/execute_read"),
            ("GET", "/2.0/internal_files/1/versions/2/representations/jpg_thumb_32x32"),
        ] {
            assert!(looked(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/2.0/users/me"),
            ("GET", "/2.0/events"),
            ("GET", "/2.0/files/1/content"),
            ("GET", "/2.0/files/1/thumbnail.png"),
            ("GET", "/2.0/files/1/comments"),
            ("PUT", "/2.0/files/upload_sessions/A"),
            ("GET", "/2.0/files/upload_sessions/A/parts"),
            ("DELETE", "/2.0/files/1"),
            ("GET", "/2.0/web_links/1"),
            ("GET", "/2.0/zip_downloads/1/status"),
            ("GET", "/2.0/internal_files/1/versions/2/representations/x/content/a.json"),
            ("GET", "/2.0/metadata_templates/enterprise"),
        ] {
            assert!(!looked(method, path), "{method} {path}");
        }
    }

    #[test]
    fn fields_that_are_no_longer_exact_are_removed_or_weakened() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("etag", "\"3\""), ("content-length", "5"), ("digest", "sha=x"), ("box-version", "2024.0")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        no_longer_exact(&mut headers);
        no_longer_exact(&mut headers);
        assert_eq!(headers.get("etag").unwrap(), "W/\"3\"");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn json_is_recognized_by_its_media_type() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            is_json(StatusCode::OK, &headers)
        };
        assert!(
            of("application/json") && of("Application/JSON; charset=utf-8") && of("application/problem+json")
        );
        assert!(!of("image/png") && !of("text/plain") && !of("application/jsonl"));
        assert!(is_json(StatusCode::ACCEPTED, &HeaderMap::new()));
        assert!(is_json(StatusCode::CONFLICT, &HeaderMap::new()));
        assert!(!is_json(StatusCode::NOT_FOUND, &HeaderMap::new()));
    }
}
