//! The decision table through the real program: over TCP, TLS with client certificates, a Unix socket and tunnels. The app
//! that serves a request, the account as which Box sees it, and what `boxgate explain` says are those of the table.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boxgate::cli::explain::{Options, of_request};
use boxgate::config::{self, Config, Overrides};
use boxgate::net::client_address::ClientAddress;
use boxgate::sandbox::{MANAGED_USERS, USER_ID};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::certificates::Authority;
use super::harness::{FakeBox, Folder, Program, command, write_file};
use super::ways::{Caller, KEPT, Pieces, Place, Way};

#[path = "../../decisions/table.rs"]
mod table;

use table::{ME, Over, Row};

/// The login at Box of each identity.
const LOGINS: [(&str, &str); 4] = [
    ("service", "AutomationUser_1234567_aBcDeF1234@boxdevedition.com"),
    ("uma", "uma@sandbox.example"),
    ("aaron", "aaron@sandbox.example"),
    ("berta", "berta@sandbox.example"),
];

/// One of the two listeners of the table.
struct Gate {
    program: Program,
    place: Place,
    callers: Authority,
    config: Config,
}

impl Gate {
    fn start(at: &FakeBox, own: u32, is_secure: bool) -> Self {
        let (folder, servers, callers) =
            (Folder::new(), Authority::new("Servers"), Authority::new("Callers"));
        servers.server().write(&folder);
        folder.write("callers-ca.crt", &callers.pem);
        let tls = "tls = { cert = \"tls.crt\", key = \"tls.key\", client_ca = \"callers-ca.crt\" }\n";
        let listen = format!(
            "address = [\"127.0.0.1:0\", \"unix:gate.sock\"]\n{}{}",
            table::LISTEN,
            if is_secure { tls } else { "" }
        );
        let mut more = "[state]\ndir = \"state\"\n[forward_proxy]\n[log]\nformat = \"json\"\n".to_owned();
        for (name, user) in [("uma", USER_ID), ("aaron", MANAGED_USERS[0]), ("berta", MANAGED_USERS[1])] {
            more.push_str(&format!(
                "[identity.{name}]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\nuser_id = {user:?}\n",
                at.client_id()
            ));
        }
        more.push_str(&table::apps(own, is_secure));
        let file = write_file(&folder, at, &listen, &more);
        let config = config::from_file(&file, &Overrides::default(), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        let program = Program::spawn(folder, run).ready();
        let tcp = program.callers.split(' ').next().unwrap().trim_start_matches("https://").to_owned();
        let unix = program.folder.join("gate.sock");
        let place = Place { tcp, unix, authority: servers.pem, tunnel_authority: String::new() };
        Self { program, place, callers, config }
    }

    /// Whom callers in tunnels trust.
    async fn fetch_tunnel_authority(&mut self) {
        let unix = Way { is_tcp: false, is_tls: false, ..KEPT };
        let mut sender = unix.connect(&self.place, "ca").await;
        let answer = sender.send(Method::GET, "/.well-known/boxgate/ca.pem", "ca", Pieces::none()).await;
        let pem = answer.into_body().collect().await.unwrap().to_bytes();
        self.place.tunnel_authority = String::from_utf8(pem.to_vec()).unwrap();
    }

    /// What the caller of a request gets: the login that Box says, or the code of the refusal.
    async fn ask(&self, row: &Row, is_http2: bool, id: &str) -> Result<String, String> {
        let way = Way {
            is_tcp: row.over != Over::Unix,
            is_tls: row.over == Over::Tls,
            is_http2,
            in_tunnel: row.in_tunnel,
            is_new: true,
        };
        let forwarded = row.client.map(|client| ("x-forwarded-for", client.to_owned()));
        let user = row.user.map(|user| ("proxy-authorization", basic(user)));
        let (on_connect, outside) = match row.in_tunnel {
            true => (forwarded.into_iter().chain(user).collect(), None),
            false => (Vec::new(), forwarded),
        };
        let certificate = (row.over == Over::Tls).then(|| self.callers.client_of(&row.certificate));
        let caller = Caller { from: row.from, certificate, on_connect };
        let mut sender = match way.connect_as(&caller, &self.place, id).await {
            Ok(sender) => sender,
            Err(refusal) => {
                let (_, body) = refusal.split_once("\r\n\r\n").unwrap();
                return said(body.as_bytes());
            }
        };
        let mut fields = vec![("x-request-id", id)];
        fields.extend(row.fields.iter().copied());
        fields.extend(outside.iter().map(|(name, value)| (*name, value.as_str())));
        let host = row.host.unwrap_or(way.host());
        let answer = sender.send_with(Method::GET, &row.path, host, &fields, Pieces::none()).await;
        said(&answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// What `boxgate explain` says of it.
    fn explain(&self, row: &Row, own: u32) -> Result<(String, String), String> {
        let target =
            if row.in_tunnel { format!("https://api.box.com{}", row.path) } else { row.path.clone() };
        let mut fields: Vec<(&str, String)> =
            row.fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        fields.extend(row.client.map(|client| ("x-forwarded-for", client.to_owned())));
        fields.extend(row.user.map(|user| ("proxy-authorization", basic(user))));
        let header = |(name, value): (&str, String)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let options = Options {
            what: vec!["GET".to_owned(), target],
            from: Some(match row.over {
                Over::Unix => ClientAddress::Process { uid: own },
                _ => ClientAddress::Known(row.from.into()),
            }),
            host: row.host.map(str::to_owned),
            certificates: row.certificate.iter().map(|name| (*name).to_owned()).collect(),
            headers: fields.into_iter().map(header).collect(),
            ..Options::default()
        };
        let said =
            of_request(&self.config, &options).unwrap_or_else(|why| panic!("{}: {why}", row.text)).json();
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        match said["verdict"] == "passes" {
            true => Ok((text("app"), text("identity"))),
            false => Err(text("code")),
        }
    }
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(user))
}

/// The login of an account, or the code of an error.
fn said(body: &[u8]) -> Result<String, String> {
    let body: Value =
        serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)));
    match body["login"].as_str() {
        Some(login) => Ok(login.to_owned()),
        None => Err(body["code"].as_str().unwrap().to_owned()),
    }
}

