//! A serving process: its threads and tasks, and how they end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::assembly::{Assembled, Assembly};
use super::reload::{Reloader, Reloading};
use super::shutdown::{Stop, wait_for};
use super::supervision;
use super::workers::{WorkerThread, hand_out};
use crate::admin::hardening::Hardening;
use crate::admin::reloads::Reloads;
use crate::admin::renewal::Renewals;
use crate::admin::wrong_keys::WrongKeys;
use crate::admin::{Overview, RenderedPages, connections};
use crate::limits::budget::telling::Teller;
use crate::limits::budget::writer::CountsWriter;
use crate::net::descriptors::Shares;
use crate::net::listener::Listener;
use crate::net::service_manager::ServiceManager;
use crate::proxy::worker::Worker;
use crate::telemetry::history::History;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent_requests::RecentRequests;

/// How often the forward proxy's CA, which is valid for years, is checked for renewal.
const MAINTENANCE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long threads and tasks get to end. It takes milliseconds unless a thread is stuck; then the process ends
/// anyway.
const ENDING: Duration = Duration::from_secs(2);

pub(super) struct Running {
    overview: Arc<Overview>,
    workers: Arc<Vec<WorkerThread>>,
    /// Tells the workers to stop.
    drain: watch::Sender<Stop>,
    /// The task that accepts callers' connections.
    accepting: JoinSet<()>,
    /// The tasks for operators' connections, reloads and the forward proxy's CA.
    tasks: JoinSet<()>,
    /// The exchange with Redis, which ends after all calls are counted.
    sharing: Option<JoinHandle<()>>,
    leave: oneshot::Sender<()>,
    counts_writer: CountsWriter,
    manager: ServiceManager,
}

