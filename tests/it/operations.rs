//! Every operation of Box's OpenAPI documents, sent once through the gateway; checks what arrives at Box.
//!
//! `tests/operations/operations.tsv` is the list; the script `derive` generates it. Box's responses do not matter here,
//! only what arrives.

use std::fmt::Write;

use boxgate::sandbox::{Options, Protocols, Role, Seen};
use http::{HeaderMap, Version};

use crate::harness::Bench;

const OPERATIONS: &str = include_str!("../operations/operations.tsv");

/// Operations that Box's own clients use without being documented. Columns as in the list.
const BESIDES: &str = "\
GET\t/undoc/{file_id}\t-\tapi\t-\t-\t-
GET\t/internal_files/{file_id}/versions/{file_version_id}/representations/{template_key}\t-\tapi\t-\t-\t-
GET\t/files/{file_id}/collaborators\t-\tapi\t-\t-\t-
GET\t/file_activities\t-\tapi\t-\t-\t-
GET\t/file_access_stats/{file_id}\t-\tapi\t-\t-\t-
GET\t/app_integrations\t-\tapi\t-\t-\t-
GET\t/metadata_instances/suggestions\t-\tapi\t-\t-\t-
POST\t/events\t-\tapi\t-\t-\tapplication/json
POST\t/query\t-\tapi\t-\t-\tapplication/json
POST\t/query_insights\t-\tapi\t-\t-\tapplication/json
POST\t/files/upload_sessions/{upload_session_id}/plan\t-\tupload\t-\t-\tapplication/json
POST\t/files/upload_sessions/{upload_session_id}/log\t-\tupload\t-\t-\tapplication/json
HEAD\t/files/{file_id}/content\t-\tapi\t-\trange,boxapi\t-";

