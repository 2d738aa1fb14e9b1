//! The configuration as written, for operators: without comments, which may hold old secrets, and without secrets.
//!
//! It is formed from the parsed file, not from its text. A value is shown only under a key that is known to take no secret; of
//! a URL that may hold credentials, only the host is.

use toml::de::{DeTable, DeValue};

use super::raw;

/// Stands for a secret. It is no valid secret file or variable, so nobody takes it for one.
const SECRET: &str = "\"(secret)\"";

/// A configuration without its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redacted {
    /// TOML; empty if there is no file.
    pub text: String,
    /// Each flag or environment variable that is used in place of a key, in words.
    pub overrides: Vec<String>,
}

impl Redacted {
    /// Of a file. `overrides`: see [`Redacted::overrides`].
    pub(super) fn of(file: &DeTable<'_>, overrides: Vec<String>) -> Self {
        let mut text = String::new();
        for (name, value) in in_order(file) {
            table(name, value, &mut text);
        }
        Self { text, overrides }
    }
}

/// The entries in the order of the file; the parser sorts them by name.
fn in_order<'t, 'd>(table: &'t DeTable<'d>) -> Vec<(&'t str, &'t DeValue<'d>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (&**key.get_ref(), value.get_ref())).collect()
}

/// A table of the file with its header.
fn table(name: &str, value: &DeValue<'_>, text: &mut String) {
    let mut block = |header: String, entries: &DeTable<'_>| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&header);
        text.push('\n');
        for (key, value) in in_order(entries) {
            text.push_str(&format!("{} = {}\n", key_text(key), shown(&[name, key], value)));
        }
    };
    match value {
        DeValue::Table(identities) if name == "identity" => {
            for (identity, value) in in_order(identities) {
                if let DeValue::Table(entries) = value {
                    block(format!("[identity.{}]", key_text(identity)), entries);
                }
            }
        }
        DeValue::Table(entries) => block(format!("[{}]", key_text(name)), entries),
        DeValue::Array(tables) => {
            for value in tables.iter() {
                if let DeValue::Table(entries) = value.get_ref() {
                    block(format!("[[{}]]", key_text(name)), entries);
                }
            }
        }
        // A file has tables only.
        _ => {}
    }
}

/// How far the value of a key may be shown.
enum Kind {
    Whole,
    Secret,
    /// A URL that may hold credentials.
    Url,
}

/// `path`: the table, the key in it, and those of inline tables.
fn kind(path: &[&str]) -> Kind {
    match path {
        ["limit" | "budget", "key"] => Kind::Whole,
        // The paths of files.
        ["forward_proxy", "key"] | [.., "tls", "key"] => Kind::Whole,
        [.., "redis" | "proxy" | "otlp"] => Kind::Url,
        [table, .., key] if raw::is_shown_in(table, key) => Kind::Whole,
        _ => Kind::Secret,
    }
}

