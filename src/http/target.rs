//! The request target: refused with 400 if two parsers could read it differently. It is never repaired, so the bytes
//! that are checked are the bytes that are forwarded.

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::http::error::Refusal;

/// Refuses a path that two parsers could read differently.
pub(crate) fn check(uri: &Uri) -> Result<(), Refusal> {
    let path = uri.path();
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Refusal::BadRequest("The request target must be a path that begins with /."));
    };
    if is_ordinary(rest) {
        return Ok(());
    }
    if !path.bytes().all(is_plain) {
        escapes(path)?;
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        // An empty last segment is a trailing slash, which every parser reads alike.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Refusal::BadRequest(empty_segment(path)));
        }
        if is_parameter(segment) {
            return Err(Refusal::BadRequest("The path has a segment that consists of a ;parameter only."));
        }
        if is_dots(segment) {
            return Err(Refusal::BadRequest("The path has a . or .. segment, plain or encoded."));
        }
    }
    Ok(())
}

/// The message for a path with an empty segment. The usual cause is a base URL that ends in a slash.
fn empty_segment(path: &str) -> &'static str {
    let after_base = ["//2.0/", "//api/", "//oauth2/", "//_box/"];
    if after_base.iter().any(|start| path.contains(start)) {
        "The path has an empty segment (//). The base URL in the caller's settings probably ends in a slash: remove that slash."
    } else {
        "The path has an empty segment (//); there must be something between two slashes."
    }
}

/// Whether every segment begins with a letter or digit and has only plain characters, as nearly all have. Such a path is
/// never refused; others are looked at further.
fn is_ordinary(path: &str) -> bool {
    let mut begins = true;
    path.bytes().all(|byte| {
        let fits = if begins { byte.is_ascii_alphanumeric() } else { is_plain(byte) };
        begins = byte == b'/';
        fits
    })
}

/// Letters, digits and other characters that need no further check.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b':' | b'@' | b'!' | b'$' | b',')
}

fn escapes(path: &str) -> Result<(), Refusal> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let refuse = match byte {
            b'\\' => "The path has a backslash.",
            b'%' => {
                let pair = [bytes.next(), bytes.next()].map(|b| b.and_then(|b| char::from(b).to_digit(16)));
                match pair {
                    [Some(high), Some(low)] => match high * 16 + low {
                        0x2f | 0x5c => "The path has an encoded slash or backslash.",
                        0..=0x1f | 0x7f => "The path has an encoded control character.",
                        _ => continue,
                    },
                    _ => "The path has a % that is not followed by two hexadecimal digits.",
                }
            }
            0..=0x20 | 0x7f.. => "The path has a byte that must be percent-encoded.",
            _ => continue,
        };
        return Err(Refusal::BadRequest(refuse));
    }
    Ok(())
}

/// `.` and `..`, encoded or with a `;parameter`, which some servers remove first.
fn is_dots(segment: &str) -> bool {
    if !(segment.starts_with('.') || segment.starts_with('%')) {
        return false;
    }
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    matches!(decoded.split(';').next(), Some("." | ".."))
}

/// A segment that is empty to servers that remove `;parameters`.
fn is_parameter(segment: &str) -> bool {
    segment.starts_with(';') || segment.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%3b"))
}

/// The query for Box: without `access_token`, which Box would use as the token. Everything else stays byte for byte.
/// `None`: nothing had to be removed.
pub(crate) fn without_access_token(query: &str) -> Option<String> {
    // Some parsers split pairs at ; too.
    let is_token = |pair: &str| {
        let mut parts = pair.split('=');
        // A leading = makes the name empty to a parser that splits at the first one.
        let name = parts.find(|part| !part.is_empty()).unwrap_or_default();
        is_access_token(name)
    };
    if !query.split(['&', ';']).any(is_token) {
        return None;
    }
    let kept: Vec<String> = query
        .split('&')
        .filter_map(|pair| {
            let parts: Vec<&str> = pair.split(';').filter(|part| !is_token(part)).collect();
            (!parts.is_empty()).then(|| parts.join(";"))
        })
        .collect();
    Some(kept.join("&"))
}

/// Whether some server reads the name of a parameter as `access_token`: several decode twice; C ends a string at NUL;
/// PHP reads `.`, white space and the first `[` as `_`, and text in brackets as a key within the parameter.
fn is_access_token(name: &str) -> bool {
    let spaced = name.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    let twice = percent_decode_str(&decoded).decode_utf8_lossy();
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let ends = |c: char| matches!(c, '\0' | ']');
    // Some servers remove a second ? like the first.
    let name = twice.trim_start_matches(|c: char| c == '?' || is_blank(c));
    let name = name.split(ends).next().unwrap_or(name).trim_end_matches(is_blank);
    const WANTED: &str = "access_token";
    let mut letters = name.chars().map(|c| if c == '.' || c == '[' || is_blank(c) { '_' } else { c });
    let begins = WANTED.chars().all(|wanted| letters.next().is_some_and(|c| c.eq_ignore_ascii_case(&wanted)));
    begins && name.chars().nth(WANTED.len()).is_none_or(|next| next == '[')
}

