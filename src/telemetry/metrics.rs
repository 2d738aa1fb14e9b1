//! Counters of requests and connections.
//!
//! Each worker has its own series, which only it writes: an increment is a load and a store, no
//! locked instruction, and no cache line is shared. A scrape adds them up. Labels are bounded by the configuration.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::http::error_codes::ERROR_CODES;
use crate::telemetry::labels::{AppLabel, ClassLabel, HostLabel, Labels};
use crate::telemetry::latency::{Histogram, Recorder, add};

/// Requests with the same labels.
#[derive(Debug)]
struct Series {
    count: AtomicU64,
    /// Shared by the series of the same app and class: a histogram for each status and method would multiply its memory.
    durations: Arc<Recorders>,
}

/// How long requests of one app and class took.
#[derive(Debug, Default)]
struct Recorders {
    total: Recorder,
    upstream: Recorder,
}

/// One worker's counters.
pub(crate) struct Tally {
    shared: Arc<Shared>,
    known: RefCell<HashMap<Labels, Arc<Series>>>,
    durations: RefCell<HashMap<AppAndClass, Arc<Recorders>>>,
    /// By the host's number, from 1; at 0 those that are not configured.
    hosts: RefCell<Vec<Option<Arc<Recorder>>>>,
    /// By the app's number.
    begun: RefCell<Vec<Option<Arc<AtomicU64>>>>,
    /// By the app's number.
    as_user: RefCell<Vec<Option<Arc<AtomicU64>>>>,
    /// By the app's number.
    scope_refusals: RefCell<Vec<Option<Arc<AtomicU64>>>>,
}

type AppAndClass = (Option<AppLabel>, Option<ClassLabel>);

#[derive(Debug, Default)]
struct Shared {
    series: Mutex<Vec<(Labels, Arc<Series>)>>,
    durations: Mutex<Vec<(AppAndClass, Arc<Recorders>)>>,
    hosts: Mutex<Vec<(Option<HostLabel>, Arc<Recorder>)>>,
    begun: Mutex<Vec<(AppLabel, Arc<AtomicU64>)>>,
    as_user: Mutex<Vec<(AppLabel, Arc<AtomicU64>)>>,
    scope_refusals: Mutex<Vec<(AppLabel, Arc<AtomicU64>)>>,
    retries: AtomicU64,
    dropped_fields: AtomicU64,
    connections: AtomicU64,
    parked: AtomicU64,
    /// By the codes of [`ERROR_CODES`], in their order.
    errors: [AtomicU64; ERROR_CODES.len()],
}

/// Creates the counter at this index of a worker's list, and adds it to those that are read.
#[cold]
fn new_at<T: Default, L>(
    list: &mut Vec<Option<Arc<T>>>,
    index: usize,
    shared: &Mutex<Vec<(L, Arc<T>)>>,
    label: L,
) -> Arc<T> {
    let new = Arc::<T>::default();
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    if let Some(free) = list.get_mut(index) {
        *free = Some(new.clone());
    }
    lock(shared).push((label, new.clone()));
    new
}

/// Adds 1 to an app's counter in a worker's list.
fn add_at(
    list: &RefCell<Vec<Option<Arc<AtomicU64>>>>,
    shared: &Mutex<Vec<(AppLabel, Arc<AtomicU64>)>>,
    app: AppLabel,
) {
    let mut list = list.borrow_mut();
    match list.get(usize::from(app.number())) {
        Some(Some(count)) => add(count, 1),
        _ => add(&new_at(&mut list, usize::from(app.number()), shared, app), 1),
    }
}

impl Tally {
    /// Counts a request of this app that begins. It ends with [`Tally::request`] of the same app.
    pub(crate) fn begins(&self, app: AppLabel) {
        add_at(&self.begun, &self.shared.begun, app);
    }

    /// Counts a request of this app that acts as the user whom `As-User` names.
    pub(crate) fn acts_as_user(&self, app: AppLabel) {
        add_at(&self.as_user, &self.shared.as_user, app);
    }

    /// Box refused a request of this app with 403, since the token lacks a scope.
    pub(crate) fn scope_refused(&self, app: AppLabel) {
        add_at(&self.scope_refusals, &self.shared.scope_refusals, app);
    }

    /// Counts a request that has ended. `upstream`: how long Box took to the response's head, if the request was sent.
    pub(crate) fn request(&self, labels: Labels, total: Duration, upstream: Option<Duration>) {
        let mut known = self.known.borrow_mut();
        let series = known.entry(labels).or_insert_with(|| self.series(labels));
        add(&series.count, 1);
        series.durations.total.add(total);
        if let Some(upstream) = upstream {
            series.durations.upstream.add(upstream);
        }
    }

    /// Counts an answer of this host of Box; `None`: one that is not configured. `after`: the time to its head.
    pub(crate) fn box_answered(&self, host: Option<HostLabel>, after: Duration) {
        let index = host.map_or(0, |host| usize::from(host.number()) + 1);
        let mut hosts = self.hosts.borrow_mut();
        match hosts.get(index) {
            Some(Some(recorder)) => recorder.add(after),
            _ => new_at(&mut hosts, index, &self.shared.hosts, host).add(after),
        }
    }

