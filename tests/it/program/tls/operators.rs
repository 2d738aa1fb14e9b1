//! TLS and the key of the admin listener, and the commands that ask it.

use std::process::Output;

use super::*;
use crate::harness::free_port;

const KEY: &str = "canary-key-of-the-admin-listener";
const NEXT: &str = "canary-key-after-a-rotation";
const TLS_KEYS: &str = "tls = { cert = \"tls.crt\", key = \"tls.key\" }";
const WITH_CLIENT_CA: &str =
    "tls = { cert = \"tls.crt\", key = \"tls.key\", client_ca = \"operators-ca.crt\" }";

/// A gateway with these keys under `[admin]`, and the authorities of its certificate and of operators.
struct Admin {
    _at: FakeBox,
    authority: Authority,
    operators: Authority,
    program: Program,
    port: u16,
}

impl Admin {
    fn start(keys: &str) -> Self {
        let (at, folder, port) = (FakeBox::start(), Folder::new(), free_port());
        let (authority, operators) = (Authority::new("Servers"), Authority::new("Operators"));
        authority.server().write(&folder);
        folder.write("operators-ca.crt", &operators.pem);
        folder.write("ca-of-servers.crt", &authority.pem);
        folder.write("admin.key", KEY);
        let text = at.tables(&folder);
        let admin = format!("[admin]\naddress = \"127.0.0.1:{port}\"\n{keys}");
        folder.write(
            "proxy.toml",
            &format!("{text}\n[listen]\naddress = \"127.0.0.1:0\"\n\n{admin}\n\n{DEBUG}"),
        );
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        run.args(["run", "--no-watch"]);
        let program = Program::spawn(folder, run);
        Self { _at: at, authority, operators, program, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn ask(&self, caller: &Caller, method: &str, path: &str, fields: &str) -> Answer {
        Answer::read(caller.send(&self.address(), method, path, fields))
    }

    fn trusting(&self) -> Caller {
        Caller::trusting(&self.authority.pem)
    }

    fn until_ready(&self, caller: &Caller) {
        until("ready", || self.ask(caller, "GET", "/readyz", "").status == 200);
    }

    /// Runs a command in the folder of the configuration.
    fn boxgate(&self, arguments: &[&str]) -> Output {
        boxgate(&self.program.folder, arguments)
    }

    /// Runs a command somewhere else, with these variables.
    fn elsewhere(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let folder = Folder::new();
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        run.args(arguments).envs(variables.iter().copied()).output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Expects exit status 2 and all of these texts on standard error.
fn fails(output: &Output, words: &[&str]) {
    assert_eq!((out(output).as_str(), output.status.code()), ("", Some(2)), "{}", err(output));
    for word in words {
        assert!(err(output).contains(word), "{word} in {}", err(output));
    }
}

fn key(key: &str) -> String {
    format!("X-Boxgate-Key: {key}\r\n")
}

#[test]
fn the_admin_listener_speaks_tls_alone() {
    let admin = Admin::start(TLS_KEYS);
    assert_eq!(admin.program.operators, format!("https://{}", admin.address()));
    let caller = admin.trusting();
    admin.until_ready(&caller);
    let plain = client::request(&admin.address(), "GET", "/healthz", "");
    assert!(plain.status == 400 && plain.body.contains("https://"), "{}", plain.body);
    // A browser that could speak HTTP/2 is told to speak HTTP/1.1.
    let browser = Caller { alpn: &[b"h2", b"http/1.1"], ..caller.clone() };
    let page = admin.ask(&browser, "GET", "/status.json", "");
    assert_eq!(page.status, 200, "{}", page.body);
    let own = |scheme: &str| format!("Host: {0}\r\nOrigin: {scheme}://{0}\r\n", admin.address());
    assert_eq!(admin.ask(&caller, "POST", "/reload", &own("https")).status, 200);
    assert_eq!(admin.ask(&caller, "POST", "/reload", &own("http")).status, 403);
    let metrics = admin.ask(&caller, "GET", "/metrics", "").body;
    let ends = "boxgate_certificate_not_after_timestamp_seconds{key=\"[admin] tls\"} ";
    assert!(metrics.contains(ends), "{metrics}");
}

#[test]
fn a_replaced_certificate_is_shown_after_a_reload() {
    let admin = Admin::start(TLS_KEYS);
    admin.until_ready(&admin.trusting());
    let next = Authority::new("Next");
    next.server().write(&admin.program.folder);
    admin.program.hang_up();
    admin.program.err.wait_for(&["SIGHUP: the configuration was taken over"]);
    assert_eq!(admin.ask(&Caller::trusting(&next.pem), "GET", "/healthz", "").status, 200);
}

#[test]
fn with_a_client_ca_every_path_asks_for_a_certificate() {
    let admin = Admin::start(WITH_CLIENT_CA);
    let operator = admin.trusting().of(&admin.operators);
    admin.until_ready(&operator);
    for path in ["/healthz", "/metrics", "/status.json"] {
        let without = admin.ask(&admin.trusting(), "GET", path, "");
        assert_eq!(without.status, 403, "{path}");
        assert!(
            without.body.contains("caller_not_allowed") && without.body.contains("client_ca"),
            "{}",
            without.body
        );
        assert_eq!(admin.ask(&operator, "GET", path, "").status, 200, "{path}");
    }
    // A connection that was admitted before a reload with another CA is judged anew.
    let mut kept = connect(&admin.address(), operator.config());
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let others = Authority::new("Others");
    admin.program.folder.write("operators-ca.crt", &others.pem);
    admin.program.hang_up();
    admin.program.err.wait_for(&["SIGHUP: the configuration was taken over"]);
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    let _ = kept.read_to_string(&mut rest);
    assert!(rest.contains("HTTP/1.1 403 "), "{rest}");
    assert_eq!(admin.ask(&admin.trusting().of(&others), "GET", "/healthz", "").status, 200);
}

#[test]
fn a_reload_takes_another_key_over() {
    let admin = Admin::start("key = { file = \"admin.key\" }");
    let with = |text: &str| client::request(&admin.address(), "GET", "/status.json", &key(text)).status;
    assert_eq!((with(KEY), with(NEXT)), (200, 401));
    admin.program.folder.write("admin.key", NEXT);
    admin.program.hang_up();
    admin.program.err.wait_for(&["SIGHUP: the configuration was taken over"]);
    assert_eq!((with(KEY), with(NEXT)), (401, 200));
    assert!(admin.program.err.text().contains("has a wrong key"), "{}", admin.program.err.text());
    for text in [KEY, NEXT] {
        assert!(!admin.program.err.text().contains(text) && !admin.program.out.text().contains(text));
    }
}

#[test]
fn on_the_gateways_machine_the_commands_need_only_the_configuration() {
    let admin = Admin::start(&format!("{TLS_KEYS}\nkey = {{ file = \"admin.key\" }}"));
    until("ready", || admin.boxgate(&["health", "--ready"]).status.success());
    for (arguments, words) in [
        (&["status"][..], "READY"),
        (&["usage"], ""),
        (&["reload"], "the configuration was taken over"),
        (&["health"], "alive"),
    ] {
        let output = admin.boxgate(arguments);
        assert!(output.status.success() && out(&output).contains(words), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).contains("plain HTTP"), "{}", err(&output));
    }
    // A certificate that is replaced on the disk, and that the gateway does not have yet.
    Authority::new("Next").server().write(&admin.program.folder);
    fails(&admin.boxgate(&["status"]), &["its certificate is neither", "--ca-file"]);
}

/// By the variable that `run` takes its address from, in a container for example.
#[test]
fn an_address_of_the_environment_has_the_tls_and_the_key_of_the_file() {
    let admin = Admin::start(&format!("{TLS_KEYS}\nkey = {{ file = \"admin.key\" }}"));
    admin.until_ready(&admin.trusting());
    let asked = |address: &str, arguments: &[&str]| {
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &admin.program.folder);
        run.args(arguments).env("BOXGATE_ADMIN", address).output().unwrap()
    };
    let port = admin.port;
    for address in [format!("0.0.0.0:{port}"), format!("localhost:{port}"), admin.address()] {
        for (arguments, words) in [
            (&["health"][..], "alive"),
            (&["health", "--ready"], "ready"),
            (&["status"], "READY"),
            (&["reload"], "the configuration was taken over"),
        ] {
            let output = asked(&address, arguments);
            assert!(
                output.status.success() && out(&output).contains(words),
                "{address} {arguments:?}: {}",
                err(&output)
            );
        }
    }
    // A URL says itself how the listener is reached, and no key is sent there that was not named for it.
    let url = format!("http://{}", admin.address());
    fails(&asked(&url, &["status"]), &["it uses TLS, so the URL must begin with https://"]);
    let file = admin.program.folder.join("ca-of-servers.crt");
    let url = format!("https://{}", admin.address());
    fails(&asked(&url, &["status", "--ca-file", file.to_str().unwrap()]), &["asks for a key"]);
}

#[test]
fn elsewhere_the_commands_are_told_key_and_authority() {
    let admin = Admin::start(&format!("{TLS_KEYS}\nkey = {{ file = \"admin.key\" }}"));
    admin.until_ready(&admin.trusting());
    let url = format!("https://localhost:{}", admin.port);
    let file = |name: &str| admin.program.folder.join(name).to_str().unwrap().to_owned();
    let (ca, own, keys) = (file("ca-of-servers.crt"), file("tls.crt"), file("admin.key"));
    let ask = |more: &[&str], variables: &[(&str, &str)]| {
        admin.elsewhere(&[&["status", "--admin", &url], more].concat(), variables)
    };
    for trusted in [&ca, &own] {
        let told = ask(&["--ca-file", trusted, "--key-file", &keys], &[]);
        assert_eq!(told.status.code(), Some(0), "{}", err(&told));
    }
    let by_variables = ask(&[], &[("BOXGATE_ADMIN_CA", &ca), ("BOXGATE_ADMIN_KEY", KEY)]);
    assert_eq!(by_variables.status.code(), Some(0), "{}", err(&by_variables));
    let probe = admin.elsewhere(&["health", "--admin", &url, "--ca-file", &ca], &[]);
    assert_eq!(out(&probe), "alive\n", "{}", err(&probe));

    fails(&ask(&["--key-file", &keys], &[]), &["no authority that this machine trusts", "--ca-file"]);
    fails(&ask(&["--ca-file", &ca], &[]), &["asks for a key", "--key-file", "BOXGATE_ADMIN_KEY"]);
    let wrong = ask(&["--ca-file", &ca], &[("BOXGATE_ADMIN_KEY", NEXT)]);
    fails(&wrong, &["refuses the key of BOXGATE_ADMIN_KEY"]);
    let both = ask(&["--key-file", &keys], &[("BOXGATE_ADMIN_KEY", NEXT)]);
    fails(&both, &["leave one out"]);
    fails(&ask(&["--ca-file", "/no/such/file"], &[]), &["--ca-file: /no/such/file cannot be read"]);
    let plain = admin.elsewhere(&["status", "--admin", &admin.address()], &[]);
    fails(&plain, &["it uses TLS, so the URL must begin with https://"]);
    for output in [wrong, both] {
        assert!(!err(&output).contains(NEXT) && !err(&output).contains(KEY), "{}", err(&output));
    }
}

#[test]
fn a_key_that_cannot_be_read_is_named_when_it_is_asked_for() {
    let admin = Admin::start("key = { file = \"admin.key\" }");
    std::fs::remove_file(admin.program.folder.join("admin.key")).unwrap();
    fails(&admin.boxgate(&["status"]), &["asks for a key", "cannot be read", "admin.key"]);
    let named =
        admin.elsewhere(&["status", "--json", "--admin", &admin.address()], &[("BOXGATE_ADMIN_KEY", KEY)]);
    assert!(out(&named).contains("\"identities\""), "{}", err(&named));
}
