//! Which hosts are Box's, for commands on the caller's side, which have no configuration.

use http::uri::Authority;

use crate::routing::box_hosts;
use crate::routing::box_hosts::BoxHosts;

/// One host of each kind, against which suffixes are checked.
const EXAMPLES: [&str; 11] = [
    "api.box.com",
    "upload.box.com",
    "upload.app.box.com",
    "upload-x.app.box.com",
    "fupload-x.app.box.com",
    "upload.app.box-gov.com",
    "x.boxcloud.com",
    "x.realtime.services.box.net",
    "account.box.com",
    "app.box.com",
    "www.box.com",
];

/// Box's own hosts, not those that a gateway may have configured instead.
pub(super) struct BoxNames(BoxHosts);

impl BoxNames {
    pub(super) fn new() -> Self {
        Self(BoxHosts {
            api: Authority::from_static("api.box.com"),
            upload: Authority::from_static("upload.box.com"),
            download: Authority::from_static("dl.boxcloud.com"),
            token_url: String::new(),
            extra_roots: Vec::new(),
        })
    }

    /// Whether this is the name of one of Box's hosts, in any case and without a port.
    pub(super) fn has(&self, name: &str) -> bool {
        !name.contains(':') && box_hosts::named(&self.0, name).is_some()
    }

    /// A `NO_PROXY` list without the entries that could make a program bypass the proxy for Box. Programs read entries
    /// differently (to some, `ox.com` is a suffix of `box.com`); every entry that any of them would apply to Box is
    /// removed.
    pub(super) fn without_box(&self, no_proxy: &str) -> String {
        let entries = no_proxy.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        entries.filter(|entry| !self.excludes_box(entry)).collect::<Vec<_>>().join(",")
    }

    fn excludes_box(&self, entry: &str) -> bool {
        let entry = entry.to_ascii_lowercase();
        // An IPv6 address has colons too; without its last part, it still matches none of Box's names.
        let name = entry.rsplit_once(':').map_or(entry.as_str(), |(name, _)| name);
        let name = name.trim_start_matches(['*', '.']).trim_end_matches('.');
        // `*` and `.` leave an empty suffix, which matches every host.
        (name.is_empty() && !entry.contains("::"))
            || self.has(name)
            || (!name.is_empty() && EXAMPLES.iter().any(|host| host.ends_with(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxs_names_are_recognized_and_similar_names_are_not() {
        let names = BoxNames::new();
        for name in EXAMPLES {
            assert!(names.has(name), "{name}");
            assert!(names.has(&name.to_ascii_uppercase()), "{name}");
        }
        for name in [
            "",
            "box.com",
            "acme.app.box.com",
            "api.box.com.",
            "api.box.com:443",
            "api.box.com:80",
            "api.box.com.evil.example",
            "a.b.boxcloud.com",
            "localhost",
            "127.0.0.1",
            "example.com",
        ] {
            assert!(!names.has(name), "{name}");
        }
    }

    #[test]
    fn entries_of_no_proxy_that_cover_box_are_removed() {
        let names = BoxNames::new();
        for dropped in [
            "*",
            ".",
            "box.com",
            ".box.com",
            "*.box.com",
            "BOX.COM",
            "api.box.com",
            "api.box.com:443",
            ".com",
            "com",
            "ox.com",
            "net",
            "boxcloud.com",
            "*.boxcloud.com",
            "dl.boxcloud.com",
            "public.boxcloud.com.",
            "upload-las.app.box.com",
            ".app.box.com",
            "box-gov.com",
            "realtime.services.box.net",
        ] {
            assert_eq!(
                names.without_box(&format!("a.example,{dropped}, b.example")),
                "a.example,b.example",
                "{dropped}"
            );
        }
        let kept = "localhost,127.0.0.1,::1,[::1],10.0.0.0/8,.example.com,dropbox.com,mybox.net,acme.app.box.com:8443";
        assert_eq!(names.without_box(kept), kept);
        assert_eq!(names.without_box("*"), "");
        assert_eq!(names.without_box("a.example b.example,,"), "a.example,b.example");
    }
}
