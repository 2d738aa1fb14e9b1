//! The forward proxy through which the gateway reaches Box.

use std::sync::OnceLock;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::net::secret::Secret;

/// Which forward proxy is used on the way to Box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case.
    Environment,
    /// No proxy, whatever the environment says.
    None,
    /// `http://[user:password@]host:port`. May hold a password.
    Url(Secret),
}

/// The environment variables that name proxies, possibly with passwords.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

/// The proxy rules for all traffic to Box.
pub(crate) fn proxy_matcher(proxy: &Proxy) -> Matcher {
    /// The environment's proxy URLs, registered as secrets as long as the process runs.
    static IN_ENVIRONMENT: OnceLock<Vec<Secret>> = OnceLock::new();
    match proxy {
        Proxy::Environment => {
            IN_ENVIRONMENT.get_or_init(|| VARIABLES.iter().filter_map(|name| url_in(name)).collect());
            Matcher::from_env()
        }
        Proxy::None => Matcher::builder().build(),
        Proxy::Url(url) => Matcher::builder().all(url.expose().to_owned()).build(),
    }
}

/// As in curl and hyper-util, a URL without a scheme is an http one.
fn url_in(variable: &str) -> Option<Secret> {
    let text = std::env::var(variable).ok()?;
    Some(Secret::new(if text.contains("://") { text } else { format!("http://{text}") }))
}

/// The host and port of the proxy on the way to a URL, for messages; `None` without one. They have no user or password.
pub(crate) fn proxy_name(proxies: &Matcher, url: &Uri) -> Option<String> {
    let proxy = proxies.intercept(url)?;
    Some(host_and_port(proxy.uri()))
}

/// The host and port of a proxy.
pub(crate) fn host_and_port(proxy: &Uri) -> String {
    let port = proxy.port_u16().unwrap_or(if proxy.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", proxy.host().unwrap_or_default())
}
