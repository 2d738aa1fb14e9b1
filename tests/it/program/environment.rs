//! `boxgate env` and `boxgate exec`, with curl and others as programs that have Box's hosts built in.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use boxgate::net::ca_chain::CaChain;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, date_time_ymd,
};

use super::certificates::Authority;
use super::fake_gateway::{Behaviour, Chain, FakeServer, gateway, refusal, tls};
use super::harness::{Folder, Program, command};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

/// `boxgate SUBCOMMAND --gateway URL`, for more arguments.
fn boxgate(folder: &Folder, subcommand: &str, gateway: &str) -> Command {
    let mut command = command(BOXGATE, folder);
    command.env("XDG_CACHE_HOME", folder.join("cache")).args([subcommand, "--gateway", gateway]);
    command
}

fn exec(folder: &Folder, gateway: &FakeServer) -> Command {
    boxgate(folder, "exec", &gateway.address.to_string())
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks for success, with this output and nothing on standard error.
fn says(mut command: Command, text: &str) {
    let output = command.output().unwrap();
    assert_eq!((out(&output).as_str(), err(&output).as_str()), (text, ""));
    assert_eq!(output.status.code(), Some(0));
}

/// Checks for exit status 2, with nothing on standard output and all of these words on standard error.
fn refused(mut command: Command, words: &[&str]) {
    let output = command.args(["--", "echo", "it ran"]).output().unwrap();
    assert_eq!((out(&output).as_str(), output.status.code()), ("", Some(2)), "{}", err(&output));
    for word in words {
        assert!(err(&output).contains(word), "{word} in {}", err(&output));
    }
}

/// A TLS host other than Box's, and a file with its CA.
fn other_host(folder: &Folder) -> (FakeServer, std::path::PathBuf) {
    let authority = Authority::new("another CA");
    let host = FakeServer::start(Behaviour {
        outer: Some(tls(&authority.server())),
        text: "other",
        ..Behaviour::default()
    });
    (host, folder.write("other-ca.pem", &authority.pem))
}

fn left_over(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("boxgate-exec")).collect()
}

#[test]
fn a_program_reaches_box_by_the_gateway_and_other_hosts_directly() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let (other, ca) = other_host(&folder);
    for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE"] {
        let script = format!(
            "curl -sS https://api.box.com/2.0/users/me https://dl.boxcloud.com/x https://localhost:{}/",
            other.address.port()
        );
        let mut command = exec(&folder, &gateway);
        command.env(variable, &ca).args(["--", "sh", "-c", &script]);
        says(command, "boxboxother");
    }
    let tunnels = gateway.tunnels();
    assert!(tunnels.iter().all(|head| !head.contains("localhost") && !head.contains("Proxy-Authorization")));
    assert!(gateway.heads().iter().any(|head| head.starts_with("GET /2.0/users/me ")));
    assert_eq!(left_over(&folder), Vec::<String>::new());
}

/// systemd speaks to boxgate, not to the command: it would wait for sockets that are not its own.
#[test]
fn the_command_gets_nothing_that_a_service_manager_tells_boxgate() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let mut command = exec(&folder, &gateway);
    for name in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
    {
        command.env(name, "1");
    }
    command.env("OTHER", "1");
    command.args(["--", "sh", "-c", "env | grep -E '^(NOTIFY|WATCHDOG|LISTEN|OTHER)'"]);
    says(command, "OTHER=1\n");
}

#[test]
fn python_reaches_box_and_other_hosts() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let (other, ca) = other_host(&folder);
    let script =
        "import sys, urllib.request as u\nfor url in sys.argv[1:]: print(u.urlopen(url).read().decode())";
    let mut command = exec(&folder, &gateway);
    command.env("SSL_CERT_FILE", &ca).args(["--", "python3", "-c", script, "https://api.box.com/"]);
    command.arg(format!("https://localhost:{}/", other.address.port()));
    says(command, "box\nother\n");
}

