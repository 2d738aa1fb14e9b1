//! `[forward_proxy]` and the keys of apps.

use super::*;

use crate::config::ProxyCertificate;
use crate::net::certificate_authority::CertificateAuthority;
use crate::net::clock::Clock;
use crate::net::secret::Secret;
use crate::routing::app_key::AppKeys;

#[test]
fn an_empty_table_is_enough_and_without_one_there_is_none() {
    assert!(with_identity("").unwrap().forward_proxy.is_none());
    let proxy = with_identity("[forward_proxy]\n").unwrap().forward_proxy.unwrap();
    assert!(matches!(proxy.certificate, ProxyCertificate::Own));
    assert_eq!(proxy.tunnel.iter().count(), 0);
}

#[test]
fn wrong_combinations_of_certificate_keys_are_refused() {
    for (lines, part) in [
        ("cert = \"a\"", "forward_proxy.cert: needs a key too"),
        ("key = \"a\"", "forward_proxy.key: needs a cert too"),
        (
            "cert = \"a\"\nca = { cert = \"a\", key = { file = \"a\" } }",
            "forward_proxy.ca: cannot be combined with cert or key",
        ),
        ("ca = \"a\"", "forward_proxy.ca: expected a table"),
        ("ca = { cert = \"/nowhere\" }", "forward_proxy.ca.key: is missing"),
        ("ca = { key = { file = \"/nowhere\" } }", "forward_proxy.ca.cert: is missing"),
        ("ca = { cert = \"/nowhere\", key = { file = \"/nowhere\" } }", "/nowhere cannot be read"),
        ("cert = \"/nowhere\"\nkey = \"/nowhere\"", "/nowhere cannot be read"),
        ("tunnels = []", "did you mean \"tunnel\"?"),
    ] {
        let found = messages(&format!("[forward_proxy]\n{lines}\n"));
        assert!(found.iter().any(|message| message.contains(part)), "{part} is not in {found:#?}");
    }
}

#[test]
fn a_shared_ca_is_checked_with_its_key_and_never_shown() {
    let folder =
        std::env::temp_dir().join(format!("boxgate-ca-{}-{}", std::process::id(), fastrand::u64(..)));
    let made = CertificateAuthority::open(&folder, Clock::real().wall()).unwrap();
    let kept = folder.join("forward-proxy-ca.pem");
    let table = |cert: &Path, key: &Path| {
        with_identity(&format!("[forward_proxy]\nca = {{ cert = {cert:?}, key = {{ file = {key:?} }} }}\n"))
    };
    let config = table(&kept, &kept).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("PRIVATE KEY"));
    let public = folder.join("public.pem");
    fs::write(&public, made.pem()).unwrap();
    let problems = table(&public, &public).unwrap_err().to_string();
    assert!(problems.contains("no intermediate with its private key"), "{problems}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn tunnel_lists_hosts_with_ports_but_none_of_box() {
    let good = "[upstream]\nproxy = \"none\"\n[forward_proxy]\ntunnel = [\"a.example:443\", \"*.b.example:8443\", \"10.1.2.3:443\"]\n";
    assert_eq!(with_identity(good).unwrap().forward_proxy.unwrap().tunnel.iter().count(), 3);
    for bad in ["a.example", "a.example:0", "https://a.example", "*.com:443", "*:443", "a.*.example:443"] {
        let message = only_message(&format!("[forward_proxy]\ntunnel = [\"{bad}\"]\n"));
        assert!(message.contains(bad), "{message}");
    }
    for of_box in
        ["api.box.com:443", "*.box.com:443", "dl.boxcloud.com:80", "x.app.box.com:443", "*.boxcloud.com:443"]
    {
        let message = only_message(&format!("[forward_proxy]\ntunnel = [\"{of_box}\"]\n"));
        assert!(message.contains("covers hosts of Box"), "{message}");
    }
    let configured =
        "[box]\napi = \"https://box.internal:8443\"\n[forward_proxy]\ntunnel = [\"box.internal:8443\"]\n";
    assert!(only_message(configured).contains("covers hosts of Box"));
}

#[test]
fn behind_a_proxy_wildcards_are_refused() {
    let table = |tunnel: &str| {
        with_identity(&format!(
            "[upstream]\nproxy = \"http://proxy.internal:3128\"\n[forward_proxy]\ntunnel = [{tunnel:?}]\n"
        ))
    };
    assert!(table("a.example:443").is_ok());
    let problems = table("*.a.example:443").unwrap_err().to_string();
    assert!(
        problems.contains("is a wildcard whose hosts are reached through [upstream] proxy"),
        "{problems}"
    );
}

#[test]
fn an_app_has_one_key_or_several() {
    let keys = |texts: &[&str]| {
        Some(AppKeys::new(texts.iter().map(|text| Secret::new((*text).to_owned())).collect()))
    };
    let of = |line: &str| with_identity(&format!("[[app]]\nname = \"a\"\n{line}\n"));
    let app = |line: &str| of(line).unwrap().apps.iter().next().unwrap().keys.clone();
    assert_eq!(app(""), None);
    assert_eq!(app("key = { env = \"BOX_APP_KEY\" }"), keys(&["a-key"]));
    assert_eq!(app("key = [{ env = \"BOX_APP_KEY\" }, \"old\"]"), keys(&["a-key", "old"]));
    assert_eq!(of("key = \"a literal of some length\"").unwrap().warnings.len(), 1);
    for (line, part) in [
        ("key = []", "an empty list: no one could call"),
        ("key = 5", "expected a string"),
        ("key = [5]", "expected a string"),
        ("key = \"\"", "app.a.key"),
        ("key = { env = \"NOT_SET\" }", "NOT_SET is not set"),
    ] {
        let problems = of(line).unwrap_err().to_string();
        assert!(
            problems.contains(part) || part == "app.a.key" && problems.contains("key"),
            "{line}: {problems}"
        );
    }
}
