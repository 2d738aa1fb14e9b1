//! The sandbox's page, used as a person uses it.

use std::net::SocketAddr;

use boxgate::sandbox::page::PageListener;
use boxgate::sandbox::{Content, Fault};
use serde_json::{Value, json};

use super::chromium::Page;
use crate::harness::Bench;

/// Resolves when the condition holds in the page.
pub(super) const UNTIL: &str = "globalThis.until = (holds) => new Promise((resolve) => {
    const end = () => { seer.disconnect(); document.removeEventListener('focusin', look); };
    const look = () => { const it = holds(); if (it) { end(); resolve(it); } };
    document.addEventListener('focusin', look);
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

/// A small file in one piece, a large one in parts.
#[tokio::test]
async fn the_page_replaces_a_file_whose_name_is_taken() {
    let (bench, page) = with_page().await;
    bench.sandbox.add_folder("0", "folder.txt");
    for (name, content, size) in
        [("small.txt", "'new text'".to_owned(), 8), ("large.bin", format!("new Uint8Array({LARGE})"), LARGE)]
    {
        let id = bench.sandbox.add_file("0", name, Content::Bytes("old".into()));
        // Names are compared without case, and the existing one stays.
        let upload = format!(
            "globalThis.files = new DataTransfer(); files.items.add(new File([{content}], '{}'));
             $('#chosen').files = files.files; $('#chosen').dispatchEvent(new Event('change'));
             until(() => $('#transfer-list .failed button')).then((button) => {{
                 button.focus(); button.click();
                 return button.getAttribute('aria-label');
             }})",
            name.to_uppercase()
        );
        let label = page.run(&upload).await;
        assert_eq!(label, format!("Replace {name} with a new version"));
        assert_eq!(page.run("document.activeElement.closest('li') === $('#transfer-list li')").await, true);
        let ended = page.run("until(() => $('#transfer-list li').matches('.done, .failed') && $('#transfer-list li').innerText)").await;
        assert!(ended.as_str().unwrap().contains("Uploaded as a new version"), "{ended}");
        assert_eq!(page.run("document.activeElement === $('#transfer-list li')").await, true);
        let url = format!("/2.0/files/{id}?fields=name,size,version_number");
        let file: Value = serde_json::from_str(&bench.get(&url).await.text().await.unwrap()).unwrap();
        let have = (&file["name"], &file["size"], &file["version_number"]);
        assert_eq!(have, (&json!(name), &json!(size), &json!("2")));
    }
    // A folder cannot become a file.
    let upload = "globalThis.files = new DataTransfer(); files.items.add(new File(['x'], 'folder.txt'));
                  $('#chosen').files = files.files; $('#chosen').dispatchEvent(new Event('change'));
                  until(() => $('#transfer-list li.failed')).then((item) => item.querySelectorAll('button').length)";
    assert_eq!(page.run(upload).await, 0);
}

/// Types a key as a person does.
async fn press(page: &Page, key: &str) {
    let (code, text) = match key {
        "Enter" => (13, "\r"),
        "Tab" => (9, ""),
        other => (other.bytes().next().map_or(0, |byte| i64::from(byte.to_ascii_uppercase())), other),
    };
    for kind in ["keyDown", "keyUp"] {
        let event = json!({
            "type": kind,
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "text": if kind == "keyDown" { text } else { "" },
        });
        page.tell("Input.dispatchKeyEvent", event).await;
    }
}

/// What has the focus: its label or text.
const HELD: &str = "(document.activeElement.ariaLabel ?? document.activeElement.textContent ?? '').trim()";

