//! Box's own UI Elements, unmodified, with the gateway as Box. Their token is any text. `tests/run` installs them.
//!
//! Preview is not among them: its viewers come from Box's CDN, not with the package.

use std::collections::HashMap;
use std::mem;

use boxgate::sandbox::{Content, Role, Seen};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde_json::{Value, json};

use super::allowed::{LOOPBACK, port, tls, with_origin};
use super::chromium::{Browser, Page};
use super::sandbox_page::UNTIL;
use super::site::Site;
use crate::harness::{Bench, in_time};

const HELPERS: &str = include_str!("ui_elements.js");

/// Only the fonts of the Elements' style sheets are there; nobody asks it for them here.
const CDN: &str = "https://cdn01.boxcdn.net/";

/// From 100 MiB on, uploads go in parts, where the page came by https.
const LARGE: usize = 101;

/// An Element in a page of a listed origin.
struct Shown {
    bench: Bench,
    page: Page,
    site: String,
    gate: String,
    /// What went out for the page: URLs by the browser's names for requests, and the headers that it added its own to.
    asked: Vec<(String, String)>,
    headers: HashMap<String, Value>,
    /// What its console said of errors.
    complaints: Vec<String>,
}

impl Shown {
    /// `prepare`: what is there before it asks.
    async fn start(site: &Site, host: &str, listen: &str, prepare: impl FnOnce(&Bench)) -> Self {
        // The file of the certificate lives as long as the browser.
        let mut page = Page::open().await;
        let origin = site.origin(host);
        let bench = Bench::with(&with_origin(listen, &origin)).await;
        prepare(&bench);
        bench.until_ready().await;
        for domain in ["Network", "Runtime", "Log"] {
            page.tell(&format!("{domain}.enable"), json!({})).await;
        }
        page.tell("Network.setBlockedURLs", json!({ "urls": [format!("{CDN}*")] })).await;
        page.go(&origin).await;
        page.run(UNTIL).await;
        page.run(HELPERS).await;
        let scheme = if listen.contains("tls") { "https" } else { "http" };
        let gate = format!("{scheme}://127.0.0.1:{}", port(&bench));
        Self { bench, page, site: origin, gate, asked: vec![], headers: HashMap::new(), complaints: vec![] }
    }

    /// `of`: `explorer` for `ContentExplorer`, in the folder of that id.
    async fn show(&self, of: &str, name: &str, folder: &str) {
        let options = json!({ "container": "#box", "apiHost": self.gate, "uploadHost": self.gate });
        self.page
            .run(&format!(
                "load('{of}').then(() => {{ globalThis.shown = new Box.{name}();
                 shown.show('{folder}', 'unused', {options}); return 0; }})"
            ))
            .await;
    }

    async fn run(&self, script: &str) -> Value {
        self.page.run(script).await
    }

    /// The next event for which this holds. All are noted.
    async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.page.event(|_| true).await;
            self.note(&event);
            if wanted(&event) {
                return event;
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let of = &event["params"];
        let id = || of["requestId"].as_str().unwrap_or_default().to_owned();
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.asked.push((id(), of["request"]["url"].as_str().unwrap_or_default().to_owned()));
            }
            "Network.requestWillBeSentExtraInfo" => {
                self.headers.insert(id(), of["headers"].clone());
            }
            "Log.entryAdded" if of["entry"]["level"] == "error" => {
                let of_cdn = of["entry"]["url"].as_str().is_some_and(|url| url.starts_with(CDN));
                // Box's own, of a name that is taken.
                let is_taken = of["entry"]["text"].as_str().is_some_and(|text| text.contains("of 409"));
                if !of_cdn && !is_taken {
                    self.complaints.push(of["entry"].to_string());
                }
            }
            "Runtime.exceptionThrown" => self.complaints.push(of["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if of["type"] == "error" => {
                self.complaints.push(of["args"].to_string());
            }
            _ => {}
        }
    }

    /// Checks that so far nothing was refused, no other host was called, and Box received nothing about the page.
    /// Returns the requested URLs with their headers.
    async fn went_well(mut self) -> Vec<(String, Value)> {
        self.run("console.log('that was all'); 0").await;
        self.event(|event| event["params"]["args"][0]["value"] == "that was all").await;
        assert_eq!(self.complaints, [""; 0]);
        let (site, gate) = (self.site.clone() + "/", self.gate.clone() + "/");
        for (_, url) in &self.asked {
            let known = [&*site, &*gate, CDN, "data:", "blob:"];
            assert!(known.iter().any(|known| url.starts_with(known)), "{url}");
        }
        for Seen { target, headers, .. } in self.bench.sandbox.seen() {
            assert!(!target.contains("access_token"), "{target}");
            let token = headers["authorization"].to_str().unwrap();
            assert!(token.starts_with("Bearer ") && token != "Bearer unused", "{target}");
            for name in ["origin", "referer", "sec-fetch-site", "sec-fetch-mode"] {
                assert!(!headers.contains_key(name), "{target}: {name}");
            }
        }
        let (asked, mut headers) = (mem::take(&mut self.asked), mem::take(&mut self.headers));
        asked.into_iter().map(|(id, url)| (url, headers.remove(&id).unwrap_or_default())).collect()
    }
}