/// A value as TOML.
fn shown(path: &[&str], value: &DeValue<'_>) -> String {
    let kind = kind(path);
    match value {
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(path, item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(entries) => {
            let entries = in_order(entries).into_iter().map(|(key, value)| {
                let below: Vec<&str> = path.iter().copied().chain([key]).collect();
                // The names of a variable and of a file are no secrets, whatever they name.
                format!("{} = {}", key_text(key), shown(&below, value))
            });
            let entries: Vec<String> = entries.collect();
            format!("{{ {} }}", entries.join(", "))
        }
        DeValue::String(text) => match kind {
            Kind::Secret => SECRET.to_owned(),
            Kind::Url => match *path {
                [.., "proxy"] if !text.contains("://") && matches!(&**text, "none" | "environment") => {
                    quoted(text)
                }
                _ => url(text).map_or_else(|| SECRET.to_owned(), |url| quoted(&url)),
            },
            // Keys that take URLs without credentials refuse others; this holds whatever they do.
            Kind::Whole if text.contains("://") && text.contains('@') => {
                url(text).map_or_else(|| SECRET.to_owned(), |url| quoted(&url))
            }
            Kind::Whole => quoted(text),
        },
        _ if matches!(kind, Kind::Secret) => SECRET.to_owned(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
    }
}

/// Scheme, host and port of a URL; what else it has is left out, since it may be a credential.
fn url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    // A password may have signs that end the authority of a well-formed URL, so the last @ counts.
    let (credentials, rest) = rest.rsplit_once('@').map_or(("", rest), |(before, after)| (before, after));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    let hidden = if credentials.is_empty() { "" } else { "(secret)@" };
    let more = if path.trim_matches('/').is_empty() { "" } else { "/…" };
    Some(format!("{scheme}://{hidden}{host}{more}"))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn key_text(key: &str) -> String {
    super::diagnostics::dotted("", key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        Redacted::of(DeTable::parse(text).unwrap().get_ref(), Vec::new()).text
    }

    #[test]
    fn no_secret_is_shown_and_what_names_one_is() {
        let text = r#"
# canary-comment
[listen]
tls = { cert = "a.crt", key = "a.key" } # canary-comment
[admin]
key = { file = "admin.key" }
tls = { cert = "b.crt", key = "b.key", client_ca = "c.crt" }
[identity.one]
client_id = "id"
client_secret = "canary-1"
[identity."two words"]
client_secret = { env = "SECRET" }
[[app]]
name = "a"
key = "canary-2"
[[app]]
key = ["canary-3", { file = "key" }, { canary-4 = "canary-5" }]
[[limit]]
key = "client"
rate = "10/s"
[[budget]]
calls = 50_000
key = "app"
enforce = false
[state]
redis = "redis://user:canary-6/@x@host:6379/0?password=canary-7"
[upstream]
proxy = "http://canary-8@proxy:3128"
[trace]
otlp = "http://collector:4318/canary-9"
sample = 0.5
[forward_proxy]
key = "box.key"
ca = { cert = "ca.pem", key = "canary-10" }
[box]
api = "https://canary-11@box/"
canary-12 = "canary-13"
"#;
        let shown = redacted(text);
        let without_keys = shown.replace("canary-4 =", "").replace("canary-12 =", "");
        assert!(!without_keys.contains("canary"), "{shown}");
        for line in [
            "tls = { cert = \"a.crt\", key = \"a.key\" }",
            "key = { file = \"admin.key\" }",
            "tls = { cert = \"b.crt\", key = \"b.key\", client_ca = \"c.crt\" }",
            "client_id = \"id\"",
            "client_secret = \"(secret)\"",
            "[identity.\"two words\"]\nclient_secret = { env = \"SECRET\" }",
            "[[app]]\nname = \"a\"\nkey = \"(secret)\"\n\n[[app]]\nkey = [\"(secret)\", { file = \"key\" }",
            "[[limit]]\nkey = \"client\"\nrate = \"10/s\"",
            "calls = 50000\nkey = \"app\"\nenforce = false",
            "redis = \"redis://(secret)@host:6379/…\"",
            "proxy = \"http://(secret)@proxy:3128\"",
            "otlp = \"http://collector:4318/…\"\nsample = 0.5",
            "[forward_proxy]\nkey = \"box.key\"\nca = { cert = \"ca.pem\", key = \"(secret)\" }",
            "api = \"https://(secret)@box\"",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        assert!(DeTable::parse(&shown).is_ok(), "{shown}");
    }

    #[test]
    fn a_proxy_that_is_no_url_is_a_word_or_hidden() {
        let proxy = |text: &str| redacted(&format!("[upstream]\nproxy = \"{text}\""));
        assert_eq!(proxy("none"), "[upstream]\nproxy = \"none\"\n");
        assert_eq!(proxy("environment"), "[upstream]\nproxy = \"environment\"\n");
        assert_eq!(proxy("user:canary@host"), "[upstream]\nproxy = \"(secret)\"\n");
    }

    #[test]
    fn every_known_key_is_judged() {
        // A key that is new and takes a secret must be named among the secrets, or its value is shown.
        for (header, keys) in raw::TABLES {
            for key in *keys {
                let secret = matches!(*key, "client_secret" | "key" | "redis" | "proxy" | "otlp");
                let table = header.trim_matches(['[', ']']).split('.').next().unwrap_or_default();
                let is_whole = matches!(kind(&[table, key.trim_start_matches("r#")]), Kind::Whole);
                let is_path = table == "forward_proxy" && *key == "key";
                let is_word = matches!(table, "limit" | "budget") && *key == "key";
                if header.starts_with('[') {
                    assert_eq!(is_whole, !secret || is_path || is_word, "{header} {key}");
                }
            }
        }
    }
}
