//! Secrets, certificates and the configuration are replaced one after the other, each in the way of the guide
//! (`docs/deployment/rotate-a-secret.md`), and the audit log is moved away, while callers go on. No request is lost, refused or
//! sent twice, each change has its line, and nothing secret shows anywhere.

mod audit_log; // its files
mod load; // the callers

use std::collections::{BTreeMap, BTreeSet};

use boxgate::sandbox::{Options, Seen};
use serde_json::Value;

use self::load::{Ask, Load, Record, Rule};
use super::certificates::{Authority, Made};
use super::client::request;
use super::harness::{FakeBox, Folder, Program, boxgate, command, until, write_file};
use super::volume::{Files, Volume};
use super::ways::Place;

const OLD_SECRET: &str = "canary-client-secret-old-51c0";
const NEW_SECRET: &str = "canary-client-secret-new-a7e4";
const OLD_KEY: &str = "canary-key-of-intranet-old-9d21";
const NEW_KEY: &str = "canary-key-of-intranet-new-4be8";

const LISTEN: &str = "address = \"127.0.0.1:0\"\ntls = { cert = \"secrets/tls.crt\", key = \"secrets/tls.key\", client_ca = \"secrets/callers-ca.crt\" }";
const APP: &str = "[[app]]\nname = \"intranet\"\npath = \"/intranet\"\ncertificates = [\"intranet.corp\"]\n";
const ONE_KEY: &str = "key = { file = \"secrets/intranet.key\" }\n";
const TWO_KEYS: &str =
    "key = [{ file = \"secrets/intranet.key\" }, { file = \"secrets/intranet-new.key\" }]\n";
const ANOTHER_KEY: &str = "key = { file = \"secrets/intranet-new.key\" }\n";
const ALWAYS: &str =
    "[log]\nlevel = \"trace\"\nformat = \"json\"\naudit = \"audit.jsonl\"\n[limits]\nbox_defaults = false\n";

/// What probes ask for.
const ME: &str = "/intranet/2.0/users/me";

/// What replaces one after the other. What is new belongs here, and its secrets into `check_leaks`.
const STEPS: [fn(&mut Rotation); 9] = [
    Rotation::move_audit_log,
    Rotation::client_secret,
    Rotation::app_key,
    Rotation::move_audit_log,
    Rotation::server_certificate,
    Rotation::callers_authority,
    Rotation::configuration,
    Rotation::move_audit_log,
    Rotation::configuration_back,
];

/// What operators read.
const PAGES: [&str; 7] = [
    "/",
    "/?view=configuration",
    "/status.json",
    "/metrics",
    "/requests.json",
    "/usage.json",
    "/history.json",
];

struct Rotation {
    at: FakeBox,
    program: Program,
    volume: Volume,
    files: Files,
    /// The only one that the downscoped identity reaches.
    narrow: String,
    /// Files of the audit log that were moved away, the oldest first.
    moved: Vec<String>,
    servers: [Authority; 2],
    callers: [Authority; 2],
    certificates: [Made; 2],
    load: Load,
}

impl Rotation {
    fn start() -> Self {
        // The sandbox remembers every request.
        let options =
            Options { client_secret: OLD_SECRET.to_owned(), remembered: 1 << 20, ..Options::default() };
        let (at, folder) = (FakeBox::with(options), Folder::new());
        let servers = ["Servers", "Next servers"].map(Authority::new);
        let callers = ["Callers", "Next callers"].map(Authority::new);
        let certificates = [0, 1].map(|number: usize| callers[number].client_of(&["intranet.corp"]));
        let server = servers[0].server();
        let files = [
            ("box_secret", OLD_SECRET),
            ("intranet.key", OLD_KEY),
            ("tls.crt", &server.cert),
            ("tls.key", &server.key),
            ("callers-ca.crt", &callers[0].pem),
        ];
        let files: Files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let mut volume = Volume::new(folder.join("secrets"), 0o600);
        volume.write(files.clone());
        let narrow = at.add_folder("0", "Narrow");
        write(&folder, &at, &narrow, &format!("{APP}{ONE_KEY}"));
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        run.arg("run");
        let program = Program::spawn(folder, run).ready();
        let place = Place {
            tcp: program.callers.trim_start_matches("https://").to_owned(),
            unix: program.folder.join("none.sock"),
            authority: servers.iter().map(|authority| authority.pem.as_str()).collect(),
            tunnel_authority: String::new(),
        };
        let load = Load::start(place, narrow.clone(), OLD_KEY, certificates[0].clone());
        Self { at, program, volume, files, narrow, moved: Vec::new(), servers, callers, certificates, load }
    }