    #[cold]
    fn series(&self, labels: Labels) -> Arc<Series> {
        let Labels { app, class, .. } = labels;
        let mut durations = self.durations.borrow_mut();
        let durations = durations.entry((app, class)).or_insert_with(|| {
            let new = Arc::<Recorders>::default();
            lock(&self.shared.durations).push(((app, class), new.clone()));
            new
        });
        let series = Arc::new(Series { count: AtomicU64::new(0), durations: durations.clone() });
        lock(&self.shared.series).push((labels, series.clone()));
        series
    }

    /// The gateway itself answered with an error of this code.
    pub(crate) fn error(&self, code: &str) {
        let known = ERROR_CODES.iter().zip(&self.shared.errors).find(|(known, _)| known.code == code);
        if let Some((_, counter)) = known {
            add(counter, 1);
        }
    }

    /// A request was sent to Box again.
    pub(crate) fn retried(&self) {
        self.shared.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts header fields of a caller that were not sent to Box.
    pub(crate) fn fields_dropped(&self, count: u64) {
        if count > 0 {
            self.shared.dropped_fields.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts a caller's connection until the returned value is dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.shared.clone())
    }

    /// Counts a caller's connection as parked until the returned value is dropped.
    pub(crate) fn parked(&self) -> ParkedConnection {
        self.shared.parked.fetch_add(1, Ordering::Relaxed);
        ParkedConnection(self.shared.clone())
    }

    /// This worker's open connections of callers that are not parked.
    pub(crate) fn busy_connections(&self) -> u64 {
        let open = self.shared.connections.load(Ordering::Relaxed);
        open.saturating_sub(self.shared.parked.load(Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts as an open connection while it lives.
pub(crate) struct OpenConnection(Arc<Shared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts as a parked connection while it lives.
pub(crate) struct ParkedConnection(Arc<Shared>);

impl Drop for ParkedConnection {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All workers' counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    workers: Vec<Arc<Shared>>,
}

impl Metrics {
    /// The counters of one more worker.
    pub(crate) fn add_worker(&mut self) -> impl FnOnce() -> Tally + Send + use<> {
        let shared = Arc::new(Shared::default());
        self.workers.push(shared.clone());
        move || Tally {
            shared,
            known: RefCell::default(),
            durations: RefCell::default(),
            hosts: RefCell::default(),
            begun: RefCell::default(),
            as_user: RefCell::default(),
            scope_refusals: RefCell::default(),
        }
    }

    /// Open connections of callers.
    pub(crate) fn connections(&self) -> u64 {
        self.sum(|worker| &worker.connections)
    }

    /// Those that are idle and hold next to no memory.
    pub(crate) fn parked(&self) -> u64 {
        self.sum(|worker| &worker.parked)
    }

    fn sum(&self, counter: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Ordering::Relaxed)).sum()
    }

    /// Requests sent to Box again.
    pub(crate) fn retries(&self) -> u64 {
        self.sum(|worker| &worker.retries)
    }

    /// Header fields of callers that were not sent to Box.
    pub(crate) fn fields_dropped(&self) -> u64 {
        self.sum(|worker| &worker.dropped_fields)
    }

    /// How many requests acted as the user whom `As-User` names, by app; apps without one may be missing.
    pub(crate) fn as_user(&self) -> BTreeMap<AppLabel, u64> {
        self.by_app(|worker| &worker.as_user)
    }

    /// How many requests Box refused with 403 since the token lacks a scope, by app; apps without one may be missing.
    pub(crate) fn scope_refusals(&self) -> BTreeMap<AppLabel, u64> {
        self.by_app(|worker| &worker.scope_refusals)
    }

    fn by_app(
        &self,
        counts: impl Fn(&Shared) -> &Mutex<Vec<(AppLabel, Arc<AtomicU64>)>>,
    ) -> BTreeMap<AppLabel, u64> {
        let mut sums: BTreeMap<AppLabel, u64> = BTreeMap::new();
        for worker in &self.workers {
            for (app, count) in &*lock(counts(worker)) {
                *sums.entry(*app).or_default() += count.load(Ordering::Relaxed);
            }
        }
        sums
    }

    /// Every code of an error, with how often the gateway itself answered with it.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ERROR_CODES.iter().enumerate().map(|(index, known)| {
            let of =
                |worker: &Arc<Shared>| worker.errors.get(index).map(|count| count.load(Ordering::Relaxed));
            (known.code, self.workers.iter().filter_map(of).sum())
        })
    }

    /// What has been counted of requests.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.each_series(|labels, count| {
            *totals.requests.entry(labels.of_any_class()).or_default() += count;
        });
        for worker in &self.workers {
            for ((app, class), recorders) in &*lock(&worker.durations) {
                totals.by_app.entry(*app).or_default().add(recorders);
                if let Some(class) = class {
                    totals.by_class.entry(*class).or_default().add(recorders);
                }
            }
        }
        totals
    }

    /// Every series of requests with its count; series of several workers may have the same labels.
    pub(crate) fn each_series(&self, mut of: impl FnMut(&Labels, u64)) {
        for worker in &self.workers {
            for (labels, series) in &*lock(&worker.series) {
                of(labels, series.count.load(Ordering::Relaxed));
            }
        }
    }

    /// How long requests took from the head to the end of the response, by app; the same app may occur several times.
    pub(super) fn each_duration(&self, mut of: impl FnMut(Option<AppLabel>, &Recorder)) {
        for worker in &self.workers {
            lock(&worker.durations).iter().for_each(|((app, _), recorders)| of(*app, &recorders.total));
        }
    }

    /// How long hosts of Box took to the head of a response; the same host may occur several times.
    pub(super) fn each_host(&self, mut of: impl FnMut(Option<HostLabel>, &Recorder)) {
        for worker in &self.workers {
            lock(&worker.hosts).iter().for_each(|(host, recorder)| of(*host, recorder));
        }
    }

    /// The numbers of requests under way, by app; apps without one may be missing.
    pub(crate) fn in_flight(&self) -> BTreeMap<AppLabel, u64> {
        // Those that have ended first: none of them began later than it is read that they began.
        let mut ended: BTreeMap<AppLabel, u64> = BTreeMap::new();
        self.each_series(|labels, count| {
            if let Some(app) = labels.app {
                *ended.entry(app).or_default() += count;
            }
        });
        let mut begun = self.by_app(|worker| &worker.begun);
        for (app, count) in &mut begun {
            *count = count.saturating_sub(ended.get(app).copied().unwrap_or(0));
        }
        begun
    }
}

