//! The sandbox's page, used as a person uses it.

use std::net::SocketAddr;

use boxgate::sandbox::page::PageListener;
use boxgate::sandbox::{Content, Fault};
use serde_json::{Value, json};

use super::chromium::Page;
use crate::harness::Bench;

/// Resolves when it comes to hold of the page.
pub(super) const UNTIL: &str = "globalThis.until = (holds) => new Promise((resolve) => {
    const look = () => { const it = holds(); if (it) { seer.disconnect(); resolve(it); } };
    const seer = new MutationObserver(look);
    seer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    look();
}); globalThis.$ = (selector) => document.querySelector(selector); 0";

/// Beyond it, uploads go in parts.
const LARGE: usize = 21_000_000;

async fn with_page() -> (Bench, Page) {
    let page = PageListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = page.url();
    let bench = Bench::with(&page.app()).await;
    bench.until_ready().await;
    page.serve(bench.address.parse().unwrap());
    let mut page = Page::open().await;
    page.go(&url).await;
    page.run(UNTIL).await;
    (bench, page)
}

#[tokio::test]
async fn the_page_lists_makes_and_deletes() {
    let (bench, page) = with_page().await;
    page.run("until(() => $('#empty').checkVisibility())").await;
    let who = page.run("until(() => $('#who b')?.textContent)").await;
    assert_eq!(who, "Acting as Boxgate Sandbox");

    page.run("$('#examples').click()").await;
    page.run("until(() => document.querySelectorAll('#rows tr').length === 5)").await;
    let pictures = "Promise.all([...document.querySelectorAll('#rows img')].map((image) => \
                    image.decode().then(() => image.naturalWidth)))";
    assert_eq!(page.run(pictures).await, json!([320, 320]));

    page.run("$('#new-folder').click(); $('#ask-input').value = 'Made here'; $('#ask-yes').click()").await;
    page.run("until(() => $('#rows').innerText.includes('Made here'))").await;
    page.run("$('[aria-label=\"Delete Made here\"]').click(); $('#ask-yes').click()").await;
    page.run("until(() => !$('#rows').innerText.includes('Made here'))").await;

    page.run("$('#rows a').click(); until(() => $('#crumbs').innerText.includes('Contracts'))").await;
    page.run("$('#crumbs a').click(); until(() => document.querySelectorAll('#rows tr').length === 5)").await;

    let narrow = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": false });
    page.tell("Emulation.setDeviceMetricsOverride", narrow).await;
    let fits = page.run("document.documentElement.scrollWidth <= innerWidth").await;
    assert_eq!(fits, true, "nothing reaches beyond a narrow screen");
    let tokens = bench.sandbox.seen().iter().filter(|seen| seen.target.contains("access_token")).count();
    assert_eq!(tokens, 0);
}

#[tokio::test]
async fn the_page_uploads_and_downloads_with_progress() {
    let (bench, mut page) = with_page().await;
    let files = format!(
        "globalThis.files = new DataTransfer(); globalThis.shares = new Set();
         files.items.add(new File([new Uint8Array({LARGE})], 'large.bin'));
         new MutationObserver(() => shares.add($('progress')?.value))
             .observe($('#transfers'), {{ subtree: true, childList: true, attributes: true }});
         $('#chosen').files = files.files;
         $('#chosen').dispatchEvent(new Event('change')); 0"
    );
    page.run(&files).await;
    let ended = page.run("until(() => $('#transfer-list .done, #transfer-list .failed')?.innerText)").await;
    assert!(ended.as_str().unwrap().contains("Uploaded · 21 MB"), "{ended}");
    let shares = page.run("[...shares].filter((share) => share > 0).length").await;
    assert!(shares.as_u64() > Some(2), "the bar moved {shares} times");
    let seen = bench.sandbox.seen();
    let parts: Vec<_> = seen.iter().filter_map(|seen| seen.headers.get("content-range")).collect();
    assert!(parts.len() > 1, "{parts:?}");

    let drop = "files = new DataTransfer(); files.items.add(new File(['dropped here'], 'dropped.txt'));
                dispatchEvent(new DragEvent('drop', { dataTransfer: files, cancelable: true }));
                until(() => document.querySelectorAll('#transfer-list .done').length === 2)";
    page.run(drop).await;

    let folder = std::env::temp_dir().join(format!("boxgate-it-downloads-{}", std::process::id()));
    page.downloads_to(Some(&folder)).await;
    page.run("until(() => $('[aria-label=\"Download dropped.txt\"]')).then((button) => button.click())")
        .await;
    page.event(|event| event["method"] == "Page.downloadProgress" && event["params"]["state"] == "completed")
        .await;
    let downloaded = std::fs::read_to_string(folder.join("dropped.txt")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(downloaded, "dropped here");

    page.run("$('#chosen').files = files.files; $('#chosen').dispatchEvent(new Event('change'))").await;
    let taken = page.run("until(() => $('#transfer-list .failed')?.innerText)").await;
    assert!(taken.as_str().unwrap().contains("The name is taken"), "{taken}");
}

#[tokio::test]
async fn the_page_shows_that_a_stranger_gets_nothing() {
    let (bench, mut page) = with_page().await;
    let picture = Content::Zeros(1_000_000);
    bench.sandbox.add_file("0", "picture.png", picture);
    let url = page.run("location.href").await;
    page.go(url.as_str().unwrap()).await;
    page.run(UNTIL).await;
    page.run("until(() => $('#rows tr')).then(() => $('#try').click())").await;
    page.run("until(() => $('#verdict').textContent || $('#notice').checkVisibility())").await;
    let marks = "['here', 'there'].map((of) => \
                 [...document.querySelectorAll(`#tries-${of} .mark`)].map((mark) => mark.textContent))";
    let marks = page.run(marks).await;
    assert_eq!(marks, json!([["read", "shown", "made"], ["refused", "refused", "refused"]]));
    assert_eq!(page.run("$('#verdict').className").await, "verdict");
    let strange =
        bench.sandbox.seen().into_iter().filter(|seen| seen.body.starts_with(b"{\"name\":\"By a str"));
    assert_eq!(strange.count(), 0);
}

#[tokio::test]
async fn the_page_counts_down_to_when_it_may_ask_again() {
    let (bench, page) = with_page().await;
    let folder = bench.sandbox.add_folder("0", "Limited");
    bench.sandbox.script(&format!("/2.0/folders/{folder}"), vec![Fault::RateLimited { retry_after: 1 }]);
    page.run(&format!("location.hash = '#folder-{folder}'")).await;
    let texts = "[$('#notice strong').textContent, $('#again').textContent]";
    let said = page.run(&format!("until(() => $('#notice').checkVisibility() && {texts})")).await;
    assert_eq!(said, json!(["Too many requests", "Try again in 1 s"]));
    page.run("until(() => !$('#again').disabled).then(() => $('#again').click())").await;
    let crumbs = page.run("until(() => $('#crumbs').innerText.includes('Limited'))").await;
    assert_eq!(crumbs, Value::Bool(true));
    assert_eq!(page.run("$('#notice').hidden").await, true);
}
