//! Web pages, with the fields that browsers send: which may call, which may read, and that requests of all others reach
//! neither Box nor a limit.

use std::time::Duration;

use boxgate::sandbox::{Content, Fault};
use http::{HeaderName, HeaderValue, Version};

use crate::harness::{Bench, no_tls};

const PAGE: &str = "https://page.example";
const ME: &str = "/2.0/users/me";

const APPS: &str = r#"
[listen]
address = "127.0.0.1:0"
hosts = ["gate.example"]

[[app]]
name = "pages"
origins = ["https://page.example", "https://*.wild.example:8443", "chrome-extension://abcdefghijklmnop", "https://gate.example"]
deny = ["DELETE /2.0/users/*"]
forward_headers = ["X-Mine"]

[[app]]
name = "programs"
path = "/programs"

[[app]]
name = "marked"
path = "/marked"
origins = ["https://page.example"]
require_header = "X-Box-Gateway"

[[app]]
name = "one"
path = "/shared"
hosts = ["one.example"]
origins = ["https://page.example"]
deny = ["GET /2.0/users/me"]

[[app]]
name = "two"
path = "/shared"
hosts = ["two.example"]
origins = ["https://other.example"]
"#;

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// All values of a field, with commas between them.
    fn get(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    fn lists(&self, name: &str, item: &str) -> bool {
        self.get(name).is_some_and(|list| list.split(", ").any(|one| one.eq_ignore_ascii_case(item)))
    }

    /// No page can read it, and only the gateway's own may embed it.
    fn is_for_no_page(&self) -> bool {
        !self.head.to_ascii_lowercase().contains("access-control-")
            && self.get("cross-origin-resource-policy").as_deref() == Some("same-origin")
            && self.lists("vary", "Origin")
    }

    /// Scripts of this origin can read it, and the headers that they need.
    fn is_for(&self, origin: &str) -> bool {
        self.get("access-control-allow-origin").as_deref() == Some(origin)
            && self.get("access-control-allow-credentials").is_none()
            && self.get("cross-origin-resource-policy").as_deref() == Some("cross-origin")
            && self.lists("vary", "Origin")
            && ["Retry-After", "ETag", "X-Request-Id", "RateLimit", "Proxy-Status", "Content-Range"]
                .iter()
                .all(|name| self.lists("access-control-expose-headers", name))
    }
}

async fn ask(bench: &Bench, line: &str, headers: &[(&str, &str)]) -> Answer {
    let host = match headers.iter().any(|(name, _)| *name == "Host") {
        true => "",
        false => "Host: localhost\r\n",
    };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = bench.raw(&format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n")).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn preflight(bench: &Bench, path: &str, origin: &str, headers: &[(&str, &str)]) -> Answer {
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "as-user,content-type,x-evil,x-mine"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "cors"),
    ];
    ask(bench, &format!("OPTIONS {path}"), &[&asked[..], headers].concat()).await
}

