//! The Prometheus text exposition format 0.0.4.

use std::fmt::Write;
use std::sync::Arc;

use crate::telemetry::latency::Histogram;

/// Builds the text. Writing to a `String` cannot fail.
pub(crate) struct Exposition(String);

impl Exposition {
    pub(crate) fn new() -> Self {
        Self(String::with_capacity(4096))
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP boxgate_{name} {help}\n# TYPE boxgate_{name} {kind}");
    }

    /// Adds a value with labels. Label values need no escaping, since the configuration allows only plain names.
    pub(crate) fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.0, "boxgate_{name}{{{labels}}} {value}");
    }

    /// Adds a value without labels.
    pub(crate) fn plain(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "boxgate_{name} {value}");
    }

    /// Adds a metric with a single value without labels.
    pub(crate) fn simple(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.plain(name, value as f64);
    }

    /// Adds a histogram for each value of one label. `series`: each value and its durations.
    pub(crate) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        series: impl Iterator<Item = (Arc<str>, &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        for (value, histogram) in series {
            for (bound, count) in histogram.cumulative() {
                let labels = format!("{label}=\"{value}\",le=\"{bound}\"");
                let _ = writeln!(self.0, "boxgate_{name}_bucket{{{labels}}} {count}");
            }
            let count = histogram.count();
            let _ = writeln!(self.0, "boxgate_{name}_bucket{{{label}=\"{value}\",le=\"+Inf\"}} {count}");
            let seconds = histogram.sum().as_secs_f64();
            let _ = writeln!(self.0, "boxgate_{name}_sum{{{label}=\"{value}\"}} {seconds}");
            let _ = writeln!(self.0, "boxgate_{name}_count{{{label}=\"{value}\"}} {count}");
        }
    }
}
