//! The style sheet, the script and the icon: in the binary, under addresses that change with their content, so that browsers
//! may keep them.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use ring::digest::{SHA256, digest};

/// Path, type and content.
const ASSETS: [(&str, &str, &str); 3] = [
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/page.svg", "image/svg+xml", include_str!("page.svg")),
];

/// One version for all of them.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = ASSETS.iter().map(|(_, _, content)| *content).collect();
    digest(&SHA256, all.as_bytes()).as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// The address of an asset, with its version.
pub(super) fn address(path: &str) -> String {
    format!("{path}?v={}", *VERSION)
}

/// The asset at this path; `None`: there is none. A browser may keep it for ever under the address with its version.
pub(in crate::admin) fn asset(path: &str, query: Option<&str>) -> Option<Response<Bytes>> {
    let (_, kind, content) = ASSETS.iter().find(|(known, ..)| *known == path)?;
    let mut response = Response::new(Bytes::from_static(content.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if query.and_then(|query| query.strip_prefix("v=")) == Some(VERSION.as_str()) {
        let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    Some(response)
}
