//! Sources that are users, and which two apps are ambiguous, separate, or neither.

use super::*;

const UNIX: &str = "[listen]\naddress = \"unix:/run/b.sock\"\n";

#[test]
fn users_are_sources_of_listeners_and_apps() {
    let text = format!(
        "{UNIX}sources = [\"uid:1000\", \"10.0.0.0/8\"]\n[admin]\naddress = \"unix:/run/a.sock\"\nsources = [\"uid:0\"]\n[[app]]\nname = \"a\"\nsources = [\"uid:root\"]\n"
    );
    let config = with_identity(&text).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let (listen, admin) = (&config.listen.sources, &config.admin.sources);
    assert!(listen.lists_user(1000) && !listen.lists_user(0) && !listen.contains([127, 0, 0, 1].into()));
    assert!(admin.lists_user(0) && !admin.is_empty());
    assert!(config.apps.iter().all(|app| app.sources.as_ref().is_some_and(|sources| sources.lists_user(0))));
}

#[test]
fn what_is_no_user_is_refused_with_what_is_allowed() {
    for (text, at, why) in [
        (
            "[listen]\nsources = [\"uid:no-such-user-here\"]\n",
            "p.toml:6:12: listen.sources: ",
            "no user of this machine is named \"no-such-user-here\"",
        ),
        (
            "[admin]\nsources = [\"uid:\"]\n",
            "p.toml:6:12: admin.sources: ",
            "\"uid:1000\" or \"uid:www-data\"",
        ),
        (
            "[listen]\nsources = [\"lan\"]\n",
            "p.toml:6:12: listen.sources: ",
            "for a Unix socket also a user, such as \"uid:1000\"",
        ),
        (
            "[listen]\ntrusted_proxies = [\"uid:33\"]\n",
            "p.toml:6:20: listen.trusted_proxies: ",
            "only sources list users",
        ),
        (
            "[listen]\nproxy_protocol = [\"uid:33\"]\n",
            "p.toml:6:19: listen.proxy_protocol: ",
            "only sources list users",
        ),
    ] {
        let said = only_message(text);
        assert!(said.starts_with(at) && said.contains(why), "{text}: {said}");
    }
}

/// Over TCP no user is known, so that nobody could call.
#[test]
fn users_without_a_unix_socket_get_a_warning() {
    let app = "[[app]]\nname = \"a\"\nsources = [\"uid:1\"]\n";
    let text =
        format!("[listen]\nsources = [\"uid:1\", \"loopback\"]\n[admin]\nsources = [\"uid:1\"]\n{app}");
    let warnings = with_identity(&text).unwrap().warnings;
    for part in [
        "app.a.sources: it admits no one",
        "listen.sources: it admits no one",
        "admin.sources: it admits no one",
        "no address of [admin] is one",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part} in {warnings:#?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

/// What the configuration says of two apps with different rights.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// A request could mean both equally well.
    Refused,
    /// Callers of one could use the other.
    Warned,
    Nothing,
}

#[test]
fn two_apps_are_separate_by_key_certificate_user_or_disjoint_sources_alone() {
    use Said::{Nothing, Refused, Warned};
    let folder =
        std::env::temp_dir().join(format!("boxgate-apps-{}-{}", std::process::id(), fastrand::u64(..)));
    fs::create_dir(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    // Each with what both say at the same path, and at different ones.
    for (one, other, at_one_path, at_two) in [
        ("", "", Refused, Warned),
        ("hosts = [\"a.test\"]", "hosts = [\"b.test\"]", Warned, Warned),
        ("hosts = [\"a.test\"]", "hosts = [\"b.test\", \"A.test\"]", Refused, Warned),
        ("hosts = [\"a.test\"]", "", Warned, Warned),
        ("origins = [\"https://a.example\"]", "origins = [\"https://b.example\"]", Refused, Warned),
        ("require_header = \"X-One\"", "require_header = \"X-Other\"", Refused, Warned),
        ("sources = [\"10.1.0.0/16\"]", "sources = [\"10.2.0.0/16\"]", Nothing, Nothing),
        ("sources = [\"10.1.0.0/16\"]", "sources = [\"10.0.0.0/8\"]", Refused, Warned),
        ("sources = [\"10.1.0.0/16\"]", "", Warned, Warned),
        ("sources = [\"uid:1\"]", "sources = [\"uid:2\"]", Nothing, Nothing),
        ("sources = [\"uid:1\"]", "sources = [\"uid:2\", \"uid:1\"]", Refused, Warned),
        ("sources = [\"uid:1\"]", "sources = [\"10.0.0.0/8\"]", Nothing, Nothing),
        ("sources = [\"uid:1\"]", "sources = [\"loopback\"]", Refused, Warned),
        ("sources = [\"uid:1\"]", "", Warned, Warned),
        ("key = \"one\"", "key = \"other\"", Nothing, Nothing),
        ("key = \"one\"", "key = [\"other\", \"one\"]", Refused, Warned),
        ("key = \"one\"", "", Nothing, Nothing),
        ("key = \"one\"\nsources = [\"uid:1\"]", "key = \"one\"\nsources = [\"uid:2\"]", Nothing, Nothing),
        ("key = \"one\"\nhosts = [\"a.test\"]", "key = \"one\"", Warned, Warned),
        ("certificates = [\"a.corp\"]", "certificates = [\"b.corp\"]", Nothing, Nothing),
        ("certificates = [\"a.corp\"]", "certificates = [\"A.corp\", \"b.corp\"]", Refused, Warned),
        ("certificates = [\"a.corp\"]", "", Nothing, Nothing),
        ("certificates = [\"a.corp\"]", "key = \"one\"", Nothing, Nothing),
        ("certificates = [\"a.corp\"]\nkey = \"one\"", "certificates = [\"a.corp\"]", Nothing, Nothing),
    ] {
        for (path, wanted) in [("/one", at_one_path), ("/other", at_two)] {
            let text = format!(
                "{IDENTITY}{UNIX}tls = {{ cert = \"tls.crt\", key = \"tls.key\", client_ca = \"tls.crt\" }}\n[[app]]\nname = \"one\"\npath = \"/one\"\n{one}\n[[app]]\nname = \"other\"\npath = \"{path}\"\ndeny = [\"delete\"]\n{other}\n"
            );
            let said = match from_text(&text, &folder.join("p.toml"), &Overrides::default(), &env) {
                Err(problems) => {
                    assert!(problems.to_string().contains("some requests could match both"), "{problems}");
                    Refused
                }
                Ok(config) => {
                    match config.warnings.iter().any(|warning| warning.contains("nothing separates")) {
                        true => Warned,
                        false => Nothing,
                    }
                }
            };
            assert_eq!(said, wanted, "{one:?} and {other:?} at {path}");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}
