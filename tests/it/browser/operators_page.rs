//! The operators' page as a person uses it: it stays up to date and says when it does not; its buttons and its keys.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::chromium::Page;
use super::sandbox_page::UNTIL;
use crate::harness::{Bench, in_time};
use crate::program::harness::{FakeBox, Folder, Program, command};

const ME: &str = "/2.0/users/me";

/// Resolves once another whole page has been taken over.
const ANSWERED: &str = "document.title = 'old'; until(() => document.title !== 'old')";

/// The page in a browser, with every event since before it was loaded.
struct Watched {
    page: Page,
    origin: String,
    events: RefCell<Vec<Value>>,
}

impl Watched {
    async fn open(operators: &str, path: &str) -> Self {
        let mut page = Page::open().await;
        for domain in ["Runtime", "Log", "Network"] {
            page.tell(&format!("{domain}.enable"), json!({})).await;
        }
        let origin = format!("http://{operators}");
        let events = RefCell::new(Vec::new());
        let gone = page.tell("Page.navigate", json!({ "url": format!("{origin}{path}") })).await;
        page.event(|event| {
            events.borrow_mut().push(event.clone());
            let of = &event["params"];
            event["method"] == "Page.lifecycleEvent"
                && of["name"] == "load"
                && of["loaderId"] == gone["loaderId"]
        })
        .await;
        page.run(UNTIL).await;
        Self { page, origin, events }
    }

    async fn run(&self, script: &str) -> Value {
        self.page.run(script).await
    }

    async fn text(&self, selector: &str) -> String {
        self.run(&format!("$({selector:?}).textContent")).await.as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key as a keyboard does.
    async fn press(&self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            "Tab" | "Escape" => "",
            other => other,
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            _ => 0,
        };
        let down = json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.page.tell("Input.dispatchKeyEvent", down).await;
        let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.page.tell("Input.dispatchKeyEvent", up).await;
    }

    /// Has the script's next question answered by the test, which [`Watched::answer`] does.
    async fn intercept(&self) {
        let patterns = json!({ "patterns": [{ "urlPattern": "*", "resourceType": "Fetch" }] });
        self.page.tell("Fetch.enable", patterns).await;
    }

    /// The script's next question.
    async fn asked(&mut self) -> Value {
        self.page.event(|event| event["method"] == "Fetch.requestPaused").await
    }

    async fn answer(&self, asked: &Value, status: u16, html: &str) {
        let answer = json!({
            "requestId": asked["params"]["requestId"],
            "responseCode": status,
            "responseHeaders": [{ "name": "Content-Type", "value": "text/html; charset=utf-8" }],
            "body": super::chromium::base64(html.as_bytes()),
        });
        self.page.tell("Fetch.fulfillRequest", answer).await;
    }

    async fn loaded_anew(&mut self) {
        self.page
            .event(|event| event["method"] == "Page.lifecycleEvent" && event["params"]["name"] == "load")
            .await;
        self.run(UNTIL).await;
    }

    /// Nothing was written to the console, the policy was never violated, and only the gateway was asked.
    fn is_quiet(&mut self) {
        let mut events = self.events.take();
        events.extend(self.page.unheard());
        let urls = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls: Vec<&str> = urls.map(|event| event["params"]["request"]["url"].as_str().unwrap()).collect();
        assert!(urls.len() > 3, "the page, the style, the script and the icon: {urls:?}");
        assert!(urls.iter().all(|url| url.starts_with(&self.origin)), "{urls:?}");
        let said = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        let said: Vec<_> =
            events.iter().filter(|event| said.iter().any(|one| event["method"] == *one)).collect();
        assert!(said.is_empty(), "{said:#?}");
    }
}

/// A gateway in a process of its own, on this port for operators; 0: on any.
async fn program(at: &FakeBox, operators: &str) -> Program {
    let folder = Folder::new();
    let text = format!("{}\n[listen]\naddress = \"127.0.0.1:0\"\n", at.tables(&folder));
    folder.write("proxy.toml", &text);
    let mut gateway = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    gateway.args(["--admin", operators]);
    tokio::task::spawn_blocking(|| Program::spawn(folder, gateway).ready()).await.unwrap()
}

async fn fake_box() -> FakeBox {
    tokio::task::spawn_blocking(FakeBox::start).await.unwrap()
}

async fn dropped<T: Send + 'static>(what: T) {
    tokio::task::spawn_blocking(|| drop(what)).await.unwrap();
}

