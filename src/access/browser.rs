//! Web pages: does a web page call, and may it? A request of a page that no app admits is refused before a token, a
//! limit or Box is touched. Leaving out CORS headers would not suffice: a page that cannot read a response can still
//! upload and delete.
//!
//! Three request fields reveal a page. Browsers send `Origin` with every request of a script to another origin and with
//! every request that may change something (Fetch §3.2). They send `Sec-Fetch-Site` with all requests, but only to URLs
//! that they trust by scheme and host: https, and the names and addresses of loopback (Fetch Metadata §2.3, Secure
//! Contexts §3.1). What a name resolves to does not count: a listed name that resolves to 127.0.0.1 gets no
//! `Sec-Fetch-Site`. At such URLs, only the browser's `User-Agent` reveals the load of an image or a frame. A page
//! cannot forge or suppress these fields. It cannot forge `Referer` either, but can suppress it.
//!
//! If a field occurs more than once, all values are checked and the most suspicious one counts, since it is not known
//! which of them a server would read.

use http::header::{ORIGIN, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::access::admission::Admitted;
use crate::access::cors::Reader;
use crate::http::error::Refusal;
use crate::http::headers;
use crate::http::host::Host;
use crate::http::origin::{Claim, Origin, OriginList};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How the names of all fields of Fetch Metadata begin.
const FETCH_METADATA: &str = "sec-fetch-";

/// What a request reveals about a web page that sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    origin: Option<&'a HeaderValue>,
    /// More than one `Origin`.
    contradicts_itself: bool,
    /// A page sent the request, or may have.
    sign: Option<Sign>,
    reads: bool,
}

/// What shows that a page sent a request, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has an `Origin`.
    Origin,
    /// Its `Sec-Fetch-Site` is another than `none`.
    FetchSite,
    /// It reads, has the `User-Agent` of a browser, and came to a URL to which browsers send no Fetch Metadata.
    UserAgent,
}

impl<'a> Page<'a> {
    /// Evaluates the fields of a request. `secure`: the caller uses https; `host`: the host of the URL, `None` if
    /// unreadable.
    pub(crate) fn of(method: &Method, headers: &'a HeaderMap, secure: bool, host: Option<Host<'_>>) -> Self {
        let origin = headers.get(ORIGIN);
        let reads = method == Method::GET || method == Method::HEAD;
        let gets_fetch_metadata = || secure || host.is_some_and(Host::is_loopback);
        let sign = if origin.is_some() {
            Some(Sign::Origin)
        } else if headers::find(headers, &SEC_FETCH_SITE).is_some() {
            // `none` means that a person entered the address. Any other value, known or not, means a page.
            headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none").then_some(Sign::FetchSite)
        } else if reads && !gets_fetch_metadata() {
            let mut agents = headers.get_all(USER_AGENT).iter();
            agents.any(|agent| agent.as_bytes().starts_with(b"Mozilla/")).then_some(Sign::UserAgent)
        } else {
            None
        };
        let contradicts_itself = origin.is_some() && headers.get_all(ORIGIN).iter().nth(1).is_some();
        Self { origin, contradicts_itself, sign, reads }
    }

    /// Whether a page sent the request, or may have.
    pub(crate) fn is_one(self) -> bool {
        self.sign.is_some()
    }

    /// What shows that a page sent the request; `None`: no page did.
    pub(crate) fn sign(self) -> Option<Sign> {
        self.sign
    }

