//! Listening: sockets for callers and operators, and the accept loop, which survives running out of descriptors.
//!
//! There is one socket for each address. One thread accepts and hands each connection to the worker with the fewest,
//! which keeps long-lived connections balanced. A second instance on the same address fails to bind (with
//! `SO_REUSEPORT` it would take half of the traffic).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tracing::warn;

use crate::net::address::Address;
use crate::net::inherited_sockets::{InheritedSocket, Socket};
use crate::net::networks::unmapped;
use crate::net::peer::{Here, Peer};
use crate::net::port_owner::{self, Process};
use crate::net::unix_socket::{BoundUnixSocket, SocketFile};
use crate::net::unsent;

const BACKLOG: u32 = 4096;

/// A bound socket.
pub(crate) enum Listener {
    /// TCP.
    Tcp {
        socket: TcpListener,
        /// Whether callers must use TLS.
        secure: bool,
    },
    /// Unix.
    Unix {
        /// Removed at the end, before the socket closes; `None`: it is the service manager's.
        _file: Option<SocketFile>,
        /// Where the file is.
        path: PathBuf,
        /// The socket.
        socket: UnixListener,
    },
}

/// A connection that was accepted, not yet tied to a runtime.
pub(crate) enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Binds. `secure`: callers must use TLS; a Unix socket stays plain.
    ///
    /// # Errors
    /// The address is in use, is not this machine's, or may not be bound; the message names it.
    pub(crate) async fn bind(address: &Address, secure: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = bind_tcp(*address).map_err(|error| {
                    let owner = || port_owner::owner(*address);
                    named(&address.to_string(), &error, owner)
                })?;
                Ok(Self::Tcp { socket, secure })
            }
            Address::Unix(address) => {
                let bound = BoundUnixSocket::bind(address).await.and_then(|bound| bound.listen(BACKLOG));
                let named = |error| named(&format!("unix:{}", address.path.display()), &error, || None);
                let listener =
                    |(file, socket)| Self::Unix { _file: Some(file), path: address.path.clone(), socket };
                bound.map(listener).map_err(named)
            }
        }
    }

    /// Listens on a socket of the service manager's, which has this address. The rest is as of [`Listener::bind`].
    ///
    /// # Errors
    /// The socket cannot be used; the message names the address.
    pub(crate) fn inherited(address: &Address, inherited: InheritedSocket, secure: bool) -> io::Result<Self> {
        let listener = || match inherited.into_socket() {
            Socket::Tcp(socket, _) => {
                TcpListener::from_std(socket).map(|socket| Self::Tcp { socket, secure })
            }
            Socket::Unix(socket, path) => {
                UnixListener::from_std(socket).map(|socket| Self::Unix { _file: None, path, socket })
            }
        };
        listener().map_err(|error| named(&address.to_string(), &error, || None))
    }

    /// The bound address as written in the configuration, with `https://` in front if callers must use TLS.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp { socket, secure, .. } => {
                let scheme = if *secure { "https://" } else { "" };
                socket.local_addr().map(|address| format!("{scheme}{address}")).unwrap_or_default()
            }
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
        }
    }

    /// The bound TCP address; `None` for a Unix socket.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { socket, .. } => socket.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// The bound TCP address with whether callers must use TLS; `None` for a Unix socket.
    pub(crate) fn here(&self) -> Option<Here> {
        match self {
            Self::Tcp { socket, secure, .. } => {
                socket.local_addr().ok().map(|address| Here { address, secure: *secure })
            }
            Self::Unix { .. } => None,
        }
    }

    /// Accepts the next connection. Skips errors of single connections; when out of descriptors, waits and retries.
    pub(crate) async fn accept(&self) -> (Accepted, Peer) {
        let mut told = false;
        loop {
            let accepted = match self {
                Self::Tcp { socket, secure } => socket.accept().await.and_then(|(stream, peer)| {
                    let _ = stream.set_nodelay(true);
                    unsent::bound(&stream, unsent::CALLER);
                    let here = stream.local_addr().ok().map(|here| {
                        let address = SocketAddr::new(unmapped(here.ip()), here.port());
                        Here { address, secure: *secure }
                    });
                    let peer = Peer { here, ..Peer::new(unmapped(peer.ip()), *secure) };
                    Ok((Accepted::Tcp(stream.into_std()?), peer))
                }),
                Self::Unix { socket, .. } => socket.accept().await.and_then(|(stream, _)| {
                    // Only processes of this machine that the file's mode admits can connect.
                    let uid = stream.peer_cred().ok().map(|process| process.uid());
                    Ok((Accepted::Unix(stream.into_std()?), Peer::process(uid)))
                }),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !told {
                        warn!("cannot accept connections at {} for now: {error}", self.address());
                        told = true;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Accepted {
    /// Ties the connection to the current runtime.
    pub(crate) fn into_tcp_or_unix(self) -> io::Result<Result<TcpStream, UnixStream>> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Ok),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Err),
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for old connections in TIME_WAIT; two listeners on one address still fail.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The error with the address in its words, and the process that has it if `owner` knows.
fn named(address: &str, error: &io::Error, owner: impl Fn() -> Option<Process>) -> io::Error {
    let words = match error.kind() {
        // An error of our own already says what is in the way.
        io::ErrorKind::AddrInUse if error.get_ref().is_none() => match owner() {
            Some(process) => format!("cannot listen on {address}: address in use by {process}"),
            None => format!("cannot listen on {address}: address in use (is another instance running?)"),
        },
        _ => format!("cannot listen on {address}: {error}"),
    };
    io::Error::new(error.kind(), words)
}
