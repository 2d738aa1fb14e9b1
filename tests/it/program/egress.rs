//! Squid between the gateway and Box, as companies have it: with a password, and on request with a certificate authority of
//! its own, with which it reads what passes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::harness::{FakeBox, Folder, Program, command, until, write_file};
use crate::harness::free_port;

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const ME: &str = "/2.0/users/me";
const PASSWORD: &str = "correct-horse";
/// `openssl passwd -apr1 -salt boxgate1 correct-horse`, for the user `gate`.
const USERS: &str = "gate:$apr1$boxgate1$bEBBl0m5nknCgudknALwM.\n";
const AUTHORITY: &str = "Corp Inspection CA";

/// A running Squid, ended when dropped.
struct Squid {
    child: Child,
    port: u16,
    folder: Folder,
    /// The certificate of its authority.
    ca: String,
}

impl Squid {
    /// Tunnels, or TLS that ends here if it inspects.
    fn start(at: &FakeBox, inspects: bool) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let (ca, key) = authority();
        folder.write("authority.pem", &format!("{ca}{key}"));
        folder.write("box.pem", at.ca_pem());
        folder.write("users", USERS);
        // Run by root, Squid changes to a user of its own.
        fs::set_permissions(&*folder, Permissions::from_mode(0o777)).unwrap();
        let here = folder.display();
        let made = Command::new("/usr/lib/squid/security_file_certgen")
            .args(["-c", "-s", &format!("{here}/certificates"), "-M", "4MB"])
            .stdout(Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("squid-openssl: {error}; tests/run installs it"));
        assert!(made.success());
        let opened = Command::new("chmod").args(["-R", "a+rwX"]).arg(folder.join("certificates")).status();
        assert!(opened.unwrap().success());
        let bump = if inspects { "bump" } else { "splice" };
        let file = folder.write(
            "squid.conf",
            &format!(
                "http_port 127.0.0.1:{port} ssl-bump tls-cert={here}/authority.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
                 sslcrtd_program /usr/lib/squid/security_file_certgen -s {here}/certificates -M 4MB\n\
                 sslcrtd_children 1 startup=1\n\
                 tls_outgoing_options cafile={here}/box.pem\n\
                 ssl_bump {bump} all\n\
                 auth_param basic program /usr/lib/squid/basic_ncsa_auth {here}/users\n\
                 auth_param basic children 1 startup=1\n\
                 acl known proxy_auth REQUIRED\n\
                 http_access allow known\n\
                 http_access deny all\n\
                 cache deny all\n\
                 pid_filename none\n\
                 pinger_enable off\n\
                 coredump_dir none\n\
                 shutdown_lifetime 0 seconds\n\
                 cache_log {here}/cache.log\n\
                 access_log stdio:{here}/access.log\n\
                 buffered_logs off\n"
            ),
        );
        // Its shared memory is named after the service.
        let mut command = command("squid", &folder);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.args(["-N", "-n", &format!("boxgate{port}"), "-f"]).arg(file);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut squid = Self { child, port, folder, ca };
        until("squid listens", || {
            let ended = squid.child.try_wait().unwrap();
            assert!(ended.is_none(), "squid: {ended:?}\n{}", squid.text("cache.log"));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        squid
    }

    fn url(&self, password: &str) -> String {
        format!("http://gate:{password}@127.0.0.1:{}", self.port)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// Waits for a line of its access log with all of these parts.
    fn wait_for(&self, parts: &[&str]) {
        until("squid's line", || {
            self.text("access.log").lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    }
}

impl Drop for Squid {
    #[allow(clippy::print_stderr, reason = "the log of a program whose test has failed")]
    fn drop(&mut self) {
        // At a kill its shared memory would stay.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("squid's log:\n{}\n{}", self.text("cache.log"), self.text("access.log"));
        }
    }
}

/// A certificate authority that Squid signs with, and its key.
fn authority() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A folder with a configuration that leaves the way to Box to `proxy`.
fn folder_for(at: &FakeBox, proxy: &str) -> Folder {
    let folder = Folder::new();
    let file = write_file(&folder, at, "address = \"127.0.0.1:0\"", "");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("proxy = \"none\"", &format!("proxy = {proxy:?}"))).unwrap();
    fs::set_permissions(folder.join("secret"), Permissions::from_mode(0o600)).unwrap();
    folder
}

fn check(folder: &Folder, environment: &[(&str, &str)]) -> Output {
    let mut command = command(BOXGATE, folder);
    command.arg("check").envs(environment.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn gateway(folder: Folder, environment: &[(&str, &str)]) -> Program {
    let mut command = command(BOXGATE, &folder);
    command.envs(environment.iter().copied());
    Program::spawn(folder, command)
}

fn authority_of(url: &str) -> &str {
    url.trim_start_matches("https://")
}

#[test]
fn a_proxy_with_a_password_in_the_file_leads_to_box() {
    let at = FakeBox::start();
    let squid = Squid::start(&at, false);
    let folder = folder_for(&at, &squid.url(PASSWORD));
    let said = check(&folder, &[]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said));
    assert!(text(&said).contains(&format!("through the proxy 127.0.0.1:{}", squid.port)), "{}", text(&said));
    let program = gateway(folder, &[]).ready();
    assert_eq!(program.get(ME).status, 200);
    // Tokens and calls alike; a line is written when a tunnel ends.
    drop(program);
    squid.wait_for(&["CONNECT", authority_of(&at.api_url()), " gate "]);
    assert!(!text(&said).contains(PASSWORD));
}

#[test]
fn a_proxy_of_the_environment_leads_to_box_and_no_proxy_leaves_hosts_out() {
    let at = FakeBox::start();
    let squid = Squid::start(&at, false);
    let proxy = squid.url(PASSWORD);
    let program = gateway(folder_for(&at, "environment"), &[("HTTPS_PROXY", &proxy)]).ready();
    assert_eq!(program.get(ME).status, 200);
    drop(program);
    squid.wait_for(&["CONNECT", authority_of(&at.api_url()), " gate "]);

    // Nobody listens at this proxy, so whoever gets an answer has not asked it.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let without = [("HTTPS_PROXY", nobody.as_str()), ("NO_PROXY", "localhost")];
    let program = gateway(folder_for(&at, "environment"), &without).ready();
    assert_eq!(program.get(ME).status, 200);
}

#[test]
fn a_refused_password_is_said_with_the_key_to_set() {
    let at = FakeBox::start();
    let squid = Squid::start(&at, false);
    let proxy = squid.url("wrong-horse");
    let folder = folder_for(&at, &proxy);
    let said = check(&folder, &[]);
    let words = text(&said);
    assert_eq!(said.status.code(), Some(1), "{words}");
    for part in
        ["proxy authorization required", "[upstream] proxy or HTTPS_PROXY", "user and password must be right"]
    {
        assert!(words.contains(part), "{part} in {words}");
    }
    let program = gateway(folder, &[]);
    let line = program.err.wait_for(&["token", "proxy authorization required"]);
    assert!(line.contains(&format!("127.0.0.1:{}", squid.port)), "{line}");
    let refused = program.get(ME);
    assert!(refused.status == 503 && refused.body.contains("token_unavailable"), "{refused:?}");
    for said in [words, refused.body, program.err.text()] {
        assert!(!said.contains("wrong-horse"), "{said}");
    }
}

#[test]
fn a_proxy_that_inspects_tls_is_named_until_its_authority_is_trusted() {
    let at = FakeBox::start();
    let squid = Squid::start(&at, true);
    let folder = folder_for(&at, &squid.url(PASSWORD));
    let said = check(&folder, &[]);
    let words = text(&said);
    assert_eq!(said.status.code(), Some(1), "{words}");
    let issuer = format!("certificate not trusted: issued by {AUTHORITY:?}");
    for part in [issuer.as_str(), "[box] ca_file"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    let program = gateway(folder, &[]);
    let line = program.err.wait_for(&["token", "ca_file"]);
    assert!(line.contains("intercepts TLS"), "{line}");
    drop(program);

    // In the file …
    let folder = folder_for(&at, &squid.url(PASSWORD));
    folder.write("ca.pem", &squid.ca);
    trusted(folder, &[], &squid);
    // … or in that which the system's programs read.
    let folder = folder_for(&at, &squid.url(PASSWORD));
    let system = folder.write("system.pem", &squid.ca);
    trusted(folder, &[("SSL_CERT_FILE", system.to_str().unwrap())], &squid);
}

fn trusted(folder: Folder, environment: &[(&str, &str)], squid: &Squid) {
    let said = check(&folder, environment);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said));
    let lines = squid.text("access.log").lines().filter(|line| line.contains(ME)).count();
    let program = gateway(folder, environment).ready();
    assert_eq!(program.get(ME).status, 200);
    // It reads what passes.
    until("squid's line", || {
        squid.text("access.log").lines().filter(|line| line.contains(ME)).count() > lines
    });
}
