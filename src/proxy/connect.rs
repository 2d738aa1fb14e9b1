//! CONNECT (RFC 9110 §9.3.6): may this tunnel be opened, and to which host?
//!
//! Sources and client certificates are checked here, for the tunnel as a whole. Everything else is checked for each
//! request in it, as for any other request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use tokio::io::BufReader;
use tokio::net::TcpStream;

use crate::access::admission;
use crate::access::caller::{Caller, Inside};
use crate::access::forwarded_for::client_address;
use crate::config::Config;
use crate::http::error::Refusal;
use crate::http::headers;
use crate::http::host::{self, Host};
use crate::http::origin::Claim;
use crate::net::connection_limit::{ConnectionLimit, OpenConnection};
use crate::net::descriptors::Room;
use crate::proxy::decision::Stages;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::proxy::gateway::Gateway;
use crate::proxy::request_record::RequestRecord;
use crate::routing::app::App;
use crate::routing::box_hosts;
use crate::routing::proxy_user;

/// An admitted tunnel.
pub(crate) enum Tunnel {
    /// To a host of Box: the gateway terminates TLS in it.
    Box(Arc<Inside>),
    /// To another host: connected, and its bytes are not inspected.
    Blind(BufReader<TcpStream>, Room),
}

/// A tunnel that may be opened.
pub(crate) enum Asked {
    /// To a host of Box.
    Box(Inside),
    /// To another host, which `tunnel` lists.
    Other {
        /// `HOST:PORT` in lower case.
        authority: String,
    },
}

/// Decides a CONNECT. What it names and is admitted with holds for all requests in its tunnel.
///
/// # Errors
/// The tunnel is refused.
pub(crate) fn admit(
    config: &Config,
    caller: &Caller,
    head: &Parts,
    stages: &mut impl Stages,
) -> Result<Asked, Refusal> {
    admission::check_peer(&config.listen, caller.peer)?;
    let proxy = match &config.forward_proxy {
        Some(proxy) if caller.inside.is_none() => proxy,
        _ => return Err(Refusal::MethodNotAllowed),
    };
    let client = client_address(&config.trusted_proxies, caller.peer.client, &head.headers);
    stages.client(client);
    headers::check_loop(&head.headers)?;
    // One parser would read the bytes as a body, another as those of the tunnel.
    if head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::BadRequest(
            "A CONNECT has no body: it must not have Content-Length or Transfer-Encoding.",
        ));
    }
    // Only authority-form is allowed (RFC 9112 §3.2.3).
    if head.uri.path_and_query().is_some() {
        return Err(UNREADABLE);
    }
    let authority = head.uri.authority().ok_or(UNREADABLE)?.as_str().to_ascii_lowercase();
    let (host, port) = host_and_port(&authority)?;
    stages.asks_for_tunnel(&authority);
    let user = proxy_user::read(&head.headers)?;
    let mut named_app = None;
    if let Some(user) = &user {
        let (app_id, app) = config.apps.named(user, client, caller.certificate(), Claim::Nothing)?;
        stages.chosen(app_id, app);
        named_app = Some(app);
    } else {
        config.apps.check_unnamed(caller.certificate())?;
    }
    match box_hosts::named(&config.hosts, &authority) {
        Some(named) => {
            let authority = authority.strip_suffix(":443").unwrap_or(&authority).to_owned();
            Ok(Asked::Box(Inside { authority, named, client, user, is_misdirected: false }))
        }
        None => {
            // In a tunnel to Box each request gets this refusal, which programs then show.
            named_app.map_or(Ok(()), App::check_enabled)?;
            if !proxy.tunnel.lists(host, port) {
                let why = "it is not a host of Box and not listed in tunnel of [forward_proxy]".to_owned();
                return Err(Refusal::TunnelNotAllowed { host: authority, why });
            }
            Ok(Asked::Other { authority })
        }
    }
}

const UNREADABLE: Refusal = Refusal::BadRequest("The target of CONNECT must be HOST:PORT.");

fn host_and_port(authority: &str) -> Result<(Host<'_>, u16), Refusal> {
    let (host, port) = host::parse(authority).ok_or(UNREADABLE)?;
    Ok((host, port.ok_or(UNREADABLE)?))
}

/// Admits a CONNECT and connects a blind tunnel. The second value counts the tunnel against the limit of callers'
/// connections, if its connection is not used up by it (HTTP/2).
///
/// # Errors
/// The tunnel is refused, or the host cannot be reached.
pub(crate) async fn open(
    gateway: &Gateway,
    connections: &Arc<ConnectionLimit>,
    caller: &Caller,
    head: &Parts,
    record: &mut RequestRecord,
) -> Result<(Tunnel, Option<OpenConnection>), Refusal> {
    let asked = admit(&gateway.config, caller, head, record)?;
    let proxy: &Arc<ForwardProxy> = gateway.forward_proxy.as_ref().ok_or(Refusal::MethodNotAllowed)?;
    // With HTTP/1.1 the connection becomes the tunnel; with HTTP/2 the tunnel is one of its streams.
    let counted = match head.version < Version::HTTP_2 {
        true => None,
        false => {
            let counted = connections.take();
            Some(counted.ok_or(Refusal::Overloaded("max-connections".into()))?)
        }
    };
    let tunnel = match asked {
        Asked::Box(inside) => {
            proxy.counts.to_box.fetch_add(1, Ordering::Relaxed);
            Tunnel::Box(Arc::new(inside))
        }
        Asked::Other { authority } => {
            let (host, port) = host_and_port(&authority)?;
            let (stream, room) = proxy.blind.connect(host, port, &authority).await?;
            proxy.counts.blind.fetch_add(1, Ordering::Relaxed);
            Tunnel::Blind(stream, room)
        }
    };
    Ok((tunnel, counted))
}
