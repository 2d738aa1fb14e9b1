//! The proxy on the way out, towards Box.

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

/// The proxy rules for all traffic to Box.
pub(crate) fn proxy_matcher(proxy: &Proxy) -> Matcher {
    match proxy {
        Proxy::Environment => Matcher::from_env(),
        Proxy::None => Matcher::builder().build(),
        Proxy::Url(url) => Matcher::builder().all(url.expose().to_owned()).build(),
    }
}
