//! Options and environment variables that name the gateway and the app.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use http::uri::Authority;
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::net::hidden_characters::{BYTE_ORDER_MARK, HiddenCharacter};
use crate::net::secret::{Secret, wiped_when_sent};
use crate::net::secret_file;

/// The environment variable with an app's key.
pub(super) const KEY_VARIABLE: &str = "BOXGATE_KEY";

/// The longest key file, in bytes: a device or a wrong file may be endless.
const LONGEST_KEY: usize = 64 * 1024;

/// The allowed forms of a gateway's address.
const A_GATEWAY: &str = "http://HOST:PORT, https://HOST:PORT or HOST:PORT";

/// Characters to encode in a URL: all except those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Options shared by `env` and `exec`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The gateway's address for callers: http://HOST:PORT, https://HOST:PORT or HOST:PORT
    #[arg(long, value_name = "URL", env = "BOXGATE_GATEWAY", default_value = "http://127.0.0.1:8080")]
    pub gateway: String,
    /// The app to call as; its key is taken from BOXGATE_KEY or --key-file
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// A file with the app's key, instead of BOXGATE_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Trust only a CA of the gateway whose root has this SHA-256 fingerprint
    #[arg(long, value_name = "HEX")]
    pub ca_fingerprint: Option<String>,
}

/// A gateway's address for callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayUrl {
    pub(super) is_https: bool,
    /// Host and port.
    pub(super) authority: Authority,
}

impl GatewayUrl {
    /// # Errors
    /// A message about what cannot be used.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("--gateway {text:?}: {why}; allowed: {A_GATEWAY}");
        if text.starts_with("unix:") {
            return Err(wrong(
                "programs cannot use a proxy at a Unix socket; let the gateway listen at an address too",
            ));
        }
        let user = "name the app with --app, its key with BOXGATE_KEY or --key-file";
        let path = "a path or query has no meaning for a proxy; name the app with --app";
        let (is_https, authority) = scheme_and_authority(text, user, path).map_err(wrong)?;
        Ok(Self { is_https, authority })
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The URL of the gateway as a proxy, with the app's name and key if given.
    pub(super) fn proxy_url(&self, login: Option<&Login>) -> Zeroizing<String> {
        let login = login.map(|login| Zeroizing::new(format!("{}@", *login.userinfo())));
        let login = login.as_ref().map_or("", |login| login.as_str());
        Zeroizing::new(format!("{}://{login}{}", self.scheme(), self.authority))
    }

    /// Whether this proxy is the gateway itself.
    pub(super) fn is(&self, proxy: &Uri) -> bool {
        proxy.scheme_str() == Some(self.scheme())
            && proxy.host().is_some_and(|host| host.eq_ignore_ascii_case(self.authority.host()))
            && proxy.port_u16().unwrap_or(if self.is_https { 443 } else { 80 })
                == self.authority.port_u16().unwrap_or_default()
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

/// Whether a URL or `HOST:PORT` is https, and its host and port.
///
/// # Errors
/// What is wrong with it: `user` if it has a user or password, `path` if it has a path, query or fragment.
pub(super) fn scheme_and_authority(
    text: &str,
    user: &'static str,
    path: &'static str,
) -> Result<(bool, Authority), &'static str> {
    let (is_https, rest) = match text.split_once("://") {
        None => (false, text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some(_) => return Err("the scheme is unknown"),
    };
    let has_scheme = rest.len() < text.len();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(user);
    }
    if rest.contains(['/', '?', '#']) {
        return Err(path);
    }
    let none = "the host and port are missing or invalid";
    let authority: Authority = rest.parse().map_err(|_| none)?;
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Err(none);
    }
    let authority = match (authority.port_u16(), has_scheme) {
        (Some(1..), _) => authority,
        (None, true) if authority.port().is_none() => {
            let port = if is_https { 443 } else { 80 };
            format!("{authority}:{port}").parse().map_err(|_| none)?
        }
        _ => return Err("the port is missing or not from 1 to 65535"),
    };
    Ok((is_https, authority))
}

