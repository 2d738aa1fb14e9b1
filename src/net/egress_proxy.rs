//! The proxy on the way out, towards Box.

use std::sync::OnceLock;

use hyper_util::client::proxy::matcher::Matcher;

use crate::net::secret::Secret;

/// The forward proxy on the way to Box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
    Environment,
    /// No proxy, whatever the environment says.
    None,
    /// `http://[user:password@]host:port`. May hold a password.
    Url(Secret),
}

/// Where the environment names proxies, and with them perhaps their passwords.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

/// The proxy rules for all traffic to Box.
pub(crate) fn proxy_matcher(proxy: &Proxy) -> Matcher {
    /// The environment's proxies, as long as the process runs: its passwords must not leave it either.
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

/// As curl and hyper-util read it: without a scheme it is one of HTTP.
fn url_in(variable: &str) -> Option<Secret> {
    let text = std::env::var(variable).ok()?;
    Some(Secret::new(if text.contains("://") { text } else { format!("http://{text}") }))
}
