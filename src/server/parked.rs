//! An idle HTTP/1.1 connection of a caller, parked: between requests nothing of hyper's state is needed, and most
//! connections of a gateway are idle. What is kept is the socket, with its TLS session, and the task that waits for it.
//!
//! [`super::connection`] parks a connection that [`super::watched_socket`] found idle, and makes hyper's connection anew
//! when bytes come.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::socket::Socket;
use super::watched_socket::Control;

/// The most bytes that are read when a parked connection wakes up: most heads are shorter.
const FIRST_READ: usize = 1024;

/// What ended the wait.
pub(super) enum Woken {
    /// The beginning of the next request.
    Bytes(Vec<u8>),
    /// The caller has ended its side, or the connection is to end.
    Ended,
    /// Nothing came in time.
    Late,
}

/// Waits for the next request, the end of the connection or `until`. Cancel safe as long as it is pending.
pub(super) async fn wait<S: Socket>(socket: &mut S, control: &Control, until: Instant) -> Woken {
    let mut timer = pin!(tokio::time::sleep_until(until));
    poll_fn(|cx| {
        let mut bytes = [0; FIRST_READ];
        let mut read = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *socket).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                Poll::Ready(Woken::Bytes(read.filled().to_vec()))
            }
            Poll::Ready(_) => Poll::Ready(Woken::Ended),
            // After a read: a request that has arrived is still served.
            Poll::Pending if control.is_draining(cx) => Poll::Ready(Woken::Ended),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| Woken::Late),
        }
    })
    .await
}
