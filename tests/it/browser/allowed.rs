//! A page of a listed origin can call everything and read every response.

use boxgate::sandbox::{Content, Fault};
use serde_json::{Value, json};

use super::chromium::{Browser, Page};
use super::hostile::Table;
use super::site::Site;
use crate::harness::Bench;

const ATTEMPTS: &str = include_str!("allowed.js");

/// Larger than a piece of a stream, so that progress can be seen.
const SIZE: u64 = 3_000_000;

pub(super) const LOOPBACK: &str = "[listen]\naddress = \"127.0.0.1:0\"";
const NAMED: &str = "[listen]\naddress = \"0.0.0.0:0\"\nhosts = [\"gate.internal\"]";

#[tokio::test]
async fn an_allowed_page_uses_a_gateway_on_loopback() {
    allowed(LOOPBACK, "http://127.0.0.1", "127.0.0.1").await;
}

#[tokio::test]
async fn an_allowed_page_uses_a_gateway_with_tls() {
    let browser = Browser::shared();
    allowed(&tls(&browser), "https://localhost", "pages.example").await;
}

/// Without Fetch Metadata: images are recognized only by their `Referer`.
#[tokio::test]
async fn an_allowed_page_uses_a_gateway_with_a_name_and_no_tls() {
    allowed(NAMED, "http://gate.internal", "pages.example").await;
}

#[tokio::test]
async fn an_unlisted_page_has_no_effect_where_another_is_listed() {
    let site = Site::start().await;
    for (listen, gate) in [(LOOPBACK, "http://127.0.0.1"), (NAMED, "http://gate.internal")] {
        let bench = Bench::with(&with_origin(listen, &site.origin("pages.example"))).await;
        let gate = format!("{gate}:{}", port(&bench));
        Table::from_site(&bench, gate, "evil.example").run().await;
    }
}

/// With the browser's certificate, whose files go when the browser does.
pub(super) fn tls(browser: &Browser) -> String {
    let file = |name| browser.folder().join(name).display().to_string();
    let (cert, key) = (file("tls.crt"), file("tls.key"));
    format!("[listen]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert:?}, key = {key:?} }}")
}

pub(super) fn with_origin(listen: &str, origin: &str) -> String {
    format!("{listen}\n\n[[app]]\nname = \"pages\"\norigins = [{origin:?}]\n")
}

pub(super) fn port(bench: &Bench) -> &str {
    bench.address.rsplit(':').next().unwrap()
}

/// `scheme`: of the gateway, with its name; `host`: of the page.
async fn allowed(listen: &str, scheme: &str, host: &str) {
    let mut page = Page::open().await;
    let site = Site::start().await;
    let bench = Bench::with(&with_origin(listen, &site.origin(host))).await;
    let sandbox = &bench.sandbox;
    let file = sandbox.add_file("0", "large.png", Content::Zeros(SIZE));
    bench.until_ready().await;
    page.go(&site.origin(host)).await;
    page.run(ATTEMPTS).await;
    let given = json!({ "gate": format!("{scheme}:{}", port(&bench)), "file": file });
    let does = async |name: &str| {
        let before = sandbox.calls();
        let gave = page.run(&format!("attempts[{name:?}]({given})")).await;
        (gave, sandbox.calls() - before)
    };

    let (me, calls) = does("JSON").await;
    assert!(me["login"].is_string(), "{me}");
    assert_eq!(calls, 1);

    let (headers, calls) = does("headers that need a preflight").await;
    assert_eq!(headers, json!({ "status": 200, "id": file, "request_id": "of-the-page.1" }));
    assert_eq!(calls, 1, "the preflight is the gateway's own");
    let seen = sandbox.last_seen().unwrap();
    assert_eq!(seen.headers["x-rep-hints"], "[jpg?dimensions=32x32]");
    for name in ["origin", "referer", "sec-fetch-site", "sec-fetch-mode"] {
        assert!(!seen.headers.contains_key(name), "{name} went to Box");
    }
    assert_ne!(seen.headers["authorization"], "Bearer of-the-page");

    let (upload, _) = does("upload with progress").await;
    assert_eq!(upload["status"], 201, "{upload}");
    assert!(upload["loaded"].as_u64() > Some(SIZE) && upload["loaded"] == upload["total"], "{upload}");

    let (folder, _) = does("a folder made, renamed and deleted").await;
    assert_eq!(folder, json!([201, 200, 204]));

    let (download, _) = does("download with progress").await;
    assert_eq!(download["bytes"], SIZE, "{download}");
    assert_eq!(download["length"], SIZE.to_string(), "{download}");
    assert!(download["pieces"].as_u64() > Some(1), "{download}");
    assert_eq!(download["redirected"], false, "{download}");
    assert!(download["disposition"].is_string(), "{download}");

    let (range, _) = does("range").await;
    assert_eq!(range, json!({ "status": 206, "range": format!("bytes 10-19/{SIZE}"), "bytes": 10 }));

    let (head, _) = does("HEAD").await;
    assert_eq!(head, json!({ "status": 200, "length": SIZE.to_string() }));

    let (image, calls) = does("thumbnail").await;
    assert!(image["width"].as_u64() > Some(0), "{image}");
    assert_eq!(calls, 1);
    assert!(!sandbox.last_seen().unwrap().target.contains("access_token"));

    let (cached, calls) = does("the same twice, from any cache").await;
    assert_eq!((cached, calls), (json!([200, 200]), 2), "nothing is kept");

    let (refused, calls) = does("a refusal").await;
    assert_eq!(refused["status"], 403, "{refused}");
    assert_eq!(refused["body"]["code"], "as_user_not_allowed", "{refused}");
    assert_eq!((refused["proxy_status"].is_string(), calls), (true, 0), "{refused}");

    sandbox.script("/2.0/folders/0", vec![Fault::RateLimited { retry_after: 7 }]);
    let (limited, _) = does("429").await;
    assert_eq!(limited["status"], 429, "{limited}");
    assert_eq!(limited["retry_after"], "7", "{limited}");
    assert_eq!(limited["body"]["type"], Value::from("error"), "{limited}");
}
