//! The task of one HTTP/2 stream of a caller; it ends the stream if the caller stops reading.
//!
//! hyper polls a body only while the stream's window has room. A caller that opens no window therefore stops
//! the body's own timeout, and would hold the connection to Box, slots in flight and memory as long as its
//! connection lives. So the timeout is outside the body: [`Executor`] owns each stream's future, and drops it,
//! which makes h2 reset the stream, once a chunk has not been taken for `body_timeout`.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tracing::debug;

/// The largest chunk for a stream with an open window, the size of a frame. hyper hands a whole chunk
/// to h2 as soon as the window has room for one byte of it, and h2 buffers the rest.
const LARGEST_PIECE: usize = 16 * 1024;
const FIRST_PIECE: usize = 4 * 1024;
/// The chunk size for a slow caller, which must take one chunk within each `body_timeout`.
const SMALLEST_PIECE: usize = 1024;
/// A caller is quick if it takes a chunk within the first, slow if it needs longer than the second.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(1);

/// How fast the caller takes a stream's body; shared by the body and the stream's task.
pub(crate) struct Flow {
    /// When the last chunk was handed to hyper; `None` once hyper has polled again.
    handed: Cell<Option<Instant>>,
    piece: Cell<usize>,
}

impl Flow {
    fn new() -> Self {
        Self { handed: Cell::new(None), piece: Cell::new(FIRST_PIECE) }
    }

    /// hyper polls for more, so the last chunk was accepted. Returns the size of the next chunk.
    pub(crate) fn asked(&self) -> usize {
        if let Some(handed) = self.handed.take() {
            let took = handed.elapsed();
            if took >= SLOW {
                self.piece.set(SMALLEST_PIECE);
            } else if took <= QUICK {
                self.piece.set((self.piece.get() * 2).min(LARGEST_PIECE));
            }
        }
        self.piece.get()
    }

    /// A chunk was handed to hyper.
    pub(crate) fn handed(&self) {
        self.handed.set(Some(Instant::now()));
    }
}

/// Spawns streams on the worker's own thread. hyper calls the service and then passes the future of the stream to
/// `execute`, so the [`Flow`] of the last call belongs to that stream.
#[derive(Clone)]
pub(crate) struct Executor {
    limit: Duration,
    called: Rc<RefCell<Option<Rc<Flow>>>>,
}

impl Executor {
    /// `limit`: how long a caller may leave a chunk untaken.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, called: Rc::default() }
    }

    /// The flow of the stream that is spawned next.
    pub(crate) fn begin(&self) -> Rc<Flow> {
        let flow = Rc::new(Flow::new());
        *self.called.borrow_mut() = Some(flow.clone());
        flow
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, stream: F) {
        match self.called.take() {
            Some(flow) => {
                let limit = self.limit;
                tokio::task::spawn_local(StreamTask { stream: Some(stream), flow, limit, timer: None });
            }
            None => {
                tokio::task::spawn_local(stream);
            }
        }
    }
}

pin_project! {
    struct StreamTask<F> {
        #[pin]
        stream: Option<F>,
        flow: Rc<Flow>,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        if stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(handed) = this.flow.handed.get() else { return Poll::Pending };
        let deadline = handed + *this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                debug!("a caller's HTTP/2 stream is reset: the caller took nothing for {:?}", this.limit);
                this.stream.set(None);
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
