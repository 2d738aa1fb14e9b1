//! The view Requests of the operators' page, as it is without JavaScript.

use http::HeaderMap;

use super::{APPS, ask, requests};
use crate::harness::{Bench, until};

/// The view with this query behind `view=requests`.
async fn view(bench: &Bench, query: &str) -> String {
    let (status, html) = bench.admin(&format!("/?view=requests{query}")).await;
    assert_eq!(status, 200, "{html}");
    html
}

/// The ids of the rows, in their order.
fn rows(html: &str) -> Vec<&str> {
    let rows = html.split("<li id=\"r-").skip(1);
    rows.map(|row| row.split('"').next().unwrap().split_once('-').unwrap().1).collect()
}

/// The value of the first such attribute behind a text.
fn address<'h>(html: &'h str, before: &str, words: &str) -> &'h str {
    let link = html.split("<a href=\"").skip(1).find(|link| link.contains(&format!(">{words}</a>")));
    let link = link.unwrap_or_else(|| panic!("{before}: no link {words:?} in {html}"));
    link.split('"').next().unwrap()
}

#[tokio::test]
async fn a_row_opens_to_what_decided_and_links_to_its_kind() {
    let more =
        format!("[[limit]]\nname = \"slow\"\nkey = \"global\"\non = [\"search\"]\nrate = \"1/h\"\n{APPS}");
    let bench = Bench::with(&more).await;
    bench.until_ready().await;
    for (path, id) in [
        ("/a/2.0/search?query=1", "one"),
        ("/b/2.0/search?query=2", "two"),
        ("/b/2.0/files/404404", "three"),
        ("/a/2.0/users/me", "four"),
    ] {
        ask(&bench, path, id).await;
    }
    let html = view(&bench, "").await;
    assert_eq!(rows(&html), ["four", "three", "two", "one"]);
    let of_two = html.split("<li id=\"r-").find(|row| row.contains("-two\"")).unwrap();
    let help = format!("http://{}/.well-known/boxgate/errors/rate_limit_exceeded", bench.address);
    assert!(of_two.contains(&help) && of_two.contains("/#s-limits"), "{of_two}");
    assert_eq!(bench.client.get(&help).send().await.unwrap().status(), 200);
    assert!(
        of_two.contains(&format!("curl --globoff --path-as-is http://{}/b/2.0/search<", bench.address)),
        "{of_two}"
    );
    let of_three = html.split("<li id=\"r-").find(|row| row.contains("-three\"")).unwrap();
    for part in [
        "Box itself answered",
        "not_found",
        "part-box",
        "Attempts at Box",
        "Box's request id",
        "<details",
        "<summary>",
    ] {
        assert!(of_three.contains(part), "{part} in {of_three}");
    }
    // What the links lead to has this code alone, and the form shows it.
    let only = of_two.split("only this").find(|part| part.contains("code=rate_limit_exceeded")).unwrap();
    let only = only.rsplit("href=\"").next().unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let (_, html) = bench.admin(&only).await;
    assert_eq!(rows(&html), ["two"]);
    assert!(html.contains("name=\"code\" value=\"rate_limit_exceeded\""), "{html}");
    let html = view(&bench, "&app=b&status=4xx&q=404404").await;
    assert_eq!(rows(&html), ["three"]);
    assert!(html.contains("<option value=\"4xx\" selected"), "{html}");
    assert!(html.contains("/requests.json?app=b&amp;status=4xx&amp;q=404404"), "{html}");
}

#[tokio::test]
async fn rows_are_bounded_and_older_ones_are_a_link_away() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for nth in 0..5 {
        ask(&bench, "/2.0/users/me", &format!("r{nth}")).await;
    }
    let html = view(&bench, "&max=2").await;
    assert_eq!(rows(&html), ["r4", "r3"]);
    let older = address(&html, "the first page", "Older requests").replace("&amp;", "&");
    let (_, html) = bench.admin(&older).await;
    assert_eq!(rows(&html), ["r2", "r1"]);
    let older = address(&html, "the second page", "Older requests").replace("&amp;", "&");
    let (_, html) = bench.admin(&older).await;
    assert_eq!(rows(&html), ["r0"]);
    assert!(!html.contains("Older requests<") && html.contains("No older ones"), "{html}");
    let newest = address(&html, "the last page", "The newest").replace("&amp;", "&");
    assert_eq!(rows(&bench.admin(&newest).await.1), ["r4", "r3"]);
}

#[tokio::test]
async fn what_is_empty_or_wrong_says_what_to_do() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let html = view(&bench, "").await;
    assert!(
        html.contains("No requests yet")
            && html.contains(&format!("curl http://{}/2.0/users/me", bench.address))
    );
    ask(&bench, "/2.0/users/me", "one").await;
    let html = view(&bench, "&app=nobody").await;
    assert!(
        html.contains("No request that is kept matches these filters") && html.contains("Remove them"),
        "{html}"
    );
    let html = view(&bench, "&status=banana").await;
    assert!(html.contains("banana") && html.contains("allowed") && html.contains("Remove filters"), "{html}");
    let off = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nrequests = 0\n").await;
    assert!(view(&off, "").await.contains("No requests are kept"));
}

#[tokio::test]
async fn what_a_caller_writes_is_no_html_and_no_command() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let path = "/2.0/users/';rm%20-r%20x;'";
    let asked = bench.client.get(bench.url(path)).header("user-agent", "<script>alert(1)</script>");
    asked.header("x-request-id", "mine").send().await.unwrap().bytes().await.unwrap();
    super::request(&bench, "mine").await;
    let html = view(&bench, "&q=%3Cb%3E%22").await;
    assert!(html.contains("value=\"&lt;b&gt;&quot;\""), "{html}");
    let html = view(&bench, "").await;
    assert!(!html.contains("<script>alert") && html.contains("&lt;script&gt;alert"), "{html}");
    assert!(html.contains(r"/2.0/users/'\'';rm%20-r%20x;'\'''<"), "{html}");
}

