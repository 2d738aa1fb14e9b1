//! The tables of `proxy.toml` as written: each key with its value and location, without interpretation.
//!
//! Values stay as the TOML parser gave them, so that one of the wrong type does not stop the reading: it is diagnosed
//! where it is interpreted, and all problems of a file are reported in one run. Why serde is not used:
//! `docs/decisions/configuration-tables.md`.

use toml::de::{DeTable, DeValue};

use super::diagnostics::{Location, Notes, Position, dotted, nearest};

/// A value, its position and its key.
#[derive(Debug, Clone)]
pub(super) struct Entry<'d> {
    /// Where the value begins.
    pub(super) location: Location,
    pub(super) value: &'d DeValue<'d>,
}

/// A table with known keys.
pub(super) trait Table<'d>: Default {
    /// The header as in a file, for messages.
    const HEADER: &'static str;

    /// Reads the entries of a table whose own key is `path`. Every unknown key is a problem.
    fn of(table: &'d DeTable<'d>, path: &str, notes: &mut Notes<'_>) -> Self;
}

/// The table's entries; empty if the table is missing or not a table.
pub(super) fn read<'d, T: Table<'d>>(entry: Option<&Entry<'d>>, notes: &mut Notes<'_>) -> T {
    match entry {
        None => T::default(),
        Some(Entry { location, value: DeValue::Table(table) }) => T::of(table, &location.key, notes),
        Some(Entry { location, value }) => {
            let hint = match T::HEADER {
                "[limits]" if matches!(value, DeValue::Array(_)) => "; a limit of your own is a [[limit]]",
                _ => "",
            };
            notes.problem(
                location,
                format_args!("expected a table {}, found {}{hint}", T::HEADER, kind(value)),
            );
            T::default()
        }
    }
}

/// Declares for each table a struct with one field for each of its keys. Keys listed after `later` are refused like
/// unknown ones, since a rule that is not enforced must not be accepted, but with a message of their own.
macro_rules! tables {
    ($($(#[$doc:meta])* $header:literal $name:ident { $($key:ident),* } later { $($later:ident),* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default)]
            pub(super) struct $name<'d> {
                $(pub(super) $key: Option<Entry<'d>>,)*
            }

            impl<'d> Table<'d> for $name<'d> {
                const HEADER: &'static str = $header;

                fn of(table: &'d DeTable<'d>, path: &str, notes: &mut Notes<'_>) -> Self {
                    let mut written = Self::default();
                    for (key, value) in table {
                        let name: &str = key.get_ref();
                        $(
                            if name == bare(stringify!($key)) {
                                let location = Location { position: Position::At(value.span().start), key: dotted(path, name) };
                                written.$key = Some(Entry { location, value: value.get_ref() });
                                continue;
                            }
                        )*
                        let location = Location { position: Position::At(key.span().start), key: dotted(path, name) };
                        notes.problem(&location, unknown(name, &[$(stringify!($key)),*], &[$(stringify!($later)),*]));
                    }
                    written
                }
            }
        )*

        /// Every table with its keys.
        pub(super) const TABLES: &[(&str, &[&str])] = &[$(($header, &[$(stringify!($key)),*])),*];
    };
}

