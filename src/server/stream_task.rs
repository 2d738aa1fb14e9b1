//! The task of one HTTP/2 stream of a caller, ended where the caller does not take what it is given.
//!
//! hyper asks a body for more only where the stream's window has room. A caller that opens no window therefore stops
//! the body's own clock, and would hold the connection to Box, slots in flight and memory for as long as its
//! connection lives. So the clock stands outside of the body: [`Executor`] owns each stream's future, and drops it,
//! by which h2 resets the stream, once a piece that was handed over has not been taken for `body_timeout`.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tracing::debug;

/// A stream whose window is open is given pieces of up to this size, which is that of a frame. hyper hands a whole piece
/// to h2 as soon as the window has room for one byte of it, and h2 holds it then.
const LARGEST_PIECE: usize = 16 * 1024;
const FIRST_PIECE: usize = 4 * 1024;
/// So much has to be taken in a `body_timeout` by a caller that is slow.
const SMALLEST_PIECE: usize = 1024;
/// A caller is quick that takes a piece in the first, slow that takes longer than the second.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(1);

/// How a stream's body is taken; shared by the body and the stream's task.
pub(crate) struct Flow {
    /// When the piece was handed over that hyper has not come back from.
    handed: Cell<Option<Instant>>,
    piece: Cell<usize>,
}

impl Flow {
    fn new() -> Self {
        Self { handed: Cell::new(None), piece: Cell::new(FIRST_PIECE) }
    }

    /// hyper asks for more: what it was given has found room. Returns how much it should be given now.
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

    /// hyper was given something.
    pub(crate) fn handed(&self) {
        self.handed.set(Some(Instant::now()));
    }
}

/// Spawns streams on the worker's own thread. hyper calls the service and then hands over the stream that it made of
/// the call, so the last call's [`Flow`] is that stream's.
#[derive(Clone)]
pub(crate) struct Executor {
    limit: Duration,
    called: Rc<RefCell<Option<Rc<Flow>>>>,
}

impl Executor {
    /// `limit`: a caller may leave a piece untaken for so long.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, called: Rc::default() }
    }

    /// The flow of the stream that is handed over next.
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
                debug!("a caller's HTTP/2 stream is reset: nothing was taken of it for {:?}", this.limit);
                this.stream.set(None);
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
