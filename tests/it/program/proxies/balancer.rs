//! nginx, Caddy, HAProxy and Envoy as processes, each with a file of `deploy/proxies`.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::program::harness::{Folder, command, until};

/// A shipped file and the program that reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shipped {
    pub(super) file: &'static str,
    program: &'static str,
    /// What is not so in a test: text of the file, and what takes its place, where `FOLDER` is the test's.
    changes: &'static [(&'static str, &'static str)],
}

/// nginx keeps files of its own below /var, which a test leaves alone.
const NGINX_PATHS: &str = "http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;";
/// Users of the programs cannot be changed to by a test that is not run by root.
const HAPROXY_USER: (&str, &str) = ("    user haproxy\n    group haproxy\n", "");
const NGINX_USER: (&str, &str) = ("user www-data;\n", "");

pub(super) const NGINX: Shipped = Shipped {
    file: "nginx.conf",
    program: "nginx",
    changes: &[
        NGINX_USER,
        ("http {", NGINX_PATHS),
        ("listen 443 ", "listen 127.0.0.1:BALANCER "),
        ("/etc/nginx/tls/", "FOLDER/"),
    ],
};
pub(super) const CADDY: Shipped = Shipped {
    file: "Caddyfile",
    program: "caddy",
    changes: &[
        ("admin unix//run/caddy/admin.sock", "admin off"),
        ("boxgate.example.com:443 {", "boxgate.example.com:BALANCER {\n\tbind 127.0.0.1"),
        ("/etc/caddy/tls/", "FOLDER/"),
    ],
};
pub(super) const HAPROXY: Shipped = Shipped {
    file: "haproxy.cfg",
    program: "haproxy",
    changes: &[HAPROXY_USER, ("bind :443", "bind 127.0.0.1:BALANCER"), ("/etc/haproxy/tls/", "FOLDER/")],
};
pub(super) const ENVOY: Shipped = Shipped {
    file: "envoy.yaml",
    program: "envoy",
    changes: &[
        ("address: 0.0.0.0, port_value: 443", "address: 127.0.0.1, port_value: BALANCER"),
        ("/etc/envoy/tls/", "FOLDER/"),
    ],
};
pub(super) const NGINX_TCP: Shipped = Shipped {
    file: "nginx-tcp.conf",
    program: "nginx",
    changes: &[NGINX_USER, ("listen 443;", "listen 127.0.0.1:BALANCER;")],
};
pub(super) const HAPROXY_TCP: Shipped = Shipped {
    file: "haproxy-tcp.cfg",
    program: "haproxy",
    changes: &[HAPROXY_USER, ("bind :443", "bind 127.0.0.1:BALANCER")],
};
pub(super) const ENVOY_TCP: Shipped = Shipped {
    file: "envoy-tcp.yaml",
    program: "envoy",
    changes: &[("address: 0.0.0.0, port_value: 443", "address: 127.0.0.1, port_value: BALANCER")],
};

/// Ports of a test in place of those in the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) balancer: u16,
    pub(super) callers: u16,
    pub(super) operators: u16,
}

/// The text of a file of `deploy/proxies`, with the addresses of a test: 127.0.0.11 for 10.0.0.11 and so on.
pub(super) fn shipped(file: &str, ports: Ports) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxies").join(file);
    let text = fs::read_to_string(path).unwrap();
    let (callers, operators) = (ports.callers.to_string(), ports.operators.to_string());
    // The gateways' port is 8443 where they end TLS. nginx does not ask the admin listener, at 8081.
    let text = text.replace("8080", &callers).replace("8443", &callers).replace("8081", &operators);
    replaced(&text, &[("10.0.0.", "127.0.0.")])
}

/// A text with replacements, each of which must have something to replace.
pub(super) fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from:?} in:\n{text}");
        text.replace(from, to)
    })
}

/// A running balancer, ended when dropped.
pub(super) struct Balancer {
    child: Child,
    log: PathBuf,
}

impl Balancer {
    /// With the shipped file and further changes of the test. `tls.crt`, `tls.key` and both in `tls.pem` are in the folder.
    pub(super) fn start(shipped_file: Shipped, folder: &Folder, ports: Ports, more: &[(&str, &str)]) -> Self {
        let mut text = replaced(&shipped(shipped_file.file, ports), shipped_file.changes);
        text = replaced(&text, more);
        text = text.replace("FOLDER", folder.to_str().unwrap());
        text = text.replace("BALANCER", &ports.balancer.to_string());
        let file = folder.write(shipped_file.file, &text);
        let mut command = run(shipped_file.program, folder, &file);
        let log = folder.join("log");
        let written = File::create(&log).unwrap();
        command.stdout(written.try_clone().unwrap()).stderr(written);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", shipped_file.program));
        let mut balancer = Self { child, log };
        until("the balancer listens", || {
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}: {ended:?}\n{}", shipped_file.file, balancer.log());
            TcpStream::connect(("127.0.0.1", ports.balancer)).is_ok()
        });
        balancer
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Balancer {
    #[allow(clippy::print_stderr, reason = "the log of a program whose test has failed")]
    fn drop(&mut self) {
        // Killed, nginx would leave its workers behind.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        }
        let mut left = 250;
        while left > 0 && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            left -= 1;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the balancer's log:\n{}", self.log());
        }
    }
}

/// The command that runs a program in the foreground with this file.
fn run(program: &str, folder: &Folder, file: &Path) -> Command {
    let envoy = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/envoy/envoy/_bin/envoy");
    let mut command = command(if program == "envoy" { envoy } else { program }, folder);
    // Where Debian has nginx and HAProxy, which is not in the path of every user.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin")).env("HOME", &**folder);
    match program {
        "nginx" => {
            let own = format!("daemon off; error_log stderr; pid {}/pid;", folder.display());
            command.args(["-e", "stderr", "-c"]).arg(file).arg("-g").arg(own)
        }
        "caddy" => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file),
        "haproxy" => command.arg("-db").arg("-f").arg(file),
        _ => command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn", "-c"]).arg(file),
    };
    command
}
