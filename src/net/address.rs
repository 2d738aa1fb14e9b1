//! A socket to listen on, as configuration writes it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}
