//! Log messages as text: with the time in the form that access lines have, and as short lines for a person at a
//! terminal.

use std::fmt;

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::terminal::{self, Colour, Painted};

/// The time as in access lines and JSON: UTC, with milliseconds.
pub(crate) struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", Timestamp::now())
    }
}

/// `18:27:37  WARN  message field=value`.
pub(crate) struct PrettyLines {
    pub(crate) colour: bool,
}

impl<S, N> FormatEvent<S, N> for PrettyLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let colour = match level {
            Level::ERROR => Colour::Red,
            Level::WARN => Colour::Yellow,
            Level::INFO => Colour::Green,
            _ => Colour::Dim,
        };
        let mut words = String::new();
        context.format_fields(Writer::new(&mut words), event)?;
        let time = terminal::time_of_day();
        let level = format!("{:<5}", level.as_str());
        let time = Painted::new(&time, Colour::Dim, self.colour);
        let level = Painted::new(&level, colour, self.colour);
        writeln!(writer, "{time}  {level} {}", terminal::plain(&words))
    }
}