/// What went wrong, if anything.
impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for event in self.page.unheard() {
                self.note(&event);
            }
            #[expect(clippy::print_stderr, reason = "the test has failed, and this is its report")]
            {
                eprintln!("asked for: {:#?}\nthe console: {:#?}", self.asked, self.complaints);
            }
        }
    }
}

/// Whether a request is that of an `<img>` or `<iframe>`, which only `Referer` identifies.
fn is_of_element(headers: &Value, site: &str, kind: &str) -> bool {
    headers["Origin"].is_null()
        && headers["Referer"] == format!("{site}/")
        && headers["Sec-Fetch-Site"] == "cross-site"
        && headers["Sec-Fetch-Dest"] == kind
}

#[tokio::test]
async fn the_explorer_lists_shows_downloads_and_creates() {
    let site = Site::start().await;
    let mut shown = Shown::start(&site, "pages.example", LOOPBACK, |bench| {
        let folder = bench.sandbox.add_folder("0", "Contracts");
        bench.sandbox.add_file("0", "notes.txt", Content::Bytes("of the root".into()));
        bench.sandbox.add_file(&folder, "inside.txt", Content::Bytes("downloaded".into()));
    })
    .await;
    shown.show("explorer", "ContentExplorer", "0").await;
    shown.run("until(() => item('Contracts') && item('notes.txt')).then(() => 0)").await;

    // A picture of a file: an <img> with the token of the page in its URL.
    shown.run("until(() => named('Switch to Grid View')).then((button) => button.click())").await;
    let image = "until(() => $('#box img[alt=\"notes.txt\"]')).then((image) =>
                 image.decode().then(() => [image.src, image.naturalWidth]))";
    let image = shown.run(image).await;
    assert_eq!(image[1], 1);
    let src = image[0].as_str().unwrap();
    assert!(src.starts_with(&format!("{}/_box/localhost:", shown.gate)), "{src}");
    assert!(src.ends_with("?access_token=unused"), "{src}");
    shown.run("named('Switch to List View').click()").await;

    // A folder is made.
    shown.run("open(named('Add')); until(() => choice('New Folder')).then((one) => one.click())").await;
    shown
        .run(
            // It takes two clicks within half a second for one.
            "until(() => $('.be-modal-create-folder input')).then((input) => { type(input, 'Made here');
             setTimeout(() => choice('Create', '.be-modal-create-folder button').click(), 600); })",
        )
        .await;
    shown.run("until(() => item('Made here')).then(() => 0)").await;

    // A folder is opened, and a file in it downloaded, in an <iframe>.
    let folder = std::env::temp_dir().join(format!("boxgate-it-elements-{}", std::process::id()));
    shown.page.downloads_to(Some(&folder)).await;
    shown.run("item('Contracts').click(); until(() => item('inside.txt')).then(() => 0)").await;
    shown
        .run(
            "open(named('More options', item('inside.txt').closest('[role=row]')));
             until(() => choice('Download')).then((one) => one.click())",
        )
        .await;
    shown
        .event(|event| event["method"] == "Page.downloadProgress" && event["params"]["state"] == "completed")
        .await;
    let downloaded = std::fs::read_to_string(folder.join("inside.txt")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(downloaded, "downloaded");
    let frame = shown.run("$('#boxdownloadiframe').src").await;
    let frame = frame.as_str().unwrap();
    assert!(frame.ends_with("/content?access_token=unused"), "{frame}");
    let (site, src) = (shown.site.clone(), src.to_owned());
    let asked = shown.went_well().await;
    for (of, kind) in [(&*src, "image"), (frame, "iframe")] {
        let (_, headers) = asked.iter().find(|(url, _)| url == of).unwrap();
        assert!(is_of_element(headers, &site, kind), "{of}: {headers}");
    }
}

