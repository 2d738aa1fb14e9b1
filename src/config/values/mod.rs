//! Parsers for single values of `proxy.toml`. An error shows the value and says what is allowed.

use std::time::Duration;

use http::HeaderName;

use crate::net::hidden_characters::HiddenCharacter;
use crate::oauth::user::{LONGEST_LOGIN, Login, User, is_id};

mod addresses;
mod collector_url;
mod downscope;
mod operations;
mod rates;
mod unix_address;

pub(super) use addresses::{
    A_PROXY, A_TOKEN_URL, AN_ADDRESS, AN_ORIGIN, address, location, proxy, redis_url, token_url,
};
pub(super) use collector_url::{A_COLLECTOR, collector_url};
pub(super) use downscope::{A_RESOURCE, BOX_API, resource, scope};
pub(super) use operations::{rule, selector};
pub(super) use rates::{A_RATE, budget_name, limit_name, rate, redis_prefix};

/// The allowed forms of a duration, for messages.
pub(super) const A_DURATION: &str = "a duration such as \"250ms\", \"5s\", \"10m\" or \"2h\"";
/// The allowed forms of a size, for messages.
pub(super) const A_SIZE: &str = "a size such as \"512B\", \"64KiB\" or \"50MiB\"";

/// The longest duration; timers support it.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Parses an integer with a unit: `ms`, `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = number_and_unit(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !digits.is_empty() => return Err(format!("{text:?} has no unit; allowed: {A_DURATION}")),
        // Rates have "min".
        "min" if !digits.is_empty() => {
            return Err(format!("{text:?}: did you mean \"{digits}m\"? allowed: {A_DURATION}"));
        }
        _ => return Err(format!("{text:?} is not {A_DURATION}")),
    };
    let number = digits.parse::<u64>().map_err(|_| format!("{text:?} is not {A_DURATION}"))?;
    match number.checked_mul(millis).map(Duration::from_millis) {
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("{text:?} is longer than a week; allowed: {A_DURATION}")),
    }
}

/// Parses an integer with a unit: `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = number_and_unit(text);
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1_usize << 30,
        "" if !digits.is_empty() => return Err(format!("{text:?} has no unit; allowed: {A_SIZE}")),
        _ => {
            let meant = match unit.to_ascii_lowercase().as_str() {
                "b" => "B",
                "k" | "kb" | "kib" => "KiB",
                "m" | "mb" | "mib" => "MiB",
                "g" | "gb" | "gib" => "GiB",
                _ => return Err(format!("{text:?} is not {A_SIZE}")),
            };
            return Err(format!("{text:?}: did you mean \"{digits}{meant}\"? allowed: {A_SIZE}"));
        }
    };
    let number = digits.parse::<usize>().map_err(|_| format!("{text:?} is not {A_SIZE}"))?;
    number.checked_mul(bytes).ok_or_else(|| format!("{text:?} is too large; allowed: {A_SIZE}"))
}

fn number_and_unit(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Checks the name of an identity, which is a label of metrics and a TOML key.
pub(super) fn identity_name(text: &str) -> Result<(), String> {
    name(text, "letters, digits, - and _", |b| matches!(b, b'-' | b'_'))
}

/// Checks the name of an app: like that of an identity, but dots are allowed.
pub(super) fn app_name(text: &str) -> Result<(), String> {
    name(text, "letters, digits, -, _ and .", |b| matches!(b, b'-' | b'_' | b'.'))
}

/// Checks a name in a client certificate: a URI, or a DNS name, which becomes lower case.
pub(crate) fn certificate_name(text: &str) -> Result<Box<str>, String> {
    const ALLOWED: &str = "a URI such as \"spiffe://corp/intranet\" or a DNS name such as \"intranet.corp\"";
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{text:?} is not a name of a certificate; allowed: {ALLOWED}"));
    }
    if text.contains('*') {
        return Err(format!(
            "{text:?}: a name must be the certificate's own, without a *; allowed: {ALLOWED}"
        ));
    }
    if let Some((scheme, rest)) = text.split_once(':') {
        let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let is_uri = !rest.is_empty()
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(is_scheme)
            // `localhost:8443` is an authority.
            && !rest.bytes().all(|b| b.is_ascii_digit());
        return match is_uri {
            true => Ok(text.into()),
            false => Err(format!("{text:?} is not a URI; allowed: {ALLOWED}")),
        };
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    match text.split('.').all(is_label) {
        true => Ok(text.to_ascii_lowercase().into()),
        false => Err(format!("{text:?} is not a DNS name; allowed: {ALLOWED}")),
    }
}

fn name(text: &str, allowed: &str, other: impl Fn(u8) -> bool) -> Result<(), String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || other(b)) {
        Ok(())
    } else {
        Err(format!("{text:?} cannot be a name; allowed: 1 to 64 of {allowed}"))
    }
}