/// Counts of requests, added up over the workers.
#[derive(Default)]
pub(crate) struct Totals {
    /// Whatever the class.
    pub(crate) requests: BTreeMap<Labels, u64>,
    /// How long requests took, by app.
    pub(crate) by_app: BTreeMap<Option<AppLabel>, Durations>,
    /// How long requests took, by the class of the operation.
    pub(crate) by_class: BTreeMap<ClassLabel, Durations>,
}

/// How long requests took.
#[derive(Default)]
pub(crate) struct Durations {
    /// From a request's head to its answer's end.
    pub(crate) total: Histogram,
    /// From sending to Box to the head of its answer.
    pub(crate) upstream: Histogram,
}

impl Durations {
    fn add(&mut self, recorders: &Recorders) {
        self.total.add(&recorders.total);
        self.upstream.add(&recorders.upstream);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::telemetry::labels::{AnsweredBy, AppLabels};

    #[test]
    fn workers_are_added_up() {
        let mut metrics = Metrics::default();
        let (first, second) = (metrics.add_worker()(), metrics.add_worker()());
        let app = AppLabels::default().label("web");
        let labels = |class| Labels::new(app, class, &Method::GET, 200, AnsweredBy::Box);
        let (search, none) = (labels(Some(ClassLabel(2))), labels(None));
        first.request(search, Duration::from_millis(7), Some(Duration::from_millis(3)));
        second.request(none, Duration::from_secs(3600), None);
        let totals = metrics.totals();
        // The class is no label of this one.
        assert_eq!(totals.requests.into_iter().collect::<Vec<_>>(), [(none, 2)]);
        let of_app = &totals.by_app[&app];
        let durations: Vec<_> = of_app.total.cumulative().take(2).collect();
        assert_eq!(durations, [(0.005, 0), (0.01, 1)]);
        // An hour is longer than the last bound.
        assert_eq!(of_app.total.cumulative().last(), Some((600.0, 1)));
        assert_eq!((of_app.total.count(), of_app.upstream.count()), (2, 1));
        let classes: Vec<_> = totals
            .by_class
            .iter()
            .map(|(class, of)| (class.0, of.total.count(), of.upstream.count()))
            .collect();
        assert_eq!(classes, [(2, 1, 1)]);
    }

    #[test]
    fn requests_under_way_are_those_that_began_and_did_not_end() {
        let mut metrics = Metrics::default();
        let (first, second) = (metrics.add_worker()(), metrics.add_worker()());
        let labels = AppLabels::default();
        let (web, jobs) = (labels.label("web"), labels.label("jobs"));
        [(&first, web), (&first, web), (&second, web), (&second, jobs)]
            .into_iter()
            .for_each(|(tally, app)| tally.begins(app.unwrap()));
        let ended = |app| Labels::new(app, None, &Method::GET, 200, AnsweredBy::Box);
        first.request(ended(web), Duration::ZERO, None);
        second.request(ended(jobs), Duration::ZERO, None);
        second.request(ended(None), Duration::ZERO, None);
        let in_flight: Vec<u64> = metrics.in_flight().into_values().collect();
        assert_eq!(in_flight, [2, 0]);
    }

    #[test]
    fn errors_are_counted_by_the_codes_that_there_are() {
        let mut metrics = Metrics::default();
        let (first, second) = (metrics.add_worker()(), metrics.add_worker()());
        first.error("overloaded");
        second.error("overloaded");
        second.error("no code of the table");
        assert_eq!(metrics.errors().count(), ERROR_CODES.len());
        let counted: Vec<_> = metrics.errors().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("overloaded", 2)]);
    }
}