#[test]
fn javas_two_clients_reach_box_and_other_hosts() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let (other, ca) = other_host(&folder);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/ProxyClient.java");
    let other = format!("https://localhost:{}/", other.address.port());
    let urls = ["https://api.box.com/", &other];
    let want: String = ["box", "other"]
        .iter()
        .map(|text| format!("HttpURLConnection: {text}\nHttpClient: {text}\n"))
        .collect();
    let mut command = exec(&folder, &gateway);
    // Java has one list of direct hosts; one of Box's in it would bypass the gateway.
    command.env("SSL_CERT_FILE", &ca).env("NO_PROXY", "a.example,.box.com").args(["--", "java", source]);
    let output = command.args(urls).output().unwrap();
    assert_eq!(out(&output), want, "{}", err(&output));

    // An environment that was printed, twice as where a profile is read twice; and a command in it.
    let script = format!(
        "eval \"$({BOXGATE} env)\"; first=$JAVA_TOOL_OPTIONS; eval \"$({BOXGATE} env)\"; \
         test \"$first\" = \"$JAVA_TOOL_OPTIONS\" && java {source} https://api.box.com/ && \
         {BOXGATE} exec java {source} https://api.box.com/ {other}"
    );
    let mut command = super::harness::command("sh", &folder);
    command
        .env("SSL_CERT_FILE", &ca)
        .env("JAVA_TOOL_OPTIONS", "-Da=b")
        .env("XDG_CACHE_HOME", &*folder)
        .env("BOXGATE_GATEWAY", gateway.address.to_string());
    let output = command.args(["-c", &script]).output().unwrap();
    let first = want.lines().take(2).collect::<Vec<_>>().join("\n");
    assert_eq!(out(&output), format!("{first}\n{want}"), "{}", err(&output));
}

#[test]
fn other_hosts_go_by_the_proxy_that_was_set_before_and_box_does_not() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let authority = Authority::new("a CA behind the proxy");
    let params = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    let earlier = FakeServer::start(Behaviour {
        inner: Some(tls(&authority.sign(params))),
        text: "by the proxy",
        ..Behaviour::default()
    });
    let ca = folder.write("other-ca.pem", &authority.pem);
    let (direct, direct_ca) = other_host(&folder);
    let both = std::fs::read_to_string(&direct_ca).unwrap() + &authority.pem;
    std::fs::write(&ca, both).unwrap();
    let mut command = exec(&folder, &gateway);
    command
        .env("SSL_CERT_FILE", &ca)
        .env("HTTPS_PROXY", format!("http://me:pw@{}", earlier.address))
        .env("NO_PROXY", "localhost, .box.com, *")
        .args(["--", "curl", "-sS", "https://api.box.com/", "https://other.example/"])
        .arg(format!("https://localhost:{}/", direct.address.port()));
    // For other hosts, `*` means a direct connection.
    let output = command.output().unwrap();
    assert!(out(&output).starts_with("box"), "{}", err(&output));
    assert_eq!(earlier.tunnels(), Vec::<String>::new());

    command.env("NO_PROXY", "localhost, .box.com");
    says(command, "boxby the proxyother");
    let tunnels = earlier.tunnels();
    assert_eq!(tunnels.len(), 1, "{tunnels:?}");
    assert!(tunnels[0].starts_with("CONNECT other.example:443 "), "{tunnels:?}");
    assert!(tunnels[0].contains("Proxy-Authorization: Basic bWU6cHc="), "{tunnels:?}");
}

#[test]
fn the_exit_status_is_the_commands() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let file = folder.write("no-program", "");
    for (arguments, code) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["no-such-command"], 127),
        (&[file.to_str().unwrap()], 126),
    ] {
        let output = exec(&folder, &gateway).arg("--").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert_eq!(err(&output).is_empty(), !(126..128).contains(&code), "{}", err(&output));
        assert_eq!(left_over(&folder), Vec::<String>::new());
    }
}

