//! `boxgate explain` and a running gateway say the same about every request: each of a product of requests is sent to a
//! real gateway and explained, and the access line is compared with the explanation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use boxgate::cli::explain::{Options, of_request};
use boxgate::config::{self, Config, Overrides};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::super::harness::{FakeBox, PATIENCE, Program, boxgate, until};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];

/// With `API` and `DOWNLOAD` for the authorities of the sandbox.
const TARGETS: [&str; 34] = [
    "/",
    "/favicon.ico",
    "/2.0/users/me?fields=id",
    "/2.0/users/17/memberships",
    "/2.0/USERS/17/Memberships/",
    "/2.0/files/17",
    "/2.0/files/17/content",
    "/2.0/files/content",
    "/2.0/search?query=a",
    "/2.0/batch",
    "/2.0/folders/0/items;v=1",
    "/2.0/zip_downloads/abc/content",
    "/api/2.0/files/content",
    "/api/2.0/files/17/content",
    "/hr/2.0/files/17",
    "/hr/2.0/search?query=a",
    "/hr/2.0/Search/",
    "/hr/2.0/files/content",
    "/hrs/2.0/files/17",
    "/off/2.0/files/17",
    "/keyed/2.0/files/17",
    "/oauth2/token",
    "/hr/oauth2/revoke",
    "/oauth2/authorize",
    "/.well-known/boxgate/errors/bad_request",
    "/hr/.well-known/boxgate/errors/nothing",
    "/.well-known/boxgate/ca.pem",
    "/_box/API/2.0/files/17",
    "/_box/DOWNLOAD/d/1/secret/download",
    "/_box/DOWNLOAD/api/2.0/files/17/content",
    "/_box/evil.example/2.0/files/17",
    "/2.0//files/17",
    "/2.0/files/%2e%2e/17",
    "/2.0/files/a%2fb",
];

/// What callers send besides method and target: the address that connects, and fields.
const CALLERS: [(&str, &[(&str, &str)]); 23] = [
    ("127.0.0.1", &[("Host", "localhost")]),
    ("127.0.0.1", &[("Host", "localhost"), ("As-User", "11446498")]),
    ("127.0.0.1", &[("Host", "gate.internal"), ("As-User", "0123")]),
    ("127.0.0.1", &[("Host", "localhost"), ("As-User", "BERTA@sandbox.example")]),
    ("127.0.0.1", &[("Host", "localhost"), ("As-User", "uma@sandbox.example")]),
    ("127.0.0.1", &[("Host", "named.internal"), ("As-User", "berta@sandbox.example")]),
    ("127.0.0.1", &[("Host", "named.internal:8080"), ("Origin", "https://a.example")]),
    ("127.0.0.1", &[("Host", "NAMED.internal"), ("As-User", "789012")]),
    ("127.0.0.1", &[("Host", "evil.example")]),
    ("127.0.0.1", &[("Host", "localhost"), ("Origin", "https://a.example")]),
    ("127.0.0.1", &[("Host", "localhost"), ("Origin", "https://b.example"), ("X-Needed", "1")]),
    ("127.0.0.1", &[("Host", "localhost"), ("Origin", "null")]),
    (
        "127.0.0.1",
        &[("Host", "localhost"), ("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")],
    ),
    ("127.0.0.1", &[("Host", "localhost"), ("X-Boxgate-Key", "key-of-keyed")]),
    ("127.0.0.1", &[("Host", "localhost"), ("X-Boxgate-Key", "another-key")]),
    ("127.0.0.1", &[("Host", "gate.internal"), ("User-Agent", "Mozilla/5.0"), ("Accept", "text/html")]),
    (
        "127.0.0.1",
        &[("Host", "localhost"), ("Sec-Fetch-Site", "cross-site"), ("Referer", "https://a.example/")],
    ),
    ("127.0.0.2", &[("Host", "localhost"), ("X-Needed", "1"), ("As-User", "789012")]),
    ("127.0.0.2", &[("Host", "localhost"), ("Origin", "https://b.example"), ("X-Needed", "1")]),
    ("127.0.0.2", &[("Host", "localhost")]),
    ("127.0.0.3", &[("Host", "localhost"), ("X-Forwarded-For", "127.0.0.2"), ("X-Needed", "1")]),
    ("127.0.0.3", &[("Host", "localhost"), ("X-Forwarded-For", "unknown"), ("X-Forwarded-Proto", "https")]),
    ("127.9.0.1", &[("Host", "localhost")]),
];

