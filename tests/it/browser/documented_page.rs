//! The page in `docs/browsers.md`, pasted as it stands but for the gateway's address.

use boxgate::sandbox::Content;
use serde_json::json;

use super::chromium::Page;
use super::sandbox_page::UNTIL;
use super::site::Site;
use crate::harness::{Bench, until};

#[tokio::test]
async fn the_documented_page_lists_uploads_and_downloads() {
    let document = include_str!("../../../docs/browsers.md");
    let block = |kind: &str| document.split(kind).nth(1).unwrap().split("```").next().unwrap().to_owned();
    let site = Site::start().await;
    let origin = site.origin("localhost");
    let bench = Bench::with(&block("```toml\n").replace("http://localhost:3000", &origin)).await;
    bench.sandbox.add_file("0", "first.txt", Content::Bytes(vec![b'a'; 100_000].into()));
    bench.until_ready().await;
    let mut page = Page::open().await;
    page.go(&origin).await;
    let html = block("```html\n").replace("http://localhost:8080", &bench.url(""));
    page.run(&format!("document.open(); document.write({}); document.close()", json!(html))).await;
    page.run(UNTIL).await;
    page.run("until(() => $('#list').innerText.includes('first.txt'))").await;
    let upload = "const files = new DataTransfer(); files.items.add(new File(['some text'], 'second.txt'));
                  $('#file').files = files.files; $('#file').dispatchEvent(new Event('change'));
                  until(() => $('#list').innerText.includes('second.txt'))";
    page.run(upload).await;
    page.run("[...document.querySelectorAll('li')].find((item) => item.innerText === 'first.txt').click()")
        .await;
    until(|| async { page.run("$('#bar').value").await == 100_000 }).await;
}
