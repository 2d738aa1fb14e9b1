//! Sockets that the process was started with: the service manager listens before this process runs, and goes on while it
//! is started again, so that callers wait in the socket's queue and are not refused.
//!
//! Source: `sd_listen_fds(3)`. A socket is taken by the configured address that is its own, so one configuration is right
//! with and without a service manager.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::net::address::{Address, UnixAddress};

/// The first descriptor that is passed.
const FIRST: usize = 3;

/// The sockets that no address has taken yet.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Vec<InheritedSocket>);

/// A listening socket.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    /// The socket unit or other name that the service manager has for it, and the descriptor.
    name: String,
    descriptor: usize,
    socket: Socket,
}

/// The socket itself.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP, bound to this address.
    Tcp(TcpListener, SocketAddr),
    /// Unix, with this file.
    Unix(UnixListener, PathBuf),
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` counts, if `LISTEN_PID` is this process. Call it before there is another thread:
    /// it removes variables from the environment.
    ///
    /// # Errors
    /// One of them is no listening TCP or Unix socket; in words for operators.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok();
        // The crate would also take sockets without LISTEN_PID, which may be another process's.
        if variable("LISTEN_PID").and_then(|id| id.parse().ok()) != Some(std::process::id()) {
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS").unwrap_or_default();
        if count.parse::<u16>().is_err() {
            return Err(format!("LISTEN_FDS={count:?}: expected the number of sockets that are passed"));
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().escape_debug().to_string();
            let descriptor = FIRST + index;
            let socket = socket(&mut passed, index).map_err(|what| {
                format!("descriptor {descriptor} ({name}), which the service manager passes, {what}")
            })?;
            sockets.push(InheritedSocket { name, descriptor, socket });
        }
        Ok(Self(sockets))
    }

    /// Whether each socket has one of these addresses, and the file of a Unix socket the mode and group of its address.
    ///
    /// # Errors
    /// In words for operators: the sockets that have no address, or the file that is otherwise, and what to do.
    pub(crate) fn check(&self, callers: &[Address], operators: &[Address]) -> Result<(), String> {
        let mut free: Vec<&Address> = callers.iter().chain(operators).collect();
        let mut left = Vec::new();
        for socket in &self.0 {
            match free.iter().position(|address| socket.is_at(address)) {
                Some(found) => {
                    if let Address::Unix(address) = free.swap_remove(found) {
                        check_file(address).map_err(|why| {
                            format!("cannot listen on unix:{}: {why}", address.path.display())
                        })?;
                    }
                }
                None => left.push(socket.to_string()),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let listed =
            |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(format!(
            "the service manager passes {}, and no address of the configuration is the same: [listen] address is {}, [admin] address is {}. \
             Write the same address there and in ListenStream= of the socket unit (ListenStream=8080 is \"[::]:8080\")",
            left.join(" and "),
            listed(callers),
            listed(operators)
        ))
    }

    /// Their addresses, as the configuration has them.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|socket| socket.address()).collect()
    }

    /// Takes the socket with this address out; `None`: there is none.
    pub(crate) fn take(&mut self, address: &Address) -> Option<InheritedSocket> {
        let index = self.0.iter().position(|socket| socket.is_at(address))?;
        Some(self.0.swap_remove(index))
    }
}

impl InheritedSocket {
    fn is_at(&self, address: &Address) -> bool {
        match (&self.socket, address) {
            (Socket::Tcp(_, own), Address::Tcp(address)) => own == address,
            (Socket::Unix(_, own), Address::Unix(address)) => is_same_file(own, &address.path),
            _ => false,
        }
    }

    fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(_, address) => address.to_string(),
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}

/// `boxgate.socket (descriptor 3), which listens on 127.0.0.1:8080`.
impl fmt::Display for InheritedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "a socket" } else { &self.name };
        write!(f, "{name} (descriptor {}), which listens on {}", self.descriptor, self.address())
    }
}

/// Whether the file of a socket that was passed is as its address says: who may connect is for whoever made it to set.
///
/// # Errors
/// Mode or group differ; in words for operators.
fn check_file(address: &UnixAddress) -> Result<(), String> {
    let shown = address.path.display();
    let found = fs::symlink_metadata(&address.path).map_err(|error| {
        format!("the file of the socket that the service manager passes cannot be read: {error}")
    })?;
    let mode = found.permissions().mode() & 0o777;
    if let Some(wanted) = address.mode.filter(|wanted| *wanted != mode) {
        return Err(format!(
            "the service manager passes this socket with mode {mode:04o}, and {wanted:04o} is configured: write SocketMode={wanted:04o} in the socket unit, or \"unix:{shown}\" without mode"
        ));
    }
    let group = found.gid();
    if let Some(wanted) = address.group.filter(|wanted| *wanted != group) {
        return Err(format!(
            "the service manager passes this socket with the group {group}, and {wanted} is configured: write SocketGroup={wanted} in the socket unit, or \"unix:{shown}\" without group"
        ));
    }
    Ok(())
}

/// The socket at this place. Errors continue a sentence.
fn socket(passed: &mut ListenFd, index: usize) -> Result<Socket, String> {
    let cannot = |error: std::io::Error| format!("cannot be used: {error}");
    if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
        must_listen(&SockRef::from(&tcp))?;
        tcp.set_nonblocking(true).map_err(cannot)?;
        let address = tcp.local_addr().map_err(cannot)?;
        return Ok(Socket::Tcp(tcp, address));
    }
    let Ok(Some(unix)) = passed.take_unix_listener(index) else {
        return Err(
            "is neither a TCP nor a Unix stream socket; use ListenStream= in the socket unit".to_owned()
        );
    };
    must_listen(&SockRef::from(&unix))?;
    unix.set_nonblocking(true).map_err(cannot)?;
    let address = unix.local_addr().map_err(cannot)?;
    let path = address.as_pathname().ok_or("is a Unix socket without a file, which no address can name")?;
    let path = path.to_owned();
    Ok(Socket::Unix(unix, path))
}

fn must_listen(socket: &SockRef<'_>) -> Result<(), String> {
    match socket.is_listener() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("does not listen: it may be a connection; write Accept=no in the socket unit".to_owned())
        }
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

/// Whether both paths lead to one file: `/var/run` is `/run`.
fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(name: &str) -> (InheritedSocket, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (
            InheritedSocket { name: name.to_owned(), descriptor: 3, socket: Socket::Tcp(socket, address) },
            address,
        )
    }

    #[test]
    fn a_socket_is_taken_once_and_by_its_own_address() {
        let (socket, address) = tcp("a.socket");
        let mut sockets = InheritedSockets(vec![socket]);
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
        for other in [other, SocketAddr::new("0.0.0.0".parse().unwrap(), address.port())] {
            assert!(sockets.take(&Address::Tcp(other)).is_none(), "{other}");
        }
        assert!(sockets.take(&Address::Tcp(address)).is_some());
        assert!(sockets.take(&Address::Tcp(address)).is_none());
    }

    #[test]
    fn sockets_without_an_address_are_named_with_both_sides() {
        let (socket, address) = tcp("a.socket");
        let sockets = InheritedSockets(vec![socket]);
        let callers = [Address::Tcp("127.0.0.1:1".parse().unwrap())];
        let operators = [Address::Tcp("127.0.0.1:2".parse().unwrap())];
        let why = sockets.check(&callers, &operators).unwrap_err();
        assert!(why.contains(&format!("a.socket (descriptor 3), which listens on {address}")), "{why}");
        assert!(why.contains("[listen] address is 127.0.0.1:1, [admin] address is 127.0.0.1:2"), "{why}");
        assert_eq!(sockets.check(&callers, &[Address::Tcp(address)]), Ok(()));
    }

    #[test]
    fn two_sockets_need_two_addresses() {
        let ((one, first), (other, second)) = (tcp("a.socket"), tcp("b.socket"));
        let sockets = InheritedSockets(vec![one, other]);
        let why = sockets.check(&[Address::Tcp(first)], &[]).unwrap_err();
        assert!(!why.contains("a.socket") && why.contains("b.socket"), "{why}");
        assert_eq!(sockets.check(&[Address::Tcp(second), Address::Tcp(first)], &[]), Ok(()));
    }
}