const CONFIGURATION: &str = r#"
[forward_proxy]

[limits]
box_defaults = false

[log]
format = "json"

[[app]]
name = "default"
identity = "service"
origins = ["https://a.example"]
allow = ["GET /2.0/**", "POST /2.0/files/content", "PUT /2.0/files/*", "OPTIONS /2.0/**", "DELETE /2.0/files/*"]
deny = ["* /2.0/users/*/memberships"]
as_user = ["11446498", "berta@sandbox.example"]

[[app]]
name = "named"
identity = "person"
hosts = ["named.internal"]
origins = ["https://a.example"]
as_user = ["*"]

[[app]]
name = "near"
identity = "service"
path = "/hr"
sources = ["127.0.0.2"]
origins = ["https://b.example"]
deny = ["DELETE /**", "* /2.0/search/**"]
as_user = ["*"]
require_header = "X-Needed"
max_in_flight = 50

[[app]]
name = "hr"
identity = "person"
path = "/hr"
origins = ["https://a.example", "https://b.example"]
allow = ["GET /**", "* /2.0/files/content"]

[[app]]
name = "off"
identity = "service"
path = "/off"
enabled = false

[[app]]
name = "keyed"
identity = "service"
path = "/keyed"
key = "key-of-keyed"

[[limit]]
name = "by-client"
key = "client"
rate = "1/h"
enforce = false

[[limit]]
name = "searches-and-changes"
key = "user"
on = ["search", "PUT /2.0/**"]
rate = "1/h"
enforce = false

[[limit]]
name = "deletions-by-app"
key = "app"
on = ["DELETE /2.0/files/*"]
rate = "1/h"
enforce = false

[[limit]]
name = "uploads-by-identity"
key = "identity"
on = ["upload"]
rate = "1/h"
enforce = false

[[budget]]
name = "downloads-by-identity"
key = "identity"
on = ["download"]
calls = 1
enforce = false

[[budget]]
name = "reads-by-app"
key = "app"
on = ["GET /2.0/files/**"]
calls = 1
enforce = false

[[budget]]
name = "plan"
key = "global"
calls = 1
enforce = false
"#;

/// One request of the product.
#[derive(Debug, Clone)]
struct Case {
    from: &'static str,
    method: &'static str,
    target: String,
    fields: &'static [(&'static str, &'static str)],
}

impl Case {
    /// Every third of the product; the factors have no divisor in common with it, so all pairs occur.
    fn all(api: &str, download: &str) -> Vec<Self> {
        let mut cases = Vec::new();
        for (row, (from, fields)) in CALLERS.into_iter().enumerate() {
            for (column, target) in TARGETS.into_iter().enumerate() {
                for (depth, method) in METHODS.into_iter().enumerate() {
                    if (row + column + depth) % 3 == 0 {
                        let target = target.replace("API", api).replace("DOWNLOAD", download);
                        cases.push(Self { from, method, target, fields });
                    }
                }
            }
        }
        // Absolute form, as programs send it that honour HTTP_PROXY, and tunnels that are not opened.
        let alone =
            |method, target: &str| Self { from: "127.0.0.1", method, target: target.to_owned(), fields: &[] };
        cases.extend([
            alone("GET", "http://api.box.com/2.0/files/17"),
            alone("DELETE", "http://api.box.com/2.0/users/17"),
            alone("POST", "http://account.box.com/api/oauth2/token"),
            alone("GET", "http://app.box.com/login"),
            alone("GET", "http://evil.example/2.0/files/17"),
            alone("CONNECT", "evil.example:443"),
            alone("TRACE", "/2.0/files/17"),
            alone("get", "/2.0/files/17"),
        ]);
        cases
    }

