//! `boxgate explain`: error codes, and how a configuration decides requests.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::certificates::Authority;
use super::harness::{Folder, boxgate, command};

mod agreement; // with the gateway

const CONFIGURATION: &str = r#"
[listen]
sources = ["loopback", "10.0.0.0/8"]
hosts = ["boxgate.internal"]
trusted_proxies = ["10.9.0.0/16"]
proxy_protocol = ["10.8.0.0/16"]

[forward_proxy]

[identity.service]
client_id = "the-client-id"
client_secret = { file = "client_secret" }
enterprise_id = "123456"

[[app]]
name = "default"

[[app]]
name = "intranet"
path = "/intranet"
sources = ["10.1.0.0/16"]
origins = ["https://intranet.example.com"]
allow = ["GET /2.0/**", "POST /2.0/files/content"]
deny = ["GET /2.0/users/**"]
as_user = ["11446498"]
max_in_flight = 100

[[app]]
name = "reports"
path = "/reports"
hosts = ["reports.internal"]
key = { file = "reports.key" }

[[limit]]
name = "per-caller"
key = "client"
rate = "10/s"

[[budget]]
name = "plan"
key = "app"
calls = 50_000
"#;

/// What one run said.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }

    /// The lines of a step: its own, and those of its details.
    fn step(&self, name: &str) -> String {
        let mut lines = self.out.lines().skip_while(|line| !line.starts_with(&format!("{name}  ")));
        let first = lines.next().unwrap_or_else(|| panic!("no {name} in\n{}{}", self.out, self.err));
        let details = lines.take_while(|line| line.starts_with(' '));
        [first].into_iter().chain(details).collect::<Vec<_>>().join("\n")
    }

    fn verdict(&self) -> &str {
        self.out.lines().last().unwrap_or_else(|| panic!("{}", self.err))
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("proxy.toml", CONFIGURATION);
    folder.write("client_secret", "canary-of-the-client");
    folder.write("reports.key", "canary-of-reports");
    folder
}

