//! Box's hosts: which authorities belong to Box, and what each of them serves.
//!
//! Box's responses name more hosts than the configured ones (an upload session is at `upload.app.box.com`, a download
//! at `public.boxcloud.com`). The gateway never connects to a host that is not listed here.
//!
//! Sources: `docs/box-api.md#hosts-and-paths`.

use http::uri::Authority;

use rustls::pki_types::CertificateDer;

/// Where Box is: the values of `[box]`.
#[derive(Debug, Clone)]
pub struct BoxHosts {
    /// The API: host and, if not 443, port.
    pub api: Authority,
    /// The host of upload operations.
    pub upload: Authority,
    /// The host of downloads.
    pub download: Authority,
    /// The token endpoint, an https URL.
    pub token_url: String,
    /// Certificates trusted besides the platform's roots.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl BoxHosts {
    /// Of the API, uploads and downloads.
    pub(crate) fn authorities(&self) -> [&Authority; 3] {
        [&self.api, &self.upload, &self.download]
    }
}

/// A host of Box and what it serves. A configured host may have several roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoxHost {
    /// Lower case, without port 443.
    pub authority: Authority,
    /// Serves `/2.0/…` with the token.
    pub api: bool,
    /// Serves `/api/2.0/…` with the token.
    pub upload: bool,
    /// Serves `/api/2.0/…` with the token, and pre-signed URLs.
    pub download: bool,
    /// Serves the long poll, whose URL is the credential.
    pub realtime: bool,
    /// It is one of the hosts in `[box]`.
    pub configured: bool,
}

/// The domains of all of Box's hosts, for most authorities are of none of them.
const DOMAINS: [&str; 4] = [".box.com", ".box-gov.com", ".boxcloud.com", ".box.net"];

/// The host of Box with the authority `text` (of an https URL); `None` if it is none of Box's. Makes no DNS query.
pub(crate) fn find(configured: &BoxHosts, text: &str) -> Option<BoxHost> {
    let text = text.strip_suffix(":443").unwrap_or(text);
    let is = |authority: &Authority| authority.as_str().eq_ignore_ascii_case(text);
    let [api, upload, download] = [&configured.api, &configured.upload, &configured.download].map(is);
    if api || upload || download {
        let authority = Authority::try_from(text.to_ascii_lowercase()).ok()?;
        return Some(BoxHost { authority, api, upload, download, realtime: false, configured: true });
    }
    if !DOMAINS.iter().any(|domain| is_below(text, domain)) {
        return None;
    }
    let name = text.to_ascii_lowercase();
    let upload = is_upload(&name);
    let (api, download) = (name == "api.box.com", one_label_before(&name, ".boxcloud.com"));
    let realtime = one_label_before(&name, ".realtime.services.box.net");
    if !(api || upload || download || realtime) {
        return None;
    }
    let authority = Authority::try_from(name).ok()?;
    Some(BoxHost { authority, api, upload, download, realtime, configured: false })
}

/// A host of Box that a request itself names: as the target of CONNECT, in absolute form, or in `Host` where DNS leads
/// Box's name to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A host of the API, uploads, downloads or the long poll.
    Host(BoxHost),
    /// A host of logins, where programs also ask for tokens.
    Login,
}

/// The hosts of logins.
const LOGIN: [&str; 3] = ["account.box.com", "app.box.com", "www.box.com"];

/// The host that a program with built-in hosts of Box means by the authority `text` (of an https URL). The three main
/// hosts stand for those of `[box]`.
pub(crate) fn named(configured: &BoxHosts, text: &str) -> Option<Named> {
    let name = text.strip_suffix(":443").unwrap_or(text);
    let main = [
        ("api.box.com", &configured.api),
        ("upload.box.com", &configured.upload),
        ("dl.boxcloud.com", &configured.download),
    ];
    let main = main.iter().find(|(official, _)| name.eq_ignore_ascii_case(official));
    if main.is_none() && LOGIN.iter().any(|login| name.eq_ignore_ascii_case(login)) {
        return Some(Named::Login);
    }
    find(configured, main.map_or(text, |(_, authority)| authority.as_str())).map(Named::Host)
}

/// Splits a web URL into its authority and the rest. Works on the text, without a URL parser, since every byte after
/// the authority must stay, such as a template's braces. Accepts `http` too: Box gives the realtime URL with it, and it
/// is fetched with https.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    // A URL may omit the path /; a rewritten URL may not.
    (path.starts_with('/') && !authority.is_empty()).then_some((authority, path))
}

