use std::net::IpAddr;

use super::*;
use crate::http::host;
use crate::http::origin::{self, Origin};
use crate::net::secret::Secret;
use crate::routing::operation_pattern::Pattern;
use crate::routing::operation_policy::{OperationPolicy, Rule};

mod oracle; // the choice as the documents describe it

fn app(name: &str, path: &str, hosts: &[&str], sources: &[&str]) -> App {
    let mut list = HostList::default();
    hosts.iter().for_each(|host| list.add(host).unwrap());
    let mut networks = Networks::default();
    for source in sources {
        match source.strip_prefix("uid:") {
            Some(uid) => networks.add_user(uid.parse().unwrap()),
            None => networks.add(source).unwrap(),
        }
    }
    App {
        name: name.into(),
        path: path.into(),
        identity: IdentityId::new(0),
        enabled: true,
        hosts: list,
        sources: (!sources.is_empty()).then_some(networks),
        keys: None,
        certificates: None,
        origins: OriginList::default(),
        require_header: None,
        rules: OperationPolicy::new(vec![Rule::Pattern(Pattern::everything())], vec![]),
        as_user: AsUser::Only(vec![]),
        forward_headers: vec![],
        follow_downloads: Redirects::Follow,
        max_in_flight: None,
    }
}

fn chosen(apps: &Apps, path: &str, host: &str, client: &str) -> Result<String, Refusal> {
    chosen_by(Claim::Nothing, apps, path, host, client)
}

fn chosen_by(claim: Claim<'_>, apps: &Apps, path: &str, host: &str, client: &str) -> Result<String, Refusal> {
    let host = host::parse(host).unwrap().0;
    let client = client.parse::<IpAddr>().unwrap().into();
    let of = Way { host, client, names_box: false, user: None, certificate: None };
    let chosen = apps.choose_by_path(path, of, claim, ShownKey::Nothing);
    chosen.map(|(_, app, rest)| format!("{} {rest}", app.name))
}

fn for_pages(mut app: App, origins: &[&str]) -> App {
    app.origins = OriginList::new(origins.iter().map(|o| origin::Pattern::parse(o).unwrap()).collect());
    app
}

#[test]
fn a_page_gets_the_app_with_the_longest_path_that_admits_its_origin() {
    let apps = Apps::new(vec![
        for_pages(app("root", "", &[], &[]), &["https://a.example", "https://b.example"]),
        for_pages(app("named", "", &["named.test"], &[]), &["https://b.example"]),
        for_pages(app("deep", "/x", &[], &[]), &["https://b.example"]),
        app("closed", "/closed", &[], &["10.0.0.0/8"]),
    ]);
    let of = |origin, path, host, client| {
        let claim = Origin::parse(origin).map_or(Claim::Unusable, Claim::Of);
        chosen_by(claim, &apps, path, host, client)
    };
    let is = |origin, path, host, want: &str| {
        assert_eq!(of(origin, path, host, "127.0.0.1").as_deref(), Ok(want), "{origin} {host} {path}");
    };
    is("https://a.example", "/2.0/x", "localhost", "root /2.0/x");
    is("https://a.example", "/2.0/x", "named.test", "root /2.0/x");
    is("https://b.example", "/2.0/x", "named.test", "named /2.0/x");
    is("https://b.example", "/x/2.0/x", "localhost", "deep /2.0/x");
    is("https://a.example", "/x/2.0/x", "localhost", "root /x/2.0/x");
    let refused = |origin, path, client| of(origin, path, "localhost", client).unwrap_err();
    assert_eq!(refused("https://c.example", "/2.0/x", "127.0.0.1"), Refusal::OriginNotAllowed);
    assert_eq!(refused("null", "/2.0/x", "127.0.0.1"), Refusal::OriginNotAllowed);
    assert_eq!(refused("https://c.example", "/closed/2.0/x", "10.0.0.1"), Refusal::OriginNotAllowed);
    let closed = Apps::new(vec![app("closed", "/closed", &[], &["10.0.0.0/8"])]);
    let of = |path, client| chosen_by(Claim::Unusable, &closed, path, "localhost", client).unwrap_err();
    assert_eq!(of("/closed/x", "127.0.0.1"), Refusal::SourceNotAllowed);
    assert_eq!(of("/closed/x", "10.0.0.1"), Refusal::OriginNotAllowed);
    assert_eq!(of("/x", "10.0.0.1"), Refusal::NoSuchApp);
}