/// Fields of a caller that must be dropped.
const FORBIDDEN: [(&str, &str); 14] = [
    ("authorization", "Bearer canary"),
    ("proxy-authorization", "Basic canary"),
    ("cookie", "z=canary"),
    ("referer", "https://canary.example/"),
    ("x-forwarded-for", "192.0.2.1, canary"),
    ("x-forwarded-host", "canary.example"),
    ("forwarded", "for=canary;host=canary.example"),
    ("x-http-method-override", "canary"),
    ("x-method-override", "canary"),
    ("x-original-url", "/2.0/canary"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-mode", "navigate"),
    ("sec-ch-ua", "\"canary\";v=\"1\""),
    ("x-custom", "canary"),
];

struct Operation {
    line: &'static str,
    method: &'static str,
    path: &'static str,
    server: &'static str,
    /// `box-version` and the declared ones, with values.
    headers: Vec<(&'static str, &'static str)>,
    content_type: Option<&'static str>,
}

/// Where a caller's prefix leads.
struct Way {
    prefix: &'static str,
    role: Role,
    prefix_at_box: &'static str,
    /// A pre-signed URL takes no token along.
    token: bool,
}

/// One way to fill the placeholders and the query in.
struct Filling {
    value: fn(name: &str, place: usize) -> String,
    query: &'static str,
    query_at_box: &'static str,
}

const FILLINGS: [Filling; 3] = [
    Filling {
        value: usual,
        query: "?fields=a,b&marker=x%2By&limit=1",
        query_at_box: "?fields=a,b&marker=x%2By&limit=1",
    },
    Filling {
        value: |_, place| format!("a%20b%C3%A9{place}"),
        query: "?fields=a,b&access_token=canary&marker=x%2By&limit=1",
        query_at_box: "?fields=a,b&marker=x%2By&limit=1",
    },
    Filling { value: |_, place| format!("key.v1:x{place}"), query: "", query_at_box: "" },
];

fn usual(name: &str, place: usize) -> String {
    match name {
        "scope" => "enterprise_123".to_owned(),
        "template_key" => "contract".to_owned(),
        "extension" => "png".to_owned(),
        "level_index" => "2".to_owned(),
        _ => (11_446_498 + place).to_string(),
    }
}

#[tokio::test]
async fn every_operation_arrives_unchanged_over_http_1() {
    run_through(Protocols::Http1, Version::HTTP_11).await;
}

#[tokio::test]
async fn every_operation_arrives_unchanged_over_http_2() {
    run_through(Protocols::Http2, Version::HTTP_2).await;
}

async fn run_through(protocols: Protocols, version: Version) {
    let documented = read(OPERATIONS);
    assert_eq!(documented.len(), 336, "the list is whole");
    let bench =
        Bench::of(Options { protocols, ..Options::default() }, "[limits]\nbox_defaults = false").await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let token = bench.sandbox.last_seen().unwrap().headers["authorization"].to_str().unwrap().to_owned();
    let mut failures = Vec::new();
    for operation in documented.iter().chain(&read(BESIDES)) {
        for way in ways(operation) {
            for filling in &FILLINGS {
                let path = filled(operation.path, filling.value);
                let target = format!("{}{path}{}", way.prefix, filling.query);
                let at_box = format!("{}{path}{}", way.prefix_at_box, filling.query_at_box);
                let seen = send(&bench, operation, &target).await;
                let wrong = match seen.as_slice() {
                    [seen] => differences(operation, &way, &at_box, &token, version, seen),
                    _ => format!("  {} requests reached Box\n", seen.len()),
                };
                if !wrong.is_empty() {
                    failures.push(format!(
                        "{}\n  sent as {} {target}\n{wrong}",
                        operation.line, operation.method
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} requests arrived otherwise:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(bench.sandbox.token_requests(), 1, "one token served them all");
}

/// The gateway has its own token; logins at Box do not go through it.
#[tokio::test]
async fn operations_about_tokens_never_reach_box() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut asked = 0;
    for operation in read(OPERATIONS) {
        let (prefixes, wanted): (&[&str], &str) = match (operation.server, operation.path) {
            ("token", _) => (&[""], "HTTP/1.1 200 "),
            ("people", _) => (&["/oauth2", "/api/oauth2", ""], "HTTP/1.1 40"),
            _ => continue,
        };
        for prefix in prefixes {
            let target = format!("{prefix}{}?client_id=canary", operation.path);
            let answer = bench.raw(&request(&operation, &target)).await;
            assert!(answer.starts_with(wanted), "{} {target}: {answer}", operation.method);
            asked += 1;
        }
    }
    assert_eq!(asked, 6, "token, its refresh, revocation; three spellings of authorize");
    assert_eq!((bench.sandbox.calls(), bench.sandbox.token_requests()), (0, 1));
    assert_eq!(bench.sandbox.token_seen().len(), 1, "the gateway's own request for a token, no revocation");
}

fn read(list: &'static str) -> Vec<Operation> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.starts_with("method\t"));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [method, path, _variant, server, box_version, headers, content_type] = columns[..] else {
                panic!("seven columns: {line}");
            };
            let given = |column: &'static str| (column != "-").then_some(column);
            let declared = given(headers).into_iter().flat_map(|names| names.split(','));
            let version = given(box_version).map(|version| ("box-version", version));
            let headers = version.into_iter().chain(declared.map(|name| (name, value_of(name)))).collect();
            Operation { line, method, path, server, headers, content_type: given(content_type) }
        })
        .collect()
}

/// A value of the shape that Box documents.
fn value_of(header: &str) -> &'static str {
    match header {
        "boxapi" => "shared_link=https://app.box.com/s/gjasdasjhasd&shared_link_password=let%20me",
        "content-md5" => "134b65991ed521fcfe4724b7d814ab8ded5185dc",
        "content-range" => "bytes 8388608-16777215/445856194",
        "digest" => "sha=fpRyg5eVQletdZqEKaFlqwBXJzM=",
        "if-match" => "1",
        "if-none-match" => "\"7\"",
        "range" => "bytes=0-1023",
        "x-rep-hints" => "[jpg?dimensions=32x32&paged=false][pdf]",
        _ => panic!("a header that this test has no value for: {header}"),
    }
}

/// By server, as in Box's documents; one base URL serves all, and upload hosts' own paths too.
fn ways(operation: &Operation) -> Vec<Way> {
    let way = |prefix, role, prefix_at_box, token| Way { prefix, role, prefix_at_box, token };
    let mut ways = match operation.server {
        "api" => vec![way("/2.0", Role::Api, "/2.0", true)],
        "upload" => {
            vec![way("/2.0", Role::Upload, "/api/2.0", true), way("/api/2.0", Role::Upload, "/api/2.0", true)]
        }
        "download" => vec![way("/2.0", Role::Download, "/2.0", false)],
        _ => Vec::new(),
    };
    let content = operation.path == "/files/{file_id}/content" && matches!(operation.method, "GET" | "HEAD");
    if content || operation.path.starts_with("/internal_files/") {
        ways.push(way("/api/2.0", Role::Download, "/api/2.0", true));
    }
    ways
}

fn filled(path: &str, value: fn(&str, usize) -> String) -> String {
    let mut text = String::new();
    for (place, piece) in path.split('{').enumerate() {
        match piece.split_once('}') {
            Some((name, rest)) => text.extend([value(name, place), rest.to_owned()]),
            None => text.push_str(piece),
        }
    }
    text
}

fn body(content_type: &str) -> &'static str {
    match content_type {
        "application/json" => r#"{"name":"né","parent":{"id":"0"}}"#,
        "application/json-patch+json" => r#"[{"op":"replace","path":"/a","value":"b"}]"#,
        "application/octet-stream" => "\u{0}\u{1}part\r\n\r\n",
        "application/x-www-form-urlencoded" => "grant_type=refresh_token&client_id=x&token=canary",
        "multipart/form-data; boundary=b" => {
            "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{}\r\n--b--\r\n"
        }
        _ => panic!("a content type that this test has no body for: {content_type}"),
    }
}