tables! {
    "" File { listen, forward_proxy, admin, r#box, identity, app, limit, limits, budget, state, upstream, server, log, trace } later {}

    /// Where callers connect.
    "[listen]" Listen { address, hosts, sources, trusted_proxies, proxy_protocol, workers, max_connections, tls } later {}

    /// TLS of the callers' listeners.
    "{ cert = \"PATH\", key = \"PATH\" }" Tls { cert, key, client_ca } later {}

    /// Programs that have Box's hosts built in.
    "[forward_proxy]" ForwardProxy { cert, key, ca, tunnel } later {}

    /// A CA that replicas share.
    "{ cert = \"PATH\", key = { file = \"PATH\" } }" ProxyCa { cert, key } later {}

    /// Where operators connect.
    "[admin]" Admin { address, hosts, sources, tls, key, requests } later {}

    /// Where Box is.
    "[box]" BoxTable { api, upload, download, token_url, ca_file } later {}

    /// An account at Box.
    "[identity.NAME]" Identity { client_id, client_secret, enterprise_id, user_id, downscope } later {}

    /// The rights that an identity's tokens are narrowed to.
    "{ scopes = [\"SCOPE\"], resource = \"URL\" }" Downscope { scopes, resource } later {}

    "[[app]]" App {
        name, path, identity, hosts, sources, origins, allow, deny, as_user, require_header, forward_headers,
        follow_downloads, max_in_flight, key, certificates, enabled
    } later {}

    /// A rate limit.
    "[[limit]]" Limit { name, key, on, rate, burst, wait, enforce } later {}

    /// Box's own limits.
    "[limits]" Limits { box_defaults } later {}

    /// A budget of API calls for a day or a month.
    "[[budget]]" Budget { name, key, on, calls, per, when_spent, enforce } later {}

    /// Where state is stored.
    "[state]" State { dir, redis, redis_prefix } later {}

    /// How requests are sent to Box.
    "[upstream]" Upstream {
        connect_timeout, response_timeout, body_timeout, pool_idle_timeout, retries, replay_buffer, proxy, http2,
        max_pause, follow_downloads, rewrite_urls
    } later {}

    /// How callers are served.
    "[server]" Server { header_timeout, keepalive_timeout, max_header_size, drain_delay, drain_timeout } later {}

    /// What is logged.
    "[log]" Log { level, format, access, audit } later {}

    /// Where traces go.
    "[trace]" Trace { otlp, sample } later {}

    /// A reference to a text in the environment or a file.
    "{ env = \"NAME\" } or { file = \"PATH\" }" Reference { env, file } later {}
}

/// The type of a value. The value itself is not shown, since it may be a secret under a wrong key.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Keys whose values may be or contain a secret.
const SECRETS: [&str; 5] = ["client_secret", "key", "redis", "proxy", "otlp"];

/// Whether messages may show what is written for a key of this table: it is known and takes no secret. Under a wrong key,
/// the value may be a secret. The `key` of a limit or budget is a keyword.
pub(super) fn is_shown(key: &str, table: &str) -> bool {
    let is_keyword = key == "key" && matches!(table, "limit" | "budget");
    is_known(key) && (is_keyword || !SECRETS.contains(&key))
}

/// Whether any table has this key.
pub(super) fn is_known(key: &str) -> bool {
    TABLES.iter().any(|(_, known)| has(known, key))
}

/// The same as [`is_shown`] for whoever knows the outermost table for certain: the key is one of that table, of an inline
/// table, or the table's own name.
pub(super) fn is_shown_in(table: &str, key: &str) -> bool {
    let is_of = |header: &str| {
        let name = header.trim_matches(['[', ']']).split('.').next();
        header.starts_with('{') || name == Some(table)
    };
    let is_its = TABLES.iter().any(|(header, known)| is_of(header) && has(known, key));
    is_shown(key, table) && (is_its || key == table)
}

fn has(known: &[&str], key: &str) -> bool {
    known.iter().any(|known| bare(known) == key)
}

fn unknown(key: &str, known: &[&str], later: &[&str]) -> String {
    let allowed = known.iter().map(|key| bare(key)).collect::<Vec<_>>().join(", ");
    if later.contains(&key) {
        return format!("is not available in this version; allowed here: {allowed}");
    }
    if let Some(nearest) = nearest(key, known.iter().map(|key| bare(key))) {
        return format!("unknown key; did you mean \"{nearest}\"? allowed here: {allowed}");
    }
    // The most frequent mistake in TOML is a key under the wrong header.
    let homes = TABLES.iter().filter(|(_, keys)| keys.contains(&key)).map(|(header, _)| *header);
    let homes = homes.filter(|header| header.starts_with('[')).collect::<Vec<_>>().join(", ");
    let own = TABLES.iter().map(|(header, _)| *header).find(|header| header.trim_matches(['[', ']']) == key);
    if let Some(header) = own {
        format!("unknown key; it is a table of its own, {header}; allowed here: {allowed}")
    } else if known.contains(&"tls") && ["cert", "key", "client_ca"].contains(&key) {
        format!("unknown key; it belongs in tls = {}; allowed here: {allowed}", Tls::HEADER)
    } else if homes.is_empty() {
        format!("unknown key; allowed here: {allowed}")
    } else {
        format!("unknown key; it belongs under {homes}; allowed here: {allowed}")
    }
}

/// The key of a field; strips the `r#` of names that are Rust keywords.
fn bare(field: &str) -> &str {
    field.strip_prefix("r#").unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_later_version_is_refused_as_such() {
        let later = unknown("address", &["adress"], &["address"]);
        assert_eq!(later, "is not available in this version; allowed here: adress");
        assert!(unknown("address", &["adress"], &[]).starts_with("unknown key; did you mean \"adress\"?"));
    }
}
