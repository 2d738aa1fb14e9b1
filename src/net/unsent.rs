//! Bounds how many bytes of a socket are written but not sent yet (`TCP_NOTSENT_LOWAT`).
//!
//! The kernel buffers megabytes for a slow peer, then accepts no writes until a third of that is sent. A slow peer
//! would look like a stalled one, and buffered bytes like delivered ones. With this bound, writes proceed at the peer's
//! pace. Bytes in flight are not bounded, so throughput does not suffer.

use socket2::SockRef;
use tokio::net::TcpStream;

/// The bound in bytes towards a caller; with half of it downloads take more CPU time.
pub(crate) const CALLER: u32 = 256 * 1024;
/// The bound in bytes towards Box; a smaller one costs uploads a tenth more CPU time.
pub(crate) const BOX: u32 = 1024 * 1024;

/// Sets the bound. Has no effect on systems that do not support it.
pub(crate) fn bound(stream: &TcpStream, most: u32) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(most);
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, most);
}
