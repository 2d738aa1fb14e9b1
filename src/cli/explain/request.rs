//! The request that is explained: the head and the connection that the options describe.

use http::header::{HOST, ORIGIN, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::Options;
use crate::cli::options::Login;
use crate::config::{Config, UnreadSecret, certificate_name, nearest};
use crate::http::headers::AS_USER;
use crate::http::host;
use crate::net::address::Address;
use crate::net::certificate_names::CertificateNames;
use crate::net::client_address::ClientAddress;
use crate::net::peer::Peer;
use crate::net::secret::Secret;
use crate::routing::app::App;
use crate::routing::app_key::APP_KEY;
use crate::routing::box_hosts;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The allowed forms of a request.
const A_REQUEST: &str = "a request is \"METHOD /path\", such as \"GET /2.0/users/me\"";

/// A request to decide.
#[derive(Debug)]
pub(super) struct Asked {
    /// The connection.
    pub(super) peer: Peer,
    /// The CONNECT of the tunnel through which the request comes, or the CONNECT that is asked about.
    pub(super) connect: Option<Parts>,
    /// The request; `None`: only the tunnel is asked about.
    pub(super) head: Option<Parts>,
    /// The app as whose caller it is sent, by its name.
    pub(super) as_app: Option<String>,
    /// The names in the client certificate of the connection.
    pub(super) certificate: Option<CertificateNames>,
}

impl Asked {
    /// # Errors
    /// What cannot be used, and what is allowed.
    pub(super) fn of(config: &Config, options: &Options) -> Result<Self, String> {
        let asked = Self::without_certificate(config, options)?;
        let app = options.app.as_deref().map(|name| app(config, name)).transpose()?;
        if asked.peer.uid.is_none() {
            return Ok(Self { certificate: certificate(app, options)?, ..asked });
        }
        match options.certificates.first() {
            Some(name) => Err(format!(
                "--certificate {name}: over a Unix socket, which --from names, no certificate is shown; name an address with --from"
            )),
            None => Ok(asked),
        }
    }

    fn without_certificate(config: &Config, options: &Options) -> Result<Self, String> {
        let text = options.what.join(" ");
        let (method, target) = text.split_once(' ').ok_or_else(|| match text.strip_prefix('/') {
            Some(_) => format!("{text:?} has no method; did you mean \"GET {text}\"? {A_REQUEST}"),
            None => format!("{text:?}: {A_REQUEST}"),
        })?;
        let unreadable = |what: &str, value: &str| {
            format!("{value:?} is no {what}: a gateway answers it with a bare 400; {A_REQUEST}")
        };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| unreadable("method", method))?;
        let uri = || target.parse::<Uri>().map_err(|_| unreadable("request target", target));
        let app = options.app.as_deref().map(|name| app(config, name)).transpose()?;
        let mut peer = peer(config, options);
        let mut headers = HeaderMap::new();
        add_client(config, options, &mut peer, &mut headers)?;
        let value = |option: &str, text: &str| {
            // Spaces around a value are no part of it (RFC 9110 §5.5).
            let value = HeaderValue::from_str(text.trim_matches([' ', '\t']));
            value.map_err(|_| format!("{option} {text:?} cannot stand in a header"))
        };
        if let Some(origin) = &options.origin {
            headers.append(ORIGIN, value("--origin", origin)?);
        }
        if let Some(user) = &options.as_user {
            headers.append(AS_USER, value("--as-user", user)?);
        }
        for (name, field) in &options.headers {
            let unread = config.unread_secrets.iter().find(|unread| is_app_key(&unread.key));
            if let Some(UnreadSecret { key, why }) =
                unread.filter(|_| [APP_KEY, PROXY_AUTHORIZATION].contains(name))
            {
                return Err(format!(
                    "--header {name}: it may be right or wrong, since {key} is not known: {why}"
                ));
            }
            headers.append(name.clone(), field.clone());
        }
        let as_app = app.map(|app| app.name.clone());
        if method == Method::CONNECT {
            let uri = target.parse::<Uri>().map_err(|_| unreadable("HOST:PORT", target))?;
            log_in(app, &mut headers);
            headers.entry(HOST).or_insert(value("target", target)?);
            return Ok(Self {
                peer,
                connect: Some(head(method, uri, headers)),
                head: None,
                as_app,
                certificate: None,
            });
        }
        let (mut own_host, mut own_path) = (None, None);
        if !target.starts_with('/') && target.contains("://") {
            let uri = uri()?;
            let Some(authority) = uri.authority().cloned() else { return Err(unreadable("URL", target)) };
            if options.host.is_some() {
                return Err("--host and a URL with a host are given; leave one out".to_owned());
            }
            if leads_here(config, &uri, &authority) {
                check_scheme(config, peer, &uri)?;
                // As proxies in front do.
                if uri.scheme() == Some(&Scheme::HTTPS) && config.trusted_proxies.contains(peer.address) {
                    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("https"));
                }
                own_host = Some(authority.to_string());
                own_path = Some(path_of(&uri)?.to_string());
            } else {
                headers.entry(HOST).or_insert(value("URL", authority.as_str())?);
                return if uri.scheme() == Some(&Scheme::HTTPS) {
                    Self::through_tunnel(app, peer, &uri, &authority, head(method, path_of(&uri)?, headers))
                } else {
                    log_in(app, &mut headers);
                    Ok(Self {
                        peer,
                        connect: None,
                        head: Some(head(method, uri, headers)),
                        as_app,
                        certificate: None,
                    })
                };
            }
        }
        let target = own_path.as_deref().unwrap_or(target);
        // The key is that of the app, unless another is to be tried.
        if let Some(key) = app.and_then(|app| app.keys.as_ref()?.first())
            && !headers.contains_key(APP_KEY)
        {
            headers.append(APP_KEY, sensitive(key)?);
        }
        let host = options.host.clone().or(own_host).unwrap_or_else(|| usual_host(config, app));
        headers.entry(HOST).or_insert(value("--host", &host)?);
        let target = match app {
            // `*` and the like are no paths.
            Some(app) if target.starts_with('/') && app.below(target).is_none_or(|_| app.path.is_empty()) => {
                format!("{}{target}", app.path)
            }
            _ => target.to_owned(),
        };
        let uri = target.parse::<Uri>().map_err(|_| unreadable("request target", &target))?;
        Ok(Self { peer, connect: None, head: Some(head(method, uri, headers)), as_app, certificate: None })
    }

    /// A request to an https URL: it comes through a tunnel to the URL's host.
    fn through_tunnel(
        app: Option<&App>,
        peer: Peer,
        uri: &Uri,
        authority: &Authority,
        inside: Parts,
    ) -> Result<Self, String> {
        let target = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:443"),
        };
        let mut headers = HeaderMap::new();
        // The client and the app are named on the CONNECT, never inside.
        for name in [FORWARDED_FOR, PROXY_AUTHORIZATION] {
            for value in inside.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        log_in(app, &mut headers);
        let target: Uri =
            target.parse().map_err(|_| format!("{uri} names no host to which a tunnel can be opened"))?;
        let connect = Some(head(Method::CONNECT, target, headers));
        let as_app = app.map(|app| app.name.clone());
        Ok(Self { peer, connect, head: Some(inside), as_app, certificate: None })
    }
}

