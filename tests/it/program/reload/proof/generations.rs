//! The configurations that follow each other, and what each of them must answer.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use boxgate::sandbox::MANAGED_USERS;

use crate::program::certificates::Authority;
use crate::program::harness::{FakeBox, Folder};

/// The files that each configuration has of its own, behind one symbolic link.
const FILES: [&str; 4] = ["proxy.toml", "secret", "tls.crt", "tls.key"];
/// Of so many configurations the last two keep the subjects of the one before, so that tokens carry over.
const ROUND: usize = 10;

const SERVICE: &str = "AutomationUser_1234567_aBcDeF1234@boxdevedition.com";
const UMA: &str = "uma@sandbox.example";
const AARON: &str = "aaron@sandbox.example";

/// Configurations are of two kinds, which serve the same URLs by other apps with other identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Even,
    Odd,
}

impl Kind {
    /// Of the configuration of this number.
    pub(super) fn of(generation: usize) -> Self {
        match generation % ROUND {
            9 => Self::Even,
            last if last % 2 == 0 => Self::Even,
            _ => Self::Odd,
        }
    }
}

/// Whether the configuration of this number follows one of the same subjects at Box.
pub(super) fn keeps_tokens(generation: usize) -> bool {
    generation > 0 && Kind::of(generation) == Kind::of(generation - 1)
}

/// Whether requests for the list of users must wait for a long time under the configuration of this number.
pub(super) fn is_slow(generation: usize) -> bool {
    (3..7).contains(&(generation % ROUND))
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Web,
    Side,
    /// By the base path `/`, also in tunnels.
    Root,
    /// Denied by a rule of every other configuration.
    Ruled,
    /// Of a limit that was used up before the first reload.
    Few,
    /// Waits for a limit.
    Slow,
    Upload,
    Download,
    Poll,
    Connect,
}

impl Ask {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Web => "/web/2.0/users/me",
            Self::Side => "/side/2.0/users/me",
            Self::Root => "/2.0/users/me",
            Self::Ruled => "/ruled/2.0/folders/0",
            Self::Few => "/web/2.0/webhooks",
            Self::Slow => "/web/2.0/users",
            Self::Upload => "/web/2.0/files/content",
            Self::Download | Self::Poll | Self::Connect => "",
        }
    }
}

/// What a request must be answered with under one kind of configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) app: &'static str,
    pub(super) identity: &'static str,
    pub(super) status: u16,
    /// The login of the account that Box saw, or the code of an error; empty where the answer has neither.
    pub(super) said: &'static str,
}

pub(super) fn served(kind: Kind, ask: Ask) -> Served {
    let other = if kind == Kind::Even { UMA } else { AARON };
    let (app, identity) = match (kind, ask) {
        (Kind::Even, Ask::Side) => ("east", "other"),
        (Kind::Odd, Ask::Side) => ("west", "service"),
        (Kind::Even, Ask::Root | Ask::Connect) => ("root-even", "service"),
        (Kind::Odd, Ask::Root | Ask::Connect) => ("root-odd", "other"),
        (Kind::Even, Ask::Ruled) => ("open", "service"),
        (Kind::Odd, Ask::Ruled) => ("shut", "other"),
        (Kind::Even, _) => ("alpha", "service"),
        (Kind::Odd, _) => ("beta", "other"),
    };
    let login = if identity == "service" { SERVICE } else { other };
    let (status, said) = match (kind, ask) {
        (Kind::Odd, Ask::Ruled) => (403, "operation_not_allowed"),
        (_, Ask::Few) => (429, "rate_limit_exceeded"),
        (_, Ask::Web | Ask::Side | Ask::Root) => (200, login),
        (_, Ask::Upload) => (201, login),
        (_, Ask::Ruled | Ask::Slow | Ask::Download | Ask::Poll | Ask::Connect) => (200, ""),
    };
    Served { app, identity, status, said }
}

/// The client secret that is valid while the configuration of this number is the last one.
pub(super) fn secret(generation: usize) -> String {
    format!("secret-of-generation-{generation:04}-x7Qm")
}

/// The name of the limit that only the configuration of this number has. It refuses nothing, but access lines name it.
pub(super) fn marker(generation: usize) -> String {
    format!("generation-{generation}")
}

/// Where the files are written.
pub(super) struct Generations<'a> {
    pub(super) at: &'a FakeBox,
    pub(super) folder: &'a Folder,
    pub(super) authority: &'a Authority,
    /// Where a blind tunnel may lead.
    pub(super) echo: &'a str,
}