#[tokio::test]
async fn the_page_keeps_a_refused_name_until_it_is_corrected() {
    let (bench, page) = with_page().await;
    bench.sandbox.add_folder("0", "taken");
    page.run("$('#new-folder').focus()").await;
    press(&page, "Enter").await;
    for (name, title) in [("taken", "The name is taken."), ("taken/", "This name is not possible.")] {
        page.run("until(() => document.activeElement === $('#ask-input'))").await;
        let typed =
            name.strip_prefix(page.run("$('#ask-input').value").await.as_str().unwrap()).unwrap().to_owned();
        page.tell("Input.insertText", json!({ "text": typed })).await;
        assert_eq!(
            page.run("[$('#ask-error').hidden, $('#ask-input').ariaInvalid]").await,
            json!([true, null])
        );
        press(&page, "Enter").await;
        let said = page
            .run("until(() => $('#ask-error').checkVisibility() && $('#ask-error strong').innerText)")
            .await;
        assert_eq!(said, title);
        let kept =
            "[$('#ask').open, $('#ask-input').value, $('#ask-input').ariaInvalid, $('#notice').hidden]";
        assert_eq!(page.run(kept).await, json!([true, name, "true", true]));
    }
    page.run("$('#ask-input').value = 'free'; $('#ask-input').dispatchEvent(new Event('input'))").await;
    assert_eq!(page.run("$('#ask-error').checkVisibility()").await, false);
    press(&page, "Enter").await;
    let held = page.run(&format!("until(() => !$('#ask').open && {HELD} === 'free')")).await;
    assert_eq!(held, true, "the new folder has the focus");
    // The next dialog begins anew.
    page.run("$('#new-folder').click()").await;
    assert_eq!(page.run("[$('#ask-input').value, $('#ask-error').hidden]").await, json!(["", true]));
}

#[tokio::test]
async fn the_page_can_be_used_by_keyboard_without_losing_the_focus() {
    let (bench, mut page) = with_page().await;
    let folder = bench.sandbox.add_folder("0", "b folder");
    bench.sandbox.add_folder("0", "a folder");
    bench.sandbox.add_folder("0", "empty folder");
    for name in ["one.txt", "three.txt", "two.txt"] {
        bench.sandbox.add_file(&folder, name, Content::Bytes("x".into()));
    }
    let url = page.run("location.href").await;
    page.go(url.as_str().unwrap()).await;
    page.run(UNTIL).await;
    page.run("until(() => document.querySelectorAll('#rows tr').length === 3)").await;
    let holds = async |what: &str| {
        page.run(&format!("until(() => {HELD}.startsWith({what:?}))")).await;
    };
    let focus = async |what: &str| {
        let find = format!(
            "[...document.querySelectorAll('#rows :is(a, button)')].find((one) => (one.ariaLabel ?? one.textContent) === {what:?}).focus()"
        );
        page.run(&find).await;
    };
    // The focus is on the first item on entering a folder, on the folder on leaving it, and on the note in an empty
    // one.
    focus("b folder").await;
    press(&page, "Enter").await;
    holds("one.txt").await;
    page.run("history.back()").await;
    holds("b folder").await;
    focus("empty folder").await;
    press(&page, "Enter").await;
    holds("Nothing here yet").await;
    page.run("$('#crumbs a').focus()").await;
    press(&page, "Enter").await;
    holds("empty folder").await;

    // After a deletion the focus moves to the next item; a restored item gets it back.
    focus("b folder").await;
    press(&page, "Enter").await;
    holds("one.txt").await;
    for (deleted, next) in [("Delete three.txt", "Delete two.txt"), ("Delete two.txt", "Delete one.txt")] {
        focus(deleted).await;
        press(&page, "Enter").await;
        page.run("until(() => $('#ask').open)").await;
        press(&page, "Tab").await;
        press(&page, "Enter").await;
        holds(next).await;
    }
    page.run("$('#undo').focus()").await;
    press(&page, "Enter").await;
    holds("two.txt").await;
    assert_eq!(page.run("$('#done').hidden").await, true);
    // An upload that ends meanwhile renders the list again.
    focus("Download one.txt").await;
    page.run(
        "globalThis.files = new DataTransfer(); files.items.add(new File(['x'], 'another.txt'));
              $('#chosen').files = files.files; $('#chosen').dispatchEvent(new Event('change'));
              until(() => $('#rows').innerText.includes('another.txt'))",
    )
    .await;
    holds("Download one.txt").await;
    // The skip link leads to the list and does not leave the folder.
    page.run("$('.skip').focus()").await;
    press(&page, "Enter").await;
    page.run("until(() => document.activeElement === $('#files'))").await;
    assert_eq!(page.run("location.hash").await, format!("#folder-{folder}"));
}