    /// Waits until each caller was answered under what holds now.
    fn goes_on(&mut self) {
        until("callers go on", || self.load.goes_on());
    }

    /// Swaps the link of the volume, as the kubelet does; the program notices by itself.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.files.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        self.volume.write(self.files.clone());
    }

    fn write(&self, tables: &str) {
        write(&self.program.folder, &self.at, &self.narrow, tables);
    }

    /// By `boxgate reload`, which returns when the configuration is taken over.
    fn reload(&self) {
        let admin = format!("http://{}", self.program.operators);
        let output = boxgate(&self.program.folder, &["reload", "--admin", &admin]);
        assert!(output.status.success(), "{output:?}");
    }

    /// The status that a caller of its own gets, with a certificate of one of the callers' CAs, which trusts one of the
    /// servers' CAs. `None`: there is no connection, or it is refused.
    fn probe(&self, key: &str, certificate: usize, server: usize, path: &str) -> Option<u16> {
        let folder = &self.program.folder;
        let Made { cert, key: private } = &self.certificates[certificate];
        let mut curl = command("curl", folder);
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"]);
        curl.arg(folder.write("probe-ca.crt", &self.servers[server].pem));
        curl.arg("--cert").arg(folder.write("probe.crt", cert));
        curl.arg("--key").arg(folder.write("probe.key", private));
        curl.arg("--header").arg(format!("X-Boxgate-Key: {key}"));
        let (_, port) = self.program.callers.rsplit_once(':').unwrap();
        curl.arg(format!("https://localhost:{port}{path}"));
        let status = String::from_utf8(curl.output().unwrap().stdout).unwrap().parse().unwrap();
        Some(status).filter(|status| *status != 0)
    }

    /// Box accepts both secrets for a while, then the new one alone, and ends the tokens that it has given so far.
    fn client_secret(&mut self) {
        self.at.accept_secrets(&[OLD_SECRET, NEW_SECRET]);
        self.swap(&[("box_secret", NEW_SECRET)]);
        let before = tokens(&self.at.seen());
        until("tokens of the new secret are used by both identities", || {
            let mut seen = self.at.seen();
            seen.retain(|seen| !before.is_superset(&tokens(std::slice::from_ref(seen))));
            [true, false].iter().all(|narrow| seen.iter().any(|seen| is_narrow(seen) == *narrow))
        });
        // What began with the token of before is answered.
        self.load.change(|_| {});
        self.goes_on();
        self.at.accept_secrets(&[NEW_SECRET]);
        self.at.expire_tokens();
        self.load.change(|_| {});
        self.goes_on();
        let with_new = |seen: &Seen| String::from_utf8_lossy(&seen.body).contains(NEW_SECRET);
        // Twice for each identity; a token is exchanged without the secret.
        assert_eq!(self.at.token_seen().iter().filter(|seen| with_new(seen)).count(), 2 * 2);
    }

    /// The list has both, callers move, and the old one is taken out.
    fn app_key(&mut self) {
        self.swap(&[("intranet-new.key", NEW_KEY)]);
        self.write(&format!("{APP}{TWO_KEYS}"));
        self.program.hang_up();
        until("the new key is accepted", || self.probe(NEW_KEY, 0, 0, ME) == Some(200));
        assert_eq!(self.probe(OLD_KEY, 0, 0, ME), Some(200));
        self.load.change(|moment| moment.key = NEW_KEY.to_owned());
        self.goes_on();
        self.write(&format!("{APP}{ANOTHER_KEY}"));
        self.reload();
        assert_eq!([OLD_KEY, NEW_KEY].map(|key| self.probe(key, 0, 0, ME)), [Some(403), Some(200)]);
        self.load.change(|_| {});
        self.goes_on();
    }

    fn server_certificate(&mut self) {
        let next = self.servers[1].server();
        self.swap(&[("tls.crt", &next.cert), ("tls.key", &next.key)]);
        until("the new certificate is shown", || self.probe(NEW_KEY, 0, 1, ME) == Some(200));
        assert_eq!(self.probe(NEW_KEY, 0, 0, ME), None, "the old one is not");
        // Connections that were open stay.
        self.load.change(|_| {});
        self.goes_on();
        self.load.change(|moment| moment.connection += 1);
        self.goes_on();
    }

    /// The file has both, callers get certificates of the new one, and the old one is taken out.
    fn callers_authority(&mut self) {
        let both = format!("{}{}", self.callers[0].pem, self.callers[1].pem);
        self.swap(&[("callers-ca.crt", &both)]);
        until("callers of the new CA are served", || self.probe(NEW_KEY, 1, 1, ME) == Some(200));
        let next = self.certificates[1].clone();
        self.load.change(|moment| {
            moment.certificate = next;
            moment.connection += 1;
        });
        self.goes_on();
        let only = self.callers[1].pem.clone();
        self.swap(&[("callers-ca.crt", &only)]);
        until("callers of the old CA are not", || self.probe(NEW_KEY, 0, 1, ME).is_none());
        self.load.change(|_| {});
        self.goes_on();
    }

    /// Another app, a limit, and a rule that denies what callers ask for.
    fn configuration(&mut self) {
        self.load.change(|moment| moment.rule = Rule::AllowsOrDenies);
        self.write(&format!(
            "{APP}{ANOTHER_KEY}deny = [\"GET /2.0/folders/*\"]\nmax_in_flight = 500\n\
             [[app]]\nname = \"more\"\npath = \"/more\"\n\
             [[limit]]\nname = \"wide\"\nkey = \"app\"\nrate = \"5000/s\"\n"
        ));
        self.reload();
        self.load.change(|moment| moment.rule = Rule::Denies);
        self.goes_on();
        // An app without a key takes none.
        assert_eq!(self.probe(NEW_KEY, 1, 1, "/more/2.0/users/me"), Some(403));
    }

    fn configuration_back(&mut self) {
        self.load.change(|moment| moment.rule = Rule::AllowsOrDenies);
        self.write(&format!("{APP}{ANOTHER_KEY}"));
        self.program.hang_up();
        until("the other app is gone", || self.probe(NEW_KEY, 1, 1, "/more/2.0/users/me") == Some(404));
        self.load.change(|moment| moment.rule = Rule::Allows);
        self.goes_on();
    }

    /// Access lines by the ids of requests.
    fn lines(&self, records: &[Record]) -> BTreeMap<String, Value> {
        let read = || {
            let lines = self.program.out.all();
            let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let lines = lines.map(|line| (line["request_id"].as_str().unwrap().to_owned(), line));
            lines.filter(|(id, _)| id.starts_with("call-")).collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        until("each request has its line", || {
            lines = read();
            lines.len() >= records.len()
        });
        let by_id: BTreeMap<_, _> = lines.iter().cloned().collect();
        assert_eq!((lines.len(), by_id.len()), (records.len(), records.len()), "one line for each request");
        by_id
    }

    /// Each request was answered once, rightly, and sent to Box as often as its line says: twice only where Box had ended
    /// the token.
    fn check_answers(&self, records: &[Record]) {
        let lines = self.lines(records);
        let mut seen = BTreeMap::<String, u64>::new();
        let narrow = |id: &str| records.iter().any(|record| record.id == id && record.ask == Ask::Narrow);
        for request in self.at.seen() {
            if let Some((_, id)) = request.target.split_once("?for=") {
                *seen.entry(id.to_owned()).or_default() += 1;
                assert_eq!(is_narrow(&request), narrow(id), "{request:?}");
            }
        }
        for Record { id, ask, status, rule } in records {
            let line = &lines[id];
            let wanted: &[u16] = match (ask, rule) {
                (Ask::Read, _) | (Ask::Ruled, Some(Rule::Allows)) => &[200],
                (Ask::Upload | Ask::Narrow, _) => &[201],
                (Ask::Ruled, Some(Rule::Denies)) => &[403],
                (Ask::Ruled, Some(Rule::AllowsOrDenies) | None) => &[200, 403],
            };
            assert!(wanted.contains(status) && line["status"] == *status, "{wanted:?}: {line}");
            let (app, identity) = ask.serves();
            assert_eq!(
                [&line["app"], &line["identity"], &line["end"]],
                [app, identity, "complete"],
                "{line}"
            );
            let attempts = line["attempts"].as_u64().unwrap();
            assert_eq!(seen.remove(id).unwrap_or_default(), attempts, "{line}");
            let is_denied = line["code"] == "operation_not_allowed";
            assert_eq!(is_denied, *status == 403, "{line}");
            assert!(if is_denied { attempts == 0 } else { attempts == 1 || attempts == 2 }, "{line}");
        }
        assert!(seen.is_empty(), "{seen:?}");
        let again = lines.values().filter(|line| line["attempts"] == 2).count();
        assert!(again > 0, "Box had ended a token");
        assert!(records.iter().any(|record| record.status == 403));
    }

    /// No secret of before or now is in what the program writes and shows, and no key of the app comes to Box.
    fn check_leaks(&mut self) {
        let mut shown: Vec<(&str, String)> = Vec::new();
        for page in PAGES {
            let answer = request(&self.program.operators, "GET", page, "");
            assert_eq!(answer.status, 200, "{page}: {answer:?}");
            shown.push((page, answer.head + &answer.body));
        }
        self.program.terminate();
        assert_eq!(self.program.exited().code(), Some(0));
        shown.push(("standard output", self.program.out.text()));
        shown.push(("standard error", self.program.err.text()));
        shown.extend(self.audit_files().into_iter().map(|(_, text)| ("the audit log", text)));
        let seen = self.at.seen();
        let tokens = tokens(&seen);
        assert!(tokens.len() > 5, "of before, of between, of now, for each identity");
        let forms = self.at.token_seen();
        let fields = forms.iter().flat_map(|seen| url::form_urlencoded::parse(&seen.body));
        let parents: BTreeSet<String> =
            fields.filter(|(key, _)| key == "subject_token").map(|(_, token)| token.into_owned()).collect();
        assert!(parents.len() > 2 && parents.is_disjoint(&tokens), "no parent comes to Box's API");
        let mut secrets = Vec::from([OLD_SECRET, NEW_SECRET, OLD_KEY, NEW_KEY].map(str::to_owned));
        secrets.extend(tokens.into_iter().chain(parents));
        for (place, text) in &shown {
            assert!(!text.is_empty(), "{place}");
            for secret in &secrets {
                let line = text.lines().find(|line| line.contains(secret.as_str()));
                assert_eq!(line, None, "{secret} in {place}");
            }
        }
        for request in &seen {
            assert!(
                ![OLD_KEY, NEW_KEY].iter().any(|key| format!("{request:?}").contains(key)),
                "{request:?}"
            );
        }
    }
}