/// As it is to be sent: `multipart/form-data` needs its boundary.
fn content_type(operation: &Operation) -> Option<&'static str> {
    operation.content_type.map(|declared| match declared {
        "multipart/form-data" => "multipart/form-data; boundary=b",
        _ => declared,
    })
}

fn request(operation: &Operation, target: &str) -> String {
    let mut text =
        format!("{} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", operation.method);
    let mut field = |name: &str, value: &str| write!(text, "{name}: {value}\r\n").unwrap();
    for (name, value) in FORBIDDEN.iter().chain(&operation.headers) {
        field(name, value);
    }
    let Some(content_type) = content_type(operation) else {
        return text + "\r\n";
    };
    let body = body(content_type);
    field("Content-Type", content_type);
    field("Content-Length", &body.len().to_string());
    text + "\r\n" + body
}

/// Sends it and returns what Box received.
async fn send(bench: &Bench, operation: &Operation, target: &str) -> Vec<Seen> {
    bench.sandbox.clear_seen();
    bench.raw(&request(operation, target)).await;
    bench.sandbox.seen()
}

/// A line for each difference; empty if there is none.
fn differences(
    operation: &Operation,
    way: &Way,
    target: &str,
    token: &str,
    version: Version,
    seen: &Seen,
) -> String {
    let mut found = String::new();
    let mut compare = |what: &str, have: &str, want: &str| {
        if have != want {
            writeln!(found, "  {what} is {have}, not {want}").unwrap();
        }
    };
    compare("role", &format!("{:?}", seen.role), &format!("{:?}", way.role));
    compare("version", &format!("{:?}", seen.version), &format!("{version:?}"));
    compare("method", seen.method.as_str(), operation.method);
    compare("target", &seen.target, target);
    compare("authorization", &all_of(&seen.headers, "authorization"), if way.token { token } else { "" });
    for (name, value) in &operation.headers {
        compare(name, &all_of(&seen.headers, name), value);
    }
    let content_type = content_type(operation);
    compare("content-type", &all_of(&seen.headers, "content-type"), content_type.unwrap_or_default());
    compare("body", &String::from_utf8_lossy(&seen.body), content_type.map(body).unwrap_or_default());
    for (name, value) in &seen.headers {
        let name = name.as_str();
        let own = ["host", "via", "authorization", "content-type", "content-length"].contains(&name);
        if !own && !operation.headers.iter().any(|(declared, _)| *declared == name) {
            writeln!(found, "  {name}: {value:?} has no business at Box").unwrap();
        }
    }
    if format!("{seen:?}").contains("canary") {
        writeln!(found, "  the caller's canary reached Box").unwrap();
    }
    found
}

fn all_of(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(" and ")
}
