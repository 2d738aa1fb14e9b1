use std::fs;

use super::*;
use crate::net::egress_proxy::Proxy;
use crate::oauth::identity::Subject;

mod documented;
mod downscope;
mod forward_proxy;
mod hidden;
mod limits;
mod refusals;
mod separation;
mod trace;

const IDENTITY: &str = "[identity.service]\nclient_id = \"id\"\nclient_secret = { env = \"BOX_CLIENT_SECRET\" }\nenterprise_id = \"1\"\n";
const SECRET: &str = "hunter2hunter2";

fn env(name: &str) -> Option<String> {
    match name {
        "BOX_CLIENT_ID" => Some("abc".to_owned()),
        "BOX_CLIENT_SECRET" => Some(SECRET.to_owned()),
        "BOX_ENTERPRISE_ID" => Some("123456".to_owned()),
        "BOX_APP_KEY" => Some("a-key".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    from_text(text, Path::new("p.toml"), &Overrides::default(), &env)
}

/// The text after a valid identity, which has four lines.
fn with_identity(text: &str) -> Result<Config, Problems> {
    read(&format!("{IDENTITY}{text}"))
}

fn messages(text: &str) -> Vec<String> {
    with_identity(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn only_message(text: &str) -> String {
    let messages = messages(text);
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.into_iter().next().unwrap()
}

fn tcp(text: &str) -> Vec<Address> {
    vec![Address::Tcp(text.parse().unwrap())]
}

#[test]
fn an_identity_is_enough() {
    let config = with_identity("").unwrap();
    assert_eq!(config.listen.addresses, tcp("127.0.0.1:8080"));
    assert_eq!(config.admin.addresses, tcp("127.0.0.1:8081"));
    assert!(config.listen.sources.contains("192.168.1.1".parse().unwrap()));
    assert!(!config.listen.sources.contains("8.8.8.8".parse().unwrap()));
    assert_eq!(config.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!((config.upstream.retries, config.upstream.http2), (2, true));
    assert_eq!((config.upstream.replay_buffer, config.server.max_header_size), (65_536, 32_768));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_position() {
    let found = messages(concat!(
        "[listen]\n",
        "adress = \"127.0.0.1:1\"\n",
        "sources = [\"loopback\", \"10.1.2.3/16\"]\n",
        "[upstream]\n",
        "retries = 11\n",
        "connect_timeout = \"0s\"\n",
        "  [log]\n",
        "  level = \"inof\"\n",
    ));
    let starts = [
        "p.toml:6:1: listen.adress: unknown key; did you mean \"address\"?",
        "p.toml:7:24: listen.sources: \"10.1.2.3/16\" has bits set",
        "p.toml:9:11: upstream.retries: expected an integer from 0 to 10, found the integer 11",
        "p.toml:10:19: upstream.connect_timeout: \"0s\": it must be longer than zero",
        "p.toml:12:11: log.level: \"inof\" is not an allowed value; did you mean \"info\"?",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (message, start) in found.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn a_syntax_error_has_its_position_and_shows_no_value() {
    let message = read("[listen]\nworkers = \n").unwrap_err().to_string();
    assert!(message.starts_with("p.toml:2:1"), "{message}");
    let cases = [
        "client_secret = \"hunter2",
        "client_secret = hunter2",
        "a = 1\na = \"hunter2\"",
        "a = \"hunter2\" x",
    ];
    for text in cases {
        let problems = read(text).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems.to_string().starts_with("p.toml:"), "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}

#[test]
fn an_admin_listener_beyond_loopback_wants_a_key() {
    let of = |admin: &str| {
        let variable = |name: &str| match name {
            "KEY" => Some("a key that is long enough".to_owned()),
            other => env(other),
        };
        let text = format!("{IDENTITY}[admin]\n{admin}\n");
        let warnings =
            from_text(&text, Path::new("p.toml"), &Overrides::default(), &variable).unwrap().warnings;
        warnings.into_iter().filter(|warning| warning.contains("admin.")).collect::<Vec<_>>()
    };
    for quiet in [
        "",
        "address = \"[::1]:8081\"",
        "address = \"unix:/run/a.sock\"",
        "address = \"0.0.0.0:8081\"\nkey = { env = \"KEY\" }",
    ] {
        assert!(of(quiet).is_empty(), "{quiet}: {:?}", of(quiet));
    }
    for open in ["address = \"0.0.0.0:8081\"", "address = [\"127.0.0.1:8081\", \"10.1.2.3:8081\"]"] {
        let warnings = of(open);
        assert!(warnings.len() == 1 && warnings[0].contains("set [admin] key"), "{open}: {warnings:?}");
    }
    let short = of("key = \"hunter2\"");
    assert!(short.len() == 2 && short[1].contains("can be guessed"), "{short:?}");
    assert!(!short.concat().contains("hunter2"), "{short:?}");
    assert!(only_message("[admin]\nkey = []\n").contains("no operator could ask"));
}

#[test]
fn a_key_of_an_app_that_can_be_guessed_is_a_warning() {
    let of = |key: &str| {
        let text = format!("{IDENTITY}[[app]]\nname = \"a\"\nkey = {key}\n");
        let found = read(&text).unwrap().warnings.concat();
        assert!(!found.contains("hunter2"), "{found}");
        found
    };
    for short in ["\"hunter2\"", "[\"a key that is long enough\", \"hunter2\"]"] {
        let found = of(short);
        assert!(found.contains("app.a.key: a key of fewer than 16 characters can be guessed"), "{found}");
    }
    assert!(!of("\"a key that is long enough\"").contains("can be guessed"));
}

#[test]
fn a_secret_is_never_shown() {
    let forms = [
        format!("client_secret = \"{SECRET} \""),
        format!("client_secret = {{ env = \"{SECRET} x\" }}"),
        format!("client_secret = [\"{SECRET}\"]"),
        format!("client_secret = {{ value = \"{SECRET}\" }}"),
        "client_secret = { env = \"BOX_CLIENT_SECRET\", file = \"x\" }".to_owned(),
        format!("client_secret = {{ env = \"BOX_CLIENT_SECRET\" }}\nretries = \"{SECRET}\""),
        "client_secret = { env = \"BOX_CLIENT_SECRET\" }\nuser_id = { env = \"BOX_CLIENT_SECRET\" }"
            .to_owned(),
    ];
    for form in forms {
        let text = format!(
            "[identity.a]\nclient_id = \"id\"\nenterprise_id = \"1\"\n{form}\n[upstream]\nproxy = \"http://u:{SECRET}@h\"\n"
        );
        let problems = read(&text).unwrap_err();
        assert!(problems.len() >= 2, "{problems}");
        assert!(!format!("{problems} {problems:?}").contains(SECRET), "{problems}");
    }
    let config =
        with_identity(&format!("[upstream]\nproxy = \"http://u:{SECRET}@proxy.example:3128\"\n")).unwrap();
    assert_eq!(config.identities[0].client_secret.expose(), SECRET);
    assert!(matches!(&config.upstream.proxy, Proxy::Url(url) if url.expose().contains(SECRET)));
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn a_literal_secret_gets_a_warning() {
    let text = format!("[identity.a]\nclient_id = \"id\"\nuser_id = \"7\"\nclient_secret = \"{SECRET}\"\n");
    let config = read(&text).unwrap();
    assert_eq!(config.identities[0].subject, Subject::User("7".to_owned()));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].starts_with("p.toml:4:17: identity.a.client_secret: the secret is in"));
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn ambiguous_apps_are_refused() {
    let app = |name, more: &str| format!("[[app]]\nname = \"{name}\"\npath = \"/x\"\n{more}\n");
    let message = only_message(&(app("one", "") + &app("two", "")));
    assert!(
        message.starts_with("p.toml:9:1: app.two: some requests could match both \"one\" and \"two\""),
        "{message}"
    );

    let separate = app("one", "sources = [\"10.1.0.0/16\"]\ndeny = [\"* /**\"]")
        + &app("two", "sources = [\"10.2.0.0/16\"]");
    assert!(with_identity(&separate).unwrap().warnings.is_empty());

    let by_host =
        app("one", "hosts = [\"a.example\"]\nas_user = [\"*\"]") + &app("two", "hosts = [\"b.example\"]");
    let config = with_identity(&by_host).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("\"one\" and \"two\" differ in as_user"), "{:?}", config.warnings);
    assert_eq!(config.listen.hosts.names().collect::<Vec<_>>(), ["a.example", "b.example"]);
}

#[test]
fn apps_with_different_rights_that_are_not_separated_get_one_warning() {
    let app = |number: usize| {
        // Two of them are alike.
        let path = number.min(10);
        format!("[[app]]\nname = \"a{number}\"\npath = \"/{number}\"\nallow = [\"GET /2.0/files/{path}\"]\n")
    };
    let config = with_identity(&(0..12).map(app).collect::<String>()).unwrap();
    assert_eq!(config.warnings.len(), 1, "{:#?}", config.warnings);
    let warning = &config.warnings[0];
    for part in
        ["\"a0\", \"a1\", ", "\"a9\" and (\"a10\", \"a11\") differ in rules (allow, deny), but nothing"]
    {
        assert!(warning.contains(part), "{part} in {warning}");
    }

    // Two networks with two apps each: apps in different networks are separate.
    let app = |name, network, user| {
        format!(
            "[[app]]\nname = \"{name}\"\npath = \"/{name}\"\nsources = [\"{network}\"]\nas_user = [\"{user}\"]\n"
        )
    };
    let (one, other) = ("10.1.0.0/16", "10.2.0.0/16");
    let text = [app("a", one, 1), app("b", one, 2), app("c", other, 3), app("d", other, 4)].concat();
    let config = with_identity(&text).unwrap();
    assert_eq!(config.warnings.len(), 2, "{:#?}", config.warnings);
    assert!(config.warnings[0].contains("\"a\" and \"b\" differ in as_user"), "{:#?}", config.warnings);
    assert!(config.warnings[1].contains("\"c\" and \"d\" differ in as_user"), "{:#?}", config.warnings);
}

#[test]
fn ambiguous_apps_are_one_problem_that_lists_them() {
    let app = |number: usize| format!("[[app]]\nname = \"a{number}\"\n");
    let message = only_message(&(0..12).map(app).collect::<String>());
    assert!(
        message.starts_with("p.toml:7:1: app.a1: some requests could match several of \"a0\", "),
        "{message}"
    );
    assert!(
        message.contains(
            "\"a10\" and \"a11\"; give each a different path, or hosts, sources, a key or certificates"
        ),
        "{message}"
    );
}

#[test]
fn a_name_of_two_apps_is_one_problem() {
    let app = "[[app]]\nname = \"a\"\n";
    let message = only_message(&app.repeat(2));
    assert!(
        message.contains("another app has the name \"a\" too") && !message.contains("match both"),
        "{message}"
    );
}

#[test]
fn origins_are_listed_for_each_app() {
    let app = |lines: &str| format!("[[app]]\nname = \"a\"\n{lines}\n");
    let config = with_identity(&app(
        "origins = [\"https://a.example\", \"https://*.b.example\"]\nrequire_header = \"X-Box-Gateway\"",
    ));
    let config = config.unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let read = config.apps.iter().next().unwrap();
    for origin in ["https://a.example", "https://x.b.example"] {
        assert!(read.origins.admits(crate::http::origin::Origin::parse(origin).unwrap()), "{origin}");
    }
    assert_eq!(read.require_header.as_ref().unwrap().as_str(), "x-box-gateway");

    let message = only_message(&app("origins = [\"https://a.example\", \"https://*.com\"]"));
    assert!(message.starts_with("p.toml:7:33: app.a.origins: \"https://*.com\": anybody"), "{message}");
    for header in ["Accept", "Content-Type", "Origin", "Sec-Fetch-Site", "Host", "Cookie", "a b", ""] {
        let message = only_message(&app(&format!("require_header = \"{header}\"")));
        assert!(message.starts_with("p.toml:7:18: app.a.require_header: "), "{message}");
    }
}

#[test]
fn apps_that_differ_only_in_origins_are_ambiguous() {
    let app = |name, origin| {
        format!("[[app]]\nname = \"{name}\"\npath = \"/x\"\norigins = [\"https://{origin}.example\"]\n")
    };
    let message = only_message(&(app("one", "a") + &app("two", "b")));
    assert!(message.contains("\"one\" and \"two\", since not every request has an Origin"), "{message}");
}

#[test]
fn pages_need_tls_beyond_loopback() {
    let listen = |address| {
        format!(
            "[listen]\nhosts = [\"gate.internal\"]\naddress = {address}\n[[app]]\nname = \"a\"\norigins = [\"https://a.example\"]\n"
        )
    };
    for address in ["\"0.0.0.0:8080\"", "[\"127.0.0.1:8080\", \"10.1.2.3:8080\"]", "\"[::]:8080\""] {
        let warnings = with_identity(&listen(address)).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("p.toml:10:11: app.a.origins: "), "{warnings:?}");
        assert!(warnings[0].contains("set [listen] tls"), "{warnings:?}");
    }
    for address in ["\"127.0.0.1:8080\"", "\"[::1]:8080\"", "\"unix:/run/boxgate.sock\""] {
        assert!(with_identity(&listen(address)).unwrap().warnings.is_empty(), "{address}");
    }
}

#[test]
fn the_gateways_own_origin_cannot_be_listed() {
    let with = |origin: &str| {
        format!(
            "[listen]\nhosts = [\"gate.internal\"]\n[[app]]\nname = \"a\"\nhosts = [\"app.internal\"]\norigins = [\"{origin}\"]\n"
        )
    };
    for own in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://gate.internal:8080",
        "http://App.internal:8080",
    ] {
        let message = only_message(&with(own));
        assert!(message.contains("its own origin is never allowed"), "{message}");
    }
    for other in ["http://localhost:3000", "https://gate.internal", "https://localhost:8080"] {
        assert!(with_identity(&with(other)).is_ok(), "{other}");
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let config = from_environment(&Overrides::default(), &env).unwrap();
    assert_eq!(config.identities[0].subject, Subject::Enterprise("123456".to_owned()));
    assert!(config.warnings.is_empty());

    let problems = from_environment(&Overrides::default(), &|_| None).unwrap_err().to_string();
    for name in ["BOX_CLIENT_ID", "BOX_CLIENT_SECRET", "BOX_ENTERPRISE_ID", "BOX_USER_ID"] {
        assert!(problems.contains(name), "{problems}");
    }
}

#[test]
fn secrets_that_cannot_be_read_are_named_where_they_are_not_needed() {
    let text = "[identity.a]\nclient_id = \"x\"\nclient_secret = { file = \"/nowhere/s\" }\nenterprise_id = \"1\"\n\
                [[app]]\nname = \"k\"\nkey = [{ env = \"UNSET\" }, { file = \"/nowhere/k\" }]\n\
                [state]\nredis = { file = \"/nowhere/r\" }\n";
    let of = |text: &str, allows_unread_secrets| {
        let overrides = Overrides { allows_unread_secrets, ..Overrides::default() };
        from_text(text, Path::new("p.toml"), &overrides, &|_| None)
    };
    assert_eq!(of(text, false).unwrap_err().len(), 4);
    let config = of(text, true).unwrap();
    let keys: Vec<_> = config.unread_secrets.iter().map(|unread| unread.key.as_str()).collect();
    assert_eq!(keys, ["identity.a.client_secret", "app.k.key", "app.k.key", "state.redis"]);
    assert!(config.unread_secrets.iter().all(|unread| !unread.why.is_empty()));
    // What is wrong for every reader stays a problem.
    for wrong in ["{ file = \"/dev/null\" }", "{ env = \"no name\" }", "{ file = 1 }", "{}"] {
        let text = text.replace("{ file = \"/nowhere/s\" }", wrong);
        assert_eq!(of(&text, true).unwrap_err().len(), 1, "{wrong}");
    }
    // Ids are read from the same places; a wrong one stays a problem.
    let text = text.replace("enterprise_id = \"1\"", "enterprise_id = { env = \"UNSET\" }");
    assert!(of(&text, false).unwrap_err().to_string().contains("UNSET"));
    let config = of(&text, true).unwrap();
    assert!(config.unread_secrets.iter().any(|unread| unread.key == "identity.a.enterprise_id"));
    let text = text.replace("enterprise_id = { env = \"UNSET\" }", "enterprise_id = \"x\"");
    assert_eq!(of(&text, true).unwrap_err().len(), 1);
}

#[test]
fn flags_override_the_file() {
    let text = "[listen]\naddress = [\"127.0.0.1:1\", \"[::1]:1\"]\nhosts = [\"file.example\"]\n[[app]]\nname = \"a\"\nhosts = [\"app.example\"]\n";
    let text = format!("{IDENTITY}{text}");
    let flags = Overrides {
        listen: Some("127.0.0.1:0".to_owned()),
        admin: Some("localhost:0".to_owned()),
        hosts: vec!["flag.example".to_owned()],
        ..Overrides::default()
    };
    let config = from_text(&text, Path::new("p.toml"), &flags, &env).unwrap();
    assert_eq!((config.listen.addresses, config.admin.addresses), (tcp("127.0.0.1:0"), tcp("127.0.0.1:0")));
    assert_eq!(config.listen.hosts.names().collect::<Vec<_>>(), ["flag.example", "app.example"]);

    let flags = Overrides {
        listen: Some("x".into()),
        admin: Some("80".into()),
        hosts: vec!["a:1".into()],
        ..Overrides::default()
    };
    let problems = from_text(&text, Path::new("p.toml"), &flags, &env).unwrap_err();
    let starts: Vec<_> =
        problems.iter().map(|problem| problem.to_string().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(starts, ["--admin:", "--host:", "--listen:"]);
}

#[test]
fn an_address_can_be_listed_only_once() {
    let message = only_message("[listen]\naddress = [\"127.0.0.1:1\", \"localhost:1\"]\n");
    assert!(message.starts_with("p.toml:6:27: listen.address: \"127.0.0.1:1\" is listed twice"), "{message}");
    assert!(only_message("[admin]\naddress = \"127.0.0.1:8080\"\n").contains("listed twice"));
    assert!(with_identity("[listen]\naddress = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n").is_ok());
    assert!(only_message("[listen]\naddress = []\n").contains("an empty list"));
}

#[test]
fn empty_sources_are_refused_and_sources_for_everyone_get_a_warning() {
    for table in ["[listen]", "[admin]", "[[app]]\nname = \"a\""] {
        assert!(only_message(&format!("{table}\nsources = []\n")).contains("an empty list"), "{table}");
        assert!(only_message(&format!("{table}\nsources = 1\n")).contains("expected a list"), "{table}");
    }
    for all in ["\"any\"", "\"0.0.0.0/0\"", "\"loopback\", \"::/0\"", "\"0.0.0.0/1\", \"128.0.0.0/1\""] {
        let config = with_identity(&format!("[listen]\nsources = [{all}]\n")).unwrap();
        assert_eq!(config.warnings.len(), 1, "{all}");
        assert!(config.warnings[0].starts_with("p.toml:6:11: listen.sources: "), "{:?}", config.warnings);
    }
    assert!(with_identity("[listen]\nsources = [\"10.0.0.0/8\"]\n").unwrap().warnings.is_empty());
}

#[test]
fn trusted_proxies_for_everyone_get_a_warning() {
    for key in ["trusted_proxies", "proxy_protocol"] {
        let app = "[[app]]\nname = \"a\"\nsources = [\"10.0.0.0/8\"]\n";
        let config = with_identity(&format!("[listen]\n{key} = [\"10.0.0.0/8\"]\n{app}")).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        for everybody in ["\"any\"", "\"0.0.0.0/1\", \"128.0.0.0/1\""] {
            let config = with_identity(&format!("[listen]\n{key} = [{everybody}]\n{app}")).unwrap();
            let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
            assert!(warning.contains(key) && warning.contains("can forge its address"), "{warning}");
        }
    }
}

#[test]
fn a_pattern_that_names_batches_gets_a_warning() {
    let of =
        |allow: &str| with_identity(&format!("[[app]]\nname = \"a\"\nallow = [{allow}]\n")).unwrap().warnings;
    assert_eq!(of("\"* /**\""), Vec::<String>::new());
    let [warning] = &of("\"GET /2.0/**\", \"POST /2.0/batch\"")[..] else { panic!() };
    assert!(
        warning.contains("app.a.allow") && warning.contains("rules, limits and budgets cannot check"),
        "{warning}"
    );
}

#[test]
fn numbers_and_sizes_have_limits() {
    for bad in [
        "[server]\nmax_header_size = \"8191B\"\n",
        "[server]\nmax_header_size = \"2MiB\"\n",
        "[upstream]\nreplay_buffer = \"17MiB\"\n",
        "[upstream]\nretries = -1\n",
        "[listen]\nworkers = 1.5\n",
    ] {
        only_message(bad);
    }
    let config =
        with_identity("[upstream]\nreplay_buffer = \"0B\"\nretries = 0\n[listen]\nworkers = 3\n").unwrap();
    assert_eq!((config.upstream.replay_buffer, config.upstream.retries, config.workers.get()), (0, 0, 3));
}

#[test]
fn extra_roots_are_read_beside_the_file() {
    let folder =
        std::env::temp_dir().join(format!("boxgate-config-{}-{}", std::process::id(), fastrand::u64(..)));
    fs::create_dir(&folder).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&key).unwrap().pem();
    let cases = [
        ("good", format!("# two\n{pem}{pem}"), None),
        ("marked", format!("\u{feff}{pem}{pem}"), None),
        ("none", "no certificate".to_owned(), Some("has no certificate")),
        ("key", key.serialize_pem(), Some("has no certificate")),
        ("cut", pem.replace("-----END", ""), Some("is damaged PEM")),
        (
            "other",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            Some("cannot be a root"),
        ),
    ];
    for (name, content, fault) in cases {
        fs::write(folder.join(name), content).unwrap();
        fs::write(folder.join("p.toml"), format!("{IDENTITY}[box]\nca_file = \"{name}\"\n")).unwrap();
        let config = from_file(&folder.join("p.toml"), &Overrides::default(), &env);
        match fault {
            None => assert_eq!(config.unwrap().hosts.extra_roots.len(), 2),
            Some(fault) => assert!(config.unwrap_err().to_string().contains(fault), "{name}"),
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(only_message("[box]\nca_file = \"nowhere.pem\"\n").contains("cannot be read"));
    let gone = from_file(&folder.join("p.toml"), &Overrides::default(), &env).unwrap_err();
    assert!(gone.to_string().contains("the configuration file cannot be read"));
}

#[test]
fn without_an_identity_apps_report_no_further_problem() {
    let problems = read("[[app]]\nname = \"a\"\nidentity = \"service\"\n").unwrap_err().to_string();
    assert_eq!(
        problems,
        "p.toml: identity: there must be at least one; write [identity.service] and its keys"
    );
}

#[test]
fn the_shipped_file_loads_and_has_the_defaults() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml")).unwrap();
    let shipped = read(&text).unwrap();
    assert!(shipped.warnings.is_empty(), "{:?}", shipped.warnings);
    let defaults = from_environment(&Overrides::default(), &env).unwrap();
    // What is written differs, what it means does not.
    assert_ne!(shipped.written, defaults.written);
    let defaults = Config { written: shipped.written.clone(), ..defaults };
    assert_eq!(format!("{shipped:?}"), format!("{defaults:?}"));
}

#[test]
fn an_address_for_other_machines_needs_something_that_decides_who_may_call() {
    let warned = |text: &str| with_identity(text).unwrap().exposure;
    let open = "[listen]\naddress = \"0.0.0.0:8080\"\n";
    let words = warned(open).unwrap();
    assert!(words.starts_with("0.0.0.0:8080 can be reached from other machines"), "{words}");
    let config = with_identity(open).unwrap();
    assert!(
        config.warnings.iter().any(|warning| warning
            .to_string()
            .starts_with("p.toml:6:11: listen.address: 0.0.0.0:8080 can be")),
        "{:?}",
        config.warnings
    );
    assert!(
        warned(&format!("{open}[[app]]\nname = \"a\"\nkey = \"k\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n"))
            .is_some()
    );
    for closed in [
        "",
        "[listen]\naddress = [\"127.0.0.1:8080\", \"[::1]:8080\", \"unix:/tmp/x\"]\n",
        &format!("{open}sources = [\"10.1.0.0/16\"]\n"),
        &format!("{open}hosts = [\"boxgate.internal\"]\n"),
        &format!("{open}[[app]]\nname = \"a\"\nkey = \"k\"\n"),
        &format!("{open}[[app]]\nname = \"a\"\nsources = [\"10.1.0.0/16\"]\n"),
    ] {
        assert_eq!(warned(closed), None, "{closed}");
    }
}

#[test]
fn what_a_proxy_hands_on_needs_something_that_decides_who_may_call_too() {
    let warned = |text: &str| with_identity(text).unwrap().exposure;
    let trusted = "[listen]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let balanced = "[listen]\nproxy_protocol = [\"10.0.0.1\"]\n";
    let open = "[listen]\naddress = \"0.0.0.0:8080\"\ntrusted_proxies = [\"10.0.0.1\"]\n";
    let judges_the_proxy = "sources = [\"10.0.0.1\"]\nhosts = [\"boxgate.internal\"]\n";
    let one_of_two = "[[app]]\nname = \"a\"\nkey = \"k\"\n[[app]]\nname = \"b\"\npath = \"/b\"\n";
    for (text, app) in [
        (trusted, "default"),
        (balanced, "default"),
        (&format!("{open}{judges_the_proxy}"), "default"),
        (&format!("{trusted}{one_of_two}"), "b"),
    ] {
        let words = warned(text).unwrap();
        let named = format!("whoever reaches one of these reaches app {app:?}");
        assert!(words.starts_with(&named) && words.ends_with("a key, certificates or sources"), "{words}");
    }
    let warnings = with_identity(trusted).unwrap().warnings;
    assert!(warnings[0].starts_with("p.toml:6:19: listen.trusted_proxies: whoever"), "{warnings:?}");
    for closed in [
        "[listen]\ntrusted_proxies = []\nproxy_protocol = []\n",
        &format!("{trusted}[[app]]\nname = \"a\"\nkey = \"k\"\n"),
        &format!("{balanced}[[app]]\nname = \"a\"\nsources = [\"10.1.0.0/16\"]\n"),
        &format!("{balanced}[[app]]\nname = \"a\"\nenabled = false\n"),
    ] {
        assert_eq!(warned(closed), None, "{closed}");
    }
}

#[test]
fn the_shipped_file_names_every_key() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml")).unwrap();
    let uncommented = |block: &str| {
        let (header, keys) = block.split_once('\n').unwrap();
        format!("{}\n{}", header.trim_start_matches("# "), format!("\n{keys}").replace("\n# ", "\n"))
    };
    let blocks = text.split("\n\n").map(|block| match block.starts_with("# [") || block.starts_with("[[") {
        true => uncommented(block),
        false => block.to_owned(),
    });
    // They need a client_ca, whose file is not there.
    let everything =
        blocks.collect::<Vec<_>>().join("\n\n").replace("\ncertificates = ", "\n# certificates = ");
    let config = read(&everything).unwrap();
    assert_eq!((config.limits.len(), config.budgets.len()), (1, 1));
    assert!(config.forward_proxy.is_some());
    for (header, keys) in raw::TABLES.iter().filter(|(header, _)| header.starts_with('[')) {
        let header = header.replace("NAME", "service");
        let table = everything.split_once(&format!("\n{header}")).unwrap().1.split("\n[").next().unwrap();
        for key in *keys {
            let names = |line: &str| line.trim_start_matches("# ").split([' ', '=']).next() == Some(key);
            assert!(table.lines().any(names), "{header} {key}");
        }
    }
}
