//! `boxgate explain` says of a request to a URL of Box what happens to it in a tunnel.

use std::path::Path;

use boxgate::cli::explain::{Options, of_request};
use boxgate::config::{self, Overrides};
use boxgate::sandbox;
use http::{HeaderValue, Method};
use serde_json::Value;

use super::program::Program;
use crate::harness::{Bench, refusal};

const APPS: &str = r#"
[forward_proxy]
tunnel = ["198.51.100.7:443"]

[[app]]
name = "default"
deny = ["DELETE /2.0/files/**"]

[[app]]
name = "keyed"
path = "/keyed"
key = "key-of-keyed"
allow = ["GET /2.0/**"]
as_user = ["*"]

[[app]]
name = "away"
sources = ["10.0.0.0/8"]

[[app]]
name = "off"
path = "/off"
enabled = false
"#;

const IDENTITY: &str =
    "[identity.service]\nclient_id = \"a\"\nclient_secret = \"b\"\nenterprise_id = \"1\"\n";

fn explained(what: [&str; 2], app: Option<&str>, as_user: Option<&str>) -> Value {
    let text = format!("{IDENTITY}{APPS}");
    let config = config::from_text(&text, Path::new("p.toml"), &Overrides::default(), &|_| None).unwrap();
    let options = Options {
        what: what.map(str::to_owned).to_vec(),
        app: app.map(str::to_owned),
        as_user: as_user.map(str::to_owned),
        ..Options::default()
    };
    of_request(&config, &options).unwrap_or_else(|why| panic!("{what:?}: {why}")).json()
}

#[tokio::test]
async fn explanations_agree_with_requests_in_tunnels() {
    let bench = Bench::with_boxs_names(sandbox::Options::default(), "", APPS).await;
    bench.until_ready().await;
    let mut codes = Vec::new();
    for (app, login) in [
        (None, ""),
        (Some("default"), "default"),
        (Some("keyed"), "keyed:key-of-keyed"),
        (Some("off"), "off"),
    ] {
        let program = Program::new(&bench, login).await;
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            for path in [
                "api.box.com/2.0/files/17",
                "api.box.com/2.0/users/me?fields=id",
                "api.box.com/api/2.0/files/17",
                "api.box.com/keyed/2.0/files/17",
                "api.box.com/oauth2/token",
                "upload.box.com/api/2.0/files/content",
                "upload.box.com/2.0/files/content",
                "dl.boxcloud.com/api/2.0/files/17/content",
                "dl.boxcloud.com/d/1/abc/download",
                "account.box.com/api/oauth2/token",
                "account.box.com/login",
            ] {
                for user in [None, Some("11446498"), Some("x")] {
                    let url = format!("https://{path}");
                    let said = explained([method.as_str(), &url], app, user);
                    let mut request = program.request(method.clone(), &url);
                    if let Some(user) = user {
                        request = request.header("as-user", HeaderValue::from_static(user));
                    }
                    let answer = request.send().await.unwrap();
                    let case = format!("{method} {url} as {app:?} for {user:?}: {said}");
                    let status = answer.status().as_u16();
                    let is_own = answer.headers().contains_key("proxy-status");
                    assert_eq!(is_own, said["verdict"] != "passes", "{status} for {case}");
                    if is_own {
                        assert_eq!(said["status"], status, "{case}");
                    }
                    if said["verdict"] == "refused" && method != Method::HEAD {
                        assert_eq!(refusal(answer).await.1, said["code"].as_str().unwrap(), "{case}");
                    }
                    codes.push(said["code"].as_str().or(said["verdict"].as_str()).unwrap().to_owned());
                }
            }
        }
    }
    for code in
        ["passes", "answered", "operation_not_allowed", "as_user_not_allowed", "not_found", "app_disabled"]
    {
        assert!(codes.iter().any(|have| have == code), "no case ends with {code}");
    }
}

#[tokio::test]
async fn explanations_agree_with_refused_tunnels() {
    let bench = Bench::with_boxs_names(sandbox::Options::default(), "", APPS).await;
    bench.until_ready().await;
    for (app, login, to) in [
        (None, "", "evil.example:443"),
        (None, "", "api.box.com:8443"),
        (Some("away"), "YXdheTo=", "api.box.com:443"),
        (Some("off"), "b2ZmOg==", "198.51.100.7:443"),
    ] {
        let said = explained(["CONNECT", to], app, None);
        let login =
            if login.is_empty() { String::new() } else { format!("Proxy-Authorization: Basic {login}\r\n") };
        let answer = bench.raw(&format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n")).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        assert_eq!(status.map(Value::from), Some(said["status"].clone()), "{to}: {said}\n{answer}");
        assert!(answer.contains(&format!("\"code\":{}", said["code"])), "{to}: {said}\n{answer}");
    }
    // Neither is opened here: one leads to Box, the other nowhere.
    for to in ["api.box.com:443", "198.51.100.7:443"] {
        assert_eq!(explained(["CONNECT", to], None, None)["verdict"], "passes", "{to}");
    }
}