/// Checks the id of an enterprise or a user. The error does not show it, since it may be something secret from a wrong
/// file.
pub(crate) fn box_id(text: &str) -> Result<(), String> {
    if is_id(text) {
        return Ok(());
    }
    nothing_hidden(text)?;
    Err(match text.contains('@') {
        true => "the value is an e-mail address; give the user's id, not the login: the digits that Box's Admin Console shows",
        false => "the value is not an id; allowed: 1 to 20 digits, not beginning with 0, as Box's consoles show them",
    }
    .to_owned())
}

/// Parses an entry of `as_user`: an id, or a login, which becomes lower case.
pub(super) fn user(text: &str) -> Result<User, String> {
    const ALLOWED: &str =
        "an id of 1 to 20 digits, not beginning with 0, or a login such as \"ann@corp.com\"";
    if is_id(text) {
        return Ok(User::Id(text.to_owned()));
    }
    nothing_hidden(text)?;
    if text.contains('*') {
        return Err(format!("{text:?}: each user must be named whole, without a *; allowed: {ALLOWED}"));
    }
    if text.len() > LONGEST_LOGIN {
        let length = text.len();
        return Err(format!(
            "a text of {length} bytes is too long; allowed: {ALLOWED} of at most {LONGEST_LOGIN} bytes"
        ));
    }
    let login = Login::parse(text);
    login.map(User::Login).ok_or_else(|| {
        format!("{text:?} is not a user of Box; allowed: {ALLOWED}, without spaces and in ASCII")
    })
}

/// Refuses invisible characters. The error shows nothing but that character.
pub(super) fn nothing_hidden(text: &str) -> Result<(), String> {
    match HiddenCharacter::first_in(text) {
        None => Ok(()),
        Some(hidden) => Err(format!(
            "the value contains {hidden}, which is invisible in editors and was probably copied by mistake; remove it, or copy the text again"
        )),
    }
}

/// Checks a client id or secret. The error does not show it.
pub(crate) fn credential(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the value is empty".to_owned());
    }
    nothing_hidden(text)?;
    if text.trim() != text {
        return Err("the value begins or ends with white space; remove it".to_owned());
    }
    Ok(())
}

/// First segments of the gateway's and Box's own paths, which no app may use.
const RESERVED: [&str; 4] = ["2.0", "api", "oauth2", "_box"];

/// Parses an app's base path. The result has no trailing slash: `/` becomes the empty string.
pub(super) fn app_path(text: &str) -> Result<String, String> {
    let allowed = "allowed: \"/\", or whole segments of letters, digits and - . _ ~ such as \"/intranet\"";
    if text == "/" {
        return Ok(String::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("{text:?} does not begin with \"/\"; {allowed}"));
    };
    if let Some(fixed) = text.strip_suffix('/').filter(|fixed| !fixed.ends_with('/')) {
        return Err(format!("{text:?} ends with a slash; write {fixed:?}"));
    }
    for segment in rest.split('/') {
        if matches!(segment, "" | "." | "..") {
            return Err(format!("{text:?} has an empty or dot segment; {allowed}"));
        }
        let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if !segment.bytes().all(is_unreserved) {
            return Err(format!("{text:?}: the segment {segment:?} is not allowed; {allowed}"));
        }
    }
    let first = rest.split('/').next().unwrap_or(rest);
    if RESERVED.iter().any(|reserved| first.eq_ignore_ascii_case(reserved)) {
        return Err(format!(
            "{text:?} would hide Box's own paths below \"/{first}\"; choose another path; {allowed}"
        ));
    }
    Ok(text.to_owned())
}

/// Headers that the gateway itself sets or checks, or that are hop-by-hop (RFC 9110 §7.6.1).
const OWN_HEADERS: [&str; 25] = [
    "authorization",
    "cookie",
    "host",
    "origin",
    "referer",
    "via",
    "forwarded",
    "as-user",
    "content-length",
    "expect",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "x-request-id",
    "traceparent",
    "tracestate",
    // They would override the method or path that was checked against the rules.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];
/// Prefixes of such headers.
const OWN_PREFIXES: [&str; 4] = ["sec-", "proxy-", "x-forwarded-", "x-boxgate-"];

/// Parses an entry of `forward_headers`.
pub(super) fn forwarded_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not a header name; allowed: one such as \"X-Rep-Hints\""))?;
    let lower = name.as_str();
    if lower.contains('_') {
        // Servers that turn header names into variables cannot distinguish it from the name with a dash.
        return Err(format!(
            "{text:?}: some servers read a name with \"_\" as one with \"-\"; it cannot be forwarded"
        ));
    }
    if OWN_HEADERS.contains(&lower) || OWN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(format!(
            "{text:?} is set, checked or dropped by the gateway itself; it cannot be forwarded"
        ));
    }
    Ok(name)
}

