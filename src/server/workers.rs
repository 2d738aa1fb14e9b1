//! Worker threads: each has its own current-thread runtime, and serves the connections handed to it.

use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tracing::warn;

use super::assembly::Outward;
use super::connection;
use super::connections::Connections;
use super::shutdown::Stop;
use super::unused_memory::UnusedMemory;
use crate::access::caller::Caller;
use crate::net::connection_limit::{ConnectionLimit, OpenConnection};
use crate::net::listener::{Accepted, Listener};
use crate::net::peer::Peer;
use crate::proxy::gateway::{Gateway, LocalGateway};
use crate::proxy::worker::Worker;
use crate::upstream::pool::Upstream;

/// How often idle connections to Box are swept, and unused memory is given back: another worker may wait for their
/// descriptors, another program for the memory.
const SWEEP: Duration = Duration::from_millis(500);

/// A message to a worker.
enum Message {
    /// A connection to serve.
    Connection(Accepted, Peer, OpenConnection),
    /// On the heap: replacements are rare, and connections would reserve its size.
    Replacement(Box<Replacement>),
    /// Answered at once: the worker is not stuck.
    Ping(oneshot::Sender<()>),
}

/// A gateway that replaces the running one.
pub(super) struct Replacement {
    pub(super) gateway: Arc<Gateway>,
    /// New connections to Box; `None`: the open ones stay in use.
    pub(super) outward: Option<Outward>,
    /// Notified once all new requests are served by it.
    pub(super) done: oneshot::Sender<()>,
}

pub(super) struct WorkerThread {
    messages: mpsc::UnboundedSender<Message>,
    pub(super) open: Arc<AtomicUsize>,
    /// Its sender is dropped when the thread ends.
    pub(super) ended: oneshot::Receiver<()>,
}

pub(super) async fn hand_out(
    listener: Listener,
    workers: Arc<Vec<WorkerThread>>,
    limit: Arc<ConnectionLimit>,
) {
    loop {
        let (accepted, peer) = listener.accept().await;
        let Some(counted) = limit.take() else { continue };
        let least = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed));
        if let Some(worker) = least {
            worker.open.fetch_add(1, Ordering::AcqRel);
            if worker.messages.send(Message::Connection(accepted, peer, counted)).is_err() {
                worker.open.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

impl WorkerThread {
    pub(super) fn start(
        number: usize,
        draining: watch::Receiver<Stop>,
        make: impl FnOnce() -> Worker + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counted = open.clone();
        let (ending, ended) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _ending = ending;
            let tasks = LocalSet::new();
            let serving = work(Rc::new(make()), receiver, counted, draining);
            tasks.block_on(&runtime, serving);
            // Dropped inside the runtime: tasks that are cut off may still hold timers and sockets.
            let inside = runtime.enter();
            drop(tasks);
            drop(inside);
            // Dropping the runtime would wait for DNS look-ups in progress.
            runtime.shutdown_background();
        })?;
        Ok(Self { messages: sender, open, ended })
    }

    /// Replaces its gateway.
    pub(super) fn replace(&self, replacement: Replacement) {
        // The worker may have ended.
        let _ = self.messages.send(Message::Replacement(Box::new(replacement)));
    }
}

impl WorkerThread {
    /// Resolves once the worker has had its turn; with an error if it has ended.
    pub(super) fn ping(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Ping(answer));
        answered
    }
}

pin_project! {
    /// A connection that is served, and counted while it is. Not an async block, which would take the future's size twice.
    struct Counted<F> {
        #[pin]
        serving: F,
        _open: (Open, OpenConnection),
    }
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().serving.poll(cx)
    }
}

/// Serves a connection in a task of its own.
fn spawn(open: (Open, OpenConnection), serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(Counted { serving, _open: open });
}

/// Counts an open connection until dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn work(
    worker: Rc<Worker>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    counted: Arc<AtomicUsize>,
    mut draining: watch::Receiver<Stop>,
) {
    let connections = Rc::new(Connections::default());
    let mut sweep = tokio::time::interval(SWEEP);
    let mut memory = UnusedMemory::default();
    // Connections to Box of before, of which requests under way may still need some.
    let mut replaced: Vec<Weak<Upstream>> = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(message) = messages.recv() => {
                let (socket, peer, limited) = match message {
                    Message::Connection(socket, peer, limited) => (socket, peer, limited),
                    Message::Replacement(replacement) => {
                        let before = worker.gateway().upstream().clone();
                        replace(&worker, &connections, *replacement);
                        if !Rc::ptr_eq(&before, worker.gateway().upstream()) {
                            replaced.push(Rc::downgrade(&before));
                        }
                        continue;
                    }
                    Message::Ping(answer) => {
                        let _ = answer.send(());
                        continue;
                    }
                };
                let open = (Open(counted.clone()), limited);
                let (worker, connections) = (worker.clone(), connections.clone());
                let caller = Caller::outside(peer);
                match socket.into_tcp_or_unix() {
                    // On the heap: few connections have a PROXY protocol header.
                    Ok(Ok(tcp)) if worker.gateway().config.proxy_protocol.contains(peer.address) => {
                        spawn(open, Box::pin(connection::serve_balanced(worker, connections, tcp, peer)));
                    }
                    // On the heap: the task should not reserve the size of a handshake.
                    Ok(Ok(tcp)) if peer.secure => {
                        spawn(open, Box::pin(connection::serve_tls(worker, connections, tcp, caller)));
                    }
                    Ok(Ok(tcp)) => spawn(open, connection::serve(worker, connections, tcp, caller, false)),
                    Ok(Err(unix)) => spawn(open, connection::serve(worker, connections, unix, caller, false)),
                    Err(error) => {
                        if let Some(left_out) = worker.repeats().note("accepted connection") {
                            warn!("an accepted connection cannot be served: {error}{left_out}");
                        }
                    }
                }
            }
            changed = draining.changed() => {
                let stop = if changed.is_ok() { *draining.borrow() } else { Stop::Now };
                match stop {
                    Stop::No => {}
                    Stop::Drain => {
                        connections.drain();
                        worker.drain().begin();
                    }
                    Stop::Now => {
                        worker.drain().cut_off();
                        return;
                    }
                }
            }
            _ = sweep.tick() => {
                worker.gateway().upstream().sweep();
                connections.forget_ended(counted.load(Ordering::Relaxed));
                memory.give_back(worker.tally().busy_connections());
                replaced.retain(|before| before.upgrade().inspect(|before| before.sweep()).is_some());
            }
        }
    }
}

/// Serves new requests by another gateway from now on.
fn replace(worker: &Worker, connections: &Connections, replacement: Replacement) {
    let Replacement { gateway, outward, done } = replacement;
    let before = worker.gateway();
    let upstream = match outward {
        Some(outward) => Rc::new(outward.upstream(&gateway.config)),
        None => before.upstream().clone(),
    };
    let tls = gateway.config.tls.clone();
    let ends_tunnels = before.forward_proxy.is_some() && gateway.forward_proxy.is_none();
    worker.replace_gateway(LocalGateway::new(gateway, upstream));
    if let (Some(now), Some(before)) = (&tls, &before.config.tls)
        && !Arc::ptr_eq(now, before)
    {
        connections.revoke(now);
    }
    if ends_tunnels {
        connections.end_tunnels();
    }
    // The receiver is gone if this worker took too long.
    let _ = done.send(());
}