/// Whether a name in any case ends with `domain`, which begins with a dot.
fn is_below(name: &str, domain: &str) -> bool {
    let end = name.len().checked_sub(domain.len()).and_then(|at| name.as_bytes().get(at..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(domain.as_bytes()))
}

fn is_upload(name: &str) -> bool {
    matches!(name, "upload.box.com" | "upload.app.box.com" | "upload.app.box-gov.com")
        || one_label_before(name, ".app.box.com")
            && ["upload-", "fupload-"]
                .iter()
                .any(|start| name.strip_prefix(start).is_some_and(|rest| rest.len() > ".app.box.com".len()))
}

fn one_label_before(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|label| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| inner(byte) || byte == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().next_back().is_some_and(inner)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hosts() -> BoxHosts {
        BoxHosts {
            api: Authority::from_static("api.box.com"),
            upload: Authority::from_static("upload.box.com"),
            download: Authority::from_static("localhost:7443"),
            token_url: String::new(),
            extra_roots: Vec::new(),
        }
    }

    fn role(text: &str) -> Option<&'static str> {
        find(&hosts(), text).map(|host| match host {
            BoxHost { api: true, .. } => "api",
            BoxHost { upload: true, .. } => "upload",
            BoxHost { download: true, .. } => "download",
            _ => "realtime",
        })
    }

    #[test]
    fn boxs_hosts_are_recognized_and_similar_names_are_not() {
        for (name, want) in [
            ("api.box.com", "api"),
            ("API.box.com", "api"),
            ("api.box.com:443", "api"),
            ("upload.box.com", "upload"),
            ("upload.app.box.com", "upload"),
            ("upload-las.app.box.com", "upload"),
            ("fupload-1.app.box.com", "upload"),
            ("upload.app.box-gov.com", "upload"),
            ("dl.boxcloud.com", "download"),
            ("dl20.boxcloud.com", "download"),
            ("public.boxcloud.com", "download"),
            ("localhost:7443", "download"),
            ("2.realtime.services.box.net", "realtime"),
        ] {
            assert_eq!(role(name), Some(want), "{name}");
        }
        for name in [
            "",
            "box.com",
            "app.box.com",
            "account.box.com",
            "www.box.com",
            "acme.app.box.com",
            "upload-.app.box.com",
            "upload-a.b.app.box.com",
            "upload-las.app.box.com.evil.example",
            "api.box.com.",
            "api.box.com:80",
            "api.box.com:8443",
            "api.box.com@evil.example",
            "user@api.box.com",
            "boxcloud.com",
            ".boxcloud.com",
            "a.b.boxcloud.com",
            "evilboxcloud.com",
            "dl.boxcloud.com.evil.example",
            "dl.boxcloud.com:444",
            "dl%2eboxcloud.com",
            "-.boxcloud.com",
            "a/b.boxcloud.com",
            "a#.boxcloud.com",
            "realtime.services.box.net",
            "a.b.realtime.services.box.net",
            "localhost",
            "localhost:7444",
            "127.0.0.1",
            "[::1]",
        ] {
            assert_eq!(role(name), None, "{name}");
        }
    }

    #[test]
    fn boxs_main_hosts_stand_for_the_configured_ones() {
        let role = |text| match named(&hosts(), text) {
            Some(Named::Host(host)) => format!("{} {}", host.authority, host.download),
            Some(Named::Login) => "login".to_owned(),
            None => "none".to_owned(),
        };
        for (name, want) in [
            ("API.box.com:443", "api.box.com false"),
            ("dl.boxcloud.com:443", "localhost:7443 true"),
            ("public.boxcloud.com:443", "public.boxcloud.com true"),
            ("localhost:7443", "localhost:7443 true"),
            ("account.box.com:443", "login"),
            ("www.Box.com", "login"),
            ("box.com:443", "none"),
            ("api.box.com:80", "none"),
            ("account.box.com:80", "none"),
            ("localhost:443", "none"),
            ("acme.app.box.com:443", "none"),
        ] {
            assert_eq!(role(name), want, "{name}");
        }
    }

    #[test]
    fn urls_are_split_by_text() {
        assert_eq!(
            split("https://dl.boxcloud.com/x/{+asset_path}?a=b"),
            Some(("dl.boxcloud.com", "/x/{+asset_path}?a=b"))
        );
        assert_eq!(split("HTTP://a:1/b"), Some(("a:1", "/b")));
        assert_eq!(split("https://a\\b/c"), None);
        for bad in ["ftp://a/b", "/2.0/x", "https:///x", "https://a", "https://a?x", "{+a}"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
