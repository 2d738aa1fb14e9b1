//! Reads the decision table, for the tests of the decision itself and of the whole program.

use std::net::Ipv4Addr;

const APPS: &str = include_str!("apps.toml");
const REQUESTS: &str = include_str!("requests.txt");

/// What every request asks Box for, below the path of its app.
pub(crate) const ME: &str = "/2.0/users/me";

/// Keys of `[listen]` on which the table relies.
pub(crate) const LISTEN: &str = "sources = [\"127.0.0.0/16\"]\ntrusted_proxies = [\"127.0.0.3\"]\n";

/// The apps. `own`: the number of the user who calls over Unix sockets. `with_certificates`: with the apps that ask for a
/// client certificate, which a listener without TLS cannot have.
pub(crate) fn apps(own: u32, with_certificates: bool) -> String {
    let apps =
        APPS.split("[[app]]").skip(1).filter(|app| with_certificates || !app.contains("certificates = "));
    let text: String = apps.map(|app| format!("[[app]]{app}")).collect();
    text.replace("OWN", &own.to_string()).replace("OTHER", &(own + 1).to_string())
}

/// A request, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Row {
    /// As the table has it.
    pub(crate) text: &'static str,
    pub(crate) over: Over,
    pub(crate) in_tunnel: bool,
    pub(crate) path: String,
    pub(crate) from: Ipv4Addr,
    /// `Host`, where it is not the usual one.
    pub(crate) host: Option<&'static str>,
    /// Names in the client certificate.
    pub(crate) certificate: Vec<&'static str>,
    /// `APP:KEY` of `Proxy-Authorization`.
    pub(crate) user: Option<&'static str>,
    /// `X-Forwarded-For`, of the CONNECT if there is one.
    pub(crate) client: Option<&'static str>,
    /// Further header fields.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    /// The names of app and identity, or the code of the refusal.
    pub(crate) wanted: Result<(&'static str, &'static str), &'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Tls,
    Unix,
}

impl Over {
    /// Whether the listener is that with TLS; its Unix socket has the same apps.
    pub(crate) fn is_of_secure_listener(self) -> bool {
        self != Self::Tcp
    }
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    REQUESTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
}

fn row(text: &'static str) -> Row {
    let (request, wanted) = text.split_once("->").unwrap();
    let mut words = request.split_whitespace();
    let way = words.next().unwrap();
    let (over, in_tunnel) = way.strip_suffix("-tunnel").map_or((way, false), |over| (over, true));
    let wanted = wanted.trim();
    let mut row = Row {
        text,
        over: match over {
            "tcp" => Over::Tcp,
            "tls" => Over::Tls,
            "unix" => Over::Unix,
            other => panic!("{other:?} in {text:?}"),
        },
        in_tunnel,
        path: format!("{}{ME}", words.next().unwrap().trim_end_matches('/')),
        from: Ipv4Addr::LOCALHOST,
        host: None,
        certificate: Vec::new(),
        user: None,
        client: None,
        fields: Vec::new(),
        wanted: wanted.split_once(' ').ok_or(wanted),
    };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word:?} in {text:?}"));
        match name {
            "from" => row.from = value.parse().unwrap(),
            "host" => row.host = Some(value),
            "certificate" => row.certificate = value.split(',').collect(),
            "user" => row.user = Some(value),
            "client" => row.client = Some(value),
            "key" => row.fields.push(("x-boxgate-key", value)),
            field => row.fields.push((field, value)),
        }
    }
    row
}
