//! The view Requests in Chromium: it refreshes, open rows stay open, and filters are a form.

use serde_json::Value;

use super::chromium::Page;
use super::sandbox_page::UNTIL;
use crate::harness::Bench;

/// A bench with the view open.
async fn open(bench: &Bench, query: &str) -> Page {
    let mut page = Page::open().await;
    page.go(&format!("http://{}/?view=requests{query}", bench.admin)).await;
    page.run(UNTIL).await;
    page
}

async fn ask(bench: &Bench, path: &str, id: &str) {
    bench.client.get(bench.url(path)).header("x-request-id", id).send().await.unwrap().bytes().await.unwrap();
}

const ROWS: &str = "[...document.querySelectorAll('#requests > li')]";

#[tokio::test]
async fn new_requests_appear_and_an_open_row_stays_open() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    ask(&bench, "/2.0/users/me", "first").await;
    let page = open(&bench, "").await;
    page.run(&format!("until(() => {ROWS}.length === 1)")).await;
    page.run(&format!("{ROWS}[0].querySelector('summary').click(); 0")).await;
    ask(&bench, "/2.0/files/404404", "second").await;
    page.run(&format!("until(() => {ROWS}.length === 2)")).await;
    let open = page.run(&format!("{ROWS}.map((row) => row.querySelector('details').open)")).await;
    assert_eq!(open, serde_json::json!([false, true]));
    let shown = page.run(&format!("{ROWS}[1].innerText")).await;
    let shown = shown.as_str().unwrap();
    assert!(shown.contains("Box, to the head") && shown.contains("without its query and body"), "{shown}");
}

#[tokio::test]
async fn rows_stand_still_while_the_focus_is_on_them() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    ask(&bench, "/2.0/users/me", "first").await;
    let page = open(&bench, "").await;
    page.run(&format!("until(() => {ROWS}.length === 1)")).await;
    page.run("$('#requests summary').focus(); 0").await;
    ask(&bench, "/2.0/users/me", "second").await;
    // What is around the rows is refreshed: the title tells that an answer has come.
    bench.sandbox.expire_tokens();
    page.run("document.title = 'old'; until(() => document.title !== 'old')").await;
    assert_eq!(page.run(&format!("{ROWS}.length")).await, 1);
    page.run("document.activeElement.blur(); 0").await;
    page.run(&format!("until(() => {ROWS}.length === 2)")).await;
}

#[tokio::test]
async fn the_form_filters_and_keeps_what_was_chosen() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    ask(&bench, "/2.0/users/me", "first").await;
    ask(&bench, "/2.0/files/404404", "second").await;
    let mut page = open(&bench, "").await;
    page.run(&format!("until(() => {ROWS}.length === 2)")).await;
    let form =
        "const form = new FormData($('form.request-filters')); form.set('status', '4xx'); form.set('q', 'files');
                '/?' + new URLSearchParams(form)";
    let Value::String(target) = page.run(form).await else { panic!("no address") };
    page.go(&format!("http://{}{target}", bench.admin)).await;
    page.run(UNTIL).await;
    page.run(&format!("until(() => {ROWS}.length === 1)")).await;
    let state = page.run("[$('[name=status]').value, $('[name=q]').value, $('[name=app]').value]").await;
    assert_eq!(state, serde_json::json!(["4xx", "files", ""]));
}
