//! Apps that are told apart by the names in client certificates.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};

use super::*;

const APPS: &str = r#"
[[app]]
name = "intranet"
path = "/a"
certificates = ["spiffe://corp/intranet", "Intranet.corp"]

[[app]]
name = "reports"
path = "/a"
certificates = ["reports.corp"]
deny = ["* /**"]

[[app]]
name = "keyed"
path = "/keyed"
key = "the-key-of-the-app"
certificates = ["reports.corp"]
"#;

/// A caller whose certificate carries these names.
fn named(gate: &Gate, names: &[&str], common: &str) -> Caller {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    let made = gate.callers.sign(params);
    Caller { certificate: Some((made.cert, made.key)), ..gate.trusting() }
}

#[test]
fn the_names_in_a_certificate_decide_which_app_serves_its_caller() {
    let gate = Gate::start(TLS_WITH_CLIENT_CA, APPS);
    let key = "X-Boxgate-Key: the-key-of-the-app\r\n";
    for (names, common, path, fields, wanted) in [
        (&["spiffe://corp/intranet"][..], "", "/a", "", "200"),
        (&["other.corp", "INTRANET.corp"], "", "/a", "", "200"),
        (&["reports.corp"], "", "/a", "", "403 operation_not_allowed"),
        (&["spiffe://corp/Intranet"], "", "/a", "", "403 caller_not_allowed"),
        (&["sub.intranet.corp"], "", "/a", "", "403 caller_not_allowed"),
        (&[], "reports.corp", "/a", "", "403 caller_not_allowed"),
        (&["reports.corp"], "", "/keyed", key, "200"),
        (&["reports.corp"], "", "/keyed", "", "403 caller_not_allowed"),
        (&["intranet.corp"], "", "/keyed", key, "403 caller_not_allowed"),
    ] {
        let caller = named(&gate, names, common);
        let answer = Answer::read(caller.send(gate.address(), "GET", &format!("{path}{ME}"), fields));
        let code = serde_json::from_str::<serde_json::Value>(&answer.body).ok();
        let code = code.and_then(|body| Some(format!(" {}", body["code"].as_str()?))).unwrap_or_default();
        assert_eq!(
            format!("{}{code}", answer.status),
            wanted,
            "{names:?} {common:?} {path}: {}",
            answer.body
        );
    }
}

/// Each request is judged by the configuration of its time, on a connection that stays.
#[test]
fn a_reload_moves_a_caller_to_another_app() {
    let gate = Gate::start(TLS_WITH_CLIENT_CA, APPS);
    let caller = named(&gate, &["reports.corp"], "");
    let mut stream = connect(gate.address(), caller.config());
    let mut status = |path: &str| {
        stream.write_all(format!("GET {path}{ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("/a"), "403");
    let more = APPS
        .replace("[\"reports.corp\"]\ndeny", "[\"none.corp\"]\ndeny")
        .replace("Intranet.corp", "reports.corp");
    write_file(&gate.program.folder, &gate.at, TLS_WITH_CLIENT_CA, &more);
    gate.program.hang_up();
    until("it is taken over", || gate.program.metric("boxgate_config_reloads_total{result=\"ok\"}") == 1);
    assert_eq!(status("/a"), "200");
}

#[test]
fn certificates_without_a_client_ca_are_refused_and_explained() {
    let folder = Folder::new();
    let identity = "[identity.service]\nclient_id = \"i\"\nclient_secret = \"s\"\nenterprise_id = \"1\"\n";
    folder.write("proxy.toml", &format!("{identity}{APPS}"));
    let checked = boxgate(&folder, &["check", "--offline"]);
    assert_eq!(checked.status.code(), Some(2));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("app.intranet.certificates: no caller can show a certificate, since tls of [listen] has no client_ca"), "{said}");

    let gate = Gate::start(TLS_WITH_CLIENT_CA, APPS);
    let explain = |arguments: &[&str]| {
        let output =
            boxgate(&gate.program.folder, &[&["explain", "GET /a/2.0/users/me"], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explain(&["--certificate", "spiffe://corp/intranet"]).contains("passes"));
    assert!(explain(&["--app", "intranet"]).contains("passes"));
    let said = explain(&["--certificate", "other.corp"]);
    assert!(said.contains("its certificates list none of other.corp"), "{said}");
    assert!(said.contains("to let it call, add a name of its certificate to certificates of app"), "{said}");
    assert!(explain(&[]).contains("no client certificate is shown"));
}

/// What certificates an app admits belongs to the TLS that asks for them, which waits for a restart.
#[test]
fn certificates_that_come_or_go_with_the_tls_wait_for_the_restart() {
    let reloaded = |gate: &Gate, listen: &str, more: &str, count| {
        write_file(&gate.program.folder, &gate.at, listen, more);
        gate.program.hang_up();
        until("it is taken over", || {
            gate.program.metric("boxgate_config_reloads_total{result=\"ok\"}") == count
        });
        gate.program
            .err
            .wait_for(&["takes effect only at a restart", "[[app]] certificates, with [listen] tls"]);
    };
    let one = "[[app]]\nname = \"intranet\"\ncertificates = [\"intranet.corp\"]\n";
    let none = "[[app]]\nname = \"intranet\"\n";
    // They go: the app is not open to every caller of the CA.
    let gate = Gate::start(TLS_WITH_CLIENT_CA, one);
    reloaded(&gate, "address = \"127.0.0.1:0\"", none, 1);
    let get =
        |names: &[&str]| Answer::read(named(&gate, names, "").send(gate.address(), "GET", ME, "")).status;
    assert_eq!((get(&["intranet.corp"]), get(&["other.corp"])), (200, 403));
    // They come: the app's callers, who cannot show one yet, are served.
    let (at, folder) = (FakeBox::start(), Folder::new());
    gate.authority.server().write(&folder);
    folder.write("callers-ca.crt", &gate.callers.pem);
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", none);
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.args(["run", "--no-watch"]);
    let program = Program::spawn(folder, run).ready();
    write_file(&program.folder, &at, TLS_WITH_CLIENT_CA, one);
    program.hang_up();
    until("it is taken over", || program.metric("boxgate_config_reloads_total{result=\"ok\"}") == 1);
    let address = program.callers.split(' ').next().unwrap().trim_start_matches("http://").to_owned();
    assert_eq!(client::request(&address, "GET", ME, "").status, 200);
}

/// A tunnel to another host than Box's is not judged again inside.
#[test]
fn a_tunnel_needs_an_app_that_admits_its_caller() {
    let apps = "[forward_proxy]\ntunnel = [\"127.0.0.1:9\"]\n\
        [[app]]\nname = \"keyed\"\nkey = \"the-key-of-the-app\"\n\
        [[app]]\nname = \"certified\"\npath = \"/c\"\ncertificates = [\"intranet.corp\"]\n";
    let gate = Gate::start(TLS_WITH_CLIENT_CA, apps);
    let ask = |names: &[&str]| {
        Answer::read(named(&gate, names, "").send(gate.address(), "CONNECT", "127.0.0.1:9", "")).status
    };
    assert_eq!(ask(&["other.corp"]), 403);
    // The host is listed, and cannot be reached.
    assert_eq!(ask(&["intranet.corp"]), 502);
}
