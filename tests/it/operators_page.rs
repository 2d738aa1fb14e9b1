//! The operators' page over HTTP: what it says without a script, what browsers may keep, and what never is in it.

use boxgate::sandbox::{Options, Sandbox, TokenAnswer};
use reqwest::header::{HeaderMap, HeaderValue};

use crate::harness::{Bench, no_tls, until};
use crate::program::harness::{FakeBox, Folder, Program, command};

const ME: &str = "/2.0/users/me";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The views that the navigation names.
async fn views(bench: &Bench) -> Vec<String> {
    let html = bench.admin("/").await.1;
    let nav = html.split("<nav").nth(1).unwrap().split("</nav>").next().unwrap();
    nav.split("href=\"").skip(1).map(|link| link.split('"').next().unwrap().to_owned()).collect()
}

async fn request(
    bench: &Bench,
    method: &str,
    path: &str,
    fields: &[(&'static str, &str)],
) -> reqwest::Response {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let url = format!("http://{}{path}", bench.admin);
    bench.client.request(method.parse().unwrap(), url).headers(headers).send().await.unwrap()
}

#[tokio::test]
async fn every_view_is_whole_without_a_script() {
    let more = "[[limit]]\nname = \"few\"\nkey = \"client\"\nrate = \"1/min\"\n[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 100\n";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(bench.get(ME).await.status(), 429);
    let now = bench.admin("/").await.1;
    for words in [
        "<title>ready – boxgate</title>",
        "<span class=\"mark good\">valid</span>",
        "id=\"a-default\"",
        "id=\"l-few\"",
        "1 of 100 a month",
        "Renew now: the token of service",
        " open of ",
    ] {
        assert!(now.contains(words), "{words}\n{now}");
    }
    assert_eq!(now.matches("aria-current=\"page\"").count(), 1);
    let configuration = bench.admin("/?view=configuration").await.1;
    assert!(
        configuration.contains("[[limit]]") && configuration.contains("none since the start"),
        "{configuration}"
    );
    for view in views(&bench).await {
        let answer = request(&bench, "GET", &view, &[]).await;
        let headers = answer.headers();
        assert_eq!(answer.status(), 200, "{view}");
        assert_eq!(headers["content-security-policy"], POLICY);
        assert_eq!(headers["cache-control"], "private, no-store");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let html = answer.text().await.unwrap();
        assert!(html.contains("aria-current=\"page\""), "{view}");
        for inline in [" style=\"", "<style", "<script>", " onclick", "javascript:"] {
            assert!(!html.contains(inline), "{inline} in {view}");
        }
    }
}

#[tokio::test]
async fn a_view_that_does_not_exist_is_404_with_the_others_and_other_parameters_do_nothing() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let (status, html) = bench.admin("/?view=%3Cb%3Enope").await;
    assert_eq!(status, 404);
    assert!(
        html.contains("There is no view “&lt;b&gt;nope”") && html.contains("href=\"/?view=configuration\""),
        "{html}"
    );
    for query in ["/?", "/?view=now", "/?view=", "/?a=b&c", "/?all=1&view=now&view=nope", "/?%FF=%FF"] {
        let (status, html) = bench.admin(query).await;
        assert_eq!(status, 200, "{query}");
        assert!(html.contains("id=\"s-identities\""), "{query}");
    }
    assert_eq!(request(&bench, "POST", "/", &[]).await.status(), 405);
    let head = request(&bench, "HEAD", "/?view=configuration", &[]).await;
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-security-policy"].to_str().unwrap()),
        (200, POLICY)
    );
    assert!(
        head.content_length().is_some_and(|length| length > 1000)
            || head.headers().contains_key("content-length")
    );
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again_and_assets_may_be_kept() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let first = request(&bench, "GET", "/", &[("cache-control", "no-cache")]).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let html = first.text().await.unwrap();
    // What ticks does not make it another page.
    bench.clock.advance(std::time::Duration::from_secs(2));
    let same = request(&bench, "GET", "/", &[("if-none-match", &tag)]).await;
    assert_eq!(same.status(), 304, "{tag}");
    assert_eq!(same.headers()["content-security-policy"], POLICY);
    assert_eq!(same.text().await.unwrap(), "");
    assert_eq!(bench.get(ME).await.status(), 200);
    bench.clock.advance(std::time::Duration::from_secs(2));
    let other = request(&bench, "GET", "/", &[("if-none-match", &tag)]).await;
    assert_eq!(other.status(), 200, "a request was counted");
    // Within a second the same page is shown to all, but for whoever wants a new one.
    assert_eq!(bench.get(ME).await.status(), 200);
    let apps =
        |html: &str| html.split("id=\"a-default\"").nth(1).unwrap().split("</tr>").next().unwrap().to_owned();
    let fresh = request(&bench, "GET", "/", &[("cache-control", "no-cache")]).await.text().await.unwrap();
    assert!(apps(&fresh).contains(">2<"), "{fresh}");

    for (name, kind) in
        [("page.css", "text/css"), ("page.js", "text/javascript"), ("page.svg", "image/svg+xml")]
    {
        let address = html.split('"').find(|part| part.starts_with(&format!("/{name}?v="))).unwrap();
        let kept = request(&bench, "GET", address, &[]).await;
        assert_eq!(kept.status(), 200);
        assert_eq!(kept.headers()["cache-control"], "private, max-age=31536000, immutable");
        assert!(kept.headers()["content-type"].to_str().unwrap().starts_with(kind));
        for address in [format!("/{name}"), format!("/{name}?v=0")] {
            let other = request(&bench, "GET", &address, &[]).await;
            assert_eq!(
                (other.status().as_u16(), other.headers()["cache-control"].to_str().unwrap()),
                (200, "private, no-store")
            );
        }
    }
}