#[tokio::test]
async fn names_are_links_to_their_items() {
    let (bench, mut page) = with_page().await;
    let id = bench.sandbox.add_file("0", "named.txt", Content::Bytes("by its name".into()));
    for (name, url) in [("good link", "https://pages.example/"), ("bad link", "javascript:alert(1)")] {
        let body = json!({ "url": url, "name": name, "parent": { "id": "0" } }).to_string();
        let made = bench.client.post(bench.url("/2.0/web_links")).body(body).send().await.unwrap();
        assert_eq!(made.status(), 200);
    }
    let url = page.run("location.href").await;
    page.go(url.as_str().unwrap()).await;
    page.run(UNTIL).await;
    page.run("until(() => document.querySelectorAll('#rows tr').length === 3)").await;
    let links = "[...document.querySelectorAll('#rows [data-control=name]')].map((link) => \
                 [link.textContent, link.getAttribute('href'), link.rel])";
    let file = bench.url(&format!("/2.0/files/{id}/content"));
    let want = json!([
        ["named.txt", file, ""],
        ["bad link", null, ""],
        ["good link", "https://pages.example/", "noopener noreferrer"],
    ]);
    assert_eq!(page.run(links).await, want);

    let folder = std::env::temp_dir().join(format!("boxgate-it-links-{}", std::process::id()));
    page.downloads_to(Some(&folder)).await;
    // With its progress; and as any other link, for whoever opens it elsewhere.
    let native =
        "(() => { const link = $('#rows a').cloneNode(true); document.body.append(link); link.click(); })()";
    for click in ["$('#rows a').click()", native] {
        page.run(click).await;
        page.event(|event| {
            event["method"] == "Page.downloadProgress" && event["params"]["state"] == "completed"
        })
        .await;
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "by its name", "{click}");
        std::fs::remove_file(file).unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
    // An error is said on the page, which stays.
    bench.sandbox.script(&format!("/2.0/files/{id}/content"), vec![Fault::RateLimited { retry_after: 0 }]);
    page.run("$('#rows a').click()").await;
    page.run("until(() => $('#transfer-list .failed'))").await;
    assert_eq!(page.run("location.href").await, url);

    page.run("$('[aria-label=\"Delete good link\"]').click(); $('#ask-yes').click()").await;
    page.run("until(() => document.querySelectorAll('#rows tr').length === 2)").await;
    assert_eq!(page.run("$('#done-text').textContent").await, "“good link” is in the trash.");
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
async fn the_page_counts_down_to_the_next_attempt() {
    let (bench, page) = with_page().await;
    let folder = bench.sandbox.add_folder("0", "Limited");
    bench.sandbox.script(&format!("/2.0/folders/{folder}"), vec![Fault::RateLimited { retry_after: 1 }]);
    page.run(&format!("location.hash = '#folder-{folder}'")).await;
    let texts = "[$('#notice strong').textContent, $('#again').textContent]";
    let said = page.run(&format!("until(() => $('#notice').checkVisibility() && {texts})")).await;
    assert_eq!(said, json!(["Too many requests", "Try again in 1 s"]));
    page.run("until(() => $('#again').textContent === 'Try again').then(() => $('#again').click())").await;
    let crumbs = page.run("until(() => $('#crumbs').innerText.includes('Limited'))").await;
    assert_eq!(crumbs, Value::Bool(true));
    assert_eq!(page.run("$('#notice').hidden").await, true);
}
