//! URLs entered in the address bar: each visit fetches from Box, and no script of a stored file runs.

use boxgate::sandbox::Fault;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::chromium::Page;
use super::site::Site;
use crate::harness::Bench;

const SCRIPT: &str = "document.documentElement.dataset.ran = 'yes'; fetch('/2.0/users/me'); \
                      fetch('/2.0/folders/0', { mode: 'no-cors', method: 'POST', body: 'x' })";

#[tokio::test]
async fn a_stored_page_runs_no_script_on_the_gateways_origin() {
    let bench = Bench::start().await;
    let html = format!(
        "<!doctype html><title>stored</title><body onload=\"{SCRIPT}\"><p>stored<img src=x onerror=\"{SCRIPT}\">\
         <script>{SCRIPT}</script><iframe src=/2.0/users/me></iframe>\
         <form action=/2.0/folders method=post></form><script>document.forms[0].submit()</script>"
    );
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"{SCRIPT}\"><text>stored</text><script>{SCRIPT}</script></svg>"
    );
    let mut page = Page::open().await;
    let ran = "document.documentElement.dataset.ran ?? null";
    let elsewhere = "http://pages.example/stored";
    page.tell("Fetch.enable", json!({ "patterns": [{ "urlPattern": elsewhere }] })).await;
    page.go_to_made(elsewhere, &html.replace("<iframe", "<p").replace(".submit()", "")).await;
    assert_eq!(page.run(ran).await, "yes", "it would, elsewhere");
    for (kind, text) in [("text/html", html), ("image/svg+xml", svg)] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let pieces = vec![Bytes::from(text)];
        let path = "/2.0/files/1";
        bench.sandbox.script(path, vec![Fault::RawBody { headers, pieces }]);
        let before = bench.sandbox.calls();
        page.go(&bench.url(path)).await;
        let shown =
            page.run("[document.contentType, document.documentElement.textContent, self.origin]").await;
        assert_eq!(shown[0], kind);
        assert!(shown[1].as_str().unwrap().contains("stored"), "{shown}");
        assert_eq!(shown[2], "null", "it has no origin of its own, so not the gateway's either");
        assert!(page.run(ran).await.is_null(), "{kind}: a script ran");
        assert_eq!(bench.sandbox.calls(), before + 1, "{kind}: {:?}", bench.sandbox.seen());
    }
}

#[tokio::test]
async fn no_answer_comes_from_a_cache() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let (site, mut page) = (Site::start().await, Page::open().await);
    let me = bench.url("/2.0/users/me");
    let login = "document.body.innerText.includes('login')";
    for visit in 1..=2 {
        page.go(&me).await;
        assert_eq!(page.run(login).await, true, "an address bar is no page");
        assert_eq!(bench.sandbox.calls(), visit, "each visit asks Box");
    }
    // Going back fetches again: neither the HTTP cache nor the back/forward cache is used.
    page.go(&site.origin("127.0.0.1")).await;
    page.run("history.back(); 0").await;
    bench.sandbox.wait_for_calls(3).await;
    page.event(|event| event["params"]["name"] == "load").await;

    page.go(&site.origin("127.0.0.1")).await;
    let read = page
        .run(&format!(
            "Promise.all(['force-cache', 'default'].flatMap((cache) => ['cors', 'no-cors'].map((mode) => \
             fetch({me:?}, {{ cache, mode }}).then((answer) => answer.text(), () => ''))))"
        ))
        .await;
    assert_eq!(read, json!(["", "", "", ""]));
    assert_eq!(bench.sandbox.calls(), 3);
}