/// Headers that browsers set themselves or that any page may set (Fetch §2.2.2), or that have another meaning.
const USUAL_HEADERS: [&str; 11] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "content-language",
    "content-type",
    "date",
    "dnt",
    "range",
    "user-agent",
    "save-data",
];

/// Parses `require_header`. Its purpose is that pages of foreign origins cannot send the header.
pub(super) fn required_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not a header name; allowed: one such as \"X-Box-Gateway\""))?;
    let lower = name.as_str();
    let is_own = OWN_HEADERS.contains(&lower) || OWN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if is_own || USUAL_HEADERS.contains(&lower) || lower.starts_with("access-control-") {
        return Err(format!(
            "{text:?} is a header that browsers or clients send on their own; allowed: a name of your own such as \"X-Box-Gateway\""
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "5 s",
            "5S",
            "1m30s",
            "5sec",
            "min",
            "99999999999999999999s",
            "169h",
        ] {
            assert!(duration(bad).unwrap_err().contains("\"10m\""), "{bad}");
        }
        assert!(duration("5").unwrap_err().contains("no unit"));
        assert!(duration("5min").unwrap_err().contains("did you mean \"5m\"?"));
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("50MiB", 52_428_800), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "1024", "KiB", "-1B", "1.5MiB", "1 KiB", "99999999999999999999B", "18446744073709551615GiB"]
        {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(size("64KB").unwrap_err().contains("did you mean \"64KiB\"?"));
    }

    #[test]
    fn names_fit_labels() {
        assert!(identity_name("service-1_a").is_ok() && app_name("a.b-c_1").is_ok());
        for bad in ["", "a b", "ä", "a/b", "a\n", &"x".repeat(65)] {
            assert!(identity_name(bad).is_err() && app_name(bad).is_err(), "{bad:?}");
        }
        assert!(identity_name("a.b").is_err());
    }

    #[test]
    fn ids_are_digits() {
        assert!(box_id("123456").is_ok());
        for bad in ["", "12a", " 12", "12\n", "-1", "٣", "123456789012345678901"] {
            assert!(box_id(bad).is_err(), "{bad:?}");
        }
        assert!(box_id("a@example.com").unwrap_err().contains("id, not the login"));
        assert!(box_id("123\u{200d}456").unwrap_err().contains("U+200D (zero width joiner) at character 4"));
    }

    #[test]
    fn credentials_are_checked_without_being_shown() {
        assert!(credential("hunter2 2").is_ok());
        for bad in ["", " hunter2", "hunter2\u{a0}", "hunter2\n", "hun\nter2", "hunter2\0"] {
            assert!(!credential(bad).unwrap_err().contains("hun"), "{bad:?}");
        }
        let said = credential("hunter2\u{200b}").unwrap_err();
        assert!(said.contains("U+200B (zero width space) at character 8"), "{said}");
    }

    #[test]
    fn app_paths_are_whole_plain_segments() {
        assert_eq!(app_path("/").as_deref(), Ok(""));
        assert_eq!(app_path("/a/b-c.d_e~f").as_deref(), Ok("/a/b-c.d_e~f"));
        assert_eq!(app_path("/x/api").as_deref(), Ok("/x/api"));
        for bad in [
            "",
            "a",
            "//",
            "/a//b",
            "/a/./b",
            "/../a",
            "/a b",
            "/a%20b",
            "/ä",
            "/a?b",
            "/a;b",
            "/2.0",
            "/2.0/x",
            "/api",
            "/API/x",
            "/oauth2/token",
            "/_box",
            "/a//",
        ] {
            assert!(app_path(bad).is_err(), "{bad:?}");
        }
        assert!(app_path("/intranet/").unwrap_err().contains("write \"/intranet\""));
    }

    #[test]
    fn headers_that_the_gateway_owns_are_not_forwarded() {
        assert_eq!(forwarded_header("X-Rep-Hints").unwrap(), "x-rep-hints");
        for bad in [
            "",
            "a b",
            "X_Rep",
            "Authorization",
            "COOKIE",
            "Sec-Fetch-Site",
            "Proxy-Authorization",
            "As-User",
            "X-Forwarded-For",
            "Forwarded",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Content-Length",
            "Via",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "ä",
        ] {
            assert!(forwarded_header(bad).is_err(), "{bad:?}");
        }
    }
}
