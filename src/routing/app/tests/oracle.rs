//! The choice of an app as the documents describe it, written down simply and without the gateway's types, compared with
//! the choice that is made.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// An app as a file has it. Empty lists: the key is left out.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    path: &'static str,
    hosts: Vec<&'static str>,
    sources: Vec<&'static str>,
    keys: Vec<&'static str>,
    certificates: Vec<&'static str>,
    origins: Vec<&'static str>,
}

/// A request as a caller would describe it.
#[derive(Debug, Clone)]
struct Asked {
    path: &'static str,
    host: &'static str,
    /// An address, `uid:NUMBER`, or `unknown`.
    client: &'static str,
    key: Key,
    /// The names in the client certificate.
    certificate: Vec<&'static str>,
    origin: Option<&'static str>,
    /// It names a host of Box itself.
    names_box: bool,
    /// App and password in `Proxy-Authorization`.
    user: Option<(&'static str, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Preflight,
    Missing,
    Shown(&'static str),
}

const PATHS: [&str; 6] = ["/", "/a", "/ab", "/a/b", "/b", "/a/b/c"];
const HOSTS: [&str; 3] = ["x.test", "y.test", "x.y.test"];
const SOURCES: [&str; 5] = ["10.0.0.0/8", "10.1.0.0/16", "loopback", "uid:1", "uid:2"];
const KEYS: [&str; 3] = ["k", "l", "m"];
const CERTIFICATES: [&str; 2] = ["a.corp", "spiffe://corp/b"];
const ORIGINS: [&str; 2] = ["https://a.example", "https://b.example"];

const CLIENTS: [&str; 8] =
    ["10.1.1.1", "10.2.2.2", "192.168.0.1", "127.0.0.1", "uid:1", "uid:2", "uid:3", "unknown"];
const SHOWN_HOSTS: [&str; 7] = ["x.test", "X.Test", "y.test.", "x.y.test", "z.test", "10.0.0.1", "[::1]"];
const SHOWN_KEYS: [Key; 6] =
    [Key::Preflight, Key::Missing, Key::Shown("k"), Key::Shown("l"), Key::Shown("wrong"), Key::Shown("")];

impl Written {
    fn is_below(&self, path: &str) -> bool {
        // Whole segments.
        format!("{path}/").starts_with(&format!("{}/", self.path.trim_end_matches('/')))
    }

    fn lists_host(&self, asked: &Asked) -> bool {
        let host = asked.host.to_lowercase();
        self.hosts.is_empty() || self.hosts.contains(&host.trim_end_matches('.'))
    }

    fn lists_source(&self, asked: &Asked) -> bool {
        let client = asked.client;
        let contains = |source: &&str| match *source {
            "10.0.0.0/8" => client.starts_with("10."),
            "10.1.0.0/16" => client.starts_with("10.1."),
            // Unix sockets count as loopback.
            "loopback" => client.starts_with("127.") || client.starts_with("uid:"),
            user => client == user,
        };
        self.sources.is_empty() || self.sources.iter().any(contains)
    }

    /// A key that is sent must be right, even if the app needs none.
    fn takes_key(&self, asked: &Asked) -> bool {
        match asked.key {
            Key::Preflight => true,
            Key::Missing => self.keys.is_empty(),
            Key::Shown(key) => self.keys.contains(&key),
        }
    }

    fn lists_certificate(&self, asked: &Asked) -> bool {
        self.certificates.is_empty() || self.certificates.iter().any(|name| asked.certificate.contains(name))
    }

    fn lists_origin(&self, asked: &Asked) -> bool {
        asked.origin.is_none_or(|origin| self.origins.contains(&origin))
    }

    fn serves(&self, asked: &Asked, path: &str) -> bool {
        self.is_below(path)
            && self.lists_host(asked)
            && self.lists_source(asked)
            && self.takes_key(asked)
            && self.lists_certificate(asked)
            && self.lists_origin(asked)
    }

    /// The greatest is chosen.
    fn precedence(&self) -> impl Ord + std::fmt::Debug + use<> {
        let credentials = usize::from(!self.keys.is_empty()) + usize::from(!self.certificates.is_empty());
        (self.path.len(), credentials, !self.hosts.is_empty(), !self.sources.is_empty())
    }

    fn app(&self) -> App {
        let path = if self.path == "/" { "" } else { self.path };
        let mut app = for_pages(super::app(&self.name, path, &self.hosts, &self.sources), &self.origins);
        let keys: Vec<Secret> = self.keys.iter().map(|key| Secret::new((*key).to_owned())).collect();
        app.keys = (!keys.is_empty()).then(|| AppKeys::new(keys));
        app.certificates = (!self.certificates.is_empty()).then(|| names(&self.certificates));
        app
    }
}

/// The apps that serve a request best, in the order of the file: one, unless the configuration is ambiguous.
fn best<'w>(apps: &'w [Written], asked: &Asked, path: &str) -> Vec<&'w Written> {
    let serving: Vec<&Written> = apps.iter().filter(|app| app.serves(asked, path)).collect();
    let greatest = serving.iter().map(|app| app.precedence()).max();
    serving.into_iter().filter(|app| Some(app.precedence()) == greatest).collect()
}