#[test]
fn signals_are_forwarded_to_the_command() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    // In a session of its own there is no terminal that would have sent SIGINT to the command too.
    for signal in ["TERM", "USR1", "USR2", "INT"] {
        let script = format!(
            "trap 'echo got {signal}; kill $!; exit 5' {signal}; sleep 60 >/dev/null & echo ready; wait"
        );
        let mut command = command("setsid", &folder);
        // A shell runs its background jobs with SIGINT ignored, and it would stay ignored down to this command.
        command.args(["env", "--default-signal", BOXGATE, "exec", "--gateway", &gateway.address.to_string()]);
        command.args(["--", "sh", "-c", &script]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready", "{signal}");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(lines.next().unwrap().unwrap(), format!("got {signal}"));
        assert_eq!(child.wait().unwrap().code(), Some(5), "{signal}");
        assert_eq!(left_over(&folder), Vec::<String>::new());
    }
}

/// They are declined for the gateway's sake alone.
#[test]
#[cfg(target_os = "linux")]
fn the_command_may_have_huge_pages() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own: String = own.lines().filter(|line| line.starts_with("THP_enabled")).collect();
    let mut command = exec(&folder, &gateway);
    command.args(["--", "sh", "-c", "grep THP_enabled /proc/self/status | tr -d '\\n'"]);
    says(command, &own);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let script = format!(
        "trap '' HUP; exec {BOXGATE} exec --gateway {} -- sh -c 'kill -HUP $$; echo alive'",
        gateway.address
    );
    let mut command = command("sh", &folder);
    command.args(["-c", &script]);
    says(command, "alive\n");
}

#[test]
fn a_key_is_sent_only_to_the_gateway() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let key = folder.write("key", "k-e-y\n");
    let script = "curl -sS https://api.box.com/; env; tr '\\0' ' ' </proc/$PPID/cmdline; \
         curl -s -x \"http://${HTTPS_PROXY#*@}\" https://api.box.com/ || echo no way in for others";
    for from_file in [true, false] {
        let mut command = exec(&folder, &gateway);
        command.args(["--app", "hr"]);
        match from_file {
            true => command.arg("--key-file").arg(&key),
            false => command.env("BOXGATE_KEY", "k-e-y"),
        };
        let output = command.args(["--", "sh", "-c", script]).output().unwrap();
        let said = out(&output);
        assert!(
            said.starts_with("box") && said.ends_with("no way in for others\n"),
            "{said} {}",
            err(&output)
        );
        assert!(!said.contains("k-e-y") && !said.contains("aHI6ay1lLXk="), "{said}");
    }
    let tunnels = gateway.tunnels();
    // Each time one request for the check and one for curl.
    assert_eq!(tunnels.len(), 4, "{tunnels:?}");
    assert!(
        tunnels.iter().all(|head| head.contains("Proxy-Authorization: Basic aHI6ay1lLXk=")),
        "{tunnels:?}"
    );
}

#[test]
fn a_shell_that_evaluates_the_environment_reaches_box() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let (_other, ca) = other_host(&folder);
    // Evaluated twice, since a profile may be read twice.
    let script = format!(
        "eval \"$({BOXGATE} env 2>/dev/null)\" && first=$SSL_CERT_FILE && eval \"$({BOXGATE} env)\" && \
         test \"$first\" = \"$SSL_CERT_FILE\" && test \"$NO_PROXY\" = a.example && curl -sS https://api.box.com/"
    );
    let mut command = command("sh", &folder);
    command
        .env("BOXGATE_GATEWAY", gateway.address.to_string())
        .env("XDG_CACHE_HOME", folder.join("it's a cache"))
        .env("SSL_CERT_FILE", &ca)
        .env("NO_PROXY", "*,a.example")
        .args(["-c", &script]);
    let output = command.output().unwrap();
    assert_eq!(out(&output), "box", "{}", err(&output));
    for words in
        ["eval \"$(boxgate env)\"", "refuses all other hosts", "boxgate exec", "[forward_proxy] tunnel"]
    {
        assert!(err(&output).contains(words), "{}", err(&output));
    }
    let files = folder.join("it's a cache/boxgate");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files), 0o700);
    for file in std::fs::read_dir(&files).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let fingerprint = fingerprint(&chain);
        assert!(name.starts_with(&fingerprint[..16]), "{name}");
        assert_eq!(mode(&path), 0o600, "{name}");
    }
}