#[tokio::test]
async fn it_stays_up_to_date_and_keeps_what_the_person_did() {
    let bench =
        Bench::with("[[app]]\nname = \"one\"\npath = \"/one\"\n[[app]]\nname = \"two\"\npath = \"/two\"\n")
            .await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    assert_eq!(page.run("document.title").await, "ready – boxgate");
    assert!(page.text("#updated").await.contains("Updated") || page.text("#updated").await.contains("Live"));
    page.run(
        "$('#unused-limits summary').click(); $('#pause').focus(); globalThis.two = $('#a-two');
         getSelection().selectAllChildren($('#t-apps')); 0",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(bench.get(&format!("/two{ME}")).await.status(), 200);
    }
    page.run("until(() => $('#a-two td.n').textContent === '3')").await;
    // The busiest comes first, and is the same row as before.
    page.run("until(() => $('#s-apps tbody tr') === two)").await;
    assert_eq!(page.run("$('#unused-limits').open").await, true);
    assert_eq!(page.run("document.activeElement.id").await, "pause");
    assert_eq!(page.run("getSelection().toString()").await, "Apps");
    // What ticks goes on between answers.
    page.run("globalThis.left = $('[data-countdown]').textContent; until(() => $('[data-countdown]').textContent !== left)")
        .await;
    page.is_quiet();
}

#[tokio::test]
async fn what_was_held_back_for_a_selection_is_written_once_it_is_released() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let page = Watched::open(&bench.admin, "/").await;
    page.run("until(() => $('#a-default td.n').textContent === '1')").await;
    page.run("getSelection().selectAllChildren($('#a-default td.n')); 0").await;
    assert_eq!(bench.get(ME).await.status(), 200);
    // The rest of the page follows, which tells that the answer has come.
    bench.sandbox.expire_tokens();
    page.run(ANSWERED).await;
    assert_eq!(page.text("#a-default td.n").await, "1");
    page.run("getSelection().removeAllRanges(); 0").await;
    page.run("until(() => $('#a-default td.n').textContent === '2')").await;
}

#[tokio::test]
async fn what_was_held_back_in_a_busy_form_is_written_once_it_is_done() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let page = Watched::open(&bench.admin, "/").await;
    page.run(
        "$('#renew-service').dataset.busy = ''; $('#renew-service button').firstChild.nodeValue = 'Old'; 0",
    )
    .await;
    page.run(ANSWERED).await;
    assert_eq!(page.text("#renew-service button").await, "Old");
    page.run("delete $('#renew-service').dataset.busy; 0").await;
    page.run("until(() => $('#renew-service button').textContent !== 'Old')").await;
}

#[tokio::test]
async fn it_says_since_when_it_is_stale_and_recovers() {
    let at = fake_box().await;
    let gateway = program(&at, "127.0.0.1:0").await;
    let operators = gateway.operators.clone();
    let page = Watched::open(&operators, "/").await;
    page.run("until(() => $('#updated').textContent.startsWith('Live, updated '))").await;
    dropped(gateway).await;
    let stale = page.run("until(() => $('#updated.bad')?.textContent)").await;
    let stale = stale.as_str().unwrap();
    let time = stale
        .strip_prefix("Stale since ")
        .and_then(|rest| rest.strip_suffix("Z: the gateway cannot be reached"));
    assert_eq!(time.map(|time| time.matches(':').count()), Some(2), "{stale}");
    assert!(page.text("#announcer").await.starts_with("The page is stale since "));
    // What was known is still there.
    assert!(page.text("#s-identities").await.contains("service"));
    let again = program(&at, &operators).await;
    page.run("until(() => $('#updated.good'))").await;
    assert_eq!(page.text("#announcer").await, "The page is up to date again.");
    dropped((again, at)).await;
}

#[tokio::test]
async fn the_page_of_another_version_is_loaded_anew_once() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let other = bench.admin("/").await.1.replace("/page.js?v=", "/page.js?v=other-");
    let mut page = Watched::open(&bench.admin, "/").await;
    page.intercept().await;
    let asked = page.asked().await;
    page.answer(&asked, 200, &other).await;
    page.loaded_anew().await;
    assert_eq!(page.run("document.title").await, "ready – boxgate");
    // It is the first version's again: from here on the other one is only named.
    page.run("globalThis.isSame = true; 0").await;
    let asked = page.asked().await;
    page.answer(&asked, 200, &other).await;
    let said = page.run("until(() => $('#updated.bad')?.textContent)").await;
    assert!(said.as_str().unwrap().ends_with("Z: another version of the gateway answers"), "{said}");
    assert_eq!(page.run("[globalThis.isSame, $('#anew').checkVisibility()]").await, json!([true, true]));
    // What its own version answers is taken over.
    let own = bench.admin("/").await.1;
    let asked = page.asked().await;
    page.answer(&asked, 200, &own).await;
    page.run("until(() => $('#updated.good'))").await;
    assert_eq!(page.run("[globalThis.isSame, $('#anew').checkVisibility()]").await, json!([true, false]));
}

