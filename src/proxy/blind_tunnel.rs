//! Tunnels to hosts that are not Box's: `[forward_proxy] tunnel` lists them, and their bytes are not inspected.
//!
//! Each address is checked when it is dialled: whoever controls a DNS name could point it at hosts that only this
//! machine or its network should reach.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::BufReader;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::http::error::Refusal;
use crate::http::host::Host;
use crate::net::connect_request::{Answer, connect};
use crate::net::descriptors::{Room, UpstreamRoom};
use crate::net::error_chain::chain;
use crate::net::own_listeners::OwnListeners;
use crate::net::public_address::is_public;
use crate::net::unsent;
use crate::routing::tunnel_list::TunnelList;
use crate::upstream::connector::{OutwardTcp, is_loop};

/// Opens connections to hosts that are not Box's.
pub(crate) struct BlindTunnels {
    /// The hosts to which tunnels are allowed.
    pub list: TunnelList,
    /// The proxy through which the gateway connects.
    pub egress: Matcher,
    /// The gateway's own listeners, which are never dialled.
    pub own: OwnListeners,
    /// The timeout for name look-up and TCP together.
    pub connect_timeout: Duration,
    /// Descriptors, shared with the connections to Box.
    pub room: UpstreamRoom,
    /// Bounds concurrent name look-ups, see [`LOOK_UPS`].
    pub look_ups: Arc<Semaphore>,
}

/// The most concurrent name look-ups, of 512 blocking threads of the runtime.
pub(crate) const LOOK_UPS: usize = 64;

impl BlindTunnels {
    /// Connects to a host that is listed (`super::connect` checks that). `authority`: `HOST:PORT`.
    ///
    /// # Errors
    /// No address of it may be dialled, or none answers.
    pub(crate) async fn connect(
        &self,
        host: Host<'_>,
        port: u16,
        authority: &str,
    ) -> Result<(BufReader<TcpStream>, Room), Refusal> {
        let refused = |why: String| Refusal::TunnelNotAllowed { host: authority.to_owned(), why };
        // Tunnels share the limit of connections for content, so that they cannot keep others from the API.
        let room = self.room.try_take(true).ok_or(Refusal::Overloaded("upstream-connections".into()))?;
        let unreachable = |cause: String| Refusal::TunnelUnreachable { host: authority.to_owned(), cause };
        let deadline = Instant::now() + self.connect_timeout;
        let late = |_| unreachable(format!("not connected within {:?}", self.connect_timeout));
        let uri =
            format!("https://{authority}/").parse::<Uri>().map_err(|error| unreachable(error.to_string()))?;
        let stream = match self.egress.intercept(&uri) {
            Some(proxy) => {
                let through = async {
                    let mut tcp = OutwardTcp::new(self.own.clone(), self.connect_timeout);
                    let stream =
                        tcp.call(proxy.uri().clone()).await.map_err(|error| match is_loop(&*error) {
                            true => Refusal::LoopDetected(chain(&*error)),
                            false => unreachable(format!("through the proxy: {}", chain(&*error))),
                        })?;
                    let target = uri.authority().ok_or_else(|| unreachable("no host".to_owned()))?;
                    // The host's first bytes may arrive together with the proxy's response.
                    let stream = BufReader::new(stream.into_inner());
                    match connect(stream, target, proxy.basic_auth()).await {
                        Ok(Answer::Open(stream)) => Ok(stream),
                        Ok(Answer::Refused(refusal)) => Err(unreachable(format!(
                            "the proxy answers {} {}",
                            refusal.status, refusal.reason
                        ))),
                        Err(error) => Err(unreachable(format!("through the proxy: {error}"))),
                    }
                };
                timeout_at(deadline, through).await.map_err(late)??
            }
            None => {
                let addresses: Vec<SocketAddr> = match host {
                    Host::Ip(address) => vec![SocketAddr::new(address, port)],
                    Host::Name(name) => {
                        let looking = self.look_up(name, port)?;
                        let found = timeout_at(deadline, looking).await.map_err(late)?;
                        found.map_err(|error| unreachable(error.to_string()))?
                    }
                };
                let allowed: Vec<SocketAddr> =
                    addresses.iter().copied().filter(|address| self.may_dial(*address)).collect();
                if allowed.is_empty() && !addresses.is_empty() {
                    return Err(refused(
                        "its addresses are not public; list such an address itself in tunnel of [forward_proxy] (the gateway's own listeners are never allowed)".to_owned(),
                    ));
                }
                {
                    let dialled = timeout_at(deadline, dial(&allowed)).await.map_err(late)?;
                    BufReader::new(dialled.map_err(|error| unreachable(error.to_string()))?)
                }
            }
        };
        let _ = stream.get_ref().set_nodelay(true);
        unsent::bound(stream.get_ref(), unsent::CALLER);
        Ok((stream, room))
    }

    /// Looks a name up. The system's resolver cannot be interrupted, so the number of threads that wait for it here is
    /// bounded: the same threads look up Box's names.
    fn look_up(
        &self,
        name: &str,
        port: u16,
    ) -> Result<impl Future<Output = io::Result<Vec<SocketAddr>>> + use<>, Refusal> {
        let room = self.look_ups.clone().try_acquire_owned();
        let room = room.map_err(|_| Refusal::Overloaded("tunnel-look-ups".into()))?;
        let name = name.to_owned();
        let looking = tokio::spawn(async move {
            let _room = room;
            Ok(lookup_host((name, port)).await?.collect())
        });
        Ok(async { looking.await.map_err(io::Error::other)? })
    }

    fn may_dial(&self, address: SocketAddr) -> bool {
        !self.own.contain(address) && (is_public(address.ip()) || self.list.lists_address(address))
    }
}

/// Tries the addresses one after the other.
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