fn fingerprint(chain: &Chain) -> String {
    CaChain::parse(chain.pem.as_bytes(), jiff::Timestamp::now()).unwrap().fingerprint()
}

#[test]
fn a_printed_environment_has_a_key_only_where_one_was_given_and_says_so() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let url = gateway.address.to_string();
    let output = boxgate(&folder, "env", &url).output().unwrap();
    assert!(out(&output).contains(&format!("export HTTPS_PROXY='http://{url}'\n")), "{}", out(&output));
    assert!(out(&output).contains("export JAVA_TOOL_OPTIONS="), "{}", out(&output));
    assert!(!err(&output).contains("secret"), "{}", err(&output));

    let mut command = boxgate(&folder, "env", &url);
    command.args(["--app", "h r", "--shell", "dotenv"]).env("BOXGATE_KEY", "k/");
    let output = command.output().unwrap();
    assert!(out(&output).contains(&format!("\nhttps_proxy=http://h%20r:k%2F@{url}\n")), "{}", out(&output));
    assert!(!out(&output).contains("JAVA_TOOL_OPTIONS"), "{}", out(&output));
    assert!(
        err(&output).contains("keep the output secret") && err(&output).contains("Java"),
        "{}",
        err(&output)
    );
    assert!(gateway.tunnels()[1].contains("Proxy-Authorization: Basic aCByOmsv"), "{:?}", gateway.tunnels());
}

#[test]
fn a_gateway_behind_tls_is_reached_where_the_platform_trusts_it() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let authority = Authority::new("a CA for gateways");
    let gateway = FakeServer::start(Behaviour { outer: Some(tls(&authority.server())), ..gateway(&chain) });
    let url = format!("https://localhost:{}", gateway.address.port());
    let ca = folder.write("gateway-ca.pem", &authority.pem);
    let mut command = boxgate(&folder, "exec", &url);
    command.env("SSL_CERT_FILE", &ca).args(["--", "curl", "-sS", "https://api.box.com/"]);
    says(command, "box");

    let (_, another) = other_host(&folder);
    let mut command = boxgate(&folder, "exec", &url);
    command.env("SSL_CERT_FILE", another);
    refused(command, &["cannot reach the gateway at https://localhost:", "certificate"]);
}

#[test]
fn a_gateway_whose_certificate_the_platform_trusts_needs_no_ca() {
    let folder = Folder::new();
    let authority = Authority::new("a company's CA");
    let params = CertificateParams::new(vec!["api.box.com".to_owned()]).unwrap();
    let gateway = FakeServer::start(Behaviour {
        inner: Some(tls(&authority.sign(params))),
        text: "box",
        ..Behaviour::default()
    });
    let ca = folder.write("company-ca.pem", &authority.pem);
    let mut command = exec(&folder, &gateway);
    let script = "curl -sS https://api.box.com/; echo \" $SSL_CERT_FILE\"";
    command.env("SSL_CERT_FILE", &ca).args(["--", "sh", "-c", script]);
    says(command, &format!("box {}\n", ca.display()));

    let mut command = exec(&folder, &gateway);
    command.env("SSL_CERT_FILE", &ca).args(["--ca-fingerprint", &"0".repeat(64)]);
    refused(command, &["no CA of its own", "--ca-fingerprint"]);
    let (_, another) = other_host(&folder);
    let mut command = exec(&folder, &gateway);
    command.env("SSL_CERT_FILE", another);
    refused(
        command,
        &["no CA of its own", "does not trust its certificate for api.box.com", "SSL_CERT_FILE"],
    );
}