#[tokio::test]
async fn a_pause_takes_over_no_answer_that_was_under_way() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    page.intercept().await;
    let asked = page.asked().await;
    page.run("document.title = 'as it was'; 0").await;
    page.press("p").await;
    // A question that was given up has none to answer it.
    let html = bench.admin("/").await.1;
    let of_old = asked["params"]["networkId"].clone();
    page.page
        .event(|event| event["method"] == "Network.loadingFailed" && event["params"]["requestId"] == of_old)
        .await;
    assert_eq!(page.run("document.title").await, "as it was");
    assert!(page.text("#updated").await.starts_with("Paused at "));
    // Then `r` asks by itself.
    page.press("r").await;
    let asked = page.asked().await;
    page.answer(&asked, 200, &html).await;
    page.run("until(() => document.title === 'ready – boxgate')").await;
}

#[tokio::test]
async fn it_asks_no_more_once_the_key_is_another_one() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    assert_eq!(page.run("$('#anew').checkVisibility()").await, false);
    page.intercept().await;
    let asked = page.asked().await;
    page.run(
        "globalThis.waits = []; const wait = setTimeout;
         globalThis.setTimeout = (what, time) => { waits.push(time); return wait(what, time); }; 0",
    )
    .await;
    page.answer(&asked, 401, "{}").await;
    let said = page.run("until(() => $('#updated.bad')?.textContent)").await;
    assert!(said.as_str().unwrap().ends_with("Z: the gateway asks for its key"), "{said}");
    assert_eq!(page.run("$('#anew').checkVisibility()").await, true);
    // No question is to come, and none comes when the page is looked at again.
    page.run("document.dispatchEvent(new Event('visibilitychange')); 0").await;
    assert_eq!(page.run("waits").await, json!([]));
    page.run("$('#anew').click(); 0").await;
    page.loaded_anew().await;
    assert_eq!(page.run("document.title").await, "ready – boxgate");
    let asked = page.asked().await;
    page.answer(&asked, 200, &bench.admin("/").await.1).await;
    page.run("until(() => $('#updated.good'))").await;
}

#[tokio::test]
async fn its_button_reloads_and_says_what_came_of_it() {
    let at = fake_box().await;
    let gateway = program(&at, "127.0.0.1:0").await;
    let page = Watched::open(&gateway.operators, "/?view=configuration").await;
    let good = std::fs::read_to_string(gateway.folder.join("proxy.toml")).unwrap();
    gateway.folder.write("proxy.toml", &good.replace("[listen]", "[listen]\nadress = 1"));
    page.run("$('#reload button').focus(); 0").await;
    page.press("Enter").await;
    let said = page.run("until(() => $('#reloaded.bad')?.textContent)").await;
    let said = said.as_str().unwrap();
    assert!(said.starts_with("Refused: 1 problem. The configuration stays as it was. proxy.toml:"), "{said}");
    // The rest of the page follows, and the button keeps the focus.
    page.run("until(() => $('#s-reload .facts').textContent.includes('REFUSED'))").await;
    assert_eq!(page.text(".frame mark").await, "adress");
    assert_eq!(page.run("document.activeElement === $('#reload button')").await, true);
    gateway.folder.write("proxy.toml", &good);
    page.press("Enter").await;
    let said = page.run("until(() => $('#reloaded.good')?.textContent)").await;
    assert_eq!(said, "Done.");
    page.run("until(() => $('#s-reload .facts').textContent.includes('1 taken over, 1 refused'))").await;
    assert_eq!(page.run("document.querySelectorAll('.problems li').length").await, 0);
    dropped((gateway, at)).await;
}

#[tokio::test]
async fn its_button_gets_a_new_token_once_what_was_wrong_at_box_is_mended() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    let before = bench.sandbox.token_requests();
    page.run("$('#renew-service button').click()").await;
    page.run("until(() => $('#renewed-service.good')?.textContent)").await;
    assert_eq!(bench.sandbox.token_requests(), before + 1);
    assert_eq!(bench.get(ME).await.status(), 200);
    page.is_quiet();
    // A second one within ten seconds asks Box nothing.
    page.run("$('#renew-service button').click()").await;
    let said = page.run("until(() => $('#renewed-service.bad')?.textContent)").await;
    assert!(said.as_str().unwrap().contains("10 s"), "{said}");
    assert_eq!(bench.sandbox.token_requests(), before + 1);
}