#[tokio::test]
async fn of_a_thousand_apps_the_first_fifty_are_shown_and_all_on_demand() {
    let apps: String = (0..1000)
        .map(|number| format!("[[app]]\nname = \"app-{number:04}\"\npath = \"/{number:04}\"\n"))
        .collect();
    let bench = Bench::with(&apps).await;
    bench.until_ready().await;
    assert_eq!(bench.get(&format!("/0999{ME}")).await.status(), 200);
    let html = bench.admin("/").await.1;
    assert_eq!(html.matches("id=\"a-app-").count(), 50);
    assert!(html.contains("id=\"a-app-0999\""), "the busiest is shown");
    assert!(html.contains("50 of 1000 apps are shown"), "{html}");
    assert_eq!(bench.admin("/?view=now&all=1").await.1.matches("id=\"a-app-").count(), 1000);
}

#[tokio::test]
async fn the_state_is_said_in_the_words_of_readyz() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.token_always(Some(TokenAnswer::refuse(
        "invalid_client",
        "The \"client\" credentials are <invalid>",
    )));
    let bench = Bench::before(sandbox, "").await;
    until(|| async { bench.admin("/readyz").await.1.contains("Box refuses") }).await;
    let (_, reasons) = bench.admin("/readyz").await;
    let html = request(&bench, "GET", "/", &[("cache-control", "no-cache")]).await.text().await.unwrap();
    assert!(html.contains("<title>● not ready – boxgate</title>"), "{html}");
    let plain = html.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert!(plain.contains(reasons.lines().next().unwrap()), "{reasons}\n{plain}");
}

#[tokio::test]
async fn without_the_script_its_buttons_lead_back_to_the_page() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let accept = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    let origin = format!("http://{}", bench.admin);
    let fields = [accept, ("origin", &*origin), ("sec-fetch-site", "same-origin")];
    let answer = request(&bench, "POST", "/identities/service/renew", &fields).await;
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()["location"], "/#s-identities");
    // Programs get the outcome itself.
    assert_eq!(request(&bench, "POST", "/identities/service/renew", &[]).await.status(), 429);
}

#[tokio::test]
async fn the_file_and_single_requests_are_shown_on_this_machine_alone_where_there_is_no_key() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    assert_eq!(bench.get("/2.0/folders/4711").await.status(), 404);
    for (view, what) in
        [("configuration", "enterprise_id"), ("requests", "/2.0/folders/4711"), ("now", "/2.0/folders/4711")]
    {
        let path = format!("/?view={view}");
        until(|| async { bench.admin(&path).await.1.contains(what) }).await;
        let through_a_proxy = request(&bench, "GET", &path, &[("x-forwarded-for", "10.1.2.3")]).await;
        assert_eq!(through_a_proxy.status(), 200);
        let html = through_a_proxy.text().await.unwrap();
        assert!(!html.contains(what), "{view}: {html}");
    }
}

#[tokio::test]
async fn no_secret_of_the_configuration_is_in_any_view() {
    let at = tokio::task::spawn_blocking(FakeBox::start).await.unwrap();
    let folder = Folder::new();
    let tables = at.tables(&folder);
    folder.write("app-key", "canary-in-a-file-1");
    let text = format!(
        r#"# canary-comment-1
{tables}
[identity.second] # canary-comment-2
client_id = "second"
client_secret = "canary-inline-secret-1"
user_id = "5"
[listen]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[[app]]
name = "one"
path = "/one"
identity = "service"
key = ["canary-inline-key-1", {{ file = "app-key" }}]
[[app]]
name = "two"
path = "/two"
identity = "second"
key = {{ env = "APP_KEY" }}
[state]
redis = "redis://canary-user:canary-password-1@127.0.0.1:1/0"
[trace]
otlp = "http://127.0.0.1:1/canary-path-1"
"#
    );
    folder.write("proxy.toml", &text);
    let mut gateway = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    gateway.env("APP_KEY", "canary-in-the-environment-1");
    let program = tokio::task::spawn_blocking(|| Program::spawn(folder, gateway)).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(no_tls()).build().unwrap();
    let get = async |path: &str| {
        let url = format!("http://{}{path}", program.operators);
        client.get(url).header("cache-control", "no-cache").send().await.unwrap().text().await.unwrap()
    };
    let views = [
        "/",
        "/?view=now&all=1",
        "/?view=configuration",
        "/?view=requests",
        "/?view=history",
        "/?view=usage",
    ];
    let check = async |when: &str| {
        for view in views {
            let html = get(view).await;
            let found = html
                .find("canary")
                .map(|at| html[at.saturating_sub(80)..].chars().take(200).collect::<String>());
            assert_eq!(found, None, "{view} {when}");
        }
    };
    check("with this configuration").await;
    assert!(get("/?view=configuration").await.contains("(secret)"));
    // A refused reload quotes the file.
    let wrong = text
        .replace("user_id = \"5\"", "user_id = \"canary-wrong-1\"")
        .replace("path = \"/one\"", "client_secret = \"canary-wrong-2\"");
    program.folder.write("proxy.toml", &wrong);
    let url = format!("http://{}/reload", program.operators);
    assert_eq!(client.post(url).send().await.unwrap().status(), 422);
    let shown = get("/?view=configuration").await;
    assert!(shown.contains("REFUSED") && shown.contains("class=\"frame\""), "{shown}");
    assert!(shown.contains("path = &quot;/one&quot;"), "the configuration in use is the one before\n{shown}");
    assert!(
        !shown.contains("canary-inline")
            && !shown.contains("canary-wrong-2")
            && !shown.contains("canary-comment"),
        "{shown}"
    );
}