#[test]
fn a_ca_that_could_sign_more_than_box_is_refused() {
    let folder = Folder::new();
    type Change = fn(&mut CertificateParams, &mut CertificateParams);
    let kinds: [(Change, &str); 6] = [
        (|root, _| root.name_constraints = None, "no name constraints"),
        (|_, intermediate| intermediate.name_constraints = None, "no name constraints"),
        (
            |root, _| {
                let constraints = root.name_constraints.as_mut().unwrap();
                constraints.permitted_subtrees.push(GeneralSubtree::DnsName("example.com".to_owned()));
            },
            "example.com",
        ),
        (|_, intermediate| intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)), "path length"),
        (
            |_, intermediate| intermediate.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning),
            "serverAuth",
        ),
        (|root, _| root.not_after = date_time_ymd(2020, 1, 1), "has expired"),
    ];
    for (change, word) in kinds {
        let gateway = FakeServer::gateway(&Chain::with(change));
        refused(exec(&folder, &gateway), &["is not trusted", "a test's ", word]);
        assert_eq!(gateway.tunnels(), Vec::<String>::new(), "{word}");
        let output = boxgate(&folder, "env", &gateway.address.to_string()).output().unwrap();
        assert_eq!((out(&output).as_str(), output.status.code()), ("", Some(2)));
    }
    let page = Behaviour { ca: Some("<html>".to_owned()), ..Behaviour::default() };
    refused(exec(&folder, &FakeServer::start(page)), &["is not trusted", "no certificate"]);
    let other = Behaviour { ca: Some(Chain::new().pem), ..gateway(&Chain::new()) };
    refused(exec(&folder, &FakeServer::start(other)), &["does not come from its CA"]);
}

#[test]
fn a_fingerprint_must_be_the_roots() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let digits = fingerprint(&chain);
    let colons: Vec<String> = digits
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    let mut command = exec(&folder, &gateway);
    command.args(["--ca-fingerprint", &colons.join(":"), "--", "curl", "-sS", "https://api.box.com/"]);
    says(command, "box");
    for (wrong, word) in [("0".repeat(64), digits.as_str()), ("abc".to_owned(), "64 hexadecimal digits")] {
        let mut command = exec(&folder, &gateway);
        command.args(["--ca-fingerprint", &wrong]);
        refused(command, &["is not trusted", word]);
    }
    assert_eq!(chain.root.pem(), chain.pem[..chain.root.pem().len()]);
}

#[test]
fn a_gateway_that_cannot_be_used_is_named_with_what_to_do() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = format!("cannot reach the gateway at http://{gone}");
    let down = boxgate(&folder, "exec", &gone.to_string());
    refused(down, &[&words, "refused", "is it running?", "--gateway URL"]);

    let answering =
        |refusal: Option<String>| FakeServer::start(Behaviour { ca: None, refusal, ..gateway(&chain) });
    let without = answering(refusal("405 Method Not Allowed", "CONNECT is not allowed"));
    refused(exec(&folder, &without), &["has no forward proxy", "[forward_proxy]", "its configuration"]);

    let asking = answering(refusal("407 Proxy Authentication Required", "which app?"));
    refused(exec(&folder, &asking), &["which app?", "--app", "BOXGATE_KEY", "--key-file"]);
    let mut command = exec(&folder, &asking);
    command.args(["--app", "hr"]).env("BOXGATE_KEY", "k-e-y");
    let words = ["\"hr\"", "which app?"];
    refused(command, &words);

    let closed = answering(refusal("403 Forbidden", "this network may not call"));
    refused(exec(&folder, &closed), &["403", "this network may not call"]);

    refused(boxgate(&folder, "exec", "unix:/run/boxgate.sock"), &["Unix socket", "HOST:PORT"]);
    let mut command = exec(&folder, &without);
    command.env("BOXGATE_KEY", "k-e-y");
    refused(command, &["--app"]);
    let usage = command_without_arguments(&folder);
    assert_eq!(usage.status.code(), Some(2), "{}", err(&usage));
}

