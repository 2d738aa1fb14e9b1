//! Refused configurations and their messages.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use super::*;

#[test]
fn a_secret_file_holds_the_secret_and_one_line_break_at_most() {
    let folder =
        std::env::temp_dir().join(format!("boxgate-secret-{}-{}", std::process::id(), fastrand::u64(..)));
    DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let text = "[identity.a]\nclient_id = \"id\"\nuser_id = \"7\"\nclient_secret = { file = \"secret\" }\n";
    let load = || from_text(text, &folder.join("p.toml"), &Overrides::default(), &env);
    assert!(load().unwrap_err().to_string().contains("cannot be read"));
    for good in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n")] {
        fs::write(folder.join("secret"), &good).unwrap();
        let config = load().unwrap();
        assert_eq!(
            (config.identities[0].client_secret.expose(), config.warnings.len()),
            (SECRET, 0),
            "{good:?}"
        );
    }
    for bad in [&b"\n"[..], b"", b"hunter2\n\n", b" hunter2", b"hunter2\xff", b"hun\nter2", &[b'h'; 70_000]] {
        fs::write(folder.join("secret"), bad).unwrap();
        let problems = load().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(
            !problems.to_string().contains("hunter2") && !problems.to_string().contains("hhhh"),
            "{problems}"
        );
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_relative_file_is_looked_for_among_the_credentials_too() {
    let folder =
        std::env::temp_dir().join(format!("boxgate-credential-{}-{}", std::process::id(), fastrand::u64(..)));
    let credentials = folder.join("credentials");
    fs::create_dir_all(&credentials).unwrap();
    let load = |file: &str, credentials: Option<&Path>| {
        let text = format!(
            "[identity.a]\nclient_id = \"id\"\nuser_id = \"7\"\nclient_secret = {{ file = {file:?} }}\n"
        );
        let variable = |name: &str| {
            (name == "CREDENTIALS_DIRECTORY")
                .then(|| credentials.map(|path| path.display().to_string()))
                .flatten()
        };
        from_text(&text, &folder.join("p.toml"), &Overrides::default(), &variable)
            .map(|config| {
                let holds = config.secret_files[0].strip_prefix(&folder).unwrap().display().to_string();
                assert_eq!(config.secret_files.len(), 1, "only the file that was read");
                (config.identities[0].client_secret.expose().to_owned(), holds)
            })
            .map_err(|problems| problems.to_string())
    };
    let refused = load("secret", Some(&credentials)).unwrap_err();
    for place in [folder.join("secret"), credentials.join("secret")] {
        assert!(refused.contains(&place.display().to_string()), "{refused}");
    }
    assert!(refused.contains("$CREDENTIALS_DIRECTORY"), "{refused}");
    assert!(!load("secret", None).unwrap_err().contains("CREDENTIALS"));

    fs::write(credentials.join("secret"), "from-the-credential").unwrap();
    let found = |text: &str, holds: &str| Ok((text.to_owned(), holds.to_owned()));
    assert_eq!(load("secret", Some(&credentials)), found("from-the-credential", "credentials/secret"));
    assert!(load("secret", None).is_err());
    assert!(
        load("secret", Some(Path::new("credentials"))).is_err(),
        "a relative folder is none of systemd's"
    );
    assert!(load("/secret", Some(&credentials)).is_err(), "an absolute path is meant as it is");

    // What is beside the configuration comes first.
    fs::write(folder.join("secret"), "from-the-file").unwrap();
    assert_eq!(load("secret", Some(&credentials)), found("from-the-file", "secret"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn missing_and_conflicting_keys_are_named() {
    let problems = read(
        "[identity.a]\n[identity.b]\nclient_id = 5\nclient_secret = 5\nenterprise_id = 6\nuser_id = \"x@y\"\n",
    );
    let problems = problems.unwrap_err().to_string();
    for part in [
        "p.toml:1:1: identity.a.client_id: is missing",
        "p.toml:1:1: identity.a.client_secret: is missing",
        "p.toml:1:1: identity.a: enterprise_id (for the service account) or user_id",
        "p.toml:3:13: identity.b.client_id: expected a string, found the integer 5",
        "p.toml:4:17: identity.b.client_secret: expected a string",
        "p.toml:5:17: identity.b.enterprise_id: expected a string, found the integer 6; put it in quotes",
        "p.toml:6:11: identity.b.user_id: \"x@y\": the value is an e-mail address; give the user's id, not the login",
        "p.toml:6:11: identity.b.user_id: cannot be combined with enterprise_id",
    ] {
        assert!(problems.contains(part), "{part} is not in\n{problems}");
    }
}

#[test]
fn an_app_must_name_one_of_several_identities() {
    let second = IDENTITY.replace("service", "people");
    let message = only_message(&second);
    assert!(message.starts_with("p.toml: app: there are several identities"), "{message}");
    let message = only_message(&format!("{second}[[app]]\nname = \"a\"\n"));
    assert!(
        message.contains("app.a.identity: is missing") && message.contains("\"people\", \"service\""),
        "{message}"
    );
    let message = only_message(&format!("{second}[[app]]\nname = \"a\"\nidentity = \"poeple\"\n"));
    assert!(message.contains("no identity is named \"poeple\"; did you mean \"people\"?"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_described() {
    for (text, words) in [
        ("[server]\nheader_timeout = 5\n", "expected a duration such as \"250ms\""),
        ("[listen]\nhosts = \"a\"\n", "found the string \"a\"; write [\"a\"]"),
        ("[app]\nname = \"a\"\n", "write [[app]] with two brackets"),
        ("[[log]]\n", "expected a table [log], found a list"),
        ("[[app]]\npath = \"/x\"\n", "app[0].name: is missing"),
        ("[log]\naccess = \"yes\"\n", "expected true or false, found the string \"yes\""),
        ("[[app]]\nname = \"a\"\nas_user = [\"*\", \"1\"]\n", "must be the only entry"),
        ("[server]\nretries = 1\n", "it belongs under [upstream]"),
        ("[listen]\ncert = \"a\"\n", "it belongs in tls = { cert = \"PATH\", key = \"PATH\" }"),
        ("[listen]\nkey = \"a\"\n", "it belongs in tls = { cert = \"PATH\", key = \"PATH\" }"),
        ("[[app]]\nname = \"a\"\nlimit = \"10/s\"\n", "it is a table of its own, [[limit]]"),
        ("[[app]]\nname = \"a\"\nbudget = 5\n", "it is a table of its own, [[budget]]"),
        ("[[limits]]\n", "expected a table [limits], found a list; a limit of your own is a [[limit]]"),
        ("[upstream]\nretries = \"3\"\n", "found the string \"3\"; write 3, without quotes"),
        ("[upstream]\nmax_pause = \"5min\"\n", "did you mean \"5m\"?"),
    ] {
        assert!(only_message(text).contains(words), "{}", only_message(text));
    }
}

#[test]
fn a_rule_that_is_neither_a_group_nor_a_pattern_is_refused() {
    let of = |rules: &str| only_message(&format!("[[app]]\nname = \"a\"\n{rules}\n"));
    let message = of("allow = [\"reed\"]");
    assert!(
        message.contains(
            "app.a.allow: \"reed\" is not a group of operations; did you mean \"read\"? allowed: \"read\", "
        ),
        "{message}"
    );
    assert!(message.ends_with("or a pattern such as \"GET /2.0/files/*/content\""), "{message}");
    assert!(of("deny = [\"/2.0/users\"]").contains("has no method; did you mean \"* /2.0/users\"?"));
}

#[test]
fn names_of_certificates_are_uris_or_dns_names() {
    for (entry, words) in [
        ("[]", "an empty list: no one could call this app"),
        ("[\"*.corp\"]", "a name must be the certificate's own, without a *"),
        ("[\"intranet corp\"]", "is not a name of a certificate; allowed: a URI such as"),
        ("[\"intranet.corp:443\"]", "is not a URI"),
        ("[\"intranet..corp\"]", "is not a DNS name"),
        ("\"intranet.corp\"", "write [\"intranet.corp\"]"),
    ] {
        let tls =
            "[listen]\ntls = { cert = \"none.crt\", key = \"none.key\", client_ca = \"none-ca.crt\" }\n";
        let found = messages(&format!("{tls}[[app]]\nname = \"a\"\ncertificates = {entry}\n"));
        assert!(
            found.iter().any(|message| message.contains("app.a.certificates") && message.contains(words)),
            "{entry}: {found:#?}"
        );
    }
}

#[test]
fn users_in_as_user_are_ids_or_logins() {
    let longest = format!("[\"{}@corp.com\"]", "a".repeat(246));
    for (entry, words) in [
        (
            "[\"ann\"]",
            "\"ann\" is not a user of Box; allowed: an id of 1 to 20 digits, not beginning with 0, or a login",
        ),
        ("[\"011446498\"]", "is not a user of Box"),
        ("[\"\"]", "\"\" is not a user of Box"),
        ("[\"ann @corp.com\"]", "without spaces and in ASCII"),
        ("[\"ann@corp.com, bob@corp.com\"]", "without spaces"),
        ("[\"\u{e4}nn@corp.com\"]", "in ASCII"),
        ("[\"ann\u{200b}@corp.com\"]", "U+200B (zero width space) at character 4"),
        ("[\"*@corp.com\"]", "each user must be named whole, without a *"),
        ("[\"ann@corp.com\", \"*\"]", "must be the only entry"),
        ("[\"ann@corp.com\", \"Ann@Corp.com\"]", "\"Ann@Corp.com\" is listed twice; take one out"),
        ("[\"5\", \"5\"]", "\"5\" is listed twice"),
        (&longest, "a text of 255 bytes is too long"),
        ("\"ann@corp.com\"", "write [\"ann@corp.com\"]"),
    ] {
        let message = only_message(&format!("[[app]]\nname = \"a\"\nas_user = {entry}\n"));
        assert!(message.contains("app.a.as_user") && message.contains(words), "{entry}: {message}");
    }
}

#[test]
fn all_apps_together_have_at_most_a_hundred_logins() {
    let app = |name: &str, logins: std::ops::Range<usize>| {
        let logins: Vec<String> = logins.map(|number| format!("\"user{number}@corp.com\"")).collect();
        format!("[[app]]\nname = \"{name}\"\npath = \"/{name}\"\nas_user = [{}]\n", logins.join(", "))
    };
    // The same login of the same identity is asked for once.
    assert!(with_identity(&(app("a", 0..60) + &app("b", 40..100))).is_ok());
    let message = only_message(&(app("a", 0..60) + &app("b", 40..101) + &app("c", 0..100)));
    assert!(message.contains("app.b.as_user") && message.contains("more than 100 logins"), "{message}");
}
