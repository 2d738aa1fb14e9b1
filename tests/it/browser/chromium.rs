//! Headless Chromium, controlled over a pipe with the DevTools protocol. `tests/run` installs it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::harness::{PATIENCE, in_time};

/// Names that Chromium resolves to loopback. Unlike `localhost`, it does not treat them as this machine.
const NAMES: &str = "MAP gate.internal 127.0.0.1, MAP evil.example 127.0.0.1, MAP pages.example 127.0.0.1";

/// Descriptors 3 and 4 are the pipe, as `--remote-debugging-pipe` requires.
const PIPED: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>"$CHROMIUM_LOG""#;

/// Nothing of its own may go to the network, and nothing may wait for a screen.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    // The tests need a browser that does not itself keep pages from the local network.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    "--remote-debugging-pipe",
];

/// A browser that all tests share, each with a profile of its own. It ends when the last test drops it.
pub(super) struct Browser {
    child: Child,
    to: Mutex<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    folder: PathBuf,
}

/// Who waits for what it says.
#[derive(Default)]
struct Heard {
    asked: HashMap<u64, oneshot::Sender<Value>>,
    number: u64,
    sessions: HashMap<String, mpsc::UnboundedSender<Value>>,
    ended: bool,
}

impl Browser {
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Browser>> = Mutex::new(Weak::new());
        // If a test failed to start it, the others must report why too.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(browser) = shared.upgrade() {
            return browser;
        }
        let browser = Arc::new(Self::start());
        *shared = Arc::downgrade(&browser);
        browser
    }

    fn start() -> Self {
        let name = format!("boxgate-it-browser-{}-{}", std::process::id(), fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let certificate = &*CERTIFICATE;
        std::fs::write(folder.join("tls.crt"), &certificate.cert).unwrap();
        std::fs::write(folder.join("tls.key"), &certificate.key).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", PIPED, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg(format!("--host-resolver-rules={NAMES}"))
            .arg(format!("--ignore-certificate-errors-spki-list={}", certificate.pin))
            .arg("about:blank")
            .env("CHROMIUM_LOG", folder.join("log"))
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let to = Mutex::new(child.stdin.take().unwrap());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (from, hearing) = (child.stdout.take().unwrap(), heard.clone());
        std::thread::spawn(move || hear(from, &hearing));
        Self { child, to, heard, folder }
    }

    /// Where `tls.crt` and `tls.key` are, of a server that it trusts.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends a command and returns its result or error.
    async fn ask(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        let (asked, answered) = oneshot::channel();
        let number = {
            let mut heard = self.heard.lock().unwrap();
            assert!(!heard.ended, "Chromium is gone; is it installed (tests/run does that)?\n{}", self.log());
            heard.number += 1;
            let number = heard.number;
            heard.asked.insert(number, asked);
            number
        };
        let mut question = json!({ "id": number, "method": method, "params": params });
        if let Some(session) = session {
            question["sessionId"] = session.into();
        }
        let sent = self.to.lock().unwrap().write_all(format!("{question}\0").as_bytes());
        sent.unwrap_or_else(|error| panic!("Chromium is gone: {error}\n{}", self.log()));
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        let answered = answered.unwrap_or_else(|_| panic!("Chromium does not answer {question}"));
        let mut answer = answered.unwrap_or_else(|_| panic!("Chromium is gone\n{}", self.log()));
        match answer["error"]["message"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    async fn tell(&self, method: &str, params: Value) -> Value {
        self.ask(None, method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// Asks the browser to end, so that its child processes end too, and kills it if it does not.
impl Drop for Browser {
    fn drop(&mut self) {
        let close = format!("{}\0", json!({ "id": 0, "method": "Browser.close" }));
        let _ = self.to.lock().unwrap_or_else(PoisonError::into_inner).write_all(close.as_bytes());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn hear(from: ChildStdout, heard: &Mutex<Heard>) {
    let (mut from, mut said) = (BufReader::new(from), Vec::new());
    while from.read_until(0, &mut said).is_ok_and(|count| count > 0) {
        let value: Value =
            serde_json::from_slice(said.strip_suffix(b"\0").unwrap_or(&said)).unwrap_or_default();
        said.clear();
        let mut heard = heard.lock().unwrap();
        if let Some(asked) = value["id"].as_u64().and_then(|number| heard.asked.remove(&number)) {
            let _ = asked.send(value);
        } else {
            let session = value["sessionId"].as_str().unwrap_or_default();
            if let Some(session) = heard.sessions.get(session) {
                let _ = session.send(value);
            }
        }
    }
    let mut heard = heard.lock().unwrap();
    heard.ended = true;
    heard.asked.clear();
    heard.sessions.clear();
}

/// A tab with cookies, a cache and a history of its own.
pub(super) struct Page {
    browser: Arc<Browser>,
    context: String,
    session: String,
    said: mpsc::UnboundedReceiver<Value>,
}

impl Page {
    pub(super) async fn open() -> Self {
        let browser = Browser::shared();
        let made = browser.tell("Target.createBrowserContext", json!({})).await;
        let context = made["browserContextId"].as_str().unwrap().to_owned();
        let target =
            json!({ "url": "about:blank", "browserContextId": context, "width": 1280, "height": 800 });
        let target = browser.tell("Target.createTarget", target).await["targetId"].take();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = browser.tell("Target.attachToTarget", attach).await["sessionId"].take();
        let session = session.as_str().unwrap().to_owned();
        let (heard, said) = mpsc::unbounded_channel();
        browser.heard.lock().unwrap().sessions.insert(session.clone(), heard);
        let page = Self { browser, context, session, said };
        page.tell("Page.enable", json!({})).await;
        page.tell("Page.setLifecycleEventsEnabled", json!({ "enabled": true })).await;
        page
    }

    pub(super) async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        self.browser.ask(Some(&self.session), method, params).await
    }

    pub(super) async fn tell(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Where this tab's downloads go; `None`: nowhere.
    pub(super) async fn downloads_to(&self, folder: Option<&Path>) {
        let mut params = json!({ "behavior": "deny", "browserContextId": self.context });
        if let Some(folder) = folder {
            params["behavior"] = "allow".into();
            params["downloadPath"] = folder.to_str().unwrap().into();
        }
        self.browser.tell("Browser.setDownloadBehavior", params).await;
    }

    /// Navigates like the address bar. Resolves when the page has loaded.
    pub(super) async fn go(&mut self, url: &str) {
        let navigate = async || self.tell("Page.navigate", json!({ "url": url })).await;
        let mut gone = navigate().await;
        // Events of the previous page may come in between.
        for _ in 0..10 {
            if gone["errorText"] == "net::ERR_ABORTED" {
                gone = navigate().await;
            }
        }
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.loaded(&gone["loaderId"]).await;
    }

    /// The same, with a page that no server sends. Wants `Fetch.enable` for the URL.
    pub(super) async fn go_to_made(&mut self, url: &str, html: &str) {
        let (browser, session) = (self.browser.clone(), self.session.clone());
        let params = json!({ "url": url });
        let gone = browser.ask(Some(&session), "Page.navigate", params);
        let made = async {
            let paused = self.event(|event| event["method"] == "Fetch.requestPaused").await;
            let params = json!({
                "requestId": paused["params"]["requestId"],
                "responseCode": 200,
                "responseHeaders": [{ "name": "Content-Type", "value": "text/html; charset=utf-8" }],
                "body": base64(html.as_bytes()),
            });
            self.tell("Fetch.fulfillRequest", params).await;
        };
        let (gone, ()) = tokio::join!(gone, made);
        self.loaded(&gone.unwrap()["loaderId"]).await;
    }

    async fn loaded(&mut self, loader: &Value) {
        self.event(|event| {
            let of = &event["params"];
            event["method"] == "Page.lifecycleEvent" && of["name"] == "load" && of["loaderId"] == *loader
        })
        .await;
    }

    /// The next event for which this holds.
    pub(super) async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let hearing = async {
            loop {
                let event = self.said.recv().await.expect("Chromium lives");
                if wanted(&event) {
                    return event;
                }
            }
        };
        in_time(hearing).await
    }

    /// Events that were received and not consumed.
    pub(super) fn unheard(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.said.try_recv().ok()).collect()
    }

    /// The result of a script in the page, with promises awaited; `None` if the page was left before the end.
    pub(super) async fn try_run(&self, script: &str) -> Option<Value> {
        let params = json!({
            "expression": script,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut ran = self.ask("Runtime.evaluate", params).await.ok()?;
        let thrown = &ran["exceptionDetails"];
        assert!(thrown.is_null(), "{script}\n{thrown}");
        Some(ran["result"]["value"].take())
    }

    pub(super) async fn run(&self, script: &str) -> Value {
        self.try_run(script).await.expect("the page stays")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let dispose = json!({
            "id": 0,
            "method": "Target.disposeBrowserContext",
            "params": { "browserContextId": self.context },
        });
        let mut to = self.browser.to.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = to.write_all(format!("{dispose}\0").as_bytes());
    }
}

/// Of `localhost`, trusted by its key alone: ignoring all errors of certificates would switch more off than that.
struct Certificate {
    cert: String,
    key: String,
    pin: String,
}

static CERTIFICATE: std::sync::LazyLock<Certificate> = std::sync::LazyLock::new(|| {
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let pin = base64(digest(&SHA256, &key.subject_public_key_info()).as_ref());
    Certificate { cert, key: key.serialize_pem(), pin }
});

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([&0; 2]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for digit in 0..4 {
            let shown = digit <= three.len();
            text.push(if shown { DIGITS[bits >> (18 - 6 * digit) & 63] as char } else { '=' });
        }
    }
    text
}
