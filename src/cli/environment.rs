//! The environment variables with which a program uses a proxy and trusts its CA.
//!
//! Languages and tools use different variables. `HTTP_PROXY` and `ALL_PROXY` stay unchanged: Box is called by https,
//! for which `HTTPS_PROXY` has precedence.

use std::io;

use super::box_names::BoxNames;
use super::trust_files::{self, TrustFiles};

/// Variables that replace a program's trusted roots. OpenSSL (Python, Ruby, PHP), Go and rustls-native-certs read the
/// first.
const REPLACING: [&str; 5] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "RCLONE_CA_CERT", "AWS_CA_BUNDLE"];

/// Java's default list of hosts without a proxy, which a list of one's own replaces.
const JAVA_DIRECT: &str = "localhost|127.*|[::1]|0.0.0.0|[::0]";

/// A proxy that Java can use: without TLS to it, and without user name and password.
#[derive(Debug, Clone, Copy)]
pub(super) struct JavaProxy<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// The variables to set, in a fixed order. `caller`: the environment so far; `files`: the gateway's CA, if it has one.
///
/// # Errors
/// A file cannot be written.
pub(super) fn variables(
    caller: &dyn Fn(&str) -> Option<String>,
    proxy_url: &str,
    java_proxy: Option<JavaProxy<'_>>,
    files: Option<&TrustFiles<'_>>,
) -> io::Result<Vec<(&'static str, String)>> {
    let earlier = |name: &str| caller(name).filter(|value| !value.is_empty());
    let mut set = vec![
        ("HTTPS_PROXY", proxy_url.to_owned()),
        ("https_proxy", proxy_url.to_owned()),
        // Makes Node (from 22.21 and 24.5) use HTTPS_PROXY.
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
    ];
    let names = BoxNames::new();
    let mut direct = None;
    for name in ["NO_PROXY", "no_proxy"] {
        let Some(list) = earlier(name) else { continue };
        let left = names.without_box(&list);
        direct.get_or_insert_with(|| left.clone());
        if left != list {
            set.push((name, left));
        }
    }
    let java_before = java_without_own(&earlier("JAVA_TOOL_OPTIONS").unwrap_or_default());
    let mut java = Vec::new();
    if let Some(files) = files {
        for name in REPLACING {
            // The platform's roots already include those of SSL_CERT_FILE.
            let before = earlier(name).filter(|_| name != "SSL_CERT_FILE");
            set.push((name, shown(files.replacing(before.as_deref())?)?));
        }
        let added = files.adding(earlier("NODE_EXTRA_CA_CERTS").as_deref())?;
        set.push(("NODE_EXTRA_CA_CERTS", shown(added)?));
        let has_own_store = java_before.contains(JAVA_STORE);
        // A trust store that the caller has configured stays, since it may have any format; the user must add the CA to
        // it.
        if java_proxy.is_some() && !has_own_store {
            java.push(format!("-D{JAVA_STORE}={}", shown(files.java()?)?));
            java.push("-Djavax.net.ssl.trustStoreType=JKS".to_owned());
        }
    }
    if let Some(JavaProxy { host, port }) = java_proxy {
        java.push(format!("-Dhttps.proxyHost={host}"));
        java.push(format!("-Dhttps.proxyPort={port}"));
        // Java has one list for http and https.
        let direct = direct.map(|list| java_direct(&list)).filter(|list| !list.is_empty());
        java.extend(direct.map(|list| format!("-Dhttp.nonProxyHosts={JAVA_DIRECT}|{list}")));
        let options = java.iter().map(|option| java_quoted(option));
        let before = Some(java_before).filter(|before| !before.is_empty());
        let all: Vec<String> = before.into_iter().chain(options).collect();
        set.push(("JAVA_TOOL_OPTIONS", all.join(" ")));
    }
    Ok(set)
}

const JAVA_STORE: &str = "javax.net.ssl.trustStore";
/// The Java options that are set, except the trust store itself.
const JAVA_OWN: [&str; 4] =
    ["-Djavax.net.ssl.trustStoreType=", "-Dhttps.proxyHost=", "-Dhttps.proxyPort=", "-Dhttp.nonProxyHosts="];

/// Java options without those that an earlier `boxgate env` has added, whose trust store may be of another gateway.
/// Options with quotes are not changed.
fn java_without_own(options: &str) -> String {
    let words: Vec<&str> = options.split_whitespace().collect();
    let is_store = |word: &&str| {
        word.strip_prefix("-D").and_then(|word| word.strip_prefix(JAVA_STORE)).is_some_and(|rest| {
            rest.starts_with('=') && rest.contains(trust_files::JAVA_NAME) && rest.ends_with(".jks")
        })
    };
    if options.contains(['"', '\'']) || !words.iter().any(is_store) {
        return options.to_owned();
    }
    let is_own = |word: &&str| is_store(word) || JAVA_OWN.iter().any(|own| word.starts_with(own));
    words.into_iter().filter(|word| !is_own(word)).collect::<Vec<_>>().join(" ")
}

