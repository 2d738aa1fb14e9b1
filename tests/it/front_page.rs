//! The page at `/` of the callers' listener.

use http::Method;

use crate::harness::{Bench, refusal};
use crate::tunnels::program::Program;

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn get(bench: &Bench, fields: &[(&'static str, &'static str)]) -> reqwest::Response {
    let mut request = bench.client.get(bench.url("/"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_person_is_told_what_this_is() {
    let bench = Bench::with("[[app]]\nname = \"secret-app\"\norigins = [\"https://secret.example\"]").await;
    let calls = bench.sandbox.calls();
    for (accept, kind) in [("*/*", "text/plain; charset=utf-8"), (HTML, "text/html; charset=utf-8")] {
        let page = get(&bench, &[("accept", accept)]).await;
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["content-type"], kind);
        assert_eq!(page.headers()["cache-control"], "private, no-store");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert_eq!(page.headers()["proxy-status"], "boxgate");
        assert!(
            page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';")
        );
        let vary: Vec<_> =
            page.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(vary, ["Origin", "Accept"]);
        let length = page.headers()["content-length"].clone();
        let text = page.text().await.unwrap();
        let version = format!("boxgate {}", env!("CARGO_PKG_VERSION"));
        for part in
            [&*version, "Box API", "/2.0/users/me", "/.well-known/boxgate/errors/", "docs/getting-started.md"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("secret-app") && !text.contains("secret.example"), "{text}");
        let head = bench.client.head(bench.url("/?a=b")).header("accept", accept).send().await.unwrap();
        assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &length));
    }
    assert_eq!(bench.sandbox.calls(), calls, "Box is not asked");
    let answered =
        "boxgate_requests_total{app=\"secret-app\",method=\"GET\",status=\"200\",answered_by=\"gateway\"}";
    assert_eq!(bench.metric(answered).await, 2.0);
}

#[tokio::test]
async fn a_program_is_told_that_box_has_no_such_path() {
    let bench = Bench::start().await;
    let json = get(&bench, &[("accept", "application/json")]).await;
    assert_eq!(refusal(json).await, (404, "not_found".into()));
    for (method, path) in [
        (Method::POST, "/"),
        (Method::OPTIONS, "/"),
        (Method::DELETE, "/"),
        (Method::GET, "/index.html"),
        (Method::GET, "/favicon.ico"),
    ] {
        let answer = bench.client.request(method.clone(), bench.url(path)).send().await.unwrap();
        assert_eq!(refusal(answer).await, (404, "not_found".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn where_no_app_has_the_path_the_page_is_there_and_elsewhere_the_refusal() {
    let bench = Bench::with("[[app]]\nname = \"a\"\npath = \"/a\"").await;
    assert_eq!(get(&bench, &[]).await.status(), 200);
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (404, "no_such_app".into()));
    assert_eq!(refusal(bench.get("/a/").await).await, (404, "not_found".into()));
    let post = bench.client.post(bench.url("/")).send().await.unwrap();
    assert_eq!(refusal(post).await, (404, "no_such_app".into()));
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        assert_ne!(get(&bench, &[("accept", HTML), (name, value)]).await.status(), 200, "{name}");
    }
}

/// What is refused today stays refused: the page is no way around a check.
#[tokio::test]
async fn no_check_is_left_out_for_it() {
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    let app = "[[app]]\nname = \"a\"\n";
    for (more, fields, want) in [
        (format!("{listen}sources = [\"10.0.0.0/8\"]"), &[][..], (403, "source_not_allowed")),
        (format!("{app}sources = [\"10.0.0.0/8\"]"), &[], (403, "source_not_allowed")),
        (String::new(), &[("host", "evil.example")], (421, "host_not_allowed")),
        (String::new(), &[("sec-fetch-site", "cross-site")], (403, "origin_not_allowed")),
        (String::new(), &[("sec-fetch-site", "same-origin")], (403, "origin_not_allowed")),
        (String::new(), &[("origin", "https://evil.example")], (403, "origin_not_allowed")),
        (
            format!("{listen}hosts = [\"gate.internal\"]"),
            &[("host", "gate.internal"), ("user-agent", "Mozilla/5.0")],
            (403, "origin_not_allowed"),
        ),
        (format!("{app}key = \"a-key-of-the-app\""), &[], (403, "caller_not_allowed")),
        (format!("{app}require_header = \"X-Box-Gateway\""), &[], (403, "caller_not_allowed")),
        (format!("{app}enabled = false"), &[], (503, "app_disabled")),
        (format!("{app}allow = [\"GET /2.0/**\"]"), &[], (404, "not_found")),
        (format!("{app}deny = [\"GET /**\"]"), &[], (404, "not_found")),
    ] {
        let bench = Bench::with(&more).await;
        let fields = [&[("accept", HTML)], fields].concat();
        let (status, code) = refusal(get(&bench, &fields).await).await;
        assert_eq!((status, &*code), want, "{more} {fields:?}");
    }
    let bench = Bench::start().await;
    let typed =
        get(&bench, &[("accept", HTML), ("sec-fetch-site", "none"), ("user-agent", "Mozilla/5.0")]).await;
    assert_eq!(typed.status(), 200, "a person typed it in");
}

#[tokio::test]
async fn inside_a_tunnel_the_path_is_boxs() {
    let bench = Bench::with_boxs_names(boxgate::sandbox::Options::default(), "", "[forward_proxy]").await;
    bench.until_ready().await;
    let program = Program::new(&bench, "").await;
    let answer = program.get("https://api.box.com/").await;
    assert_eq!(refusal(answer).await, (404, "not_found".into()));
}
