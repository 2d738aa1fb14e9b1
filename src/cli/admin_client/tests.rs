//! Which listener the commands ask, and what of their words reaches a terminal.

use super::*;

fn options(admin: Option<&str>, config: Option<&Path>) -> Options {
    Options {
        admin: admin.map(ToOwned::to_owned),
        config: config.map(ToOwned::to_owned),
        key_file: None,
        ca_file: None,
    }
}

fn shown(admin: &str) -> Result<String, String> {
    AdminListener::find(&options(Some(admin), None), Path::new("/nowhere/proxy.toml"))
        .map(|listener| listener.to_string())
}

#[test]
fn a_listener_is_a_url_an_address_or_a_socket() {
    for (text, want) in [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("ops.internal:81", "http://ops.internal:81"),
        ("http://localhost:8081/", "http://localhost:8081"),
        ("HTTPS://ops.internal", "https://ops.internal:443"),
        ("http://[::1]:8081", "http://[::1]:8081"),
        ("0.0.0.0:8081", "http://127.0.0.1:8081"),
        ("http://[::]:8081", "http://[::1]:8081"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock?mode=0660&group=ops", "unix:/run/a.sock"),
        ("unix:a.sock", "unix:a.sock"),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(want), "{text}");
    }
    for (text, why) in [
        ("", "host and port are missing"),
        ("localhost", "the port is missing"),
        ("localhost:0", "the port is missing"),
        ("http://", "host and port are missing"),
        ("http://localhost:", "host and port are missing"),
        ("ftp://localhost:8081", "the scheme is unknown"),
        ("http://me:pw@localhost:8081", "a user or password"),
        ("http://localhost:8081/reload", "a path or query"),
        ("http://localhost:8081?x", "a path or query"),
        ("unix:", "no path"),
        ("unix:?mode=0660", "no path"),
    ] {
        let said = shown(text).unwrap_err();
        assert!(said.contains(why) && said.ends_with(A_LISTENER), "{text}: {said}");
    }
}

#[test]
fn the_file_names_the_listener_even_if_the_rest_is_invalid() {
    let file = std::env::temp_dir().join(format!("boxgate-admin-{}.toml", std::process::id()));
    let found = |text: &str| {
        std::fs::write(&file, text).unwrap();
        AdminListener::find(&options(None, Some(&file)), Path::new("/nowhere/proxy.toml"))
    };
    for (text, want) in [
        ("", "http://127.0.0.1:8081"),
        ("[admin]\naddress = \"127.0.0.1:9\"", "http://127.0.0.1:9"),
        ("[admin]\naddress = \"0.0.0.0:9\"\nhots = []\n[nothing]\na = 1", "http://127.0.0.1:9"),
        ("[admin]\naddress = [\"127.0.0.1:0\", \"unix:/run/a.sock?mode=0660\"]", "unix:/run/a.sock"),
        ("[app.a]\npath = /a\n[admin]\naddress = \"127.0.0.1:9\"", "http://127.0.0.1:9"),
    ] {
        assert_eq!(found(text).unwrap().to_string(), want, "{text}");
    }
    let source = found("").unwrap().source;
    assert_eq!(source, format!("[admin] address of {}", file.display()));
    for (text, why) in [
        ("[admin]\naddress = \"8081\"", "admin.address: \"8081\" is only a port"),
        ("[admin]\naddress = []", "admin.address: an empty list"),
        ("[admin]\naddress = \"127.0.0.1:0\"", "has port 0"),
    ] {
        let said = found(text).unwrap_err();
        assert!(said.contains(why) && said.contains("--admin names the listener"), "{said}");
    }
    std::fs::remove_file(&file).unwrap();
    let said = found_nothing(&file);
    assert!(said.contains("cannot be read") && said.contains("--admin"), "{said}");
}

fn found_nothing(file: &Path) -> String {
    AdminListener::find(&options(None, Some(file)), file).unwrap_err()
}

#[test]
fn a_key_is_readable_on_the_way_to_every_plain_address_but_loopback() {
    let file = std::env::temp_dir().join(format!("boxgate-readable-{}.toml", std::process::id()));
    for (address, tls, is_readable) in [
        ("10.9.8.7:81", "", true),
        ("[2001:db8::1]:81", "", true),
        ("10.9.8.7:81", "tls = {}", false),
        ("0.0.0.0:81", "", false),
        ("127.0.0.1:81", "", false),
        ("unix:/run/a.sock", "", false),
    ] {
        std::fs::write(&file, format!("[admin]\naddress = {address:?}\n{tls}\n")).unwrap();
        for admin in [None, Some(address)] {
            let found = AdminListener::find(&options(admin, Some(&file)), Path::new("/nowhere")).unwrap();
            assert_eq!(found.is_readable_on_the_way(), is_readable, "{address} {tls} {admin:?}");
        }
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_named_address_of_this_machine_belongs_to_the_file() {
    let file = std::env::temp_dir().join(format!("boxgate-named-{}.toml", std::process::id()));
    let text = "[admin]\naddress = [\"10.9.8.7:8081\", \"0.0.0.0:82\"]\ntls = {}\nkey = \"canary-key-of-the-file\"\n";
    std::fs::write(&file, text).unwrap();
    let found = |admin: &str| {
        AdminListener::find(&options(Some(admin), None), &file)
            .map(|found| (found.to_string(), found.key != Key::None))
            .unwrap()
    };
    for (admin, want, has_key) in [
        ("0.0.0.0:81", "https://127.0.0.1:81", true),
        ("[::]:81", "https://[::1]:81", true),
        ("127.0.0.1:81", "https://127.0.0.1:81", true),
        ("localhost:81", "https://localhost:81", true),
        ("10.9.8.7:8081", "https://10.9.8.7:8081", true),
        ("unix:/run/a.sock", "unix:/run/a.sock", true),
        // Another machine, another listener, or told by its URL.
        ("10.9.8.7:81", "http://10.9.8.7:81", false),
        ("10.9.8.6:8081", "http://10.9.8.6:8081", false),
        ("ops.internal:8081", "http://ops.internal:8081", false),
        ("http://127.0.0.1:81", "http://127.0.0.1:81", false),
        ("HTTPS://127.0.0.1:81", "https://127.0.0.1:81", false),
    ] {
        assert_eq!(found(admin), (want.to_owned(), has_key), "{admin}");
    }
    // A file that is not named need not be readable; one that is named must be.
    std::fs::write(&file, "[admin]\naddress = []\n").unwrap();
    assert_eq!(found("127.0.0.1:81"), ("http://127.0.0.1:81".to_owned(), false));
    let named = AdminListener::find(&options(Some("127.0.0.1:81"), Some(&file)), Path::new("/nowhere"));
    assert!(named.unwrap_err().contains("an empty list"));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn without_a_file_the_listener_is_the_default() {
    let found = AdminListener::find(&options(None, None), Path::new("/nowhere/proxy.toml")).unwrap();
    assert_eq!(found.to_string(), "http://127.0.0.1:8081");
}

#[test]
fn control_characters_are_not_printed_to_a_terminal() {
    assert_eq!(printable("a\u{1b}[2Jb\r\nc\td ä\u{9b}"), "a\\u{1b}[2Jb\\r\nc\td ä\\u{9b}");
}