fn shown(path: std::path::PathBuf) -> io::Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| io::Error::other(format!("{}: the path is not UTF-8", path.display())))
}

/// Converts entries of `NO_PROXY` to Java's patterns; leaves out networks, which Java does not support.
fn java_direct(list: &str) -> String {
    let mut patterns = Vec::new();
    for entry in list.split(',').filter(|entry| !entry.is_empty() && !entry.contains(['/', '|'])) {
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        let is_address = entry.contains(':') || entry.parse::<std::net::IpAddr>().is_ok();
        if !entry.starts_with(['*', '.']) {
            patterns.push(entry.to_owned());
        }
        if !is_address && !name.is_empty() {
            patterns.push(format!("*.{name}"));
        }
    }
    patterns.join("|")
}

/// Quotes an option: the JVM splits at white space outside of quotes.
fn java_quoted(option: &str) -> String {
    match (option.contains(char::is_whitespace), option.contains('"')) {
        (false, _) => option.to_owned(),
        (true, false) => format!("\"{option}\""),
        (true, true) => format!("'{option}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(caller: &[(&str, &str)], java_proxy: Option<JavaProxy<'_>>) -> Vec<(&'static str, String)> {
        let caller = |name: &str| {
            caller.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        variables(&caller, "http://127.0.0.1:1", java_proxy, None).unwrap()
    }

    fn value<'a>(set: &'a [(&str, String)], name: &str) -> Option<&'a str> {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    const JAVA: Option<JavaProxy<'static>> = Some(JavaProxy { host: "127.0.0.1", port: 1 });

    #[test]
    fn proxies_for_other_schemes_stay_and_roots_stay_without_a_ca() {
        let set = set(&[("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "http://p:2"), ("NO_PROXY", "")], None);
        let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["HTTPS_PROXY", "https_proxy", "NODE_USE_ENV_PROXY"]);
    }

    #[test]
    fn lists_of_direct_hosts_lose_box_and_keep_the_rest() {
        let set = set(&[("NO_PROXY", "a.example,.box.com"), ("no_proxy", "b.example")], JAVA);
        assert_eq!(value(&set, "NO_PROXY"), Some("a.example"));
        assert_eq!(value(&set, "no_proxy"), None);
        assert_eq!(
            value(&set, "JAVA_TOOL_OPTIONS"),
            Some(
                "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=1 \
                 -Dhttp.nonProxyHosts=localhost|127.*|[::1]|0.0.0.0|[::0]|a.example|*.a.example"
            )
        );
    }

    #[test]
    fn java_options_are_added_after_the_callers() {
        let set = set(&[("JAVA_TOOL_OPTIONS", "-Xmx1g")], JAVA);
        assert_eq!(
            value(&set, "JAVA_TOOL_OPTIONS"),
            Some("-Xmx1g -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=1")
        );
        assert_eq!(java_quoted("-Da=/b c"), "\"-Da=/b c\"");
        assert_eq!(java_quoted("-Da=/b\" c"), "'-Da=/b\" c'");
    }

    #[test]
    fn options_of_an_earlier_run_are_replaced() {
        let own = "-Djavax.net.ssl.trustStore=/c/boxgate/0-boxgate-java-1.jks -Djavax.net.ssl.trustStoreType=JKS \
                   -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9";
        let set = set(&[("JAVA_TOOL_OPTIONS", &format!("-Xmx1g {own} -Da=b"))], JAVA);
        assert_eq!(
            value(&set, "JAVA_TOOL_OPTIONS"),
            Some("-Xmx1g -Da=b -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=1")
        );
        for other in ["-Djavax.net.ssl.trustStore=/mine.jks -Dhttps.proxyHost=p", "-Da=\"b c\"", ""] {
            assert_eq!(java_without_own(other), other);
        }
    }

    #[test]
    fn no_proxy_entries_become_javas_patterns() {
        for (list, want) in [
            ("a.example", "a.example|*.a.example"),
            (".a.example", "*.a.example"),
            ("*.a.example", "*.a.example"),
            ("10.0.0.1,10.0.0.0/8,[::1]", "10.0.0.1|[::1]"),
            ("", ""),
        ] {
            assert_eq!(java_direct(list), want, "{list}");
        }
    }
}