/// Whether a URL leads to the gateway itself: its host is one by which callers name the gateway, none of Box's, and none to
/// which `tunnel` lets programs connect.
fn leads_here(config: &Config, uri: &Uri, authority: &Authority) -> bool {
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    if !is_https && uri.scheme() != Some(&Scheme::HTTP) {
        return false;
    }
    let Some((host, port)) = host::parse(authority.as_str()) else { return false };
    let without_port = authority.as_str().strip_suffix(":80").filter(|_| !is_https);
    let names_box = box_hosts::named(&config.hosts, without_port.unwrap_or(authority.as_str())).is_some();
    let is_tunnelled = config
        .forward_proxy
        .as_ref()
        .is_some_and(|proxy| is_https && proxy.tunnel.lists(host, port.unwrap_or(443)));
    !names_box && !is_tunnelled && config.listen.hosts.admits(host)
}

/// Whether the listener speaks the scheme of a URL. A balancer or proxy in front may speak the other to its clients.
///
/// # Errors
/// It does not: what happens then, and what to write.
fn check_scheme(config: &Config, peer: Peer, uri: &Uri) -> Result<(), String> {
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let has_balancer = config.trusted_proxies.contains(peer.address) || speaks_proxy_protocol(config, peer);
    if is_https == peer.secure || has_balancer {
        return Ok(());
    }
    Err(match peer.secure {
        true => {
            "[listen] has tls, and such a port answers http:// with 400 \"This port uses TLS\"; write https://"
        }
        false => {
            "[listen] has no tls, and the TLS handshake of an https:// URL fails there; write http://, or set tls of [listen]"
        }
    }
    .to_owned())
}

