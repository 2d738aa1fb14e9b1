//! The URL of an OpenTelemetry collector.

use url::Url;

use super::nothing_hidden;

/// The allowed forms of a collector's URL, for messages.
pub(in crate::config) const A_COLLECTOR: &str =
    "a URL such as \"http://127.0.0.1:4318\" or \"https://HOST[:PORT][/PATH]\"";

/// The path for spans below that of the collector (OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP").
const SPANS: &str = "/v1/traces";

/// The URL to which spans are sent, and its port if it is written. The error does not show the value, which may contain a
/// password.
pub(in crate::config) fn collector_url(text: &str) -> Result<(String, Option<u16>), String> {
    let bad = |why: &str| Err(format!("{why}; allowed: {A_COLLECTOR}"));
    nothing_hidden(text)?;
    // The parser would repair these.
    if text.contains(|c: char| c.is_whitespace() || c == '\\') {
        return bad("the value has a space or a backslash in it");
    }
    let Ok(url) = Url::parse(text) else {
        return bad("the value is not a URL with a host");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return bad("the value does not begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return bad(
            "no user or password belongs in this URL: run a collector of your own, which holds the credentials of the service behind it",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return bad("no query or fragment belongs in this URL");
    }
    let base = url.as_str().trim_end_matches('/');
    let whole = if base.ends_with(SPANS) { base.to_owned() } else { format!("{base}{SPANS}") };
    Ok((whole, url.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_path_of_their_own() {
        for (text, want) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("HTTPS://Collector.corp", "https://collector.corp/v1/traces"),
            ("https://collector.corp/otlp/", "https://collector.corp/otlp/v1/traces"),
            ("https://collector.corp/otlp/v1/traces", "https://collector.corp/otlp/v1/traces"),
            ("http://[::1]:4318/v1/traces/", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(collector_url(text).unwrap().0, want, "{text}");
        }
        assert_eq!(collector_url("http://localhost:4317").unwrap().1, Some(4317));
    }

    #[test]
    fn other_urls_are_refused_without_being_shown() {
        for (text, why) in [
            ("", "not a URL"),
            ("127.0.0.1:4318", "not a URL"),
            ("localhost:4318", "http://"),
            ("grpc://canary:4317", "http://"),
            ("http://user:canary@host", "no user or password"),
            ("http://canary@host:4318", "no user or password"),
            ("https://host/v1/traces?key=canary", "no query"),
            ("https://host/#canary", "no query"),
            ("http://:4318", "not a URL"),
            ("http://host:canary", "not a URL"),
            ("http://ho st/canary", "space"),
            ("http:\\\\host\\canary", "backslash"),
            ("http://host/\u{200b}canary", "U+200B"),
        ] {
            let said = collector_url(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("canary"), "{text:?}: {said}");
            assert!(said.contains("\"http://127.0.0.1:4318\"") || why == "U+200B", "{text:?}: {said}");
        }
    }
}