#[tokio::test]
async fn an_allowed_page_calls_and_reads() {
    let bench = Bench::with(APPS).await;
    for origin in [
        PAGE,
        "HTTPS://PAGE.example:443",
        "https://a.wild.example:8443",
        "https://a.b.wild.example:8443",
        "chrome-extension://abcdefghijklmnop",
    ] {
        let headers = [("Origin", origin), ("Sec-Fetch-Site", "cross-site"), ("User-Agent", "Mozilla/5.0")];
        let answer = ask(&bench, &format!("GET {ME}"), &headers).await;
        assert_eq!(answer.status, 200, "{origin}: {}", answer.body);
        assert!(answer.is_for(origin), "{}", answer.head);
    }
    let seen = bench.sandbox.last_seen().unwrap();
    for gone in ["origin", "referer", "sec-fetch-site", "access-control-request-method"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
    let answer = ask(&bench, &format!("GET {ME}"), &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.is_for_no_page(), "{}", answer.head);
}

#[tokio::test]
async fn requests_of_any_other_page_have_no_effect() {
    let bench = Bench::with(APPS).await;
    bench.until_ready().await;
    let tokens = bench.sandbox.token_requests();
    let cross = ("Sec-Fetch-Site", "cross-site");
    let from_page = ("Referer", "https://page.example/x");
    for (line, headers) in [
        ("GET", &[("Origin", "https://evil.example")][..]),
        ("POST", &[("Origin", "https://evil.example"), from_page]),
        ("GET", &[("Origin", "null")]),
        ("GET", &[("Origin", "")]),
        ("GET", &[("Origin", "http://page.example")]),
        ("GET", &[("Origin", "https://page.example:8443")]),
        ("GET", &[("Origin", "https://page.example.")]),
        ("GET", &[("Origin", "https://page.example/")]),
        ("GET", &[("Origin", "https://page.example https://page.example")]),
        ("GET", &[("Origin", PAGE), ("Origin", PAGE)]),
        ("GET", &[("Origin", "https://wild.example:8443")]),
        ("GET", &[("Origin", "https://a.wild.example")]),
        ("GET", &[("Origin", "https://evilwild.example:8443")]),
        ("GET", &[("Origin", "chrome-extension://evil")]),
        ("GET", &[("Origin", "https://gate.example"), ("Host", "gate.example")]),
        ("GET", &[cross]),
        ("GET", &[("Sec-Fetch-Site", "same-site")]),
        ("GET", &[("Sec-Fetch-Site", "same-origin")]),
        ("GET", &[cross, ("Referer", "https://evil.example/?https://page.example/")]),
        ("GET", &[cross, ("Referer", "https://page.example.evil.example/")]),
        (
            "GET",
            &[
                ("Sec-Fetch-Site", "same-origin"),
                ("Host", "gate.example"),
                ("Referer", "https://gate.example/"),
            ],
        ),
        ("POST", &[cross, from_page]),
        ("DELETE", &[cross, from_page]),
        ("OPTIONS", &[("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")]),
        ("OPTIONS", &[("Origin", "null"), ("Access-Control-Request-Method", "GET")]),
    ] {
        let answer = ask(&bench, &format!("{line} {ME}"), headers).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "origin_not_allowed"),
            "{line} {headers:?}"
        );
        assert!(answer.is_for_no_page(), "{line} {headers:?}: {}", answer.head);
    }
    for path in ["/programs/2.0/users/me", "/programs/oauth2/token"] {
        let answer = ask(&bench, &format!("POST {path}"), &[("Origin", "https://evil.example")]).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin_not_allowed"), "{path}");
    }
    let foreign_host = [("Origin", PAGE), ("Host", "evil.example")];
    let answer = ask(&bench, &format!("GET {ME}"), &foreign_host).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (421, "host_not_allowed"),
        "the Host is judged first"
    );
    assert!(answer.is_for_no_page(), "{}", answer.head);
    assert_eq!((bench.sandbox.calls(), bench.sandbox.token_requests()), (0, tokens));
}