fn command_without_arguments(folder: &Folder) -> Output {
    command(BOXGATE, folder).arg("exec").output().unwrap()
}

#[test]
fn against_a_sandbox_a_file_keeps_its_hash_through_the_tunnel() {
    let folder = Folder::new();
    let mut sandbox = command(BOXGATE, &folder);
    sandbox.args(["sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
    let sandbox = Program::spawn(folder, sandbox).ready();
    let folder = Folder::new();
    let bytes: Vec<u8> =
        (0..20_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.join("file"), &bytes).unwrap();
    let script = r#"set -e
        curl -sS --fail -F 'attributes={"name":"file","parent":{"id":"0"}}' -F file=@file \
            -o made https://upload.box.com/api/2.0/files/content
        id=$(python3 -c 'import json; print(json.load(open("made"))["entries"][0]["id"])')
        curl -sS --fail -L -o back "https://api.box.com/2.0/files/$id/content"
        cmp file back && echo same"#;
    let mut exec = boxgate(&folder, "exec", &sandbox.callers);
    exec.args(["--", "sh", "-c", script]);
    says(exec, "same\n");
    let mut env = command("sh", &folder);
    let script = format!("eval \"$({BOXGATE} env)\" && curl -sS --fail https://api.box.com/2.0/users/me");
    env.env("XDG_CACHE_HOME", &*folder).env("BOXGATE_GATEWAY", &sandbox.callers).args(["-c", &script]);
    let output = env.output().unwrap();
    assert!(out(&output).contains("\"login\""), "{}", err(&output));
    // As `env` says on standard error, the gateway refuses other hosts.
    let mut env = command("sh", &folder);
    let script = format!("eval \"$({BOXGATE} env)\" && curl -sv https://example.com/");
    env.env("XDG_CACHE_HOME", &*folder).env("BOXGATE_GATEWAY", &sandbox.callers).args(["-c", &script]);
    let output = env.output().unwrap();
    assert!(err(&output).contains("HTTP/1.1 403"), "{}", err(&output));
}

#[test]
fn the_message_of_a_refusal_reaches_the_program() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = exec(&folder, &gateway);
    let output = command.args(["--", "curl", "-sv", &format!("https://{other}/")]).output().unwrap();
    assert_eq!(output.status.code(), Some(56), "{}", err(&output));
    assert!(
        err(&output).contains(&format!("502 Bad Gateway: cannot connect to {other}: ")),
        "{}",
        err(&output)
    );
}

/// Any user of the machine can connect to loopback, so a proxy that needs a password must not be usable without one.
#[test]
fn a_proxy_with_a_password_is_not_lent_to_others() {
    let folder = Folder::new();
    let gateway = FakeServer::gateway(&Chain::new());
    for (earlier, asks) in [("http://user:secret@127.0.0.1:9", true), ("http://127.0.0.1:9", false)] {
        let mut command = exec(&folder, &gateway);
        let script = "curl --silent --proxy \"http://${HTTPS_PROXY##*@}\" --proxytunnel https://other.example/ -o /dev/null -w '%{http_connect}'";
        command.env("HTTPS_PROXY", earlier).args(["--", "sh", "-c"]);
        command.arg(script.replace("##*@", if asks { "##*@" } else { "##http://" }));
        let status = out(&command.output().unwrap());
        assert_eq!(status == "407", asks, "{earlier} {status}");
    }
}

#[test]
fn box_is_removed_from_a_list_of_direct_hosts_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let gateway = FakeServer::gateway(&Chain::new());
    let mut command = exec(&folder, &gateway);
    command.env("NO_PROXY", std::ffi::OsStr::from_bytes(b"a\xff.example,api.box.com"));
    let output = command.args(["--", "printenv", "NO_PROXY"]).output().unwrap();
    assert!(!out(&output).contains("box.com") && out(&output).contains(".example"), "{output:?}");
}
