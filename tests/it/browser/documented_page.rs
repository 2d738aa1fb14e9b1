//! The page in `docs/browsers.md`, pasted as it stands but for the gateway's address.

use boxgate::sandbox::Content;
use serde_json::json;

use super::chromium::Page;
use super::sandbox_page::UNTIL;
use super::site::Site;
use crate::harness::{Bench, until};
use crate::program::harness::{Folder, Program, command};

/// The first block of this kind in the document.
fn block(kind: &str) -> String {
    let document = include_str!("../../../docs/browsers.md");
    document.split(kind).nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// The page, of this origin, calling the gateway at this URL.
async fn open(origin: &str, gateway: &str) -> Page {
    let mut page = Page::open().await;
    page.go(origin).await;
    let html = block("```html\n").replace("http://localhost:8080", gateway);
    page.run(&format!("document.open(); document.write({}); document.close()", json!(html))).await;
    page.run(UNTIL).await;
    page
}

/// Uploads a file and waits until the list has it.
async fn upload(page: &Page) {
    let upload = "const files = new DataTransfer(); files.items.add(new File(['some text'], 'second.txt'));
                  $('#file').files = files.files; $('#file').dispatchEvent(new Event('change'));
                  until(() => $('#list').innerText.includes('second.txt'))";
    page.run(upload).await;
}

#[tokio::test]
async fn the_documented_page_lists_uploads_and_downloads() {
    let site = Site::start().await;
    let origin = site.origin("localhost");
    let bench = Bench::with(&block("```toml\n").replace("http://localhost:3000", &origin)).await;
    bench.sandbox.add_file("0", "first.txt", Content::Bytes(vec![b'a'; 100_000].into()));
    bench.until_ready().await;
    let page = open(&origin, &bench.url("")).await;
    page.run("until(() => $('#list').innerText.includes('first.txt'))").await;
    upload(&page).await;
    page.run("[...document.querySelectorAll('li')].find((item) => item.innerText === 'first.txt').click()")
        .await;
    until(|| async { page.run("$('#bar').value").await == 100_000 }).await;
}

#[tokio::test]
async fn the_documented_page_may_call_the_sandbox_that_is_told_its_origin() {
    let (site, other) = (Site::start().await, Site::start().await);
    let origin = site.origin("localhost");
    let document = include_str!("../../../docs/browsers.md");
    let line = document.split('`').find(|code| code.starts_with("boxgate sandbox --origin ")).unwrap();
    let line = line.replace("http://localhost:3000", &origin);
    let folder = Folder::new();
    let mut sandbox = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    sandbox.args(line.split(' ').skip(1)).args(["--origin", "https://*.example.com"]);
    sandbox.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
    let mut program = tokio::task::spawn_blocking(|| Program::spawn(folder, sandbox).ready()).await.unwrap();
    program.out.wait_for(&[&format!("Pages of {origin}, https://*.example.com may call")]);
    let gateway = format!("http://localhost:{}", program.callers.rsplit(':').next().unwrap());
    upload(&open(&origin, &gateway).await).await;

    // Another origin may not, and reads no answer.
    let mut stranger = Page::open().await;
    stranger.go(&other.origin("localhost")).await;
    let read = format!("fetch('{gateway}/2.0/users/me').then((answer) => answer.text(), () => 'refused')");
    assert_eq!(stranger.run(&read).await, "refused");
    program.terminate();
    assert!(tokio::task::spawn_blocking(move || program.exited()).await.unwrap().success());
}

#[test]
fn what_is_no_origin_is_refused_with_what_is_allowed() {
    for (origin, words) in [
        ("http://localhost:3000/", "write \"http://localhost:3000\""),
        ("localhost:3000", "it has no scheme"),
        ("*", "list your own origins"),
        ("null", "browsers send"),
    ] {
        let folder = Folder::new();
        let output = command(env!("CARGO_BIN_EXE_boxgate"), &folder)
            .args(["sandbox", "--origin", origin])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--origin") && said.contains(words), "{said}");
        assert!(std::fs::read_dir(&*folder).unwrap().next().is_none(), "nothing is left behind");
    }
}
