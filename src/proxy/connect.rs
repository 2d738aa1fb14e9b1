//! CONNECT (RFC 9110 §9.3.6): may this tunnel be opened, and to where?
//!
//! Sources and client certificates are judged here, for the tunnel as a whole; everything else with each request in
//! it, which takes the way of any other request.

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
use crate::http::error::Refusal;
use crate::http::headers;
use crate::http::host;
use crate::http::origin::Claim;
use crate::net::connection_limit::{ConnectionLimit, OpenConnection};
use crate::net::descriptors::Room;
use crate::proxy::forward_proxy::ForwardProxy;
use crate::proxy::gateway::Gateway;
use crate::proxy::request_record::RequestRecord;
use crate::routing::app::App;
use crate::routing::box_hosts;
use crate::routing::proxy_user;

/// A tunnel that may be opened.
pub(crate) enum Tunnel {
    /// The gateway ends TLS in it.
    Box(Arc<Inside>),
    /// It is connected, and nothing in it is looked into.
    Blind(BufReader<TcpStream>, Room),
}

/// Judges a CONNECT; a blind tunnel is connected as well. The second value is a slot among callers' connections, where
/// the tunnel does not take that of its own connection.
///
/// # Errors
/// It is refused, or the host cannot be reached.
pub(crate) async fn open(
    gateway: &Gateway,
    connections: &Arc<ConnectionLimit>,
    caller: &Caller,
    head: &Parts,
    record: &mut RequestRecord,
) -> Result<(Tunnel, Option<OpenConnection>), Refusal> {
    let config = &gateway.config;
    admission::check_peer(&config.listen, caller.peer)?;
    let proxy: &Arc<ForwardProxy> = match &gateway.forward_proxy {
        Some(proxy) if caller.inside.is_none() => proxy,
        _ => return Err(Refusal::MethodNotAllowed),
    };
    let client = client_address(&config.trusted_proxies, caller.peer.client, &head.headers);
    record.set_client(client);
    headers::check_loop(&head.headers)?;
    // Its bytes would be the tunnel's to one reader and a body to another.
    if head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::BadRequest(
            "A CONNECT has no body: Content-Length and Transfer-Encoding have no place in it.",
        ));
    }
    const UNREADABLE: Refusal = Refusal::BadRequest("The target of CONNECT must be HOST:PORT.");
    // In authority-form alone (RFC 9112 §3.2.3).
    if head.uri.path_and_query().is_some() {
        return Err(UNREADABLE);
    }
    let authority = head.uri.authority().ok_or(UNREADABLE)?.as_str().to_ascii_lowercase();
    let (host, port) = host::parse(&authority).ok_or(UNREADABLE)?;
    let port = port.ok_or(UNREADABLE)?;
    record.set_template(Some(authority.clone()));
    let user = proxy_user::read(&head.headers)?;
    let mut named_app = None;
    if let Some(user) = &user {
        let (app_id, app) = config.apps.named(user, client, Claim::Nothing)?;
        record.set_app(app_id, app.identity);
        named_app = Some(app);
    } else if config.apps.all_want_keys() {
        return Err(Refusal::ProxyAuthenticationRequired(
            "Every app here asks for a key: name one with its key in the URL of the proxy, as in http://APP:KEY@HOST:PORT.",
        ));
    }
    // HTTP/1.1's connection becomes the tunnel, HTTP/2's has it beside others.
    let counted = match head.version < Version::HTTP_2 {
        true => None,
        false => {
            let counted = connections.take();
            Some(counted.ok_or(Refusal::Overloaded("max-connections".into()))?)
        }
    };
    let tunnel = match box_hosts::named(&config.hosts, &authority) {
        Some(named) => {
            proxy.counts.to_box.fetch_add(1, Ordering::Relaxed);
            let authority = authority.strip_suffix(":443").unwrap_or(&authority).to_owned();
            Tunnel::Box(Arc::new(Inside { authority, named, client, user, is_misdirected: false }))
        }
        None => {
            // In a tunnel to Box each request is answered so, where its program shows why.
            named_app.map_or(Ok(()), App::check_enabled)?;
            let (stream, room) = proxy.blind.connect(host, port, &authority).await?;
            proxy.counts.blind.fetch_add(1, Ordering::Relaxed);
            Tunnel::Blind(stream, room)
        }
    };
    Ok((tunnel, counted))
}