/// An app's name and key, for the `Proxy-Authorization` of a proxy.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) name: String,
    /// Empty if the app has no key.
    pub(super) key: Secret,
}

impl Login {
    /// Reads the options and `BOXGATE_KEY`, whose value is `variable`. `None`: no app is named.
    ///
    /// # Errors
    /// A message about what is contradictory, missing or unreadable; it contains no key.
    pub(super) fn of(options: &Options, variable: Option<String>) -> Result<Option<Self>, String> {
        let variable = variable.map(Zeroizing::new).filter(|key| !key.is_empty());
        let key = match (variable, &options.key_file) {
            (Some(_), Some(_)) => {
                return Err(format!("both {KEY_VARIABLE} and --key-file are given; leave one out"));
            }
            (Some(key), None) => Some(plain_key(&key, KEY_VARIABLE)?),
            (None, Some(file)) => Some(plain_key(&key_in(file)?, &format!("--key-file {}", file.display()))?),
            (None, None) => None,
        };
        let Some(name) = options.app.clone() else {
            return match key {
                Some(_) => Err("a key is given without its app; name the app with --app".to_owned()),
                None => Ok(None),
            };
        };
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(format!("--app {name:?}: the name of an app must not be empty or contain a colon"));
        }
        let key = key.map(|key| Secret::new(key.to_string()));
        Ok(Some(Self { name, key: key.unwrap_or_else(|| Secret::new(String::new())) }))
    }

    /// The name and key, encoded for a URL.
    pub(super) fn userinfo(&self) -> Zeroizing<String> {
        let encoded = |text| utf8_percent_encode(text, RESERVED);
        Zeroizing::new(format!("{}:{}", encoded(&self.name), encoded(self.key.expose())))
    }

    /// The value of the header field `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> HeaderValue {
        let plain = Zeroizing::new(format!("{}:{}", self.name, self.key.expose()));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(plain.as_bytes()));
        let text = Zeroizing::new([&b"Basic "[..], encoded.as_bytes()].concat());
        let value = HeaderValue::from_maybe_shared(wiped_when_sent(text));
        let mut value = value.expect("base64 is valid in a header");
        value.set_sensitive(true);
        value
    }
}

/// A key without a byte order mark. `source`: where it was found.
///
/// # Errors
/// It contains an invisible character; the message shows no other.
pub(super) fn plain_key(text: &str, source: &str) -> Result<Zeroizing<String>, String> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    match HiddenCharacter::first_in(text) {
        None => Ok(Zeroizing::new(text.to_owned())),
        Some(hidden) => Err(format!(
            "{source}: the key contains {hidden}, which editors do not show; remove it, or copy the key again"
        )),
    }
}

