//! The body of a message from a caller or from Box. It ends without an error only if its sender completed it.
//!
//! hyper's [`Incoming`] says that a body is over in two cases where it is not. Over HTTP/2 a stream that was reset
//! with `NO_ERROR` ends like a complete one (RFC 9113 §8.1 allows that reset after a complete answer; before the end
//! of the message it breaks the message off). And after an error the next poll finds an empty channel, which looks
//! like an end. Both would turn a part of a file into a file, so every body that is read goes through
//! [`IncomingBody`].

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::http::large_answers::Measured;

/// A body that ends with `None` only if its sender completed it. After an error, every poll returns that error.
pub(crate) struct IncomingBody {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    is_http2: bool,
    /// The sender has completed it, and all of it was read. Remembered, since HTTP/2 takes a lock to tell.
    has_ended: Cell<bool>,
    /// Boxed, since few bodies need it and the state of a request is moved as a whole.
    rare: Option<Box<Rare>>,
    watched: Watched,
}

/// Who is told of what is read. Without a variant for nobody, which would take more room in the state of every request.
enum Watched {
    /// The connection that carries the body, if anyone.
    ByConnection(Option<Rc<Reader>>),
    /// Its size is noted.
    Measured(Measured),
}

#[derive(Default)]
struct Rare {
    broken: Option<BrokenBody>,
    /// HTTP/2: the last bytes of the announced length, held back until the stream has ended. A reader that counts bytes
    /// would take them for the end.
    held: Option<Frame<Bytes>>,
}

/// The state of a body's reader, for the connection that carries the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Something may be left, and nobody is waiting for it.
    Unread,
    /// The reader waits for more.
    Waiting,
    /// The body was read to its end.
    Complete,
}

/// What the connection that carries a body knows of its reader.
pub(crate) struct Reader {
    reading: Cell<Reading>,
    keeps_rest: bool,
    /// The body, once its reader no longer wants it.
    rest: RefCell<Option<Incoming>>,
    /// The connection's task.
    connection: Cell<Option<Waker>>,
}

impl Reader {
    /// `keeps_rest`: what the reader leaves of the body is kept for the connection, which reads it to go on with the next
    /// request. Otherwise hyper ends the connection after the response.
    pub(crate) fn new(keeps_rest: bool) -> Self {
        Self {
            reading: Cell::new(Reading::Unread),
            keeps_rest,
            rest: RefCell::default(),
            connection: Cell::default(),
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        self.reading.get()
    }

    pub(crate) fn set_reading(&self, reading: Reading) {
        self.reading.set(reading);
    }

    /// Whether the connection ends with the response, since more of the body may come than anyone reads.
    pub(crate) fn ends_connection(&self) -> bool {
        !self.keeps_rest && self.reading() != Reading::Complete
    }

    /// Reads and discards what the body's reader left. Returns whether more of it is to come; then the task is woken when
    /// it does, and when the reader leaves something.
    pub(crate) fn discard_rest(&self, cx: &mut Context<'_>) -> bool {
        if !self.keeps_rest || self.reading() == Reading::Complete {
            return false;
        }
        self.connection.set(Some(cx.waker().clone()));
        let mut rest = self.rest.borrow_mut();
        while let Some(incoming) = rest.as_mut() {
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Pending => return true,
                // hyper may look for the next head before it says that the body has ended.
                Poll::Ready(Some(Ok(_))) if !incoming.is_end_stream() => {}
                Poll::Ready(Some(Err(_))) => *rest = None,
                Poll::Ready(None | Some(Ok(_))) => {
                    *rest = None;
                    self.set_reading(Reading::Complete);
                }
            }
        }
        false
    }

    /// Ends [`Self::discard_rest`], and with it the connection.
    pub(crate) fn drop_rest(&self) {
        self.rest.take();
    }

    fn keep_rest(&self, incoming: Incoming) {
        self.rest.replace(Some(incoming));
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }
}

/// Why a body is incomplete or malformed.
#[derive(Debug, Clone)]
pub struct BrokenBody {
    fault: Fault,
    cause: Arc<str>,
}

/// What the sender of a broken body did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It sent invalid framing (RFC 9112 §7.1, RFC 9113 §8.1.1).
    Malformed,
    /// It ended the stream or the connection before the body was complete.
    Incomplete,
}

impl IncomingBody {
    /// `version`: of the message that the body belongs to.
    pub(crate) fn new(incoming: Incoming, version: Version) -> Self {
        let is_http2 = version == Version::HTTP_2;
        let watched = Watched::ByConnection(None);
        Self { incoming: Some(incoming), is_http2, has_ended: Cell::new(false), rare: None, watched }
    }

    /// As [`Self::new`], and keeps `reader` up to date. The body must not have been read yet.
    pub(crate) fn watched(incoming: Incoming, version: Version, reader: Rc<Reader>) -> Self {
        let mut body = Self::new(incoming, version);
        body.watched = Watched::ByConnection(Some(reader));
        body
    }