#[tokio::test]
async fn an_element_of_an_allowed_page_loads_and_scripts_cannot_read_it() {
    let bench = Bench::with(APPS).await;
    let file = bench.sandbox.add_file("0", "a.png", Content::Bytes("0123".into()));
    for method in ["GET", "HEAD"] {
        let headers = [("Sec-Fetch-Site", "cross-site"), ("Referer", "https://page.example/album?x")];
        let answer =
            ask(&bench, &format!("{method} /2.0/files/{file}/content?access_token=x"), &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.get("cross-origin-resource-policy").as_deref(), Some("cross-origin"));
        assert_eq!(answer.get("access-control-allow-origin"), None);
        assert!(answer.lists("vary", "Referer") && answer.lists("vary", "Origin"), "{}", answer.head);
    }
    let typed = ask(&bench, &format!("GET {ME}"), &[("Sec-Fetch-Site", "none")]).await;
    assert!(typed.status == 200 && typed.is_for_no_page(), "{}", typed.head);
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway_alone() {
    let bench = Bench::with(APPS).await;
    for path in [ME, "/2.0/files/content", "/favicon.ico"] {
        let answer = preflight(&bench, path, PAGE, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{}", answer.head);
        assert!(answer.is_for(PAGE), "{}", answer.head);
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(answer.lists("access-control-allow-methods", method), "{method}");
        }
        for name in
            ["As-User", "Content-Type", "Authorization", "X-Mine", "X-Boxgate-Redirect", "X-Request-Id"]
        {
            assert!(answer.lists("access-control-allow-headers", name), "{name}");
        }
        assert!(!answer.lists("access-control-allow-headers", "x-evil"));
        assert_eq!(answer.get("access-control-max-age").as_deref(), Some("7200"));
        assert_eq!(answer.get("access-control-allow-private-network"), None);
        assert!(answer.lists("vary", "Access-Control-Request-Method"), "{}", answer.head);
    }
    let asks = [("Access-Control-Request-Private-Network", "true")];
    let answer = preflight(&bench, ME, PAGE, &asks).await;
    assert_eq!(answer.get("access-control-allow-private-network").as_deref(), Some("true"));
    let other = preflight(&bench, ME, "https://evil.example", &asks).await;
    assert!(other.status == 403 && other.is_for_no_page(), "{}", other.head);
    assert_eq!(bench.sandbox.calls(), 0);
    let counted =
        "boxgate_requests_total{app=\"pages\",method=\"OPTIONS\",status=\"204\",answered_by=\"gateway\"}";
    assert!(bench.metric(counted).await >= 4.0, "{}", bench.admin("/metrics").await.1);
}

#[tokio::test]
async fn options_that_is_not_a_preflight_is_boxs_method() {
    let bench = Bench::with(APPS).await;
    let body = "{\"name\":\"a.txt\",\"size\":3,\"parent\":{\"id\":\"0\"}}";
    for (origin, readable) in [(Some(PAGE), true), (None, false)] {
        let mut request = bench
            .client
            .request(http::Method::OPTIONS, bench.url("/2.0/files/content"))
            .header("content-type", "application/json")
            .body(body);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().contains_key("access-control-allow-origin"), readable);
        let seen = bench.sandbox.last_seen().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("OPTIONS", "/2.0/files/content"));
        assert_eq!(seen.body_bytes, body.len() as u64);
    }
    // Without an Origin it is not a preflight.
    let asks = [("Access-Control-Request-Method", "GET"), ("Content-Length", "0")];
    ask(&bench, "OPTIONS /2.0/files/content", &asks).await;
    assert_eq!(bench.sandbox.calls(), 3);
}

