//! Log messages as JSON, one object a line. Time and kind have the same names as in access lines, so that one filter
//! can read both: `time`, `kind` (`log` here), then `level` and `message`, then the message's own fields.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events of `tracing`.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        writer.write_str(&line(event.metadata().level().as_str(), &fields.message, &fields.others))
    }
}

/// One line, with its line feed. `level`: such as `WARN`.
pub(crate) fn line(level: &str, message: &str, fields: &[(&str, Value)]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    // Writing to a `String` cannot fail.
    let mut line = format!(
        "{{\"time\":\"{:.3}\",\"kind\":\"log\",\"level\":\"{level}\",\"message\":{}",
        Timestamp::now(),
        quoted(message)
    );
    for (name, value) in fields {
        let _ = write!(line, ",{}:{value}", quoted(name));
    }
    line.push_str("}\n");
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            _ => self.add(field, text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_for_any_message() {
        let line =
            line("WARN", "a \"b\"\n\u{1b}[31m", &[("valid_for_s", 3600.into()), ("why", "x\n".into())]);
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["kind"], &read["level"]), (&"log".into(), &"WARN".into()));
        assert_eq!((&read["message"], &read["valid_for_s"]), (&"a \"b\"\n\u{1b}[31m".into(), &3600.into()));
        assert!(read["time"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{line}");
    }
}