#[test]
fn the_decision_table_holds_through_the_real_program() {
    let (at, own) = (FakeBox::start(), nix::unistd::getuid().as_raw());
    let mut gates = [false, true].map(|is_secure| Gate::start(&at, own, is_secure));
    let (rows, logins) = (table::rows(), BTreeMap::from(LOGINS));
    let mut wrong = Vec::new();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        for gate in &mut gates {
            gate.fetch_tunnel_authority().await;
        }
        for (number, row) in rows.iter().enumerate() {
            let gate = &gates[usize::from(row.over.is_of_secure_listener())];
            let wanted = row.wanted.map(|(_, identity)| logins[identity].to_owned()).map_err(str::to_owned);
            for is_http2 in [false, true] {
                let calls = at.calls();
                let said = gate.ask(row, is_http2, &format!("row-{number}-{is_http2}")).await;
                if said != wanted || at.calls() - calls != usize::from(wanted.is_ok()) {
                    wrong.push(format!("{} (HTTP/2: {is_http2}): {said:?}", row.text));
                }
            }
        }
    });
    for (number, row) in rows.iter().enumerate() {
        let gate = &gates[usize::from(row.over.is_of_secure_listener())];
        let explained = gate.explain(row, own);
        let wanted = row.wanted.map(|(app, identity)| (app.to_owned(), identity.to_owned()));
        if explained != wanted.map_err(str::to_owned) {
            wrong.push(format!("{}: explained as {explained:?}", row.text));
        }
        for is_http2 in [false, true] {
            let has = match row.wanted {
                Ok((app, identity)) => format!("\"app\":\"{app}\",\"identity\":\"{identity}\""),
                Err(code) => format!("\"code\":\"{code}\""),
            };
            // Of a tunnel that is not opened, the id is that of the CONNECT.
            let id = format!("\"request_id\":\"row-{number}-{is_http2}\"");
            gate.program.out.wait_for(&[&id, &has]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(at.seen().iter().all(|seen| seen.target == ME), "without the app's path");
}