#[tokio::test]
async fn refusals_are_readable_by_the_allowed_page_and_by_no_other() {
    let bench = Bench::with(APPS).await;
    let origin = ("Origin", PAGE);
    let check = |answer: Answer, status: u16, code: &'static str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
        assert!(answer.is_for(PAGE), "{code}: {}", answer.head);
        answer
    };
    check(ask(&bench, "DELETE /2.0/users/1", &[origin]).await, 403, "operation_not_allowed");
    check(ask(&bench, &format!("GET {ME}"), &[origin, ("As-User", "1")]).await, 403, "as_user_not_allowed");
    check(ask(&bench, "GET /favicon.ico", &[origin]).await, 404, "not_found");
    bench.sandbox.script(ME, vec![Fault::RateLimited { retry_after: 7 }]);
    let limited = ask(&bench, &format!("GET {ME}"), &[origin]).await;
    assert!(limited.status == 429 && limited.is_for(PAGE), "{}", limited.head);
    assert_eq!(limited.get("retry-after").as_deref(), Some("7"));
    // The pause that Box asked for is over.
    bench.clock.advance(Duration::from_secs(30));
    bench.sandbox.script("/2.0/folders", vec![Fault::CloseBeforeHead; 4]);
    let length = ("Content-Length", "0");
    check(ask(&bench, "POST /2.0/folders", &[origin, length]).await, 502, "upstream_protocol_error");
    bench.sandbox.always_unauthorized(ME);
    check(ask(&bench, &format!("GET {ME}"), &[origin]).await, 502, "upstream_unauthorized");
    check(ask(&bench, "GET /marked/2.0/users/me", &[origin]).await, 403, "caller_not_allowed");
    // Box's own CORS is replaced.
    let set = (HeaderName::from_static("access-control-allow-origin"), HeaderValue::from_static("*"));
    let credentials =
        (HeaderName::from_static("access-control-allow-credentials"), HeaderValue::from_static("true"));
    let fault = Fault::status(404).with_header(set.0, set.1).with_header(credentials.0, credentials.1);
    bench.sandbox.script("/2.0/files/1", vec![fault.clone(), fault]);
    let answer = ask(&bench, "GET /2.0/files/1", &[origin]).await;
    assert!(answer.status == 404 && answer.is_for(PAGE), "{}", answer.head);
    assert!(ask(&bench, "GET /2.0/files/1", &[]).await.is_for_no_page());
}

#[tokio::test]
async fn a_required_header_is_required_of_all_but_preflights() {
    let bench = Bench::with(APPS).await;
    let path = "/marked/2.0/users/me";
    let answer = ask(&bench, &format!("GET {path}"), &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "caller_not_allowed"));
    assert!(answer.body.contains("x-box-gateway") && answer.is_for_no_page(), "{}", answer.body);
    let image = [("Sec-Fetch-Site", "cross-site"), ("Referer", "https://page.example/")];
    assert_eq!(ask(&bench, &format!("GET {path}"), &image).await.status, 403);
    let allowed = preflight(&bench, path, PAGE, &[]).await;
    assert!(
        allowed.status == 204 && allowed.lists("access-control-allow-headers", "X-Box-Gateway"),
        "{}",
        allowed.head
    );
    assert_eq!(bench.sandbox.calls(), 0);
    for value in ["1", ""] {
        let headers = [("x-box-gateway", value), ("Origin", PAGE)];
        assert_eq!(ask(&bench, &format!("GET {path}"), &headers).await.status, 200);
    }
    assert!(!bench.sandbox.last_seen().unwrap().headers.contains_key("x-box-gateway"));
}

#[tokio::test]
async fn apps_at_one_path_are_chosen_by_host_for_pages_too() {
    let bench = Bench::with(APPS).await;
    let path = "/shared/2.0/users/me";
    let of = |host: &'static str, origin: &'static str| {
        let bench = &bench;
        async move {
            let answer = ask(bench, &format!("GET {path}"), &[("Host", host), ("Origin", origin)]).await;
            (answer.status, answer.code())
        }
    };
    assert_eq!(of("two.example", "https://other.example").await, (200, String::new()));
    assert_eq!(of("one.example", "https://other.example").await, (403, "origin_not_allowed".into()));
    assert_eq!(of("one.example", PAGE).await, (403, "operation_not_allowed".into()));
    // The app at / admits this page, but the path is none of Box's below it: what is wrong is the origin.
    assert_eq!(of("two.example", PAGE).await, (403, "origin_not_allowed".into()));
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn pages_are_checked_alike_over_http_2() {
    let bench = Bench::with(APPS).await;
    let h2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let h2 = h2.tls_backend_preconfigured(no_tls()).build().unwrap();
    for (origin, status) in
        [(PAGE.to_owned(), 200), (format!("http://{}", bench.address), 403), ("null".into(), 403)]
    {
        let answer = h2.get(bench.url(ME)).header("origin", &origin).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, Version::HTTP_2), "{origin}");
        let named = answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(named, (status == 200).then_some(PAGE));
    }
    let asked = h2.request(http::Method::OPTIONS, bench.url(ME)).header("origin", PAGE);
    let answer = asked.header("access-control-request-method", "PUT").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), bench.sandbox.calls()), (204, 1));
}

