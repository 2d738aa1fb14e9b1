//! A sandbox, one or two gateways on addresses of their own, and a balancer in front of them.

use std::fmt::Write as _;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};

use super::balancer::{Balancer, Ports, Shipped, replaced, shipped};
use super::caller::{Caller, KEY, NAME, caller};
use crate::harness::free_port;
use crate::program::certificates::{Authority, Made};
use crate::program::harness::{FakeBox, Folder, Program, command, until};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
/// What the shipped app, for callers with the key, has besides: a web page may call it. It is not at `/`, so that a refused caller
/// of the other app is not served by it.
const KEYED: (&str, &str) = (
    "name = \"default\"\n",
    "name = \"default\"\npath = \"/any\"\norigins = [\"https://app.example.com\"]\n",
);
/// And an app for callers of one address, with the key, since a key that an app does not have is refused.
const APPS: &str = r#"
[[app]]
name = "known"
path = "/known"
sources = ["127.0.0.2"]
key = { file = "app.key" }

[limits]
box_defaults = false
"#;

/// Where the shipped files have the second gateway.
const SECOND: &str = "127.0.0.12";

pub(super) struct Site {
    _balancer: Balancer,
    /// On 127.0.0.11 and 127.0.0.12.
    pub(super) gateways: Vec<Program>,
    pub(super) caller: Caller,
    pub(super) at: FakeBox,
    pub(super) ports: Ports,
    folder: Folder,
}

impl Site {
    /// One gateway behind this balancer, and nothing at the address of the second.
    pub(super) fn behind(file: Shipped) -> Self {
        Self::with(file, "boxgate.toml", 1, &[])
    }

    /// So many gateways, with changes to the balancer's file.
    pub(super) fn with(file: Shipped, tables: &str, gateways: usize, changes: &[(&str, &str)]) -> Self {
        let at = FakeBox::start();
        Self::in_front_of(at, "", file, tables, gateways, changes)
    }

    /// In front of a Box whose `[box]` table is `hosts`, if it is not empty.
    pub(super) fn in_front_of(
        at: FakeBox,
        hosts: &str,
        file: Shipped,
        tables: &str,
        gateways: usize,
        changes: &[(&str, &str)],
    ) -> Self {
        let folder = Folder::new();
        let ports = Ports { balancer: free_port(), callers: free_port(), operators: free_port() };
        let certificate = certificate(&folder);
        let gateways =
            (0..gateways).map(|number| gateway(&at, hosts, tables, ports, number, &certificate)).collect();
        let balancer = Balancer::start(file, &folder, ports, changes);
        let caller = caller(&folder, ports.balancer, "127.0.0.2");
        let site = Self { _balancer: balancer, gateways, caller, at, ports, folder };
        until("a gateway is reached", || site.caller.get("/healthz").status == 404);
        site
    }

    /// The same caller with another address.
    pub(super) fn caller_from(&self, from: &'static str) -> Caller {
        caller(&self.folder, self.ports.balancer, from)
    }

    pub(super) fn gateway(&self) -> &Program {
        self.gateways.first().unwrap()
    }

    pub(super) fn ca_pem(&self) -> String {
        std::fs::read_to_string(&self.caller.ca).unwrap()
    }
}

/// A certificate of the shipped name, under the names that shipped files have for it.
fn certificate(folder: &Folder) -> Made {
    let authority = Authority::new("the callers' CA");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = authority.sign(params);
    folder.write("callers-ca.pem", &authority.pem);
    folder.write("boxgate.crt", &made.cert);
    folder.write("boxgate.key", &made.key);
    folder.write("boxgate.pem", &format!("{}{}", made.cert, made.key));
    made
}

/// A gateway with the shipped tables. The balancer's own address, 10.0.0.1, is that from which this machine connects to itself.
fn gateway(at: &FakeBox, hosts: &str, tables: &str, ports: Ports, number: usize, tls: &Made) -> Program {
    let folder = Folder::new();
    let mut text = at.tables(&folder);
    if !hosts.is_empty() {
        let (_, rest) = text.split_once("[identity.service]").unwrap();
        text = format!("{hosts}\n[identity.service]{rest}");
    }
    let mut own = replaced(&shipped(tables, ports), &[KEYED]);
    if number > 0 {
        // Another machine has a loopback of its own.
        own = replaced(&own, &[("127.0.0.11", SECOND), ("\"127.0.0.1:", "\"127.0.0.2:")]);
    }
    folder.write("app.key", KEY);
    folder.write("admin.key", "the key of operators, of the test");
    write!(text, "\n{own}\n{APPS}").unwrap();
    folder.write("boxgate.crt", &tls.cert);
    folder.write("boxgate.key", &tls.key);
    folder.write("proxy.toml", &text);
    let command = command(BOXGATE, &folder);
    let mut program = Program::spawn(folder, command);
    // The first of its two addresses for operators, that of its own machine.
    program.operators = format!("127.0.0.{}:{}", number + 1, ports.operators);
    program.ready()
}