    /// The claim that the choice of an app takes into account.
    pub(crate) fn claim(self, admitted: &Admitted<'_>) -> Claim<'a> {
        match self.origin {
            None => Claim::Nothing,
            Some(_) if self.contradicts_itself => Claim::Unusable,
            Some(value) => match value.to_str().ok().and_then(Origin::parse) {
                Some(origin) if !origin.is_own(admitted.authority, admitted.secure) => Claim::Of(origin),
                _ => Claim::Unusable,
            },
        }
    }

    /// Who may read the response of the chosen app, whose `origins` admit the claim. An `<img>` or `<iframe>` of an
    /// allowed page is recognized only by its `Referer`, and can only read.
    pub(crate) fn check(
        self,
        headers: &HeaderMap,
        origins: &OriginList,
        admitted: &Admitted<'_>,
    ) -> Result<Reader, Refusal> {
        if let Some(origin) = self.origin {
            return match self.claim(admitted) {
                claim if claim.fits(origins) => Ok(Reader::Scripts(origin.clone())),
                _ => Err(Refusal::OriginNotAllowed),
            };
        }
        let is_allowed = |referer: &HeaderValue| {
            let origin = referer.to_str().ok().and_then(Origin::of_url);
            origin.is_some_and(|origin| {
                !origin.is_own(admitted.authority, admitted.secure) && origins.admits(origin)
            })
        };
        let refers = || headers.contains_key(REFERER) && headers.get_all(REFERER).iter().all(is_allowed);
        if self.reads && !origins.is_empty() && refers() {
            Ok(Reader::Elements)
        } else if self.is_one() {
            Err(Refusal::OriginNotAllowed)
        } else {
            Ok(Reader::NoPage)
        }
    }
}

/// Lets pass what no page sent, and what a page of this very origin sent; for what operators change. `secure`: TLS is
/// spoken here; `authority`: what the caller reached, as admitted.
///
/// A browser sends `Origin` with everything but GET and HEAD (Fetch §3.2), so what has a field of Fetch Metadata and no
/// `Origin` is no request that could be told from a foreign page's.
pub(crate) fn check_own_page(headers: &HeaderMap, authority: &str, secure: bool) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_allowed = match (origins.next(), origins.next()) {
        (None, _) => !headers.keys().any(|name| name.as_str().starts_with(FETCH_METADATA)),
        (Some(origin), None) => {
            let scheme = if secure { "https" } else { "http" };
            let origin = origin.to_str().ok().and_then(Origin::parse);
            origin.is_some_and(|origin| origin.is_at(scheme, authority))
                && headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin")
        }
        (Some(_), Some(_)) => false,
    };
    if is_allowed { Ok(()) } else { Err(Refusal::ForeignPage) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::http::host;
    use crate::http::origin::Pattern;

    /// Who may read, for an app that lists `https://a.example`; `None`: refused. `open`: the URL is one to which
    /// browsers send no Fetch Metadata.
    fn reader(method: Method, fields: &[(&'static str, &'static str)], open: bool) -> Option<Reader> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let authority = "gate.example";
        let host = host::parse(authority).unwrap().0;
        let client = IpAddr::from([127, 0, 0, 1]).into();
        let admitted =
            Admitted { host, authority, client, secure: true, named: None, user: None, certificate: None };
        let entries = ["https://a.example", "https://gate.example"];
        let origins = OriginList::new(entries.iter().map(|entry| Pattern::parse(entry).unwrap()).collect());
        let page = Page::of(&method, &headers, !open, Some(host));
        if !page.claim(&admitted).fits(&origins) {
            return None;
        }
        page.check(&headers, &origins, &admitted).ok()
    }

    const MOZILLA: (&str, &str) = ("user-agent", "Mozilla/5.0");
    const ALLOWED: (&str, &str) = ("referer", "https://a.example/x");

    #[test]
    fn callers_other_than_pages_are_not_restricted() {
        for (method, fields, open) in [
            (Method::GET, &[][..], true),
            (Method::POST, &[], true),
            (Method::GET, &[("user-agent", "curl/8")], true),
            (Method::GET, &[MOZILLA], false),
            (Method::POST, &[MOZILLA], true),
            (Method::GET, &[("sec-fetch-site", "none"), MOZILLA], true),
            (Method::GET, &[("sec-fetch-mode", "cors")], false), // Node's fetch
            (Method::GET, &[("referer", "https://b.example/")], false),
            (Method::POST, &[ALLOWED], false),
        ] {
            assert_eq!(reader(method, fields, open), Some(Reader::NoPage), "{fields:?}");
        }
    }

    #[test]
    fn an_allowed_page_may_call() {
        let origin = ("origin", "https://a.example");
        let scripts = Some(Reader::Scripts(HeaderValue::from_static("https://a.example")));
        for (method, fields) in [
            (Method::GET, &[origin][..]),
            (Method::DELETE, &[origin, ("sec-fetch-site", "cross-site"), MOZILLA]),
            (Method::OPTIONS, &[origin, ("referer", "https://b.example/")]),
        ] {
            assert_eq!(reader(method, fields, true), scripts, "{fields:?}");
        }
        for method in [Method::GET, Method::HEAD] {
            for fields in [
                &[ALLOWED, ("sec-fetch-site", "cross-site")][..],
                &[ALLOWED, ("sec-fetch-site", "same-site"), MOZILLA],
                &[ALLOWED, MOZILLA],
            ] {
                assert_eq!(reader(method.clone(), fields, true), Some(Reader::Elements), "{fields:?}");
            }
        }
    }