fn explain(folder: &Folder, arguments: &[&str]) -> Said {
    let output = boxgate(folder, &[&["explain"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_code_is_explained_without_a_configuration() {
    let folder = Folder::new();
    let said = explain(&folder, &["operation_not_allowed"]);
    assert_eq!(said.status, Some(0));
    assert!(said.out.starts_with("operation_not_allowed (HTTP status 403)\n"), "{}", said.out);
    assert!(said.out.lines().all(|line| line.len() <= 80), "{}", said.out);
    let all = explain(&folder, &[]);
    assert_eq!(all.status, Some(0));
    assert!(all.out.contains("\nbudget_spent ") && all.out.contains("\"GET /2.0/users/me\""), "{}", all.out);
    let wrong = explain(&folder, &["operation_not_alowed"]);
    assert_eq!((wrong.status, wrong.out.as_str()), (Some(2), ""));
    assert!(wrong.err.contains("did you mean operation_not_allowed?"), "{}", wrong.err);
    let with_option = explain(&folder, &["budget_spent", "--app", "a"]);
    assert_eq!(with_option.status, Some(2));
    assert!(with_option.err.contains("--app belongs to a request"), "{}", with_option.err);
    for (arguments, words) in [
        (&["RATE_LIMIT_EXCEDED", "--config", "p.toml"][..], "did you mean rate_limit_exceeded?"),
        (&["RATE_LIMIT_EXCEEDED", "--config", "p.toml"], "the code rate_limit_exceeded without --config"),
        (&["not_found", "extra"], "not_found is an error code, and \"extra\" after it is too much"),
        (&["429"], "429 is a status; the codes with it are: "),
    ] {
        let said = explain(&folder, arguments);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn a_call_that_the_audit_log_has_is_said_to_be_in_it() {
    let folder = folder();
    let request = "DELETE /2.0/files/17";
    assert_eq!(explain(&folder, &[request, "--json"]).json()["audited"], false, "there is no audit log");
    folder.write("proxy.toml", &format!("{CONFIGURATION}\n[log]\naudit = \"audit.jsonl\"\n"));
    let said = explain(&folder, &[request]);
    assert!(said.step("operation").ends_with("group delete, in the audit log"), "{}", said.out);
    assert_eq!(explain(&folder, &[request, "--json"]).json()["audited"], true);
    assert_eq!(explain(&folder, &["GET /2.0/files/17", "--json"]).json()["audited"], false);
    assert!(!folder.join("audit.jsonl").exists(), "it opens nothing");
}

/// A URL whose host is the gateway's own is no request for the forward proxy.
#[test]
fn a_url_of_the_gateway_itself_is_a_direct_call() {
    let folder = folder();
    for host in ["localhost:26080", "127.0.0.1:8080", "boxgate.internal"] {
        let said = explain(&folder, &[&format!("GET http://{host}/2.0/users/me")]);
        assert_eq!(said.verdict(), "passes: to api.box.com, as \"service\"", "{}{}", said.out, said.err);
        assert!(said.step("listener").contains(&format!("Host {host} ")), "{}", said.out);
        let said = explain(&folder, &[&format!("GET https://{host}/2.0/users/me")]);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{host}");
        assert!(said.err.contains("[listen] has no tls"), "{}", said.err);
    }
    let with_key = explain(&folder, &["GET http://reports.internal/2.0/users/me", "--app", "reports"]);
    assert_eq!(with_key.status, Some(0), "{}{}", with_key.out, with_key.err);
    // The proxy in front has TLS.
    let in_front = explain(&folder, &["GET https://boxgate.internal/2.0/users/me", "--from", "10.9.0.1"]);
    assert_eq!(in_front.status, Some(0), "{}{}", in_front.out, in_front.err);
    // One that is listed in `tunnel` is no call to the gateway, nor is another host.
    folder.write(
        "proxy.toml",
        &CONFIGURATION.replace("[forward_proxy]", "[forward_proxy]\ntunnel = [\"198.51.100.7:443\"]"),
    );
    let listed = explain(&folder, &["GET https://198.51.100.7/x"]);
    assert_eq!(listed.verdict(), "passes: a blind tunnel to 198.51.100.7:443");
    let other = explain(&folder, &["GET https://evil.example/x"]);
    assert_eq!((other.status, other.code()), (Some(1), "tunnel_not_allowed"));
}

/// What a caller gets for each scheme.
#[test]
fn a_url_has_the_scheme_of_the_listener() {
    let folder = folder();
    Authority::new("Servers").server().write(&folder);
    let tls = "[listen]\ntls = { cert = \"tls.crt\", key = \"tls.key\" }";
    folder.write("proxy.toml", &CONFIGURATION.replace("[listen]", tls));
    let said = explain(&folder, &["GET https://localhost:26080/2.0/users/me"]);
    assert_eq!(said.verdict(), "passes: to api.box.com, as \"service\"", "{}{}", said.out, said.err);
    assert!(said.step("listener").contains("over TLS"), "{}", said.out);
    let plain = explain(&folder, &["GET http://localhost:26080/2.0/users/me"]);
    assert_eq!((plain.status, plain.out.as_str()), (Some(2), ""));
    assert!(plain.err.contains("400 \"This port uses TLS\"; write https://"), "{}", plain.err);
    let of_box = explain(&folder, &["GET https://api.box.com/2.0/users/me"]);
    assert!(of_box.step("tunnel").contains("CONNECT to api.box.com"), "{}{}", of_box.out, of_box.err);
}

/// The gateway's own pages belong to no app.
#[test]
fn no_app_is_named_where_web_pages_can_never_read() {
    let said = explain(
        &folder(),
        &["GET /intranet/.well-known/boxgate/errors/not_found", "--origin", "https://evil.example"],
    );
    assert_eq!(
        said.verdict(),
        "refused: 403 origin_not_allowed; web pages can never read this; no key of the configuration changes that"
    );
}

/// As HTTP does with the values of fields.
/// Such a name is in no certificate that `certificates` could list, so what is said of it would be wrong.
#[test]
fn a_name_that_no_certificate_can_have_is_refused_as_the_configuration_refuses_it() {
    let folder = folder();
    for (name, words) in [
        ("*.corp", "without a *"),
        ("localhost:8443", "is not a URI"),
        ("a b", "is not a name of a certificate"),
        ("a..b", "is not a DNS name"),
    ] {
        let said = explain(&folder, &["GET /2.0/users/me", "--certificate", name]);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{name}");
        assert!(
            said.err.contains(&format!("--certificate {name:?}")) && said.err.contains(words),
            "{}",
            said.err
        );
    }
}

#[test]
fn spaces_around_values_do_not_count() {
    let folder = folder();
    for user in [&["--as-user", "11446498 "][..], &["--header", "As-User: \t 11446498 "]] {
        let call = ["GET /2.0/files/17", "--app", "intranet", "--from", "10.1.2.3"];
        let said = explain(&folder, &[&call, user].concat());
        assert_eq!(said.status, Some(0), "{user:?}\n{}{}", said.out, said.err);
    }
}

#[test]
fn a_request_that_passes_is_shown_with_what_it_counts_for() {
    let said = explain(
        &folder(),
        &["GET /2.0/files/17", "--app", "intranet", "--from", "10.1.2.3", "--as-user", "11446498"],
    );
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("GET /intranet/2.0/files/17\n\n"), "{}", said.out);
    for (step, parts) in [
        ("listener", &["ok", "10.1.2.3"][..]),
        ("app", &["> intranet", "default", "comes later", "reports"]),
        ("rules", &["> allow \"GET /2.0/**\"", "deny \"GET /2.0/users/**\" ", " does not match"]),
        ("as user", &["11446498"]),
        ("identity", &["\"service\"", "enterprise 123456"]),
        ("limits", &["per-caller", "10/s, burst 10, key client 10.1.2.3", "box-user", "key user 11446498"]),
        ("in flight", &["max-in-flight", "at most 100"]),
        ("budgets", &["plan", "50000 calls a month, key app intranet"]),
    ] {
        let lines = said.step(step);
        for part in parts {
            assert!(lines.contains(part), "{part} in\n{}", said.out);
        }
    }
    assert_eq!(said.verdict(), "passes: to api.box.com, as \"service\"");
}

/// Box is not asked, so that a listed login is as good as its id.
#[test]
fn a_login_is_decided_without_its_id() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
    let listed = "as_user = [\"11446498\", \"ann@corp.com\"]";
    folder.write("proxy.toml", &text.replace("as_user = [\"11446498\"]", listed));
    let as_user = |user: &str, more: &[&str]| {
        let call = ["GET /2.0/files/17", "--app", "intranet", "--from", "10.1.2.3", "--as-user", user];
        explain(&folder, &[&call, more].concat())
    };
    let said = as_user("Ann@corp.com", &[]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let step = said.step("as user");
    for part in ["Ann@corp.com, a login, whose id is not known here", "may name 11446498, ann@corp.com"] {
        assert!(step.contains(part), "{part} in\n{}", said.out);
    }
    let said = as_user("ANN@corp.com", &["--json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.status, &json["verdict"]), (Some(0), &json!("passes")));
    let step = json["steps"].as_array().unwrap().iter().find(|step| step["step"] == "as user").unwrap();
    assert!(step["words"].as_str().unwrap().contains("not known here"), "{step}");
    for (user, advice) in [
        (
            "5",
            "add \"5\" to as_user of app \"intranet\". A gateway lets it pass if it is the id of a login there",
        ),
        ("bob@corp.com", "add \"bob@corp.com\" to as_user of app \"intranet\""),
        ("ann@", "write the id of the user in digits, the first of them not 0, or a login"),
    ] {
        let said = as_user(user, &[]);
        assert_eq!(said.status, Some(1), "{user}");
        assert!(said.verdict().contains(advice), "{user}: {}", said.verdict());
    }
}

#[test]
fn a_refusal_names_what_refuses_and_the_key_to_change() {
    let folder = folder();
    for (arguments, verdict) in [
        (
            &["GET /2.0/users/me", "--app", "intranet", "--from", "10.1.2.3"][..],
            "refused: 403 operation_not_allowed, by deny \"GET /2.0/users/**\"; to allow it, take that rule out of deny of app \"intranet\", or write a narrower one",
        ),
        (
            &["HEAD /2.0/users/me", "--app", "intranet", "--from", "10.1.2.3"],
            "refused: 403 operation_not_allowed, by deny \"GET /2.0/users/**\"",
        ),
        (
            &["DELETE /2.0/files/17", "--app", "intranet", "--from", "10.1.2.3"],
            "; to allow it, add \"DELETE /2.0/files/*\" to allow of app \"intranet\"",
        ),
        (
            &["GET /2.0/files/17", "--app", "intranet", "--from", "10.1.2.3", "--as-user", "5"],
            "refused: 403 as_user_not_allowed, by as_user of app \"intranet\"; to let it act as this user, add \"5\" to as_user of app \"intranet\"",
        ),
        (
            &["GET /2.0/users/me", "--from", "192.0.2.1"],
            "refused: 403 source_not_allowed, by sources of [listen]; to let it connect, add \"192.0.2.1\" to sources of [listen]",
        ),
        (
            &["GET /2.0/users/me", "--host", "evil.example:80"],
            "refused: 421 host_not_allowed, by hosts of [listen]; if it is a name of this gateway, add \"evil.example\" to hosts of [listen]",
        ),
        (
            &["GET /intranet/2.0/files/17", "--from", "10.1.2.3", "--origin", "https://other.example.com"],
            "add \"https://other.example.com\" to origins of app \"intranet\"",
        ),
        (
            &["GET /reports/2.0/files/17", "--host", "reports.internal"],
            "refused: 403 caller_not_allowed, by key of app \"reports\"; send the key of app \"reports\" in X-Boxgate-Key",
        ),
        (
            &["GET /intranet/2.0/files/17"],
            "refused: 403 source_not_allowed, by sources of app \"intranet\"; to let it call, add \"127.0.0.1\"",
        ),
        (
            &["GET /intranet/2.0/files/17", "--from", "uid:1000"],
            "refused: 403 source_not_allowed, by sources of app \"intranet\"; to let it call, add \"uid:1000\"",
        ),
        (&["CONNECT example.com:443"], "; to let it pass, add \"example.com:443\" to tunnel"),
    ] {
        let said = explain(&folder, arguments);
        assert_eq!(said.status, Some(1), "{arguments:?}\n{}{}", said.out, said.err);
        assert!(said.verdict().contains(verdict), "{arguments:?}\n{}\n{verdict}", said.verdict());
        assert!(said.out.contains("refused  "), "{}", said.out);
    }
}

/// Of several apps at a path, the one whose condition refuses is named, and not the first that lacks something else.
#[test]
fn the_app_that_refuses_is_named_where_others_do_not_serve_the_request_either() {
    let folder = folder();
    let app = |name, more: &str| format!("[[app]]\nname = \"{name}\"\npath = \"/team\"\n{more}\n");
    let apps = [
        app("far", "key = \"key-of-far\"\nsources = [\"10.0.0.0/8\"]"),
        app("keyed", "key = \"key-of-keyed\""),
        app("open", "hosts = [\"open.internal\"]\ndeny = [\"* /**\"]"),
    ];
    folder.write("proxy.toml", &format!("{CONFIGURATION}\n{}", apps.concat()));
    let said = explain(&folder, &["GET /team/2.0/users/me"]);
    let wanted = "refused: 403 caller_not_allowed, by key of app \"keyed\"; send the key of app \"keyed\"";
    assert!(said.verdict().starts_with(wanted), "{}", said.verdict());
    let step = said.step("app");
    assert!(step.contains("none serves this request") && !step.contains("decides"), "{step}");
    assert!(step.contains("its path is shorter, and below it this is no path of Box"), "{step}");
    let said = explain(&folder, &["GET /team/2.0/users/me", "--host", "open.internal"]);
    let wanted = "; app \"far\", below whose path it is, does not serve it because of its sources";
    assert!(
        said.verdict().contains("operation_not_allowed, by deny \"* /**\"")
            && said.verdict().ends_with(wanted),
        "{}",
        said.verdict()
    );
}

#[test]
fn what_connects_is_an_address_or_a_user() {
    let folder = folder();
    let text = CONFIGURATION
        .replace("\"10.1.0.0/16\"", "\"uid:root\"")
        .replace("[listen]\n", "[listen]\naddress = \"unix:gate.sock\"\n");
    folder.write("proxy.toml", &text);
    let said = explain(&folder, &["GET /2.0/files/17", "--app", "intranet", "--from", "uid:root"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(said.step("listener").contains("uid:0 is in sources of [listen]"), "{}", said.out);
    assert!(said.step("app").contains("its path /intranet and its sources fit"), "{}", said.out);
    let other = explain(&folder, &["GET /2.0/files/17", "--app", "intranet", "--from", "uid:1"]);
    assert!(other.step("app").contains("its sources do not contain uid:1"), "{}", other.out);
    for (from, why) in [
        ("uid:no-such-user-here", "no user of this machine is named"),
        ("lan", "allowed: an IP address, or \"uid:1000\" for a Unix socket"),
    ] {
        let said = explain(&folder, &["GET /2.0/files/17", "--from", from]);
        assert!(said.status == Some(2) && said.err.contains(why), "{}", said.err);
    }
    let said = explain(&folder, &["GET /2.0/files/17", "--from", "uid:0", "--certificate", "a.corp"]);
    assert!(said.status == Some(2) && said.err.contains("over a Unix socket"), "{}", said.err);
}

/// What does not come to Box is charged to nothing.
#[test]
fn a_refused_request_counts_for_nothing() {
    let said = explain(&folder(), &["GET /2.0/users/me", "--host", "evil.example", "--json"]).json();
    assert_eq!(said["code"], "host_not_allowed");
    assert!(said.get("limits").is_none() && said.get("budgets").is_none(), "{said}");
}

#[test]
fn an_app_that_does_not_serve_the_request_itself_is_a_refusal() {
    let said = explain(&folder(), &["GET /2.0/users/me", "--app", "reports", "--host", "localhost"]);
    assert_eq!(said.status, Some(1));
    assert!(said.out.contains("its hosts are reports.internal"), "{}", said.out);
    let root = "[identity.service]\nclient_id = \"a\"\nclient_secret = \"b\"\nenterprise_id = \"1\"\n\
                [[app]]\nname = \"wide\"\n[[app]]\nname = \"narrow\"\nsources = [\"10.0.0.0/8\"]\n";
    let folder = Folder::new();
    folder.write("proxy.toml", root);
    let said = explain(&folder, &["GET /2.0/users/me", "--app", "narrow"]);
    assert_eq!(said.status, Some(1), "{}{}", said.out, said.err);
    assert_eq!(
        said.verdict(),
        "passes, but not as app \"narrow\": app \"wide\" serves it; the step app says why"
    );
    let said = explain(&folder, &["GET /2.0/users/me", "--app", "narow"]);
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("did you mean \"narrow\"?"), "{}", said.err);
}

#[test]
fn what_the_gateway_answers_itself_passes() {
    let folder = folder();
    for (request, more, words) in [
        ("POST /oauth2/token", &[][..], "200, a placeholder in place of a token"),
        ("GET /.well-known/boxgate/errors/not_found", &[], "200, the page about not_found"),
        ("GET /.well-known/boxgate/ca.pem", &[], "200, the CA of its forward proxy"),
        ("GET /", &["--header", "Accept: text/html"], "200, a page that says what it is"),
        (
            "OPTIONS /intranet/2.0/files/17",
            &[
                "--from",
                "10.1.2.3",
                "--origin",
                "https://intranet.example.com",
                "--header",
                "Access-Control-Request-Method: GET",
            ],
            "204, what pages may send",
        ),
    ] {
        let said = explain(&folder, &[&[request], more].concat());
        assert_eq!(said.status, Some(0), "{request}: {}{}", said.out, said.err);
        assert!(said.verdict().starts_with(&format!("passes: the gateway answers {words}")), "{}", said.out);
    }
}

#[test]
fn requests_of_programs_with_boxs_hosts_built_in_come_through_a_tunnel() {
    let folder = folder();
    let said = explain(&folder, &["GET https://api.box.com/2.0/users/me", "--app", "reports"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(said.step("tunnel").contains("CONNECT to api.box.com"), "{}", said.out);
    assert!(said.step("app").contains("\"reports\", which Proxy-Authorization names"), "{}", said.out);
    let upload = explain(&folder, &["POST https://upload.box.com/api/2.0/files/content"]);
    assert_eq!(upload.verdict(), "passes: to upload.box.com, as \"service\"");
    let login = explain(&folder, &["GET https://account.box.com/api/oauth2/authorize"]);
    assert_eq!((login.status, login.code()), (Some(1), "operation_not_allowed"));
    // `reports` and a key that is not its own.
    let login = "Proxy-Authorization: Basic cmVwb3J0czp3cm9uZw==";
    let wrong = explain(&folder, &["GET https://api.box.com/2.0/users/me", "--header", login]);
    assert_eq!((wrong.status, wrong.code()), (Some(1), "proxy_authentication_required"));
    let tunnel = explain(&folder, &["CONNECT", "api.box.com:443"]);
    assert_eq!((tunnel.status, tunnel.verdict()), (Some(0), "passes: a tunnel to api.box.com"));
}

impl Said {
    /// The code in the verdict.
    fn code(&self) -> &str {
        self.verdict().split_whitespace().nth(2).unwrap_or_default().trim_end_matches([',', ';'])
    }
}

#[test]
fn a_proxy_names_the_client_only_where_it_is_trusted() {
    let folder = folder();
    for proxy in ["10.9.0.1", "10.8.0.1"] {
        let arguments =
            ["GET /2.0/files/17", "--app", "intranet", "--from", proxy, "--client", "10.1.2.3", "--json"];
        let said = explain(&folder, &arguments);
        assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
        let said = said.json();
        assert_eq!((&said["app"], &said["limits"][0]["value"]), (&"intranet".into(), &"10.1.2.3".into()));
    }
    let said = explain(&folder, &["GET /2.0/x", "--from", "10.7.0.1", "--client", "10.1.2.3"]);
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("trusted_proxies or proxy_protocol of [listen]"), "{}", said.err);
}

#[test]
fn limits_that_count_by_networks_show_them() {
    let folder = folder();
    let text = CONFIGURATION.replace("\"10.0.0.0/8\"]", "\"10.0.0.0/8\", \"2001:db8::/32\"]");
    folder.write("proxy.toml", &text);
    let said = explain(&folder, &["GET /2.0/users/me", "--from", "2001:db8:0:7::9", "--json"]).json();
    assert_eq!(said["limits"][0]["value"], "2001:db8:0:7::/64");
    let mapped = explain(&folder, &["GET /2.0/users/me", "--from", "::ffff:10.1.2.3", "--json"]).json();
    assert_eq!(mapped["limits"][0]["value"], "10.1.2.3");
}

#[test]
fn boxs_own_limits_are_told_from_configured_ones() {
    let said = explain(&folder(), &["GET /2.0/search", "--json"]).json();
    let limits = said["limits"].as_array().unwrap();
    let names: Vec<_> = limits.iter().map(|limit| limit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["per-caller", "box-user", "box-search", "box-search-minute", "box-search-enterprise"]);
    assert!(
        limits.iter().all(|limit| limit["of_box"] == limit["name"].as_str().unwrap().starts_with("box-"))
    );
    assert_eq!(limits[4]["value"], "the-client-id");
    let zip = explain(&folder(), &["GET /2.0/zip_downloads/a/content", "--json"]).json();
    let bounds: Vec<_> = zip["in_flight"].as_array().unwrap().iter().map(|bound| &bound["name"]).collect();
    assert_eq!(bounds, ["box-zip-user", "box-zip-enterprise"]);
    assert_eq!((&zip["budgets"], &zip["sends_token"]), (&Value::Array(vec![]), &Value::Bool(false)));
}

#[test]
fn no_secret_and_no_credential_of_a_url_is_shown() {
    let folder = folder();
    for (request, more) in [
        ("GET /reports/2.0/files/1?access_token=canary-in-query", &["--host", "reports.internal"][..]),
        ("GET /2.0/files/1", &["--app", "reports"]),
        ("GET https://api.box.com/2.0/files/1?a=canary", &["--app", "reports"]),
        ("GET /2.0/files/1", &["--header", "X-Boxgate-Key: canary-of-reports"]),
        ("GET /2.0/files/1", &["--header", "Authorization: Bearer canary-token"]),
        ("GET /_box/dl.boxcloud.com/d/1/canary-of-a-url/download", &[]),
        ("GET /2.0/zip_downloads/canary-of-a-zip/content", &[]),
        ("GET /2.0/files/canary-of-the-client", &[]),
        ("GET https://dl.boxcloud.com/d/1/canary-of-a-url/download", &[]),
        ("DELETE https://dl.boxcloud.com/d/1/canary-of-a-url/download", &[]),
        ("GET http://2.realtime.services.box.net/canary-of-a-url", &[]),
        ("GET https://user:canary@api.box.com/2.0/files/1", &[]),
        ("GET /_box/dl.boxcloud.com/d/1/canary-of-a-url/download", &["--host", "evil.example"]),
    ] {
        for form in [&[][..], &["--json"]] {
            let said = explain(&folder, &[&[request], more, form].concat());
            assert!([Some(0), Some(1)].contains(&said.status), "{}{}", said.out, said.err);
            assert!(!said.out.contains("canary") && !said.err.contains("canary"), "{}{}", said.out, said.err);
        }
    }
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    let said = explain(&folder(), &["GET /2.0/users/me", "--host", "a\u{7f}b"]);
    assert_eq!(said.status, Some(2));
    let said = explain(&folder(), &["GET /2.0/\u{1b}[31m"]);
    assert_eq!(said.status, Some(2), "{}", said.out);
    assert!(said.err.contains("bare 400") && !said.err.contains('\u{1b}'), "{:?}", said.err);
}

#[test]
fn an_argument_that_cannot_be_used_is_named_with_what_is_allowed() {
    let folder = folder();
    for (arguments, words) in [
        (&["/2.0/users/me"][..], "did you mean \"GET /2.0/users/me\"?"),
        (&["G@T /2.0/users/me"], "is no method"),
        (&["GET /2.0/x", "--header", "nonsense"], "Name: value"),
        (&["GET /2.0/x", "--from", "somewhere"], "--from"),
        (&["GET https://api.box.com/2.0/x", "--host", "a"], "leave one out"),
    ] {
        let said = explain(&folder, arguments);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn a_bad_configuration_is_told_as_check_does() {
    let folder = folder();
    folder.write("proxy.toml", &CONFIGURATION.replace("sources", "sorces"));
    let said = explain(&folder, &["GET /2.0/users/me"]);
    let check = boxgate(&folder, &["check", "--offline"]);
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
    assert_eq!(said.err, String::from_utf8(check.stderr).unwrap());
    let json = explain(&folder, &["GET /2.0/users/me", "--json"]);
    assert_eq!(json.status, Some(2));
    assert_eq!(
        (json.json()["exit"].as_u64(), json.json()["problems"].as_array().unwrap().len()),
        (Some(2), 2)
    );
    let unconfigured = explain(&Folder::new(), &["GET /2.0/users/me"]);
    assert_eq!(unconfigured.status, Some(2));
    assert!(unconfigured.err.contains("boxgate init"), "{}", unconfigured.err);
}

/// Flags of `boxgate run` that its environment has change decisions.
#[test]
fn hosts_from_the_environment_count() {
    let folder = folder();
    let mut command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    command.args(["explain", "GET /2.0/users/me", "--host", "other.internal"]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    assert_eq!(command.env("BOXGATE_HOSTS", "other.internal,b").output().unwrap().status.code(), Some(0));
}

/// An operator may ask who may not read the secrets, and with variables that only the service has.
#[test]
fn secrets_that_cannot_be_read_are_not_needed() {
    let folder = folder();
    std::fs::remove_file(folder.join("client_secret")).unwrap();
    std::fs::remove_file(folder.join("reports.key")).unwrap();
    let said = explain(&folder, &["GET /2.0/users/me"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let secrets = said.step("secrets");
    assert!(secrets.contains("identity.service.client_secret"), "{}", said.out);
    assert!(secrets.contains("app.reports.key") && secrets.contains("No such file"), "{}", said.out);
    let as_reports = explain(&folder, &["GET /2.0/users/me", "--app", "reports"]);
    assert_eq!(as_reports.status, Some(0), "{}{}", as_reports.out, as_reports.err);
    assert!(!as_reports.out.contains("unread-"), "{}", as_reports.out);
    let shown = explain(&folder, &["GET /2.0/users/me", "--header", "X-Boxgate-Key: anything"]);
    assert_eq!(shown.status, Some(2));
    assert!(shown.err.contains("app.reports.key is not known"), "{}", shown.err);
    let check = boxgate(&folder, &["check", "--offline"]);
    assert_eq!(check.status.code(), Some(2), "to run, they are needed");
}

#[test]
fn ids_that_cannot_be_read_are_not_needed_either() {
    let folder = folder();
    let text = CONFIGURATION
        .replace("\"the-client-id\"", "{ env = \"NO_SUCH_CLIENT_ID\" }")
        .replace("\"123456\"", "{ file = \"no-such-file\" }");
    folder.write("proxy.toml", &text);
    let said = explain(&folder, &["GET /2.0/search"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let unread = said.step("secrets");
    for key in ["identity.service.client_id", "identity.service.enterprise_id"] {
        assert!(unread.contains(key), "{}", said.out);
    }
    assert!(
        said.step("identity").contains("enterprise (identity.service.enterprise_id was not read)"),
        "{}",
        said.out
    );
}

/// It is asked while a gateway runs with the same file: nothing of that gateway is touched.
#[test]
fn neither_state_nor_network_is_touched() {
    let folder = folder();
    let more = "[state]\ndir = \"state\"\nredis = \"redis://127.0.0.1:1\"\n[upstream]\nproxy = \"http://127.0.0.1:1\"\n";
    folder.write("proxy.toml", &format!("{CONFIGURATION}{more}"));
    std::fs::set_permissions(folder.join("proxy.toml"), PermissionsExt::from_mode(0o400)).unwrap();
    let names = || {
        let entries = std::fs::read_dir(&*folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let said = explain(&folder, &["GET /2.0/users/me"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert_eq!(names(), before, "no file is made");
}

/// Rules are tried with what is listed here.
#[test]
fn the_groups_are_listed_with_their_operations() {
    let folder = Folder::new();
    let listed = explain(&folder, &["--groups"]);
    assert_eq!(listed.status, Some(0), "{}", listed.err);
    for line in [
        "\nread: ",
        "\n  GET     /2.0/folders/{folder_id}/items\n",
        "\n  PUT     /2.0/files/{file_id}  also share\n",
        "\nshare: ",
        "\n  POST    /2.0/collaborations\n",
    ] {
        assert!(listed.out.contains(line), "{line:?} in\n{}", listed.out);
    }
    let listed = explain(&folder, &["--groups", "--json"]);
    let document: Value = serde_json::from_str(&listed.out).unwrap();
    let groups: Vec<&str> =
        document["groups"].as_array().unwrap().iter().map(|group| group["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["read", "upload", "download", "write", "share", "delete", "admin", "sign", "ai"]);
    assert_eq!(
        document["groups"][0]["operations"][0].as_str().map(|first| first.starts_with("GET /2.0/")),
        Some(true)
    );
    assert_eq!(explain(&folder, &["--groups", "GET /2.0/users/me"]).status, Some(2));
}