#[test]
fn the_longest_path_wins_then_hosts_then_sources() {
    let apps = Apps::new(vec![
        app("root", "", &[], &[]),
        app("ten", "", &[], &["10.0.0.0/8"]),
        app("named", "", &["named.test"], &[]),
        app("deep", "/a/b", &[], &[]),
        app("a", "/a", &[], &[]),
    ]);
    let is = |path, host, client, want: &str| assert_eq!(chosen(&apps, path, host, client).unwrap(), want);
    is("/2.0/x", "localhost", "127.0.0.1", "root /2.0/x");
    is("/2.0/x", "localhost", "10.1.1.1", "ten /2.0/x");
    is("/2.0/x", "Named.Test", "10.1.1.1", "named /2.0/x");
    is("/a/b/2.0/x", "named.test", "10.1.1.1", "deep /2.0/x");
    is("/a/bc/2.0/x", "localhost", "127.0.0.1", "a /bc/2.0/x");
    is("/ab/2.0/x", "localhost", "127.0.0.1", "root /ab/2.0/x");
}

fn keyed(mut app: App, key: &str) -> App {
    app.keys = Some(AppKeys::new(vec![Secret::new(key.to_owned())]));
    app
}

fn names(of: &[&str]) -> CertificateNames {
    CertificateNames::new(of.iter().map(|name| (*name).into()).collect())
}

fn certified(mut app: App, of: &[&str]) -> App {
    app.certificates = Some(names(of));
    app
}

/// A key or certificate first, both before one of them; where it does not hold, the next shorter path is tried.
#[test]
fn a_certificate_counts_like_a_key_in_the_choice_of_an_app() {
    let apps = Apps::new(vec![
        app("root", "", &[], &[]),
        certified(app("reports", "/a", &[], &[]), &["reports.corp"]),
        certified(app("intranet", "/a", &["named.test"], &[]), &["spiffe://corp/intranet", "intranet.corp"]),
        keyed(app("keyed", "/a", &[], &["10.0.0.0/8"]), "k"),
        certified(keyed(app("both", "/a", &[], &[]), "k"), &["reports.corp"]),
        certified(app("only", "/only", &[], &[]), &["only.corp"]),
    ]);
    let of = |path: &'static str, host, shown: &[&str], key: Option<&'static [u8]>| {
        let (host, shown) = (host::parse(host).unwrap().0, names(shown));
        let client = "10.0.0.1".parse::<IpAddr>().unwrap().into();
        let certificate = Some(&shown).filter(|shown| shown.iter().next().is_some());
        let of = Way { host, client, names_box: false, user: None, certificate };
        let key = key.map_or(ShownKey::Nothing, ShownKey::Key);
        apps.choose(path, of, Claim::Nothing, key).map(|(_, app, rest)| format!("{} {rest}", app.name))
    };
    for (path, host, shown, key, wanted) in [
        ("/a/x", "named.test", &["spiffe://corp/intranet"][..], None, Ok("intranet /x")),
        ("/a/x", "named.test", &["spiffe://corp/intranet2"], None, Ok("root /a/x")),
        ("/a/x", "localhost", &["reports.corp"], None, Ok("reports /x")),
        ("/a/x", "localhost", &["reports.corp"], Some(&b"k"[..]), Ok("both /x")),
        ("/a/x", "localhost", &["other.corp"], Some(b"k"), Ok("keyed /x")),
        ("/a/x", "localhost", &[], None, Ok("root /a/x")),
        ("/only/x", "localhost", &["only.corp"], None, Ok("only /x")),
        ("/only/x", "localhost", &["reports.corp"], None, Ok("root /only/x")),
    ] {
        assert_eq!(of(path, host, shown, key), wanted.map(str::to_owned), "{path} {host} {shown:?} {key:?}");
    }
    let apart = |a: &[&str], b: &[&str]| {
        let (a, b) = (certified(app("a", "/x", &[], &[]), a), certified(app("b", "/x", &[], &[]), b));
        assert_eq!(a.is_separate_from(&b), !a.is_ambiguous_with(&b));
        a.is_separate_from(&b)
    };
    assert!(apart(&["a.corp"], &["b.corp"]) && !apart(&["a.corp", "b.corp"], &["b.corp"]));
    let plain = app("a", "/x", &[], &[]);
    assert!(!plain.is_ambiguous_with(&certified(app("b", "/x", &[], &[]), &["b.corp"])));
}