/// The name of the app and the rest of the path, or the code of the refusal.
fn expected(apps: &[Written], asked: &Asked) -> Result<(String, String), &'static str> {
    let path = if asked.names_box { "/" } else { asked.path };
    if let (true, Some((name, password))) = (asked.names_box, asked.user) {
        let Some(app) = apps.iter().find(|app| app.name == name) else {
            return Err("proxy_authentication_required");
        };
        let has_right_password = app.keys.is_empty() || app.keys.contains(&password);
        let has_right_key = app.takes_key(asked) || asked.key == Key::Missing;
        return match () {
            () if !has_right_password => Err("proxy_authentication_required"),
            () if !app.lists_source(asked) => Err("source_not_allowed"),
            () if !app.lists_certificate(asked) => Err("caller_not_allowed"),
            () if !app.lists_origin(asked) => Err("origin_not_allowed"),
            () if !has_right_key => Err("caller_not_allowed"),
            () => Ok((app.name.clone(), asked.path.to_owned())),
        };
    }
    if let Some(app) = best(apps, asked, path).first() {
        let rest = match asked.names_box {
            true => asked.path,
            false => asked.path.strip_prefix(app.path.trim_end_matches('/')).unwrap(),
        };
        return Ok((app.name.clone(), rest.to_owned()));
    }
    let near: Vec<&Written> = apps.iter().filter(|app| app.is_below(path) && app.lists_host(asked)).collect();
    let from_here: Vec<&&Written> = near.iter().filter(|app| app.lists_source(asked)).collect();
    let shows_all = |app: &&&Written| app.takes_key(asked) && app.lists_certificate(asked);
    if from_here.iter().any(shows_all) {
        Err("origin_not_allowed")
    } else if !from_here.is_empty() {
        Err("caller_not_allowed")
    } else if !near.is_empty() {
        Err("source_not_allowed")
    } else {
        Err("no_such_app")
    }
}

fn chosen(apps: &Apps, asked: &Asked) -> Result<(String, String), &'static str> {
    let shown = (!asked.certificate.is_empty()).then(|| names(&asked.certificate));
    let user = asked
        .user
        .map(|(app, key)| ProxyUser { app: app.to_owned(), key: zeroize::Zeroizing::new(key.to_owned()) });
    let client = match (asked.client.strip_prefix("uid:"), asked.client.parse::<IpAddr>()) {
        (Some(uid), _) => ClientAddress::Process { uid: uid.parse().unwrap() },
        (None, Ok(address)) => address.into(),
        (None, Err(_)) => ClientAddress::Unknown,
    };
    let host = host::parse(asked.host).unwrap().0;
    let way =
        Way { host, client, names_box: asked.names_box, user: user.as_ref(), certificate: shown.as_ref() };
    let claim = asked
        .origin
        .map_or(Claim::Nothing, |origin| Origin::parse(origin).map_or(Claim::Unusable, Claim::Of));
    let key = match asked.key {
        Key::Preflight => ShownKey::NotNeeded,
        Key::Missing => ShownKey::Nothing,
        Key::Shown(key) => ShownKey::Key(key.as_bytes()),
    };
    let chosen = apps.choose(asked.path, way, claim, key);
    chosen
        .map(|(_, app, rest)| (app.name.clone(), rest.to_owned()))
        .map_err(|refusal| refusal.status_and_code().1)
}

