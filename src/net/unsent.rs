//! What is written to a socket and not sent yet.
//!
//! The kernel takes megabytes for a peer that is slow, and then nothing for as long as a third of them takes. A peer that
//! takes a little all the time would look like one that takes nothing, and what was handed over like what has arrived.
//! With a bound on what is not sent yet, writes go on at the pace at which the peer takes them; what is on its way
//! is not bounded, so nothing is slower.

use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes of it towards a caller.
pub(crate) const CALLER: u32 = 128 * 1024;
/// And towards Box; with less an upload takes a tenth more CPU.
pub(crate) const BOX: u32 = 1024 * 1024;

/// Sets the bound. Where the system knows none, nothing but this is lost.
pub(crate) fn bound(stream: &TcpStream, most: u32) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(most);
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, most);
}
