//! The transports of a caller's connection.

use std::io;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// TCP, Unix, TLS, or a stream of HTTP/2.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The error of the connection since the last call.
    fn fault(&self) -> Option<io::Error>;
    /// Makes the next close a reset, on transports that have one.
    fn abort(&self);
}

impl Socket for TcpStream {
    fn fault(&self) -> Option<io::Error> {
        self.take_error().unwrap_or_else(Some)
    }

    fn abort(&self) {
        // The connection is ending; if this fails there is nothing more to do.
        let _ = self.set_zero_linger();
    }
}

impl Socket for UnixStream {
    fn fault(&self) -> Option<io::Error> {
        self.take_error().unwrap_or_else(Some)
    }

    fn abort(&self) {}
}

impl<S: Socket> Socket for Box<TlsStream<S>> {
    fn fault(&self) -> Option<io::Error> {
        self.get_ref().0.fault()
    }

    fn abort(&self) {
        self.get_ref().0.abort();
    }
}

impl Socket for TokioIo<Upgraded> {
    fn fault(&self) -> Option<io::Error> {
        None
    }

    fn abort(&self) {}
}