#[tokio::test]
async fn a_download_from_a_page_streams_through_with_its_progress() {
    let bench = Bench::with(APPS).await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("0123456789".into()));
    let headers = [("Origin", PAGE), ("Range", "bytes=2-4")];
    let answer = ask(&bench, &format!("GET /2.0/files/{file}/content"), &headers).await;
    assert_eq!((answer.status, answer.body.as_str()), (206, "234"));
    assert_eq!(answer.get("content-range").as_deref(), Some("bytes 2-4/10"));
    assert!(answer.is_for(PAGE), "{}", answer.head);
}

/// It is not known which of several values a server reads: the most suspicious one counts.
#[tokio::test]
async fn all_values_of_contradictory_fields_are_checked() {
    let bench = Bench::with(APPS).await;
    let (none, cross) = (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site"));
    let (allowed, other) = (("Referer", "https://page.example/x"), ("Referer", "https://evil.example/"));
    let open = [("Host", "gate.example"), ("User-Agent", "curl/8")];
    for headers in [
        &[none, cross][..],
        &[cross, none],
        &[none, ("Sec-Fetch-Site", "")],
        &[cross, allowed, ("Referer", "")],
        &[cross, ("Referer", ""), allowed],
        &[cross, allowed, other],
        &[cross, other, allowed],
        &[open[0], open[1], ("User-Agent", "Mozilla/5.0")],
    ] {
        let answer = ask(&bench, &format!("GET {ME}"), headers).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin_not_allowed"), "{headers:?}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
    for headers in [&[none, none][..], &[cross, allowed, allowed], &open] {
        assert_eq!(ask(&bench, &format!("GET {ME}"), headers).await.status, 200, "{headers:?}");
    }
}

/// Neither what a name resolves to nor where the gateway listens counts.
#[tokio::test]
async fn a_listed_name_without_tls_does_not_evade_fetch_metadata() {
    let bench = Bench::with(APPS).await;
    let browser = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)");
    for method in ["GET", "HEAD"] {
        let answer = ask(&bench, &format!("{method} {ME}"), &[browser, ("Host", "gate.example")]).await;
        assert_eq!(answer.status, 403, "{method}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
    for host in ["localhost", "app.localhost:1", "127.0.0.1", "127.1.2.3", "[::1]"] {
        assert_eq!(ask(&bench, &format!("GET {ME}"), &[browser, ("Host", host)]).await.status, 200, "{host}");
    }
    let referred = [browser, ("Host", "gate.example"), ("Referer", "https://page.example/x")];
    assert_eq!(ask(&bench, &format!("GET {ME}"), &referred).await.status, 200);
    // Behind a proxy that ends TLS, browsers send it.
    let behind = Bench::with(&APPS.replace(
        "hosts = [\"gate.example\"]",
        "hosts = [\"gate.example\"]\ntrusted_proxies = [\"loopback\"]",
    ))
    .await;
    let said = |scheme: &'static str| [browser, ("Host", "gate.example"), ("X-Forwarded-Proto", scheme)];
    assert_eq!(ask(&behind, &format!("GET {ME}"), &said("https")).await.status, 200);
    for scheme in ["http", "https, http", "http,https", "httpsx", ""] {
        assert_eq!(ask(&behind, &format!("GET {ME}"), &said(scheme)).await.status, 403, "{scheme}");
    }
    let twice = [&said("https")[..], &[("X-Forwarded-Proto", "http")]].concat();
    assert_eq!(ask(&behind, &format!("GET {ME}"), &twice).await.status, 403);
}
