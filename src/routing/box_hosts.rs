//! Box's hosts: which authorities are Box's, and what each of them serves.
//!
//! Box's answers name hosts beside the configured ones (an upload session lives at `upload.app.box.com`, a download
//! at `public.boxcloud.com`). What is not listed here is never connected to, whoever names it.
//!
//! Sources: `docs/box-api.md#hosts-and-paths`.

use http::uri::Authority;

use rustls::pki_types::CertificateDer;

/// The four addresses of Box.
#[derive(Debug, Clone)]
pub struct BoxHosts {
    /// Host and, if not 443, port.
    pub api: Authority,
    /// Of upload operations.
    pub upload: Authority,
    /// Of downloads.
    pub download: Authority,
    /// An https URL.
    pub token_url: String,
    /// Trusted besides the platform's roots.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl BoxHosts {
    /// Of the API, uploads and downloads.
    pub(crate) fn authorities(&self) -> [&Authority; 3] {
        [&self.api, &self.upload, &self.download]
    }
}

/// A host of Box and what it serves; a configured one may serve several things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoxHost {
    /// Lower case, without port 443.
    pub authority: Authority,
    /// `/2.0/…`, with the token.
    pub api: bool,
    /// `/api/2.0/…`, with the token.
    pub upload: bool,
    /// `/api/2.0/…` with the token, everything else pre-signed.
    pub download: bool,
    /// The long poll: the URL is the credential.
    pub realtime: bool,
    /// Named in `[box]`.
    pub configured: bool,
}

/// The host that `text`, the authority of an https URL, names; `None` where it is none of Box's. No name is looked up.
pub(crate) fn find(configured: &BoxHosts, text: &str) -> Option<BoxHost> {
    let text = text.strip_suffix(":443").unwrap_or(text);
    let is = |authority: &Authority| authority.as_str().eq_ignore_ascii_case(text);
    let [api, upload, download] = [&configured.api, &configured.upload, &configured.download].map(is);
    if api || upload || download {
        let authority = Authority::try_from(text.to_ascii_lowercase()).ok()?;
        return Some(BoxHost { authority, api, upload, download, realtime: false, configured: true });
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

/// What a host is that a request names itself: as the target of CONNECT, in absolute form, or as a name that leads to
/// the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// Requests go to this host.
    Host(BoxHost),
    /// Where people log in. Programs ask for tokens there, too.
    Login,
}

/// Hosts of logins.
const LOGIN: [&str; 3] = ["account.box.com", "app.box.com", "www.box.com"];

/// The host that `text`, the authority of an https URL, means to a program that has Box's hosts built in: the three
/// main ones stand for those of `[box]`.
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

/// Authority and the rest of a web URL. By text, not by a URL parser: a template's braces, and every other byte behind
/// the authority, must stay. `http` counts too: Box writes the realtime URL so, and https is what it is fetched with.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    // The path of a URL without one is /; in a rewritten URL it must be there.
    (path.starts_with('/') && !authority.is_empty()).then_some((authority, path))
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
    fn boxs_names_are_known_and_nothing_near_them() {
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
    fn a_program_means_the_configured_hosts_by_boxs_names() {
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