impl Generations<'_> {
    /// Links that lead to the files of whichever configuration is the last.
    pub(super) fn link(&self) {
        self.folder.write("ca.pem", self.at.ca_pem());
        for file in FILES {
            symlink(format!("..data/{file}"), self.folder.join(file)).unwrap();
        }
    }

    /// Writes the configuration of this number with all of its files, and puts it in place of the last one at once.
    pub(super) fn write(&self, generation: usize) {
        let name = format!("generation-{generation}");
        let data = self.folder.join(&name);
        fs::create_dir(&data).unwrap();
        let server = self.authority.server();
        let config = self.text(generation);
        for (file, text) in FILES.into_iter().zip([&config, &secret(generation), &server.cert, &server.key]) {
            fs::write(data.join(file), text).unwrap();
        }
        // Those of before may still be in token requests that are under way.
        let secrets: Vec<_> = (generation.saturating_sub(5)..=generation).map(secret).collect();
        self.at.accept_secrets(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        symlink(&name, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
        if let Some(old) = generation.checked_sub(2) {
            fs::remove_dir_all(self.folder.join(format!("generation-{old}"))).unwrap();
        }
    }

    fn text(&self, generation: usize) -> String {
        let Self { at, folder, echo, .. } = self;
        let kind = Kind::of(generation);
        let mut text = format!(
            "[listen]\naddress = [\"127.0.0.1:0\", \"unix:{}\"]\nworkers = 2\n\
             tls = {{ cert = \"tls.crt\", key = \"tls.key\" }}\nhosts = [\"host-{generation}.example\"]\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[state]\ndir = \"state\"\n[log]\nformat = \"json\"\n\
             [box]\napi = {:?}\nupload = {:?}\ndownload = {:?}\ntoken_url = {:?}\nca_file = \"ca.pem\"\n\
             [upstream]\nproxy = \"none\"\nconnect_timeout = \"30s\"\npool_idle_timeout = \"3s\"\n\
             [server]\nheader_timeout = \"{}s\"\n[limits]\nbox_defaults = false\n\
             [forward_proxy]\ntunnel = [{echo:?}, \"decoy-{generation}.example:443\"]\n",
            folder.join("gate.sock").display(),
            at.api_url(),
            at.upload_url(),
            at.download_url(),
            at.token_url(),
            30 + generation % 5,
        );
        let (subject, removed) = match kind {
            Kind::Even => (at.user_id(), "only-even"),
            Kind::Odd => (MANAGED_USERS[0], "only-odd"),
        };
        let identities = [
            ("service", format!("enterprise_id = {:?}", at.enterprise_id())),
            ("other", format!("user_id = {subject:?}")),
            (removed, format!("user_id = {:?}", MANAGED_USERS[1])),
        ];
        for (name, subject) in identities {
            let id = at.client_id();
            writeln!(
                text,
                "[identity.{name}]\nclient_id = {id:?}\nclient_secret = {{ file = \"secret\" }}\n{subject}"
            )
            .unwrap();
        }
        let mut apps: Vec<String> =
            [("/web", Ask::Web), ("/side", Ask::Side), ("/ruled", Ask::Ruled), ("/", Ask::Root)]
                .into_iter()
                .map(|(path, ask)| {
                    let Served { app, identity, .. } = served(kind, ask);
                    format!("[[app]]\nname = {app:?}\npath = {path:?}\nidentity = {identity:?}\n")
                })
                .collect();
        if kind == Kind::Odd {
            apps[2].push_str("deny = [\"GET /2.0/folders/*\"]\n");
            apps.reverse();
        }
        apps.insert(
            generation % 4,
            format!("[[app]]\nname = \"spare\"\npath = \"/spare-{generation}\"\nidentity = {removed:?}\n"),
        );
        text.push_str(&apps.concat());
        let slow = if is_slow(generation) { ("3/min", 1) } else { ("1000/s", 1000) };
        let wide = if kind == Kind::Even { "wide-even" } else { "wide-odd" };
        let limits = [
            (wide, "client", "", (&*format!("{}/s", 5000 + generation), 5000)),
            ("slow", "global", "on = [\"GET /2.0/users\"]\nwait = \"30s\"\n", slow),
            ("few", "global", "on = [\"GET /2.0/webhooks\"]\n", ("2/day", 2)),
            (&marker(generation), "global", "enforce = false\n", ("1/day", 1)),
        ];
        for (name, key, more, (rate, burst)) in limits {
            writeln!(
                text,
                "[[limit]]\nname = {name:?}\nkey = {key:?}\nrate = {rate:?}\nburst = {burst}\n{more}"
            )
            .unwrap();
        }
        text
    }
}