    /// The same body, whose size is noted. It must not have been read yet.
    pub(crate) fn measured(mut self, measured: Measured) -> Self {
        self.watched = Watched::Measured(measured);
        self
    }

    fn incoming(&self) -> &Incoming {
        self.incoming.as_ref().expect("only the drop takes it")
    }

    /// Why it broke off, once that was read.
    pub(crate) fn broken(&self) -> Option<&BrokenBody> {
        self.rare.as_ref().and_then(|rare| rare.broken.as_ref())
    }

    fn held(&self) -> Option<&Frame<Bytes>> {
        self.rare.as_ref().and_then(|rare| rare.held.as_ref())
    }

    fn take_held(&mut self) -> Option<Frame<Bytes>> {
        self.rare.as_mut().and_then(|rare| rare.held.take())
    }

    fn hold(&mut self, frame: Frame<Bytes>) {
        self.rare.get_or_insert_default().held = Some(frame);
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let incoming = self.incoming.as_mut().expect("only the drop takes it");
        Pin::new(incoming).poll_frame(cx)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if let Some(broken) = self.broken() {
            return Poll::Ready(Some(Err(broken.clone())));
        }
        loop {
            let broken = match std::task::ready!(self.poll_incoming(cx)) {
                Some(Ok(frame)) => {
                    if let Some(held) = self.take_held() {
                        let is_trailers = frame.is_trailers();
                        if is_trailers {
                            self.hold(frame);
                        }
                        if is_trailers || self.has_stream_ended() {
                            return Poll::Ready(Some(Ok(held)));
                        }
                        // This frame is empty, and is not the end either.
                        self.hold(held);
                        continue;
                    }
                    if self.is_last_without_end(&frame) {
                        self.hold(frame);
                        continue;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(error)) => BrokenBody::of(&error),
                // On HTTP/1.1 `is_end_stream` may be false at a proper end; there an improper end is an error.
                None if self.is_http2 && !self.has_stream_ended() => BrokenBody {
                    fault: Fault::Incomplete,
                    cause: "the stream was reset before its end".into(),
                },
                None => return Poll::Ready(self.take_held().map(Ok)),
            };
            self.rare = Some(Box::new(Rare { broken: Some(broken.clone()), held: None }));
            return Poll::Ready(Some(Err(broken)));
        }
    }

    fn is_last_without_end(&self, frame: &Frame<Bytes>) -> bool {
        self.is_http2
            && frame.is_data()
            && self.incoming().size_hint().exact() == Some(0)
            && !self.has_stream_ended()
    }

    fn has_stream_ended(&self) -> bool {
        let has_ended = self.has_ended.get() || self.incoming().is_end_stream();
        self.has_ended.set(has_ended);
        has_ended
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let polled = self.read(cx);
        let is_end = matches!(&polled, Poll::Ready(Some(Ok(_)))) && self.is_end_stream();
        match &mut self.watched {
            Watched::ByConnection(None) => {}
            Watched::ByConnection(Some(reader)) => reader.set_reading(match &polled {
                Poll::Pending => Reading::Waiting,
                Poll::Ready(None) => Reading::Complete,
                Poll::Ready(Some(Ok(_))) if is_end => Reading::Complete,
                Poll::Ready(Some(_)) => Reading::Unread,
            }),
            Watched::Measured(measured) => {
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    measured.add(frame.data_ref().map_or(0, Bytes::len));
                }
                if is_end || matches!(polled, Poll::Ready(None)) {
                    measured.end();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.broken.is_none() && rare.held.is_none())
            && self.has_stream_ended()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        match self.incoming().size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + held),
            None => SizeHint::default(),
        }
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        if let Watched::ByConnection(Some(reader)) = &self.watched
            && reader.keeps_rest
            && reader.reading() != Reading::Complete
            && self.broken().is_none()
            && let Some(incoming) = self.incoming.take()
        {
            reader.keep_rest(incoming);
        }
    }
}

impl BrokenBody {
    fn of(error: &hyper::Error) -> Self {
        let mut cause = error.to_string();
        let mut fault = Fault::Incomplete;
        let mut source = error.source();
        while let Some(error) = source {
            cause = error.to_string();
            if let Some(error) = error.downcast_ref::<io::Error>() {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    // rustls's message is written for programmers.
                    cause = "the connection ended before the body did".to_owned();
                    break;
                }
                // The kinds of errors of hyper's chunk decoder for malformed chunks.
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) {
                    fault = Fault::Malformed;
                }
            } else if let Some(error) = error.downcast_ref::<h2::Error>() {
                // hyper itself reset the stream, for example since the length does not match.
                if error.is_library() && error.is_reset() {
                    fault = Fault::Malformed;
                }
            }
            source = error.source();
        }
        Self { fault, cause: cause.into() }
    }

    /// What the sender did.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

/// The cause, for the log.
impl fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// Has no source on purpose: hyper would send the reason of an HTTP/2 error in the chain in its own reset, and
/// `NO_ERROR` would tell the other side that the body is complete.
impl Error for BrokenBody {}