/// The tokens that came to Box's API.
fn tokens(seen: &[Seen]) -> BTreeSet<String> {
    let token =
        |value: &http::HeaderValue| value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    seen.iter().filter_map(|seen| seen.headers.get("authorization").map(token)).collect()
}

/// Whether a request has a downscoped token.
fn is_narrow(seen: &Seen) -> bool {
    seen.token.as_ref().is_some_and(|token| token.downscoped.is_some())
}

/// Writes the configuration with these tables, and an app whose identity reaches this folder alone.
fn write(folder: &Folder, at: &FakeBox, narrow: &str, tables: &str) {
    let narrow = format!(
        "[identity.narrow]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\nenterprise_id = {:?}\n\
         [identity.narrow.downscope]\nscopes = [\"base_upload\"]\nresource = \"{}/2.0/folders/{narrow}\"\n\
         [[app]]\nname = \"narrow\"\npath = \"/narrow\"\nidentity = \"narrow\"\ncertificates = [\"intranet.corp\"]\n",
        at.client_id(),
        at.enterprise_id(),
        at.api_url(),
    );
    let tables = tables.replacen("[[app]]\n", "[[app]]\nidentity = \"service\"\n", 2);
    let file = write_file(folder, at, LISTEN, &format!("{ALWAYS}{narrow}{tables}"));
    let text = std::fs::read_to_string(&file).unwrap();
    // That of the volume.
    let text = text.replace("{ file = \"secret\" }", "{ file = \"secrets/box_secret\" }");
    std::fs::remove_file(folder.join("secret")).unwrap();
    std::fs::write(file, text).unwrap();
}

#[test]
fn nothing_is_lost_or_leaks_while_every_secret_is_rotated_under_load() {
    let mut rotation = Rotation::start();
    rotation.goes_on();
    for step in STEPS {
        step(&mut rotation);
    }
    let records = rotation.load.finish();
    rotation.check_answers(&records);
    rotation.check_leaks();
    rotation.check_audit_log(&records);
}