#[tokio::test]
async fn its_button_renews_a_token_and_says_what_came_of_it() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    let patterns = json!({ "patterns": [{ "urlPattern": "*/renew" }] });
    page.page.tell("Fetch.enable", patterns).await;
    let refused = r#"{"type":"error","status":429,"code":"rate_limit_exceeded","message":"One renewal in 10 s.","request_id":"a","help_url":""}"#;
    for (status, body, class, words) in [
        (200, r#"{"result":"ok"}"#, "good", "Done."),
        (429, refused, "bad", "One renewal in 10 s."),
        (500, "", "bad", "The gateway answered 500."),
    ] {
        page.run("$('#renew-service button').click()").await;
        assert_eq!(page.run("$('#renew-service button').getAttribute('aria-disabled')").await, "true");
        let asked = page.page.event(|event| event["method"] == "Fetch.requestPaused").await;
        let request = &asked["params"]["request"];
        assert_eq!(
            (
                request["method"].as_str(),
                request["url"].as_str().unwrap().rsplit_once("/identities").unwrap().1
            ),
            (Some("POST"), "/service/renew")
        );
        let answer = json!({
            "requestId": asked["params"]["requestId"],
            "responseCode": status,
            "responseHeaders": [{ "name": "Content-Type", "value": "application/json" }],
            "body": super::chromium::base64(body.as_bytes()),
        });
        page.page.tell("Fetch.fulfillRequest", answer).await;
        let said = page.run(&format!("until(() => $('#renewed-service.{class}')?.textContent)")).await;
        assert_eq!(said, words);
        assert_eq!(page.run("$('#renew-service button').hasAttribute('aria-disabled')").await, false);
    }
}

#[tokio::test]
async fn a_keyboard_is_enough() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut page = Watched::open(&bench.admin, "/").await;
    page.press("Tab").await;
    assert_eq!(page.run("document.activeElement.getAttribute('href')").await, "#main");
    page.press("Enter").await;
    assert_eq!(page.run("document.activeElement.id").await, "main");
    page.press("?").await;
    assert_eq!(page.run("$('#keys').open").await, true);
    let views = page.run("document.querySelectorAll('#views a').length").await;
    assert!(page.text("#keys").await.contains(&format!("1 … {views}")));
    assert!(page.text("footer").await.contains(&format!("1…{views} views")));
    const DOCUMENT: &str = include_str!("../../../docs/observability.md");
    assert!(DOCUMENT.contains(&format!("`1` to `{views}`")));
    page.press("Escape").await;
    page.run("until(() => !$('#keys').open)").await;
    page.press("p").await;
    assert_eq!(page.run("$('#pause').getAttribute('aria-pressed')").await, "true");
    assert!(page.text("#updated").await.starts_with("Paused at "));
    // While it is paused, `r` refreshes once.
    assert_eq!(bench.get(ME).await.status(), 200);
    page.press("r").await;
    page.run("until(() => $('#a-default td.n').textContent === '1')").await;
    page.press("p").await;
    page.run("until(() => $('#updated').textContent.startsWith('Live'))").await;
    page.is_quiet();
    page.press("5").await;
    in_time(async {
        while page
            .page
            .try_run("document.title")
            .await
            .is_none_or(|title| title != "ready – Configuration – boxgate")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_fits_every_screen_and_needs_no_script() {
    let bench = Bench::with(
        "[[limit]]\nname = \"a-limit-with-quite-a-long-name\"\nkey = \"client\"\nrate = \"10/min\"\n",
    )
    .await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    let page = Watched::open(&bench.admin, "/").await;
    let views =
        page.run("[...document.querySelectorAll('#views a')].map((link) => link.getAttribute('href'))").await;
    for view in views.as_array().unwrap() {
        let mut page = Watched::open(&bench.admin, view.as_str().unwrap()).await;
        for width in [360, 768, 1280, 1920] {
            let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
            page.page.tell("Emulation.setDeviceMetricsOverride", size).await;
            let fits = page.run("document.documentElement.scrollWidth <= innerWidth").await;
            assert_eq!(fits, true, "{view} at {width}");
        }
        page.is_quiet();
        page.page.tell("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        let url = format!("{}{}", page.origin, view.as_str().unwrap());
        page.page.go(&url).await;
        let hidden = page.page.run("document.querySelector('#pause').checkVisibility()").await;
        assert_eq!(hidden, false, "buttons that need the script are not shown");
        assert!(
            page.page.run("document.querySelector('main').innerText.length").await.as_u64().unwrap() > 100
        );
    }
}
