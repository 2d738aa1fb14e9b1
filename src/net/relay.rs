//! Copying between two sockets, in both directions, until both have ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The size of a direction's buffer, which is allocated only while it holds data.
const BUFFER: usize = 16 * 1024;

/// Progress of a relay, readable while it runs.
#[derive(Debug)]
pub(crate) struct Relayed {
    /// Bytes from the first socket to the second.
    pub forth: Cell<u64>,
    /// Bytes from the second socket to the first.
    pub back: Cell<u64>,
    moved: Cell<Instant>,
}

impl Relayed {
    pub(crate) fn new() -> Self {
        Self { forth: Cell::new(0), back: Cell::new(0), moved: Cell::new(Instant::now()) }
    }

    /// Returns once nothing was copied for this long.
    pub(crate) async fn idle(&self, limit: Duration) {
        while self.moved.get().elapsed() < limit {
            tokio::time::sleep_until(self.moved.get() + limit).await;
        }
    }
}

/// Copies until both directions have ended. The end of one is passed on, and the other stays open (half-close).
///
/// # Errors
/// Reading or writing failed, with the side on which it did.
pub(crate) async fn relay(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin),
    relayed: &Relayed,
) -> Result<(), (Side, io::Error)> {
    let (mut forth, mut back) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let first = forth.poll(cx, one, other, &relayed.forth, &relayed.moved);
        let first = first.map_err(|(end, error)| (end.of(Side::One, Side::Other), error))?;
        let second = back.poll(cx, other, one, &relayed.back, &relayed.moved);
        let second = second.map_err(|(end, error)| (end.of(Side::Other, Side::One), error))?;
        match (first, second) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    One,
    Other,
}

/// The reading or the writing end of a direction.
enum End {
    Read,
    Written,
}

impl End {
    fn of(self, from: Side, to: Side) -> Side {
        match self {
            Self::Read => from,
            Self::Written => to,
        }
    }
}

#[derive(Default)]
struct Direction {
    /// Empty (not allocated) while nothing is to be written.
    buffer: Vec<u8>,
    sent: usize,
    unflushed: bool,
    read_ended: bool,
    has_ended: bool,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        count: &Cell<u64>,
        moved: &Cell<Instant>,
    ) -> Poll<Result<(), (End, io::Error)>> {
        let written = |error| (End::Written, error);
        while !self.has_ended {
            if let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
                let count_written = ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(written)?;
                if count_written == 0 {
                    return Poll::Ready(Err(written(io::ErrorKind::WriteZero.into())));
                }
                self.sent += count_written;
                self.unflushed = true;
                count.set(count.get() + count_written as u64);
                moved.set(Instant::now());
                continue;
            }
            if self.read_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(written)?;
                self.has_ended = true;
                continue;
            }
            match self.poll_read(cx, from).map_err(|error| (End::Read, error))? {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(written)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        self.sent = 0;
        self.buffer.resize(BUFFER, 0);
        let mut read = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(from).poll_read(cx, &mut read);
        let count = read.filled().len();
        self.buffer.truncate(count);
        if polled.is_pending() {
            self.buffer = Vec::new();
        }
        ready!(polled)?;
        self.read_ended = count == 0;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let (mut caller, mut near) = duplex(32);
        let (mut far, mut server) = duplex(32);
        let relayed = Relayed::new();
        let talking = async {
            caller.write_all(b"a long question").await.unwrap();
            caller.shutdown().await.unwrap();
            let mut asked = String::new();
            server.read_to_string(&mut asked).await.unwrap();
            assert_eq!(asked, "a long question");
            server.write_all(b"a longer answer than that").await.unwrap();
            drop(server);
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "a longer answer than that");
        };
        let (copied, ()) = tokio::join!(relay(&mut near, &mut far, &relayed), talking);
        copied.unwrap();
        assert_eq!((relayed.forth.get(), relayed.back.get()), (15, 25));
    }
}
