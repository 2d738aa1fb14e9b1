//! Web pages: what may a page do? In this version nothing: no origin can be listed, so every request that a browser
//! sends on a page's behalf is refused before a token or Box is touched. Answers without CORS headers would not be
//! enough: a page that cannot read an answer can still upload and delete.

use http::header::{ORIGIN, USER_AGENT};
use http::{HeaderMap, Method};

use crate::refusal::Refusal;

/// Refuses what a page sent. `open`: the listener is plain HTTP beyond loopback, where browsers send no Fetch
/// Metadata and a page can be told only by the browser's own `User-Agent`.
pub fn check(method: &Method, headers: &HeaderMap, open: bool) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::OriginNotAllowed);
    }
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    match site {
        Some(b"cross-site" | b"same-site" | b"same-origin") => return Err(Refusal::OriginNotAllowed),
        Some(_) => return Ok(()),
        None => {}
    }
    let reads = method == Method::GET || method == Method::HEAD;
    let browser = headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    if open && reads && browser {
        return Err(Refusal::OriginNotAllowed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn refused(method: Method, fields: &[(&'static str, &'static str)], open: bool) -> bool {
        let fields = fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        check(&method, &fields.collect(), open).is_err()
    }

    #[test]
    fn what_a_page_sends_is_refused() {
        assert!(refused(Method::GET, &[("origin", "null")], false));
        for site in ["cross-site", "same-site", "same-origin"] {
            assert!(refused(Method::GET, &[("sec-fetch-site", site)], false), "{site}");
        }
        assert!(!refused(Method::GET, &[("sec-fetch-site", "none"), ("user-agent", "Mozilla/5.0")], true));
        assert!(refused(Method::GET, &[("user-agent", "Mozilla/5.0")], true));
        assert!(!refused(Method::GET, &[("user-agent", "Mozilla/5.0")], false));
        assert!(!refused(Method::GET, &[("user-agent", "curl/8")], true));
    }
}
