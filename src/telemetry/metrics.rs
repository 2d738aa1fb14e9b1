//! Metrics: what is counted, and the Prometheus text of it.
//!
//! Each worker counts in series of its own, written by that worker alone: an increment is a load and a store, no
//! locked instruction, and no cache line is shared. A scrape adds them up. Labels are bounded by the configuration.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "other"];

/// Who made an answer.
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

/// The labels of a request. `app`: its index in the configuration; `None` before one was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels {
    app: Option<u16>,
    method: u8,
    status: u16,
    answered_by: AnsweredBy,
}

impl Labels {
    /// Labels of a request that was answered so; status 499 stands for a caller that left before.
    pub(crate) fn new(app: Option<usize>, method: &Method, status: u16, answered_by: AnsweredBy) -> Self {
        let known = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        Self { app: app.and_then(|app| u16::try_from(app).ok()), method: known as u8, status, answered_by }
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

/// Only its own worker writes a series, so nothing can come between the load and the store.
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
}

impl Tally {
    /// A request has ended. `upstream`: how long Box took to its head, where it was asked.
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

    /// A request was sent to Box again.
    pub(crate) fn retried(&self) {
        self.shared.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Header fields of a caller did not pass to Box.
    pub(crate) fn fields_dropped(&self, count: u64) {
        if count > 0 {
            self.shared.dropped_fields.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A caller's connection; dropping what is returned ends it.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.shared.clone())
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

/// What an identity's gauges say.
pub(crate) struct IdentityState<'a> {
    pub name: &'a str,
    /// Of the current token.
    pub expires_in: Option<Duration>,
    /// Questions that brought a token, and that did not.
    pub refreshes: (u64, u64),
}

/// Lines that were not written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LinesLost {
    /// Of requests, on standard output.
    pub access: u64,
    /// For operators, on standard error.
    pub log: u64,
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

    fn sum(&self, counter: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Ordering::Relaxed)).sum()
    }

    /// The exposition (Prometheus text format 0.0.4). `apps`: their names by index.
    /// `reloads`: how often files were taken over on SIGHUP, and refused.
    pub(crate) fn render(
        &self,
        apps: &[String],
        identities: &[IdentityState<'_>],
        lost: LinesLost,
        reloads: (u64, u64),
    ) -> Text {
        let mut requests: BTreeMap<Labels, u64> = BTreeMap::new();
        let mut total: BTreeMap<Option<u16>, Histogram> = BTreeMap::new();
        let mut upstream: BTreeMap<Option<u16>, Histogram> = BTreeMap::new();
        for worker in &self.workers {
            let series = worker.series.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, series) in series.iter() {
                *requests.entry(*labels).or_default() += series.count.load(Ordering::Relaxed);
                total.entry(labels.app).or_default().add(&series.buckets, &series.count, &series.nanos);
                upstream.entry(labels.app).or_default().add(
                    &series.box_buckets,
                    &series.box_count,
                    &series.box_nanos,
                );
            }
        }
        let name =
            |app: &Option<u16>| app.and_then(|app| apps.get(usize::from(app))).map_or("", String::as_str);
        let mut text = Text(String::with_capacity(4096));
        text.head("build_info", "gauge", "The running version.");
        text.line("build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1.0);
        text.head(
            "requests_total",
            "counter",
            "Requests by app, method, status (499: the caller left) and who answered.",
        );
        for (labels, count) in &requests {
            let method = METHODS.get(usize::from(labels.method)).copied().unwrap_or("other");
            let (app, status, by) = (name(&labels.app), labels.status, labels.answered_by.as_str());
            let labels =
                format!("app=\"{app}\",method=\"{method}\",status=\"{status}\",answered_by=\"{by}\"");
            text.line("requests_total", &labels, *count as f64);
        }
        text.histogram(
            "request_duration_seconds",
            "From a request's head to its answer's end.",
            &total,
            name,
        );
        text.histogram(
            "upstream_duration_seconds",
            "From sending to Box to the head of its answer.",
            &upstream,
            name,
        );
        text.head("token_refreshes_total", "counter", "Questions to the token endpoint.");
        for identity in identities {
            let (obtained, failed) = identity.refreshes;
            for (outcome, count) in [("obtained", obtained), ("failed", failed)] {
                let labels = format!("identity=\"{}\",outcome=\"{outcome}\"", identity.name);
                text.line("token_refreshes_total", &labels, count as f64);
            }
        }
        text.head("token_expires_in_seconds", "gauge", "Until the current token's end; 0 without one.");
        for identity in identities {
            let labels = format!("identity=\"{}\"", identity.name);
            text.line(
                "token_expires_in_seconds",
                &labels,
                identity.expires_in.unwrap_or_default().as_secs_f64(),
            );
        }
        text.simple("retries_total", "counter", "Requests sent to Box again.", self.sum(|w| &w.retries));
        let dropped = self.sum(|w| &w.dropped_fields);
        text.simple(
            "request_headers_dropped_total",
            "counter",
            "Header fields of callers that did not pass to Box.",
            dropped,
        );
        text.simple("connections", "gauge", "Open connections of callers.", self.connections());
        text.head("config_reloads_total", "counter", "SIGHUPs on which files were read again.");
        for (result, count) in [("ok", reloads.0), ("failed", reloads.1)] {
            text.line("config_reloads_total", &format!("result=\"{result}\""), count as f64);
        }
        text.simple(
            "access_lines_lost_total",
            "counter",
            "Access lines that standard output did not take.",
            lost.access,
        );
        text.simple(
            "log_lines_lost_total",
            "counter",
            "Lines of the log that standard error did not take.",
            lost.log,
        );
        text
    }
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
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
}

/// The exposition as it grows. Writing to a `String` cannot fail.
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn into_string(self) -> String {
        self.0
    }

    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP boxgate_{name} {help}\n# TYPE boxgate_{name} {kind}");
    }