/// Refuses an escaped `?`, `#` or `%` in a path of Box's API: to a server that decodes it before it looks for the query,
/// the path ends there; to one that decodes twice, it is another path. Content at a pre-signed URL may have such names.
pub(crate) fn check_api_path(path: &str) -> Result<(), Refusal> {
    let mut escapes = path.split('%');
    escapes.next();
    for escape in escapes {
        let code = escape.get(..2).unwrap_or_default();
        if ["3f", "23", "25"].iter().any(|refused| code.eq_ignore_ascii_case(refused)) {
            return Err(Refusal::BadRequest(
                "The path has an encoded ?, # or % (%3F, %23, %25), which no path of Box's API has.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(target: &str) -> bool {
        target.parse::<Uri>().is_ok_and(|uri| check(&uri).is_ok())
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for bad in [
            "/2.0/a%2fb",
            "/2.0/a%2Fb",
            "/2.0/a%5cb",
            "/2.0/a\\b",
            "/2.0/%00",
            "/2.0/a%0d%0a",
            "/2.0/../x",
            "/2.0/./x",
            "/2.0/..",
            "/2.0/%2e%2e/x",
            "/2.0/.%2E/x",
            "/2.0/%2e",
            "/2.0//x",
            "//2.0/x",
            "/2.0/..;a/x",
            "/2.0/.;/x",
            "/2.0/%2e%2e%3bx/y",
            "/2.0/a%",
            "/2.0/a%2",
            "/2.0/a%zz",
            "/2.0/%7f",
            "*",
            "/2.0/é",
        ] {
            assert!(!ok(bad), "{bad}");
        }
        for good in [
            "/2.0/files/1",
            "/2.0/files/1/",
            "/2.0/a%20b",
            "/2.0/a;b=c",
            "/2.0/...",
            "/2.0/.a",
            "/2.0/a.b..c",
            "/",
            "/2.0/%25",
            "/2.0/files/1?x=/../%2f%00",
            "/2.0/%C3%A9",
            "/2.0/a(b)'*+=&",
        ] {
            assert!(ok(good), "{good}");
        }
    }

    #[test]
    fn a_base_url_that_ends_in_a_slash_is_named_as_the_likely_cause() {
        let said = |path: &str| match check(&path.parse().unwrap()) {
            Err(refusal) => refusal.message(),
            Ok(()) => panic!("{path}"),
        };
        for path in ["//2.0/users/me", "/intranet//2.0/users/me", "//oauth2/token", "//api/2.0/files/content"]
        {
            assert!(said(path).contains("base URL"), "{path}: {}", said(path));
        }
        assert!(!said("/2.0/files//content").contains("base URL"));
    }

    #[test]
    fn only_access_token_is_removed_from_the_query() {
        let of = without_access_token;
        assert_eq!(of("fields=a,b&x=%2F"), None);
        assert_eq!(of("my_access_token=1"), None);
        assert_eq!(of("access_token=t").as_deref(), Some(""));
        assert_eq!(of("a=1&access_token=t&b=%20").as_deref(), Some("a=1&b=%20"));
        assert_eq!(of("a=1&access%5Ftoken=t&access_token").as_deref(), Some("a=1"));
        assert_eq!(of("a=1;access_token=t&b=2;c").as_deref(), Some("a=1&b=2;c"));
        assert_eq!(of("a=1&+access_token=t&access_token+=t").as_deref(), Some("a=1"));
        assert_eq!(of("a=1&&b=2&Access_Token=x").as_deref(), Some("a=1&&b=2"));
    }

    #[test]
    fn access_token_is_recognized_in_the_spellings_of_other_servers() {
        for name in [
            "access_token%00",
            "access_token%00x",
            "access.token",
            "access%2Etoken",
            "access%20token",
            "access+token",
            "access%09token",
            "access_token[]",
            "access_token%5B%5D",
            "access_token[0]",
            "access[token",
            "access%255Ftoken",
            "%20access_token",
            "%00access_token",
            "access_token%0a",
            "ACCESS.TOKEN[x]",
            "=access_token",
            "?access_token",
            "%3Faccess_token",
        ] {
            let query = format!("a=1&{name}=t&b=2");
            assert_eq!(without_access_token(&query).as_deref(), Some("a=1&b=2"), "{name}");
        }
        for name in ["accesstoken", "access_tokens", "access_token_x", "x[access_token]", "access-token", "a"]
        {
            assert_eq!(without_access_token(&format!("{name}=t")), None, "{name}");
        }
    }

    #[test]
    fn paths_of_the_api_have_no_escape_that_ends_or_hides_a_part() {
        for bad in
            ["/2.0/files/1%3Ffields=a", "/2.0/files/1%3f", "/2.0/a%23b", "/2.0/a%252fb", "/2.0/%C3%A9%25"]
        {
            assert!(check_api_path(bad).is_err(), "{bad}");
        }
        for good in ["/2.0/files/1", "/2.0/a%20b", "/2.0/%C3%A9", "/2.0/a%3Db"] {
            assert!(check_api_path(good).is_ok(), "{good}");
        }
    }
}
