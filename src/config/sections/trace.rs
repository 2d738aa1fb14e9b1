//! `[trace]`: where traces go.

use toml::de::DeValue;

use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry, kind};
use super::super::values;
use super::reader;
use crate::telemetry::trace::settings::Settings;

/// Reads `[trace]`; `None` if the table is missing.
pub(super) fn read(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Option<Settings> {
    let location = &entry?.location;
    let written: raw::Trace<'_> = raw::read(entry, notes);
    let sample = reader::share(written.sample.as_ref(), 1.0, notes);
    let is_table = entry.is_some_and(|entry| matches!(entry.value, DeValue::Table(_)));
    let endpoint = match &written.otlp {
        Some(otlp) => endpoint(otlp, notes),
        None if is_table => {
            let why = "is missing; write for example otlp = \"http://127.0.0.1:4318\", or leave [trace] out";
            notes.problem(&location.below("otlp"), why);
            None
        }
        None => None,
    };
    endpoint.map(|endpoint| Settings { endpoint, sample })
}

/// Reads the collector's URL. Messages never show the value: someone may have written a password into it.
fn endpoint(entry: &Entry<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let DeValue::String(text) = entry.value else {
        let found = kind(entry.value);
        notes.problem(&entry.location, format_args!("expected {}, found {found}", values::A_COLLECTOR));
        return None;
    };
    let (endpoint, port) = notes.take(&entry.location, values::collector_url(text))?;
    if port == Some(4317) {
        notes.warning(
            &entry.location,
            "port 4317 is where collectors usually take OTLP over gRPC; boxgate sends OTLP over HTTP, which is usually at 4318",
        );
    }
    Some(endpoint)
}