    /// One value. Label values come from the configuration, which allows nothing that would need escaping.
    pub(crate) fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.0, "boxgate_{name}{{{labels}}} {value}");
    }

    /// One value without labels.
    pub(crate) fn plain(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "boxgate_{name} {value}");
    }

    /// A metric of one value without labels.
    pub(crate) fn simple(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.plain(name, value as f64);
    }

    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        by_app: &BTreeMap<Option<u16>, Histogram>,
        app: impl Fn(&Option<u16>) -> &'a str,
    ) {
        self.head(name, "histogram", help);
        for (index, histogram) in by_app {
            let app = app(index);
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                below += count;
                let _ = writeln!(self.0, "boxgate_{name}_bucket{{app=\"{app}\",le=\"{bound}\"}} {below}");
            }
            let _ =
                writeln!(self.0, "boxgate_{name}_bucket{{app=\"{app}\",le=\"+Inf\"}} {}", histogram.count);
            let seconds = Duration::from_nanos(histogram.nanos).as_secs_f64();
            let _ = writeln!(self.0, "boxgate_{name}_sum{{app=\"{app}\"}} {seconds}");
            let _ = writeln!(self.0, "boxgate_{name}_count{{app=\"{app}\"}} {}", histogram.count);
        }
    }
}

/// Of a caller that left before an answer (nginx's number).
pub(crate) const CALLER_LEFT: u16 = 499;

/// A status as the labels hold it.
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
        let labels = Labels::new(Some(0), &Method::GET, 200, AnsweredBy::Box);
        first.request(labels, Duration::from_millis(7), Some(Duration::from_millis(3)));
        second.request(labels, Duration::from_secs(3600), None);
        let text = metrics.render(&["a".into()], &[], LinesLost::default(), (2, 1)).into_string();
        assert!(text.contains(
            "boxgate_requests_total{app=\"a\",method=\"GET\",status=\"200\",answered_by=\"box\"} 2\n"
        ));
        assert!(text.contains("boxgate_request_duration_seconds_bucket{app=\"a\",le=\"0.01\"} 1\n"));
        assert!(text.contains("boxgate_request_duration_seconds_bucket{app=\"a\",le=\"+Inf\"} 2\n"));
        assert!(text.contains("boxgate_upstream_duration_seconds_count{app=\"a\"} 1\n"));
    }

    #[test]
    fn unknown_methods_share_a_label() {
        let method = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(Labels::new(None, &method, 400, AnsweredBy::Gateway).method, 8);
    }
}