/// As the configuration judges it.
fn is_refused(apps: &[App]) -> bool {
    apps.iter()
        .enumerate()
        .any(|(number, app)| apps[..number].iter().any(|other| app.is_ambiguous_with(other)))
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(all: &[T], most: usize) -> impl Strategy<Value = Vec<T>> {
    prop::sample::subsequence(all.to_vec(), 0..=most)
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> {
    prop::sample::select(all.to_vec())
}

fn any_apps(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Written>> {
    let app = (
        one_of(&PATHS),
        some_of(&HOSTS, 2),
        some_of(&SOURCES, 2),
        some_of(&KEYS, 2),
        some_of(&CERTIFICATES, 2),
        some_of(&ORIGINS, 2),
    );
    let apps = prop::collection::vec((app, prop::bits::u8::ANY), count);
    apps.prop_map(|apps| {
        let app = |(number, ((path, hosts, sources, keys, certificates, origins), left_out)): (usize, _)| {
            let left_out: u8 = left_out;
            // Half of the apps lack a condition, so that requests pass often enough.
            let kept = |bit: u8, list| if left_out & 1 << bit == 0 { list } else { Vec::new() };
            Written {
                name: format!("app-{number}"),
                path,
                hosts: kept(0, hosts),
                sources: kept(1, sources),
                keys: kept(2, keys),
                certificates: kept(3, certificates),
                origins,
            }
        };
        apps.into_iter().enumerate().map(app).collect()
    })
}

fn any_request() -> impl Strategy<Value = Asked> {
    let paths = one_of(&[
        "",
        "*",
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/a/bc",
        "/a/b/2.0",
        "/a/b/c/2.0/x",
        "/ab/c",
        "/abc",
        "/b/2.0",
        "/ä/b",
        "/aä",
    ]);
    let origins = one_of(&[
        None,
        None,
        None,
        Some("https://a.example"),
        Some("https://b.example"),
        Some("https://c.example"),
        Some("null"),
    ]);
    let users = (one_of(&["app-0", "app-1", "app-2", "nobody"]), one_of(&["k", "l", "", "wrong"]));
    let rest = (
        some_of(&["a.corp", "spiffe://corp/b", "c.corp"], 2),
        origins,
        any::<bool>(),
        prop::option::of(users),
    );
    (paths, one_of(&SHOWN_HOSTS), one_of(&CLIENTS), one_of(&SHOWN_KEYS), rest).prop_map(
        |(path, host, client, key, (certificate, origin, names_box, user))| Asked {
            path,
            host,
            client,
            key,
            certificate,
            origin,
            names_box,
            user,
        },
    )
}

fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(18),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(seeded(20_000))]

    #[test]
    fn the_choice_is_the_one_that_the_documents_describe(apps in any_apps(0..12), asked in any_request()) {
        let built: Vec<App> = apps.iter().map(Written::app).collect();
        let index = Apps::new(built.clone());
        prop_assert_eq!(chosen(&index, &asked), expected(&apps, &asked));
        let longest = apps.iter().filter(|app| app.is_below(asked.path)).map(|app| app.path).max_by_key(|path| path.len());
        prop_assert_eq!(index.base_path(asked.path), longest.unwrap_or_default().trim_end_matches('/'));
        // A preflight shows no key, and a certificate may have the names of several apps.
        if asked.key != Key::Preflight && asked.certificate.len() < 2 && !is_refused(&built) {
            let path = if asked.names_box { "/" } else { asked.path };
            prop_assert!(best(&apps, &asked, path).len() < 2, "two apps are equally good, and the configuration is accepted");
        }
    }
}

proptest! {
    #![proptest_config(seeded(2_000))]

    /// Two apps are refused if, and only if, there is a request that means both equally well.
    #[test]
    fn two_apps_are_ambiguous_where_a_request_means_both_equally_well(apps in any_apps(2..3), at_one_path in any::<bool>()) {
        let mut apps = apps;
        if at_one_path {
            apps[1].path = apps[0].path;
        }
        let keys = [Key::Missing].into_iter().chain(KEYS.map(Key::Shown));
        let certificates = [vec![], vec![CERTIFICATES[0]], vec![CERTIFICATES[1]]];
        let all = keys.flat_map(|key| HOSTS.map(|host| (key, host)));
        let all = all.flat_map(|(key, host)| CLIENTS.map(|client| (key, host, client)));
        let mut all = all.flat_map(|(key, host, client)| certificates.clone().map(|certificate| Asked {
            path: apps[0].path, host, client, key, certificate, origin: None, names_box: false, user: None,
        }));
        let is_ambiguous = all.any(|asked| best(&apps, &asked, asked.path).len() == 2);
        prop_assert_eq!(is_refused(&apps.iter().map(Written::app).collect::<Vec<_>>()), is_ambiguous);
    }
}
