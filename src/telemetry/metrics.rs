//! Counters of requests and connections.
//!
//! Each worker has its own series, which only it writes: an increment is a load and a store, no
//! locked instruction, and no cache line is shared. A scrape adds them up. Labels are bounded by the configuration.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::http::error_codes::ERROR_CODES;

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "other"];

/// The origin of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AnsweredBy {
    /// Box.
    Box,
    /// The gateway itself.
    Gateway,
}

impl AnsweredBy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Gateway => "gateway",
        }
    }
}

/// Names of apps and their numbers in [`Labels`]. A name keeps its number as long as the process runs, so
/// that counters continue when a reload changes the order of the apps.
#[derive(Debug, Default)]
pub(crate) struct AppLabels(Mutex<Vec<Arc<str>>>);

/// The number of an app's name in [`AppLabels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AppLabel(u16);

impl AppLabels {
    /// The number of this name; `None` beyond 65,536 names, whose requests are counted without an app.
    pub(crate) fn label(&self, name: &str) -> Option<AppLabel> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| **known == *name);
        let index = known.unwrap_or(names.len());
        let label = AppLabel(u16::try_from(index).ok()?);
        if known.is_none() {
            names.push(name.into());
        }
        Some(label)
    }

    /// The name of this number.
    pub(crate) fn name(&self, label: AppLabel) -> Arc<str> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(usize::from(label.0)).cloned().unwrap_or_default()
    }
}

/// The number of a class of operations, in the order that the caller of this module gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassLabel(pub(crate) u8);

/// What tells one series of requests from another. Only some of it are labels of each metric; a scrape adds up over the
/// rest, so that a request is counted in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// `None` before one was chosen.
    pub(crate) app: Option<AppLabel>,
    /// `None` of what is no operation of Box, or was refused before that was known.
    pub(crate) class: Option<ClassLabel>,
    method: u8,
    pub(crate) status: u16,
    pub(crate) answered_by: AnsweredBy,
}

impl Labels {
    /// Labels of a request that was answered so; status 499 stands for a caller that left before.
    pub(crate) fn new(
        app: Option<AppLabel>,
        class: Option<ClassLabel>,
        method: &Method,
        status: u16,
        answered_by: AnsweredBy,
    ) -> Self {
        let known = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        Self { app, class, method: known as u8, status, answered_by }
    }

    /// A known method, or `other`.
    pub(crate) fn method(self) -> &'static str {
        METHODS.get(usize::from(self.method)).copied().unwrap_or("other")
    }
}

#[derive(Debug, Default)]
struct Series {
    count: AtomicU64,
    nanos: AtomicU64,
    box_nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
    box_buckets: [AtomicU64; BOUNDS.len()],
    box_count: AtomicU64,
}

/// Only its own worker writes a series, so no write can happen between the load and the store.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// One worker's counters.
pub(crate) struct Tally {
    shared: Arc<Shared>,
    known: RefCell<HashMap<Labels, Arc<Series>>>,
}

#[derive(Debug, Default)]
struct Shared {
    series: Mutex<Vec<(Labels, Arc<Series>)>>,
    retries: AtomicU64,
    dropped_fields: AtomicU64,
    connections: AtomicU64,
    parked: AtomicU64,
    /// By the codes of [`ERROR_CODES`], in their order.
    errors: [AtomicU64; ERROR_CODES.len()],
}

impl Tally {
    /// Counts a request that has ended. `upstream`: how long Box took to the response's head, if the request was sent.
    pub(crate) fn request(&self, labels: Labels, total: Duration, upstream: Option<Duration>) {
        let mut known = self.known.borrow_mut();
        let series = known.entry(labels).or_insert_with(|| {
            let series = Arc::new(Series::default());
            self.shared.series.lock().unwrap_or_else(PoisonError::into_inner).push((labels, series.clone()));
            series
        });
        add(&series.count, 1);
        add(&series.nanos, total.as_nanos() as u64);
        if let Some(bucket) = bucket(&series.buckets, total) {
            add(bucket, 1);
        }
        if let Some(upstream) = upstream {
            add(&series.box_count, 1);
            add(&series.box_nanos, upstream.as_nanos() as u64);
            if let Some(bucket) = bucket(&series.box_buckets, upstream) {
                add(bucket, 1);
            }
        }
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
}

fn bucket(buckets: &[AtomicU64; BOUNDS.len()], value: Duration) -> Option<&AtomicU64> {
    let seconds = value.as_secs_f64();
    BOUNDS.iter().zip(buckets).find(|(bound, _)| seconds <= **bound).map(|(_, bucket)| bucket)
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
        move || Tally { shared, known: RefCell::default() }
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
        for worker in &self.workers {
            let series = worker.series.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, series) in series.iter() {
                let of_any_class = Labels { class: None, ..*labels };
                *totals.requests.entry(of_any_class).or_default() += series.count.load(Ordering::Relaxed);
                totals.by_app.entry(labels.app).or_default().add(series);
                if let Some(class) = labels.class {
                    totals.by_class.entry(class).or_default().add(series);
                }
            }
        }
        totals
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
    fn add(&mut self, series: &Series) {
        self.total.add(&series.buckets, &series.count, &series.nanos);
        self.upstream.add(&series.box_buckets, &series.box_count, &series.box_nanos);
    }
}

/// A histogram of durations.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [u64; BOUNDS.len()],
    pub(crate) count: u64,
    nanos: u64,
}

impl Histogram {
    fn add(&mut self, buckets: &[AtomicU64], count: &AtomicU64, nanos: &AtomicU64) {
        for (sum, bucket) in self.buckets.iter_mut().zip(buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.count += count.load(Ordering::Relaxed);
        self.nanos += nanos.load(Ordering::Relaxed);
    }

    /// Upper bounds in seconds, each with the count of durations up to it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().zip(self.buckets).scan(0, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        })
    }

    /// The sum of all durations.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// The status for a caller that disconnected before a response (nginx's number).
pub(crate) const CALLER_LEFT: u16 = 499;

/// The status in the labels.
pub(crate) fn status(status: Option<StatusCode>) -> u16 {
    status.map_or(CALLER_LEFT, |status| status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((of_app.total.count, of_app.upstream.count), (2, 1));
        let classes: Vec<_> =
            totals.by_class.iter().map(|(class, of)| (class.0, of.total.count, of.upstream.count)).collect();
        assert_eq!(classes, [(2, 1, 1)]);
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

    #[test]
    fn a_name_keeps_its_label() {
        let labels = AppLabels::default();
        let (web, jobs) = (labels.label("web").unwrap(), labels.label("jobs").unwrap());
        assert_ne!(web, jobs);
        assert_eq!((labels.label("web"), &*labels.name(jobs)), (Some(web), "jobs"));
    }

    #[test]
    fn unknown_methods_share_a_label() {
        let method = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(Labels::new(None, None, &method, 400, AnsweredBy::Gateway).method, 8);
    }
}
