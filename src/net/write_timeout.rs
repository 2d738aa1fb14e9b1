//! Write timeouts: a write fails if the peer accepts nothing for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep};

/// Watches a socket's writes and fails one that has waited for longer than the limit.
pub(crate) struct WriteTimeout {
    limit: Duration,
    blocked: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    /// `limit`: how long a write may wait.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, blocked: None, timer: None }
    }

    /// Whether the last write is waiting.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Passes on the result of a write, flush or shutdown, or a timeout error once it has waited for too long.
    pub(crate) fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.blocked = None;
            return polled;
        }
        let deadline = *self.blocked.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                let cause = "the peer did not accept data in time";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, cause)));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// A socket whose writes are watched.
pub(crate) struct WriteBounded<S> {
    socket: S,
    writing: WriteTimeout,
}

impl<S> WriteBounded<S> {
    /// `limit`: how long a write may wait.
    pub(crate) fn new(socket: S, limit: Duration) -> Self {
        Self { socket, writing: WriteTimeout::new(limit) }
    }
}

impl<S: Read + Unpin> Read for WriteBounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for WriteBounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.writing.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.writing.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.writing.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.writing.watch(cx, polled)
    }
}