/// The text of a file without its last line break.
pub(super) fn key_in(file: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |why: &dyn fmt::Display| format!("--key-file {}: {why}", file.display());
    let bytes = secret_file::read(file, LONGEST_KEY + 1).map_err(|error| failed(&error))?;
    if bytes.len() > LONGEST_KEY {
        return Err(failed(&"the file is too long for a key"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"the file is not UTF-8 text"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(failed(&"the file is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(app: Option<&str>, key_file: Option<&str>) -> Options {
        Options {
            gateway: String::new(),
            app: app.map(ToOwned::to_owned),
            key_file: key_file.map(PathBuf::from),
            ca_fingerprint: None,
        }
    }

    #[test]
    fn addresses_of_gateways_are_read() {
        for (text, want) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("HTTPS://boxgate.internal:8443", "https://boxgate.internal:8443"),
            ("https://boxgate.internal", "https://boxgate.internal:443"),
            ("http://boxgate.internal", "http://boxgate.internal:80"),
            ("localhost:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(GatewayUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn an_invalid_gateway_address_is_refused_with_the_allowed_forms() {
        for (text, word) in [
            ("", "host and port are missing"),
            ("boxgate.internal", "port"),
            (":8080", "host and port are missing"),
            ("localhost:", "host and port are missing"),
            ("localhost:0", "port"),
            ("localhost:70000", "port"),
            ("http://", "host and port are missing"),
            ("ftp://localhost:8080", "scheme"),
            ("unix:/run/boxgate.sock", "Unix socket"),
            ("http://localhost:8080/hr", "--app"),
            ("http://localhost:8080?a=b", "--app"),
            ("http://app:key@localhost:8080", "--app"),
            ("http://local host:8080", "host and port are missing"),
        ] {
            let said = GatewayUrl::parse(text).expect_err(text);
            assert!(said.contains(word) && said.contains("https://HOST:PORT"), "{text}: {said}");
        }
    }

    #[test]
    fn an_earlier_proxy_that_is_the_gateway_is_recognized() {
        let is = |gateway: &str, proxy: &'static str| {
            GatewayUrl::parse(gateway).unwrap().is(&Uri::from_static(proxy))
        };
        assert!(is("http://localhost:8080", "http://LOCALHOST:8080/"));
        assert!(is("https://boxgate.internal", "https://boxgate.internal/"));
        assert!(!is("http://localhost:8080", "http://localhost:8081/"));
        assert!(!is("http://localhost:8080", "https://localhost:8080/"));
        assert!(!is("http://localhost:8080", "http://127.0.0.1:8080/"));
    }

    #[test]
    fn name_and_key_are_encoded_for_urls_and_headers() {
        let login = Login::of(&options(Some("a b@"), None), Some("k:/ä".to_owned())).unwrap().unwrap();
        let url = GatewayUrl::parse("localhost:8080").unwrap().proxy_url(Some(&login));
        assert_eq!(*url, "http://a%20b%40:k%3A%2F%C3%A4@localhost:8080");
        assert_eq!(login.authorization(), "Basic YSBiQDprOi/DpA==");
        let without = Login::of(&options(Some("hr"), None), None).unwrap().unwrap();
        assert_eq!(without.authorization(), "Basic aHI6");
    }

    #[test]
    fn a_key_comes_from_one_place_and_belongs_to_an_app() {
        let said = |app, file, variable: Option<&str>| {
            Login::of(&options(app, file), variable.map(ToOwned::to_owned)).expect_err("it is refused")
        };
        assert!(said(Some("hr"), Some("/k"), Some("secret-1")).contains("leave one out"));
        assert!(said(None, None, Some("secret-1")).contains("--app"));
        assert!(said(Some("a:b"), None, None).contains("colon"));
        assert!(said(Some(""), None, None).contains("must not be empty"));
        assert!(said(Some("hr"), Some("/nowhere/k"), None).contains("/nowhere/k"));
        assert!(said(Some("hr"), Some("/dev/null"), None).contains("empty"));
        assert!(said(Some("hr"), Some("/dev/zero"), None).contains("too long"));
        assert!(Login::of(&options(None, None), Some(String::new())).unwrap().is_none());
    }

    #[test]
    fn a_key_with_an_invisible_character_is_refused() {
        let of = |key: &str| Login::of(&options(Some("hr"), None), Some(key.to_owned()));
        assert_eq!(of("\u{feff}k y").unwrap().unwrap().key.expose(), "k y");
        for (key, hidden) in [("k\u{200b}y", "U+200B"), ("\u{feff}\u{feff}ky", "U+FEFF"), ("ky\n", "U+000A")]
        {
            let said = of(key).unwrap_err();
            assert!(said.starts_with("BOXGATE_KEY: ") && said.contains(hidden), "{said}");
            assert!(!said.contains("ky"), "{said}");
        }
    }

    #[test]
    fn one_line_break_at_the_end_of_a_key_file_is_removed() {
        let file = std::env::temp_dir().join(format!("boxgate-key-{}", std::process::id()));
        for (text, key) in [("k", "k"), ("k\n", "k"), ("k\r\n", "k"), ("k\n\n", "k\n"), (" k ", " k ")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(*key_in(&file).unwrap(), key, "{text:?}");
        }
        std::fs::remove_file(file).unwrap();
    }
}