#[tokio::test]
async fn the_picker_lists_and_chooses() {
    let site = Site::start().await;
    let shown = Shown::start(&site, "pages.example", LOOPBACK, |bench| {
        bench.sandbox.add_file("0", "notes.txt", Content::Bytes("of the root".into()));
    })
    .await;
    shown.show("picker", "ContentPicker", "0").await;
    shown.run("until(() => item('notes.txt')).then((name) => name.click())").await;
    let chosen =
        "new Promise((resolve) => { shown.on('choose', (items) => resolve(items.map(({ name }) => name)));
                  until(() => $('[aria-label=Choose]:not([disabled])')).then((button) => button.click()); })";
    assert_eq!(shown.run(chosen).await, json!(["notes.txt"]));
    shown.went_well().await;
}

#[tokio::test]
async fn the_uploader_uploads_a_new_version() {
    let site = Site::start().await;
    let shown = Shown::start(&site, "pages.example", LOOPBACK, |bench| {
        bench.sandbox.add_file("0", "again.bin", Content::Bytes("of old".into()));
    })
    .await;
    shown.show("uploader", "ContentUploader", "0").await;
    let sha1 = upload(&shown, "again.bin", 1).await;
    uploaded(&shown, "again.bin", 1, &sha1).await;
    shown.went_well().await;
}

#[tokio::test]
async fn the_uploader_uploads_a_small_file() {
    let site = Site::secure().await;
    let shown = Shown::start(&site, "localhost", LOOPBACK, |_| {}).await;
    shown.show("uploader", "ContentUploader", "0").await;
    let sha1 = upload(&shown, "small.bin", 1).await;
    uploaded(&shown, "small.bin", 1, &sha1).await;
    let upload = "/api/2.0/files/content?upload_session_id=";
    let seen = shown.bench.sandbox.seen();
    let seen = seen.iter().find(|seen| seen.target.starts_with(upload)).unwrap();
    assert_eq!(seen.headers["content-md5"], sha1, "a sum that Box checks");
    shown.went_well().await;
}

#[tokio::test]
async fn the_uploader_uploads_a_large_file_in_parts() {
    let site = Site::secure().await;
    let browser = Browser::shared();
    let shown = Shown::start(&site, "localhost", &tls(&browser), |_| {}).await;
    shown.show("uploader", "ContentUploader", "0").await;
    let sandbox = &shown.bench.sandbox;
    let held = sandbox.hold_replies("/api/2.0/files/upload_sessions/");
    let (sha1, ()) = tokio::join!(upload(&shown, "large.bin", LARGE), async {
        in_time(sandbox.wait_for_in_flight(4)).await;
        drop(held);
    });
    uploaded(&shown, "large.bin", LARGE, &sha1).await;
    let parts = sandbox.seen().into_iter().filter(|seen| seen.headers.contains_key("content-range"));
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts.len(), LARGE.div_ceil(8));
    assert!(parts.iter().all(|part| part.role == Role::Upload && part.headers.contains_key("digest")));
    let asked = shown.went_well().await;
    let asked = asked.iter().filter(|(url, _)| url.contains("/_box/localhost:"));
    assert!(
        asked.filter(|(url, _)| url.contains("/upload_sessions/")).count() > parts.len(),
        "parts and commit"
    );
}

/// Gives the sum that the file must have.
async fn upload(shown: &Shown, name: &str, mebibytes: usize) -> String {
    let script = format!(
        "globalThis.uploading = new Promise((resolve) => {{
             shown.on('complete', () => resolve('complete'));
             shown.on('error', (error) => resolve(JSON.stringify(error)));
         }});
         until(() => $('#box input[type=file]')).then(() => choose([file('{name}', {mebibytes})]));
         until(() => choice('Upload', '#box button:not([disabled])')).then((button) => button.click())"
    );
    shown.run(&script).await;
    // The large upload may take longer than a command to the browser may stay open.
    let ended = "Promise.race([uploading, new Promise((resolve) => setTimeout(resolve, 10000))])";
    let mut patience = 9;
    let ended = loop {
        let ended = shown.run(ended).await;
        if !ended.is_null() || patience == 0 {
            break ended;
        }
        patience -= 1;
    };
    assert_eq!(ended, "complete");
    let piece: Vec<u8> = (0..1 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    (0..mebibytes).for_each(|_| sum.update(&piece));
    sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// It is there, as the page itself sees it.
async fn uploaded(shown: &Shown, name: &str, mebibytes: usize, sha1: &str) {
    let items = format!(
        "fetch('{}/2.0/folders/0/items?fields=name,size,sha1').then((answer) => answer.json())
             .then(({{ entries }}) => entries.map(({{ name, size, sha1 }}) => ({{ name, size, sha1 }})))",
        shown.gate
    );
    assert_eq!(shown.run(&items).await, json!([{ "name": name, "size": mebibytes << 20, "sha1": sha1 }]));
}