#[test]
fn each_app_that_does_not_serve_a_request_has_the_first_condition_that_fails() {
    let apps = Apps::new(vec![
        app("other", "/other", &[], &[]),
        app("named", "/x", &["x.test"], &["10.0.0.0/8"]),
        keyed(app("near", "/x", &[], &["10.0.0.0/8"]), "k"),
        keyed(app("keyed", "/x", &[], &[]), "k"),
        for_pages(app("pages", "", &[], &[]), &["https://a.example"]),
    ]);
    let of = |path, key, user: Option<&ProxyUser>| {
        let host = host::parse("localhost").unwrap().0;
        let client = "127.0.0.1".parse::<IpAddr>().unwrap().into();
        let of = Way { host, client, names_box: user.is_some(), user, certificate: None };
        let found = apps.candidates(path, of, Claim::Unusable, key);
        found.map(|(_, app, served)| format!("{} {served:?}", app.name)).collect::<Vec<_>>()
    };
    assert_eq!(
        of("/x/2.0", ShownKey::Nothing, None),
        ["other Err(Path)", "near Err(Source)", "keyed Err(Key)", "named Err(Host)", "pages Err(Origin)"]
    );
    assert_eq!(
        of("/x/2.0", ShownKey::Key(b"k"), None)[2..],
        ["keyed Err(Origin)", "named Err(Host)", "pages Err(Key)"]
    );
    let user = ProxyUser { app: "near".to_owned(), key: zeroize::Zeroizing::new(String::new()) };
    assert!(of("/x/2.0", ShownKey::Nothing, Some(&user)).is_empty(), "it is named, not looked for");
}

#[test]
fn an_app_with_a_matching_key_comes_first_and_a_wrong_key_is_refused() {
    let apps = Apps::new(vec![
        app("root", "", &[], &[]),
        keyed(app("a", "/x", &[], &[]), "ka"),
        keyed(app("b", "/x", &[], &[]), "kb"),
        app("x", "/x", &["x.test"], &[]),
        keyed(app("only", "/only", &[], &[]), "ko"),
    ]);
    let of = |path, host, key| {
        let host = host::parse(host).unwrap().0;
        let client = "127.0.0.1".parse::<IpAddr>().unwrap().into();
        let of = Way { host, client, names_box: false, user: None, certificate: None };
        let chosen = apps.choose_by_path(path, of, Claim::Nothing, key);
        chosen.map(|(_, app, _)| app.name.clone())
    };
    let key = |text: &'static str| ShownKey::Key(text.as_bytes());
    assert_eq!(of("/x/2", "x.test", key("kb")).as_deref(), Ok("b"));
    assert_eq!(of("/x/2", "x.test", key("ka")).as_deref(), Ok("a"));
    assert_eq!(of("/x/2", "x.test", ShownKey::Nothing).as_deref(), Ok("x"));
    assert_eq!(of("/x/2", "localhost", ShownKey::Nothing).as_deref(), Ok("root"));
    assert_eq!(of("/x/2", "localhost", ShownKey::NotNeeded).as_deref(), Ok("a"));
    assert_eq!(of("/x/2", "x.test", key("wrong")), Err(Refusal::KeyMissing));
    assert_eq!(of("/2", "localhost", key("ka")), Err(Refusal::KeyMissing));
    assert_eq!(of("/only/2", "localhost", key("ko")).as_deref(), Ok("only"));
}

#[test]
fn keys_separate_apps() {
    let a = keyed(app("a", "/x", &[], &[]), "k");
    assert!(a.is_ambiguous_with(&keyed(app("b", "/x", &[], &[]), "k")));
    assert!(!a.is_ambiguous_with(&keyed(app("b", "/x", &[], &[]), "l")));
    assert!(!a.is_ambiguous_with(&app("b", "/x", &[], &[])));
    assert!(a.is_separate_from(&app("b", "/y", &[], &[])));
}

#[test]
fn where_only_the_source_fails_the_refusal_says_so() {
    let apps = Apps::new(vec![app("ten", "/x", &["x.test"], &["10.0.0.0/8"])]);
    let of = |path, host, client| chosen(&apps, path, host, client).unwrap_err();
    assert!(matches!(of("/x/2.0/a", "x.test", "127.0.0.1"), Refusal::SourceNotAllowed));
    assert!(matches!(of("/x/2.0/a", "y.test", "10.0.0.1"), Refusal::NoSuchApp));
    assert!(matches!(of("/y", "x.test", "10.0.0.1"), Refusal::NoSuchApp));
}

#[test]
fn two_apps_that_one_request_could_match_are_ambiguous() {
    let plain = app("a", "/x", &[], &[]);
    assert!(plain.is_ambiguous_with(&app("b", "/x", &[], &[])));
    assert!(!plain.is_ambiguous_with(&app("b", "/y", &[], &[])));
    assert!(!plain.is_ambiguous_with(&app("b", "/x", &["b.test"], &[])));
    let named = app("a", "/x", &["a.test", "b.test"], &[]);
    assert!(named.is_ambiguous_with(&app("b", "/x", &["b.test"], &[])));
    assert!(!named.is_ambiguous_with(&app("b", "/x", &["c.test"], &[])));
    let ten = app("a", "/x", &[], &["10.0.0.0/8"]);
    assert!(ten.is_ambiguous_with(&app("b", "/x", &[], &["10.9.0.0/16"])));
    assert!(!ten.is_ambiguous_with(&app("b", "/x", &[], &["loopback"])));
}