/// What is copied from the row of a request.
fn command(html: &str, id: &str) -> String {
    let row = html.split("<li id=\"r-").find(|row| row.contains(&format!("-{id}\""))).unwrap();
    let copied = row.split("data-copy=\"").nth(1).unwrap().split('"').next().unwrap();
    copied.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
}

#[tokio::test]
async fn a_copied_command_sends_one_request_to_the_very_path() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for (nth, (method, path)) in [
        ("GET", "/2.0/users/me"),
        ("HEAD", "/2.0/users/me"),
        ("DELETE", "/2.0/files/[100-999]"),
        ("GET", "/2.0/files/{1,2}"),
        ("DELETE", "/2.0/files/1/../2"),
        ("POST", "/2.0//folders/./'$(id)'"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("sent-{nth}");
        bench
            .raw(&format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-Request-Id: {id}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                bench.address
            ))
            .await;
        let first = super::request(&bench, &id).await;
        assert_eq!(first["path"], path);
        let html = view(&bench, &format!("&q={id}")).await;
        assert_eq!(
            html.contains("Running it may change something at Box"),
            !["GET", "HEAD"].contains(&method)
        );
        let before = requests(&bench, "").await.len();
        // Its own id marks the end of what the command sent.
        let line = format!("{} -o /dev/null -sH 'X-Request-Id: again-{nth}'", command(&html, &id));
        let ran = tokio::process::Command::new("sh").args(["-c", &line]).output().await.unwrap();
        assert!(ran.status.success(), "{line}: {ran:?}");
        let again = super::request(&bench, &format!("again-{nth}")).await;
        assert_eq!((&again["path"], &again["method"]), (&first["path"], &first["method"]), "{line}");
        assert_eq!(requests(&bench, "").await.len(), before + 1, "{line}");
    }
}

#[tokio::test]
async fn a_loopback_address_of_callers_is_named_as_one_of_the_gateways_machine() {
    const APP: &str = "[listen]\naddress = \"127.0.0.1:0\"\nhosts = [\"b.example\"]\n[[app]]\nname = \"b\"\nhosts = [\"b.example\"]\ndeny = [\"GET /2.0/files/*\"]\n";
    let key = format!("[admin]\naddress = \"127.0.0.1:0\"\nkey = \"a-key-for-operators-7\"\n{APP}");
    let bench = Bench::with(&key).await;
    let asked =
        bench.client.get(bench.url("/2.0/files/1")).header("host", "b.example").header("x-request-id", "one");
    asked.send().await.unwrap().bytes().await.unwrap();
    let view = async |field: (&str, &str)| {
        let asked = bench.client.get(format!("http://{}/?view=requests&q=one", bench.admin));
        let asked = asked
            .header("x-boxgate-key", "a-key-for-operators-7")
            .header(field.0, field.1)
            .header("cache-control", "no-cache");
        asked.send().await.unwrap().text().await.unwrap()
    };
    until(|| async { view(("accept", "text/html")).await.contains("-one\"") }).await;
    let at = format!("http://{}", bench.address);
    let help = format!("href=\"{at}/.well-known/boxgate/errors/operation_not_allowed\"");
    for field in [("host", "localhost:8081"), ("accept", "text/html")] {
        let html = view(field).await;
        assert!(html.contains(&help) && !html.contains("on the gateway's machine"), "{field:?}: {html}");
        let line = format!("curl --globoff --path-as-is -H 'Host: b.example' {at}/2.0/files/1");
        assert_eq!(command(&html, "one"), line);
    }
    for field in [("host", "192.0.2.7:8081"), ("x-forwarded-for", "192.0.2.7")] {
        let html = view(field).await;
        assert!(html.contains("operation_not_allowed") && !html.contains("More about"), "{field:?}: {html}");
        assert!(html.contains("on the gateway's machine"), "{field:?}: {html}");
        assert!(command(&html, "one").ends_with(&format!("{at}/2.0/files/1")), "{field:?}: {html}");
    }
}

#[tokio::test]
async fn whoever_is_not_on_this_machine_sees_no_request_without_a_key() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    ask(&bench, "/2.0/users/404404", "canary").await;
    // As they are for somebody on this machine, and kept for a second.
    for path in ["/?view=requests", "/", "/requests.json"] {
        assert!(bench.admin(path).await.1.contains("canary"), "{path}");
    }
    let mut proxied = HeaderMap::new();
    proxied.insert("via", "1.1 proxy".parse().unwrap());
    for path in ["/?view=requests", "/", "/requests.json"] {
        let asked = bench.client.get(format!("http://{}{path}", bench.admin)).headers(proxied.clone());
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), if path.ends_with("json") { 403 } else { 200 }, "{path}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("canary"), "{path}: {text}");
        assert!(path == "/" || text.contains("[admin] key"), "{path}: {text}");
    }
    let keyed = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nkey = \"a-key-for-operators-7\"\n").await;
    let at = format!("http://{}/requests.json", keyed.admin);
    assert_eq!(keyed.client.get(&at).send().await.unwrap().status(), 401);
    let asked = keyed.client.get(&at).headers(proxied).header("x-boxgate-key", "a-key-for-operators-7");
    assert_eq!(asked.send().await.unwrap().status(), 200);
    assert_eq!(requests(&bench, "").await.len(), 1);
}
