//! The address of a socket to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// `unix:PATH`, with or without parameters.
    Unix(UnixAddress),
}

/// A Unix socket, and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAddress {
    /// Where its file is made.
    pub path: PathBuf,
    /// The permission bits of the file; `None`: what the process's umask leaves of 0777.
    pub mode: Option<u32>,
    /// The number of the file's group; `None`: the process's own, or that of a folder with the set-group-ID bit.
    pub group: Option<u32>,
}

/// As the configuration has it, without parameters.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(address) => write!(f, "unix:{}", address.path.display()),
        }
    }
}

impl Address {
    /// Whether both could not be bound at the same time. A TCP port of 0 is chosen when it is bound.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => one.port() != 0 && one == other,
            (Self::Unix(one), Self::Unix(other)) => one.path == other.path,
            _ => false,
        }
    }
}