    #[test]
    fn any_other_page_is_refused() {
        let cross = ("sec-fetch-site", "cross-site");
        for (method, fields) in [
            (Method::GET, &[("origin", "null")][..]),
            (Method::GET, &[("origin", "")]),
            (Method::GET, &[("origin", "https://b.example"), ALLOWED]),
            (Method::GET, &[("origin", "https://a.example"), ("origin", "https://a.example")]),
            (Method::GET, &[("origin", "https://a.example, https://a.example")]),
            (Method::GET, &[("origin", "https://gate.example")]),
            (Method::GET, &[("sec-fetch-site", "same-origin"), ("referer", "https://gate.example/x")]),
            (Method::GET, &[cross]),
            (Method::GET, &[("sec-fetch-site", "same-site")]),
            (Method::GET, &[("sec-fetch-site", "same-origin")]),
            (Method::GET, &[("sec-fetch-site", "None")]),
            (Method::GET, &[("sec-fetch-site", "")]),
            (Method::GET, &[cross, ("referer", "https://b.example/")]),
            (Method::GET, &[cross, ("referer", "https://a.example@b.example/")]),
            (Method::POST, &[cross, ALLOWED]),
            (Method::DELETE, &[cross, ALLOWED]),
            (Method::OPTIONS, &[cross, ALLOWED]),
            (Method::GET, &[("sec-fetch-site", "none"), cross]),
            (Method::GET, &[cross, ("sec-fetch-site", "none")]),
            (Method::GET, &[cross, ALLOWED, ("referer", "")]),
            (Method::GET, &[cross, ("referer", "https://b.example/"), ALLOWED]),
            (Method::GET, &[("user-agent", "curl/8"), MOZILLA]),
            (Method::GET, &[MOZILLA]),
            (Method::HEAD, &[MOZILLA, ("referer", "https://b.example/")]),
        ] {
            assert_eq!(reader(method, fields, true), None, "{fields:?}");
        }
    }

    #[test]
    fn the_urls_scheme_and_host_tell_whether_browsers_send_fetch_metadata() {
        let mut headers = HeaderMap::new();
        headers.append(USER_AGENT, HeaderValue::from_static("Mozilla/5.0"));
        let is_page = |host, secure| {
            let host = host::parse(host).map(|(host, _)| host);
            Page::of(&Method::GET, &headers, secure, host).is_one()
        };
        for host in [
            "localhost:8080",
            "LOCALHOST",
            "app.localhost",
            "localhost.",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]:8080",
        ] {
            assert!(!is_page(host, false), "{host}");
        }
        for host in
            ["gate.internal", "localhost.evil", "10.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "a b"]
        {
            assert!(is_page(host, false), "{host}");
            assert!(!is_page(host, true), "{host}");
        }
    }

    #[test]
    fn what_changes_something_for_operators_comes_from_no_page_or_an_own_one() {
        const OWN: (&str, &str) = ("origin", "http://localhost:8081");
        const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
        let passes = |authority: &str, secure, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            check_own_page(&headers, authority, secure).is_ok()
        };
        for fields in [
            &[][..],
            &[("user-agent", "curl/8")],
            &[MOZILLA],
            &[("referer", "https://b.example/")],
            &[OWN],
            &[("origin", "http://LOCALHOST:8081"), SAME],
            &[OWN, SAME, SAME, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        ] {
            assert!(passes("localhost:8081", false, fields), "{fields:?}");
        }
        for fields in [
            &[("origin", "https://b.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://localhost")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "https://localhost:8081")],
            &[("origin", "http://localhost.:8081")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "http://localhost:8081/")],
            &[("origin", "http://localhost:8081, http://localhost:8081")],
            &[("origin", "http://localhost:8081, https://b.example")],
            &[OWN, OWN],
            &[OWN, ("origin", "https://b.example")],
            &[("origin", "https://b.example"), OWN],
            &[OWN, ("sec-fetch-site", "cross-site")],
            &[OWN, ("sec-fetch-site", "same-site")],
            &[OWN, ("sec-fetch-site", "none")],
            &[OWN, ("sec-fetch-site", "")],
            &[OWN, SAME, ("sec-fetch-site", "cross-site")],
            &[OWN, ("sec-fetch-site", "cross-site"), SAME],
            &[OWN, ("sec-fetch-site", "same-origin, cross-site")],
            &[SAME],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-mode", "cors")],
            &[("sec-fetch-user", "?1")],
        ] {
            assert!(!passes("localhost:8081", false, fields), "{fields:?}");
        }
        // The scheme's own port may be left out, on either side.
        assert!(passes("ops.example:80", false, &[("origin", "http://ops.example")]));
        assert!(passes("[::1]:8081", false, &[("origin", "http://[::1]:8081")]));
        assert!(passes("ops.example", true, &[("origin", "https://ops.example"), SAME]));
        assert!(!passes("ops.example", true, &[("origin", "http://ops.example")]));
        assert!(!passes("ops.example", false, &[("origin", "https://ops.example")]));
        // What is no authority is nobody's origin.
        assert!(!passes("a b", false, &[OWN]));
    }
}
