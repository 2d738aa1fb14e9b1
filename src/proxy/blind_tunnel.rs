//! Tunnels to hosts that are not Box's: `[forward_proxy] tunnel` lists them, and nothing in them is looked into.
//!
//! Each address is judged when it is dialled: whoever controls a name could point it at what only this machine or its
//! network should reach.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::http::error::Refusal;
use crate::http::host::Host;
use crate::net::descriptors::{Room, UpstreamRoom};
use crate::net::error_chain::chain;
use crate::net::own_listeners::OwnListeners;
use crate::net::public_address::is_public;
use crate::net::unsent;
use crate::routing::tunnel_list::TunnelList;
use crate::upstream::connector::{OutwardTcp, is_loop};

/// Opens connections to hosts that are not Box's.
pub struct BlindTunnels {
    /// The hosts that may be reached.
    pub list: TunnelList,
    /// The proxy on the way out.
    pub egress: Matcher,
    /// Addresses that are never dialled.
    pub own: OwnListeners,
    /// For name and TCP together.
    pub connect_timeout: Duration,
    /// Descriptors, shared with the connections to Box.
    pub room: UpstreamRoom,
}

impl BlindTunnels {
    /// Connects to a host that is listed. `authority`: `HOST:PORT` as the caller wrote it.
    ///
    /// # Errors
    /// The host is not listed, or no address of it may be dialled, or none answers.
    pub async fn connect(
        &self,
        host: Host<'_>,
        port: u16,
        authority: &str,
    ) -> Result<(TcpStream, Room), Refusal> {
        let refused = |why: String| Refusal::TunnelNotAllowed { host: authority.to_owned(), why };
        if !self.list.lists(host, port) {
            return Err(refused(
                "it is none of Box's hosts, and not listed in tunnel of [forward_proxy]".to_owned(),
            ));
        }
        // Content gets no more than its share either: what waits in a tunnel must not keep others from the API.
        let room = self.room.try_take(true).ok_or(Refusal::Overloaded("upstream-connections".into()))?;
        let unreachable =
            |cause: String| Refusal::UpstreamUnreachable(format!("cannot connect to {authority}: {cause}"));
        let deadline = Instant::now() + self.connect_timeout;
        let late = |_| unreachable(format!("not established in {:?}", self.connect_timeout));
        let uri =
            format!("https://{authority}/").parse::<Uri>().map_err(|error| unreachable(error.to_string()))?;
        let stream = match self.egress.intercept(&uri) {
            Some(proxy) => {
                let tcp = OutwardTcp::new(self.own.clone(), self.connect_timeout);
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(credentials) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(credentials.clone());
                }
                let connected = timeout_at(deadline, tunnel.call(uri)).await.map_err(late)?;
                let failed = |cause: String, is_loop| match is_loop {
                    true => Refusal::LoopDetected(cause),
                    false => unreachable(cause),
                };
                connected
                    .map_err(|error| {
                        failed(format!("through the proxy: {}", chain(&error)), is_loop(&error))
                    })?
                    .into_inner()
            }
            None => {
                let addresses: Vec<SocketAddr> = match host {
                    Host::Ip(address) => vec![SocketAddr::new(address, port)],
                    Host::Name(name) => {
                        let found = timeout_at(deadline, lookup_host((name, port))).await.map_err(late)?;
                        found.map_err(|error| unreachable(error.to_string()))?.collect()
                    }
                };
                let allowed: Vec<SocketAddr> =
                    addresses.iter().copied().filter(|address| self.may_dial(*address)).collect();
                if allowed.is_empty() && !addresses.is_empty() {
                    return Err(refused(
                        "it leads to addresses that are not public; such an address must be listed itself in tunnel of [forward_proxy], and the gateway's own never are reached".to_owned(),
                    ));
                }
                timeout_at(deadline, dial(&allowed))
                    .await
                    .map_err(late)?
                    .map_err(|error| unreachable(error.to_string()))?
            }
        };
        let _ = stream.set_nodelay(true);
        unsent::bound(&stream, unsent::CALLER);
        Ok((stream, room))
    }

    fn may_dial(&self, address: SocketAddr) -> bool {
        !self.own.contain(address) && (is_public(address.ip()) || self.list.lists_address(address))
    }
}

/// One after the other.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