impl Running {
    /// Starts the threads and tasks.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) async fn start(
        (assembly, assembled, counts_writer): (Assembly, Assembled, CountsWriter),
        callers: Vec<Listener>,
        operators: Vec<Listener>,
        reloading: Option<Reloading>,
        (manager, hardening): (ServiceManager, Hardening),
    ) -> io::Result<Self> {
        let (process, gateway) = (assembly.process.clone(), assembled.gateway.clone());
        let (outward, replicas) = (assembled.outward.clone(), assembly.replicas.clone());
        let mut tasks = JoinSet::new();
        let (leave, left) = oneshot::channel::<()>();
        let teller = replicas
            .clone()
            .map(|replicas| Teller::new(gateway.ledger.counts().clone(), replicas, process.clock.clone()));
        let sharing = replicas.clone().zip(teller).map(|(replicas, teller)| {
            tokio::spawn(async move {
                let left = async {
                    let _ = left.await;
                };
                // The last counts are told before the connection ends.
                replicas.run(teller.run(left)).await;
            })
        });
        // A replica that served before it reads Redis would begin with a fresh burst.
        if let Some(replicas) = replicas {
            replicas.tried().await;
        }
        let (drain, draining) = watch::channel(Stop::No);
        let (mut metrics, mut recent) = (Metrics::default(), RecentRequests::default());
        let mut workers = Vec::new();
        for number in 0..gateway.config.workers.get() {
            let (tally, recorder) = (metrics.add_worker(), recent.add_worker());
            let (process, gateway) = (process.clone(), gateway.clone());
            let (outward, draining) = (outward.clone(), draining.clone());
            workers.push(WorkerThread::start(number, draining, move || {
                let upstream = outward.upstream(&gateway.config);
                Worker::new(process, gateway, upstream, tally(), recorder)
            })?);
        }
        // All long-lived descriptors are open now: the rest can be divided.
        let max_connections = gateway.config.max_connections;
        let shares = Shares::of_free(max_connections);
        assembly.room.add(shares.upstream);
        if shares.callers < max_connections {
            warn!(
                max_connections,
                used = shares.callers,
                "the limit of open files leaves no room for [listen] max_connections; raise it (ulimit -n, LimitNOFILE)"
            );
        }
        process.connection_limit.set_most(shares.callers);
        let limit = process.connection_limit.clone();
        let started = process.clock.now();
        let (reloads, asks) = Reloads::new(started.wall);
        let overview = Arc::new(Overview {
            process,
            gateway: ArcSwap::new(gateway),
            reloads: Arc::new(reloads),
            metrics,
            recent,
            history: History::new(started),
            started: started.wall,
            hardening,
            file: reloading.as_ref().and_then(|reloading| reloading.source.path()).map(Path::to_owned),
            wrong_keys: WrongKeys::default(),
            renewals: Renewals::default(),
            callers: callers.iter().find_map(Listener::here),
            pages: RenderedPages::default(),
        });
        let most = (shares.operators / operators.len().max(1)).max(4);
        for listener in operators {
            tasks.spawn(connections::serve(listener, most, overview.clone()));
        }

        let maintained = overview.clone();
        tasks.spawn(async move {
            let clock = &maintained.process.clock;
            loop {
                clock.sleep_until(clock.now().after(MAINTENANCE)).await;
                if let Some(proxy) = &maintained.gateway.load().forward_proxy {
                    proxy.maintain(clock.wall());
                }
            }
        });

        let counted = overview.clone();
        tasks.spawn(async move { counted.history.keep(&counted.metrics, &counted.process.clock).await });

        let workers = Arc::new(workers);
        if let Some(reloading) = reloading {
            let (overview, workers) = (overview.clone(), workers.clone());
            let manager = manager.clone();
            let reloader = Reloader { assembly, assembled, overview, workers, asks, manager };
            tasks.spawn(reloader.run(reloading));
        }
        let mut accepting = JoinSet::new();
        for listener in callers {
            accepting.spawn(hand_out(listener, workers.clone(), limit.clone()));
        }
        supervision::tell_ready(&manager, &overview).await;
        supervision::begin(&manager, &overview, &workers, &mut tasks);
        Ok(Self { overview, workers, drain, accepting, tasks, sharing, leave, counts_writer, manager })
    }

    /// Drains, then ends all threads and tasks.
    pub(super) async fn stop(self, stop: &mut watch::Receiver<Stop>) {
        let Self {
            overview,
            workers,
            drain,
            mut accepting,
            mut tasks,
            sharing,
            leave,
            counts_writer,
            manager,
        } = self;
        let (drain_delay, drain_timeout) = {
            let server = &overview.gateway.load().config.server;
            (server.drain_delay, server.drain_timeout)
        };
        overview.process.draining.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        info!(drain_delay_ms = millis(drain_delay), drain_timeout_ms = millis(drain_timeout), "draining");
        supervision::tell_stopping(&manager, &overview, &mut tasks).await;
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            () = wait_for(stop, Stop::Now) => {}
        }
        // The listeners close here.
        accepting.shutdown().await;
        drain.send_replace(Stop::Drain);
        let finished = async {
            while workers.iter().any(|worker| worker.open.load(Ordering::Acquire) > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = finished => info!(after_ms = millis(began.elapsed()), "drained"),
            () = tokio::time::sleep(drain_timeout) => {
                warn!(open = overview.metrics.connections(), "drain_timeout has passed; what is still in flight is cut off");
            }
            () = wait_for(stop, Stop::Now) => warn!("second signal to stop; what is in flight is cut off"),
        }
        drain.send_replace(Stop::Now);
        tasks.shutdown().await;
        supervision::tell_drained(&manager).await;
        let gateway = overview.gateway.load_full();
        gateway.renewals.iter().for_each(|renewal| renewal.end());
        gateway.logins.iter().flatten().for_each(|lookup| lookup.end());
        drop(gateway);
        drop(leave);
        if let Some(sharing) = sharing {
            let _ = timeout(ENDING, sharing).await;
        }
        let process = overview.process.clone();
        drop(overview);
        let until = Instant::now() + ENDING;
        for worker in Arc::into_inner(workers).into_iter().flatten() {
            if timeout_at(until, worker.ended).await.is_err() {
                warn!(
                    "a worker is stuck and does not end; its requests in flight are neither counted nor logged"
                );
            }
        }
        // Their last requests have ended: no spans will come any more.
        process.traces.stop().await;
        if let Some(audit) = &process.audit {
            audit.stop();
        }
        counts_writer.stop();
    }
}
