//! `boxgate check`: gets a token for every identity, asks Box which user that is, and explains what is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::header::{AUTHORIZATION, HOST, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::task::LocalSet;

use super::exit::{bad_configuration, block_on, logged};
use super::run::source;
use crate::config::{Config, Overrides};
use crate::net::address::Address;
use crate::net::descriptors::UpstreamRoom;
use crate::net::egress_proxy::proxy_matcher;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{self, Audience};
use crate::net::tls_client::Trust;
use crate::oauth::client_credentials::{Fault, Grant, Granted};
use crate::oauth::http_client::token_client;
use crate::oauth::identity::{Identity, Subject};
use crate::upstream::connector::Connector;
use crate::upstream::pool::{Protocol, Upstream};
use crate::upstream::request_body::Upload;

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The configuration file [default: proxy.toml, or the environment where there is none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check only the configuration; connect to nothing
    #[arg(long)]
    offline: bool,
}

/// Checks a configuration and, unless offline, its identities.
pub fn run(options: &Options) -> ExitCode {
    let config = match source(options.config.as_deref(), Overrides::default()).read() {
        Ok((config, _)) => config,
        Err(problems) => return bad_configuration(&problems),
    };
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    println!("the configuration is well formed");
    if options.offline {
        return ExitCode::SUCCESS;
    }
    logged(block_on(async {
        // A local set, since the tasks of connections to Box run on this thread.
        let well = LocalSet::new().run_until(online(&config)).await;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }))
}

/// Checks every identity and prints a line for each. Returns whether all are well.
async fn online(config: &Config) -> bool {
    let mut say = |line: String| println!("{}", secret_filter::blanked_text(line, Audience::Operators));
    let prepared =
        Trust::new(&config.hosts.extra_roots).map_err(|error| error.to_string()).and_then(|trust| {
            let client = token_client(&trust, &config.upstream.proxy, config.upstream.connect_timeout);
            client.map(|client| (trust, client)).map_err(|error| format!("[upstream] proxy: {error}"))
        });
    let (trust, client) = match prepared {
        Ok(prepared) => prepared,
        Err(cause) => {
            say(cause);
            return false;
        }
    };
    let upstream = &config.upstream;
    let listening = config.listen.addresses.iter().chain(&config.admin.addresses);
    let own = OwnListeners::new(listening.filter_map(|address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }));
    let proxies = proxy_matcher(&upstream.proxy);
    let mut well = loops(config, &own, &proxies, &mut say).await;
    let grant = Grant::new(client, config.hosts.token_url.clone(), proxies, own.clone());
    let room = UpstreamRoom::new();
    room.add(1);
    let connector = Connector::new(&trust, upstream.connector(), room, own.clone());
    let pool = Upstream::new(connector, upstream.pool_idle_timeout, std::iter::once(&config.hosts.api));
    for identity in &config.identities {
        let result = match grant.fetch(identity, || {}).await {
            Ok(granted) => who_am_i(config, &pool, identity, granted).await,
            Err(fault) => Err(explain(&fault, identity, grant.authority())),
        };
        well &= result.is_ok();
        let name = &identity.name;
        say(match result {
            Ok(words) => format!("identity {name}: ok: {words}"),
            Err(words) => format!("identity {name}: failed: {words}"),
        });
    }
    well
}

/// Checks that none of Box's hosts leads back to this gateway.
async fn loops(config: &Config, own: &OwnListeners, proxies: &Matcher, say: &mut impl FnMut(String)) -> bool {
    let hosts = &config.hosts;
    let mut well = true;
    for (key, host) in [("api", &hosts.api), ("upload", &hosts.upload), ("download", &hosts.download)] {
        let Ok(url) = format!("https://{host}/").parse() else { continue };
        if let Some(cause) = own.on_the_way_to(&url, proxies).await {
            well = false;
            say(format!("[box] {key} ({host}): failed: the gateway would call itself: {cause}"));
        }
    }
    well
}

fn explain(fault: &Fault, identity: &Identity, endpoint: &str) -> String {
    match fault {
        Fault::Transient { cause, .. } => {
            let about = match cause.strip_prefix("the token endpoint ") {
                Some(words) => format!("the token endpoint {endpoint} {words}"),
                None => format!("{endpoint}: {cause}"),
            };
            format!(
                "not checked: {about}. Box has not checked this identity yet; check again once its token endpoint answers"
            )
        }
        Fault::Loop(cause) => format!("the gateway would call itself at {endpoint}: {cause}"),
        Fault::Refused(refused) => {
            let (error, description) = (&refused.error, &refused.description);
            let advice = refused.advice(identity);
            format!("Box ({endpoint}) refuses this identity with {error} ({description}): {advice}")
        }
    }
}

async fn who_am_i(
    config: &Config,
    pool: &Upstream,
    identity: &Identity,
    granted: Granted,
) -> Result<String, String> {
    let mut request = http::Request::new(Upload::none().attempt());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/2.0/users/me?fields=login,name,status,enterprise");
    let headers: &mut HeaderMap = request.headers_mut();
    // The token is kept until the end, so that it is blanked in Box's messages.
    let Granted { authorization, token: _token, .. } = granted;
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("boxgate/", env!("CARGO_PKG_VERSION"))));
    headers.remove(HOST);
    let host = &config.hosts.api;
    let origin = pool.origin(host).ok_or("[box] api is not a host name")?;
    let limit = config.upstream.response_timeout;
    let answering = async {
        let (response, _lease) =
            pool.send(&origin, request, Protocol::Any).await.map_err(|error| error.cause)?;
        let (head, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(http_body_util::Limited::new(body, 64 * 1024));
        let body = body.await.map_err(|error| format!("{host}: {error}"))?.to_bytes();
        Ok::<_, String>((head, body))
    };
    let (head, body) = tokio::time::timeout(limit, answering)
        .await
        .map_err(|_| format!("{host} did not answer in {limit:?}"))??;
    if !head.status.is_success() {
        let why = head.headers.get(WWW_AUTHENTICATE).and_then(|why| why.to_str().ok());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(match head.status.as_u16() {
            401 => format!(
                "{host} answers 401 to a token it has just given: the user or the app may be deactivated{why}"
            ),
            403 => format!(
                "{host} answers 403 to GET /2.0/users/me: the app lacks a scope, or an IP rule of the enterprise forbids it{why}"
            ),
            429 => format!(
                "{host} answers 429 to GET /2.0/users/me: this account has made too many calls; the token is valid, check again later"
            ),
            status @ 500.. => format!(
                "{host} answers {status} to GET /2.0/users/me: the fault is at Box or a proxy on the way there; the token is valid, check again later"
            ),
            status => format!("{host} answers {status} to GET /2.0/users/me"),
        });
    }
    let me: serde_json::Value = serde_json::from_slice(&body)
        .map_err(|_| format!("{host} answers GET /2.0/users/me with what is not JSON"))?;
    let text =
        |pointer: &str| me.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
    let (login, id, enterprise) = (text("/login"), text("/id"), text("/enterprise/id"));
    if let Subject::Enterprise(expected) = &identity.subject
        && enterprise != "?"
        && enterprise != *expected
    {
        return Err(format!(
            "the token belongs to enterprise {enterprise}, but the configuration says {expected}"
        ));
    }
    Ok(format!(
        "{login} (id {id}). It sees only its own content and what is shared with that login; invite it to folders as a collaborator"
    ))
}