    fn options(&self) -> Options {
        let headers = self
            .fields
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value)));
        Options {
            what: vec![self.method.to_owned(), self.target.clone()],
            from: Some(self.from.parse::<IpAddr>().unwrap().into()),
            headers: headers.collect(),
            ..Options::default()
        }
    }

    /// Of the program.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["explain".to_owned(), format!("{} {}", self.method, self.target)];
        arguments.extend([format!("--from={}", self.from), "--json".to_owned()]);
        arguments.extend(self.fields.iter().map(|(name, value)| format!("--header={name}: {value}")));
        arguments
    }

    /// Sends it twice from its address, and returns when both are answered. Ids end with `-1` and `-2`.
    async fn send(&self, number: usize, to: &str) {
        for attempt in 1..=2 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("{}:0", self.from).parse().unwrap()).unwrap();
            let mut stream = socket.connect(to.parse().unwrap()).await.unwrap();
            let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.target);
            head.push_str(&format!("X-Request-Id: case-{number}-{attempt}\r\n"));
            if !self.fields.iter().any(|(name, _)| *name == "Host") {
                let authority = self.target.split('/').nth(2).unwrap_or(&self.target);
                let host = if self.target.starts_with('/') { "localhost" } else { authority };
                head.push_str(&format!("Host: {host}\r\n"));
            }
            if ["POST", "PUT"].contains(&self.method) {
                head.push_str("Content-Length: 0\r\n");
            }
            for (name, value) in self.fields {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
            read.await.expect("the gateway closes the connection").unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 "), "{self:?}: {:?}", String::from_utf8_lossy(&answer));
        }
    }

    /// A line for each difference between the explanation and the access lines of the two requests.
    fn differences(&self, said: &Value, first: &Value, second: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, explained: &Value, happened: &Value| {
            if explained != happened {
                found.push(format!("{self:?}: {what} explained as {explained}, was {happened}"));
            }
        };
        for line in [first, second] {
            let none = Value::Null;
            let of = |name: &str| line.get(name).unwrap_or(&none).clone();
            compare("app", &said["app"], &of("app"));
            compare("identity", &said["identity"], &of("identity"));
            compare("operation", &said["operation"], &of("operation"));
            if said["verdict"] == "passes" {
                compare("answered by", &Value::from("box"), &of("answered_by"));
            } else {
                compare("answered by", &Value::from("gateway"), &of("answered_by"));
                compare("status", &said["status"], &of("status"));
                compare("code", &said["code"], &of("code"));
            }
            compare("rule", &said["rule"], &of("rule"));
            // The path of a page that is refused is not logged.
            let (_, target) = said["request"].as_str().unwrap().split_once(' ').unwrap();
            let path = target.find("://").map_or(target, |at| {
                let rest = &target[at + 3..];
                rest.find('/').map_or("", |at| &rest[at..])
            });
            if of("path") != "-" {
                compare("path", &Value::from(path), &of("path"));
            }
        }
        // The first request has used up all that counts it, so the second shows each of these.
        let names = |list: &str| {
            let entries = said[list].as_array().map(Vec::as_slice).unwrap_or_default();
            entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // Of budgets, the first is named.
        let budget = names("budgets").into_iter().take(1);
        let explained: BTreeSet<String> = names("limits").into_iter().chain(budget).collect();
        let happened = second["would_refuse"].as_str().unwrap_or_default();
        let happened: BTreeSet<String> =
            happened.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if explained != happened {
            found.push(format!("{self:?}: counted by {explained:?}, was by {happened:?}"));
        }
        found
    }
}