/// Whether a key of the configuration holds keys of an app.
fn is_app_key(key: &str) -> bool {
    key.starts_with("app.") && key.ends_with(".key")
}

fn head(method: Method, uri: Uri, headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers, parts.version) = (method, uri, headers, Version::HTTP_11);
    parts
}

/// Path and query of a URL, as a request through a tunnel has them.
fn path_of(uri: &Uri) -> Result<Uri, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().map_err(|_| format!("{uri} has no path that a request could have"))
}

fn app<'c>(config: &'c Config, name: &str) -> Result<&'c App, String> {
    let names = || config.apps.iter().map(|app| app.name.as_str());
    config.apps.iter().find(|app| app.name == name).ok_or_else(|| match nearest(name, names()) {
        Some(nearest) => format!("--app {name:?}: no app has this name; did you mean {nearest:?}?"),
        None => {
            let all: Vec<String> = names().take(20).map(|name| format!("{name:?}")).collect();
            format!("--app {name:?}: no app has this name; apps are: {}", all.join(", "))
        }
    })
}

/// The connection: over a Unix socket where a user is named, else TCP, over TLS where the listener has it, with a client
/// certificate where one is asked for.
fn peer(config: &Config, options: &Options) -> Peer {
    let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
    match options.from {
        Some(ClientAddress::Process { uid }) => Peer::process(Some(uid)),
        from => Peer::new(
            from.and_then(ClientAddress::ip).unwrap_or([127, 0, 0, 1].into()),
            config.tls.is_some() && config.listen.addresses.iter().any(is_tcp),
        ),
    }
}

/// Lets the balancer or proxy that connects name its client, in the way in which the configuration trusts it.
fn add_client(
    config: &Config,
    options: &Options,
    peer: &mut Peer,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    let Some(client) = options.client else { return Ok(()) };
    if speaks_proxy_protocol(config, *peer) {
        peer.client = client.into();
    } else if config.trusted_proxies.contains(peer.address) {
        let value = HeaderValue::try_from(client.to_string()).map_err(|error| error.to_string())?;
        headers.append(FORWARDED_FOR, value);
    } else {
        return Err(format!(
            "--client {client}: nothing that {} says of its client is believed; name an address in trusted_proxies or proxy_protocol of [listen] with --from",
            peer.source().as_source()
        ));
    }
    Ok(())
}

/// Whether its connection begins with a PROXY protocol header, which one over a Unix socket never does.
pub(super) fn speaks_proxy_protocol(config: &Config, peer: Peer) -> bool {
    peer.uid.is_none() && config.proxy_protocol.contains(peer.address)
}

/// The names that the caller's certificate carries: those that are asked for, else the first of the app's.
fn certificate(app: Option<&App>, options: &Options) -> Result<Option<CertificateNames>, String> {
    let first = app.and_then(|app| app.certificates.as_ref()?.iter().next());
    let named = options.certificates.iter().map(|name| certificate_name(name));
    let names: Vec<Box<str>> = match options.certificates.is_empty() {
        true => first.into_iter().map(Into::into).collect(),
        false => named.collect::<Result<_, _>>().map_err(|what| format!("--certificate {what}"))?,
    };
    Ok((!names.is_empty()).then(|| CertificateNames::new(names)))
}

/// Names the app and its key as programs do that use the gateway as their proxy.
fn log_in(app: Option<&App>, headers: &mut HeaderMap) {
    if let Some(app) = app
        && !headers.contains_key(PROXY_AUTHORIZATION)
    {
        let key = app.keys.as_ref().and_then(|keys| keys.first().cloned());
        let key = key.unwrap_or_else(|| Secret::new(String::new()));
        headers.append(PROXY_AUTHORIZATION, Login { name: app.name.clone(), key }.authorization());
    }
}

fn sensitive(key: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(key.expose())
        .map_err(|_| "the key of this app cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The first name of the app, else `localhost`, with the port of the first address.
fn usual_host(config: &Config, app: Option<&App>) -> String {
    let name = app.and_then(|app| app.hosts.names().next()).unwrap_or("localhost");
    let port = config.listen.addresses.iter().find_map(|address| match address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    });
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}
