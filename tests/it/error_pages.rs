//! The help page behind `help_url` of an error, which the caller that got the error can open.

use boxgate::sandbox::Options;
use http::Method;

use crate::harness::{Bench, json, refusal};
use crate::tunnels::program::Program;

/// The `help_url`, and the page behind it.
async fn page(bench: &Bench, answer: reqwest::Response) -> (String, reqwest::Response) {
    let body = json(answer).await;
    let url = body["help_url"].as_str().unwrap().to_owned();
    let code = body["code"].as_str().unwrap();
    assert!(url.ends_with(&format!("/.well-known/boxgate/errors/{code}")), "{url}");
    let page = bench.client.get(&url).send().await.unwrap();
    (url, page)
}

#[tokio::test]
async fn the_help_url_of_an_error_is_reachable_for_its_caller() {
    let apps = "[listen]\naddress = \"127.0.0.1:0\"\nhosts = [\"gate.internal\"]\ntrusted_proxies = [\"loopback\"]\n\
                [[app]]\nname = \"a\"\npath = \"/team/a\"\nsources = [\"203.0.113.0/24\"]\n\
                [[app]]\nname = \"b\"\npath = \"/b\"\ndeny = [\"DELETE /2.0/**\"]\n";
    let bench = Bench::with(apps).await;
    let calls = bench.sandbox.calls();
    for (method, path, base) in [
        (Method::DELETE, "/b/2.0/files/1", "/b"),
        (Method::GET, "/b/favicon.ico", "/b"),
        // The app refuses this caller, but the caller used its path.
        (Method::GET, "/team/a/2.0/users/me", "/team/a"),
        (Method::GET, "/team/2.0/users/me", ""),
        (Method::GET, "/team/a%2Fb", ""),
    ] {
        let answer = bench.client.request(method, bench.url(path)).send().await.unwrap();
        let (url, page) = page(&bench, answer).await;
        assert!(url.starts_with(&format!("http://{}{base}/.well-known/", bench.address)), "{path}: {url}");
        assert_eq!(page.status(), 200, "{url}");
        assert_eq!(page.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(page.headers()["proxy-status"], "boxgate");
        assert_eq!(page.headers()["cache-control"], "private, no-store");
        let text = page.text().await.unwrap();
        let code = url.rsplit('/').next().unwrap();
        for part in [code, "What it means:", "If you call the gateway:", "If you run the gateway:"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.len() < 2000, "{text}");
    }
    // The scheme that the caller used to a trusted proxy, and the name that it used.
    let request = bench.client.get(bench.url("/b/nothing")).header("host", "Gate.Internal:8443");
    let answer = request.header("x-forwarded-proto", "https").send().await.unwrap();
    let url = json(answer).await["help_url"].as_str().unwrap().to_owned();
    assert_eq!(url, "https://Gate.Internal:8443/b/.well-known/boxgate/errors/not_found");
    assert_eq!(bench.sandbox.calls(), calls, "Box is not asked");
    let answered = "boxgate_requests_total{app=\"\",method=\"GET\",status=\"200\",answered_by=\"gateway\"}";
    assert_eq!(bench.metric(answered).await, 5.0);
}

#[tokio::test]
async fn for_an_unknown_host_the_help_url_has_the_local_address() {
    let bench = Bench::with_boxs_names(Options::default(), "", "[forward_proxy]").await;
    bench.until_ready().await;
    let rebound = bench.client.get(bench.url("/2.0/users/me")).header("host", "evil.example");
    let program = Program::new(&bench, "").await;
    let in_tunnel = program.get("https://api.box.com/oauth2/authorize").await;
    for answer in [rebound.send().await.unwrap(), in_tunnel] {
        let (url, page) = page(&bench, answer).await;
        assert!(url.starts_with(&format!("http://{}/.well-known/", bench.address)), "{url}");
        assert_eq!(page.status(), 200, "{url}");
    }
    let plain =
        "GET http://api.box.com/oauth2/authorize HTTP/1.1\r\nHost: api.box.com\r\nConnection: close\r\n\r\n";
    let answer = bench.raw(plain).await;
    assert!(answer.contains(&format!("\"help_url\":\"http://{}/.well-known/", bench.address)), "{answer}");
}

#[tokio::test]
async fn the_help_url_of_an_operators_error_is_on_the_callers_listener() {
    let bench = Bench::start().await;
    let answer = bench.client.post(format!("http://{}/metrics", bench.admin)).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    let (url, page) = page(&bench, answer).await;
    assert!(url.starts_with(&format!("http://{}/", bench.address)), "{url}");
    assert_eq!(page.status(), 200);
}

#[tokio::test]
async fn help_pages_have_the_same_protection_as_other_answers_of_the_gateway() {
    const PATH: &str = "/.well-known/boxgate/errors/bad_request";
    let bench = Bench::with("[[app]]\nname = \"secret-app\"\npath = \"/secret-path\"").await;
    let get = |name: &'static str, value: &'static str| {
        bench.client.get(bench.url(PATH)).header(name, value).send()
    };
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let refused = refusal(get(name, value).await.unwrap()).await;
        assert_eq!(refused, (403, "origin_not_allowed".into()), "{name}: {value}");
    }
    assert_eq!(get("sec-fetch-site", "none").await.unwrap().status(), 200, "a person typed it in");
    assert_eq!(get("host", "evil.example").await.unwrap().status(), 421);

    let whole = bench.get(PATH).await;
    let head = bench.client.head(bench.url(PATH)).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], whole.headers()["content-length"]);
    assert_eq!(head.text().await.unwrap(), "");
    let post = bench.client.post(bench.url(PATH)).send().await.unwrap();
    assert_eq!(post.headers()["allow"], "GET, HEAD");
    assert_eq!(refusal(post).await, (405, "method_not_allowed".into()));

    for unknown in ["", "nonsense", "BAD_REQUEST", "secret-app"] {
        let answer = bench.get(&format!("/.well-known/boxgate/errors/{unknown}")).await;
        assert_eq!(answer.status(), 404, "{unknown}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("secret") && text.contains("\"code\":\"not_found\""), "{text}");
    }
    let elsewhere = bench.get("/nowhere/.well-known/boxgate/errors/bad_request").await;
    assert_eq!(refusal(elsewhere).await, (404, "no_such_app".into()));

    let closed = Bench::with("[listen]\naddress = \"127.0.0.1:0\"\nsources = [\"10.0.0.0/8\"]").await;
    assert_eq!(refusal(closed.get(PATH).await).await, (403, "source_not_allowed".into()));
}

#[tokio::test]
async fn a_405_says_which_methods_are_served() {
    let bench = Bench::start().await;
    for method in ["TRACE / HTTP/1.1", "CONNECT api.box.com:443 HTTP/1.1"] {
        let answer = bench.raw(&format!("{method}\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        let allow = answer.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        assert!(allow.contains("GET") && allow.contains("OPTIONS") && !allow.contains("TRACE"), "{allow}");
    }
}