/// The access lines of all cases, by request id.
fn lines(program: &Program, count: usize) -> BTreeMap<String, Value> {
    let lines = program.out.wait_for_count(count);
    let line = |text: &String| {
        let line: Value = serde_json::from_str(text).unwrap();
        (line["request_id"].as_str().unwrap().to_owned(), line)
    };
    lines.iter().map(line).collect()
}

fn configuration(folder: &Path) -> Config {
    let path = folder.join("proxy.toml");
    config::from_file(&path, &Overrides::default(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn explanations_agree_with_the_gateway() {
    let at = FakeBox::start();
    let person = format!(
        "[identity.person]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\nuser_id = {:?}\n",
        at.client_id(),
        at.user_id()
    );
    let listen = "address = \"127.0.0.1:0\"\nhosts = [\"gate.internal\"]\nsources = [\"127.0.0.0/16\"]\n\
                  trusted_proxies = [\"127.0.0.3\"]";
    let program = Program::listening(&at, listen, &format!("{person}{CONFIGURATION}")).ready();
    until("Box has said who Berta is", || program.admin("/status.json").body.contains("\"found\""));
    let config = configuration(&program.folder);
    let authority = |url: &str| url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let cases = Case::all(&authority(&at.api_url()), &authority(&at.download_url()));
    assert!(cases.len() > 1000, "{}", cases.len());
    wait_long(async {
        for (number, case) in cases.iter().enumerate() {
            case.send(number, &program.callers).await;
        }
    });
    let lines = lines(&program, cases.len() * 2);
    let (mut differences, mut verdicts) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut charged = BTreeMap::<String, u64>::new();
    for (number, case) in cases.iter().enumerate() {
        let said =
            of_request(&config, &case.options()).unwrap_or_else(|why| panic!("{case:?}: {why}")).json();
        let line = |attempt| &lines[&format!("case-{number}-{attempt}")];
        differences.extend(case.differences(&said, line(1), line(2)));
        let attempts: u64 = [line(1), line(2)].iter().filter_map(|line| line["attempts"].as_u64()).sum();
        for budget in said["budgets"].as_array().into_iter().flatten() {
            let of = |name: &str| budget[name].as_str().unwrap().to_owned();
            let series = format!("budget=\"{}\",key=\"{}\",value=\"{}\"", of("name"), of("key"), of("value"));
            *charged.entry(format!("boxgate_budget_used_calls{{{series}}}")).or_default() += attempts;
        }
        let verdict = said["code"].as_str().or(said["verdict"].as_str()).unwrap();
        *verdicts.entry(verdict.to_owned()).or_default() += 1;
        // The program says what the library call says.
        if number % 97 == 0 || case.fields.is_empty() {
            let arguments = case.arguments();
            let output = boxgate(&program.folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let printed: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
            assert_eq!(printed, said);
            assert_eq!(output.status.code().map(Value::from), Some(said["exit"].clone()), "{case:?}");
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let metrics = program.admin("/metrics").body;
    let used = metrics.lines().filter(|line| line.starts_with("boxgate_budget_used_calls{"));
    let used = used.filter_map(|line| line.rsplit_once(' ')).filter(|(_, count)| *count != "0");
    let used: BTreeMap<String, u64> =
        used.map(|(series, count)| (series.to_owned(), count.parse().unwrap())).collect();
    assert_eq!(charged, used, "calls that budgets count");
    for verdict in [
        "passes",
        "answered",
        "bad_request",
        "host_not_allowed",
        "source_not_allowed",
        "origin_not_allowed",
        "caller_not_allowed",
        "operation_not_allowed",
        "as_user_not_allowed",
        "app_disabled",
        "not_found",
        "method_not_allowed",
        "tunnel_not_allowed",
    ] {
        assert!(verdicts.contains_key(verdict), "no case ends with {verdict}: {verdicts:?}");
    }
    assert!(verdicts["passes"] > 100, "{verdicts:?}");
}

/// Without a time limit of its own: each request has one.
fn wait_long(sending: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(sending);
}
