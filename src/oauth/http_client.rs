//! The HTTP client for the token endpoint.

use std::time::Duration;

use crate::net::egress_proxy::Proxy;
use crate::net::tls_client::Trust;

/// The client for the token endpoint: no redirects, since the form holds the secret.
///
/// # Errors
/// The proxy's URL is invalid.
pub(crate) fn token_client(
    trust: &Trust,
    proxy: &Proxy,
    connect_timeout: Duration,
) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(trust.client_config(&[b"h2", b"http/1.1"]))
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("boxgate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout);
    match proxy {
        Proxy::Environment => builder,
        Proxy::None => builder.no_proxy(),
        Proxy::Url(url) => builder.no_proxy().proxy(reqwest::Proxy::all(url.expose())?),
    }
    .build()
}
