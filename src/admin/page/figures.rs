//! Numbers and times as HTML, in the words of `boxgate status`.

use std::time::SystemTime;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::telemetry::figures::time;
pub(super) use crate::telemetry::figures::{NONE, count, duration, latency, percent};
use crate::telemetry::words::rfc_3339;

/// A time of RFC 3339, as `/status.json` has it; `None` if it is none.
pub(super) fn parsed(time: &str) -> Option<Timestamp> {
    time.parse().ok()
}

/// When the page was rendered: `14:03:12Z`. It does not make the page another one.
pub(super) fn clock_time(now: SystemTime) -> Markup {
    let text = rfc_3339(now);
    // The date is left out; the script finds it.
    html! { time data-made { (text.get(11..).unwrap_or_default()) } }
}

/// A time as it is: `09:00:12Z`, or with its day if that is not today.
pub(super) fn at(moment: &str, now: &str) -> Markup {
    match parsed(moment) {
        Some(moment_at) => html! { time datetime=(moment) title=(moment) { (time(moment_at, parsed(now))) } },
        None => html! { (NONE) },
    }
}

/// How long ago a time is: `3 min ago`. The script counts on.
pub(super) fn ago(moment: &str, now: &str) -> Markup {
    match (parsed(moment), parsed(now)) {
        (Some(at), Some(now)) => {
            let words = ago_words(now.as_second() - at.as_second());
            html! { time datetime=(moment) title=(moment) data-relative { (words) } }
        }
        _ => html! { (NONE) },
    }
}

/// The words of [`ago`]; the script forms the same.
fn ago_words(seconds: i64) -> String {
    match seconds {
        ..1 => "now".to_owned(),
        1..3_600 => format!("{} ago", duration(if seconds < 60 { seconds } else { seconds / 60 * 60 })),
        _ => format!("{} ago", duration(seconds)),
    }
}

/// How long it is until a time: `53 min 24 s`. The script counts down.
pub(super) fn countdown(moment: &str, now: &str) -> Markup {
    match (parsed(moment), parsed(now)) {
        (Some(at), Some(now)) => {
            let words = duration(at.as_second() - now.as_second());
            html! { time datetime=(moment) title=(moment) data-countdown { (words) } }
        }
        _ => html! { (NONE) },
    }
}

/// A number; nothing stands out less than a zero.
pub(super) fn number(number: u64) -> Markup {
    html! { @if number == 0 { span.zero { "0" } } @else { (count(number)) } }
}

/// A number that should be 0. `class`: `warn` or `bad`.
pub(super) fn fault(number_of: u64, class: &str) -> Markup {
    if number_of == 0 {
        number(0)
    } else {
        html! { strong.(class) { (count(number_of)) } }
    }
}

/// A latency in milliseconds.
pub(super) fn milliseconds(latency_ms: Option<f64>) -> Markup {
    html! { @if latency_ms.is_some() { (latency(latency_ms)) } @else { span.zero { (NONE) } } }
}

/// How full something is, as a bar: `share` from 0 to 1, above it is full. The number stands beside it.
pub(super) fn bar(share: f64, class: &str) -> Markup {
    let width = format!("{:.1}", if share > 0.0 { share.min(1.0) * 100.0 } else { 0.0 });
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="8" {}
            rect.(class) width=(width) height="8" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = "2026-11-26T09:10:00Z";
        for (moment, words) in [
            ("2026-11-26T09:10:00Z", "now"),
            ("2026-11-26T09:11:00Z", "now"),
            ("2026-11-26T09:09:55Z", "5 s ago"),
            ("2026-11-26T09:07:02Z", "2 min ago"),
            ("2026-11-26T06:00:02Z", "3 h 9 min ago"),
        ] {
            let html = ago(moment, now).into_string();
            assert!(html.contains(&format!("data-relative>{words}<")), "{html}");
            assert!(html.contains(&format!("datetime=\"{moment}\"")), "{html}");
        }
        assert!(countdown("2026-11-26T10:03:24Z", now).into_string().contains("data-countdown>53 min 24 s<"));
        assert_eq!(ago("yesterday", now).into_string(), NONE);
    }

    #[test]
    fn a_bar_is_never_wider_than_it_is() {
        for (share, width) in [(0.0, "0.0"), (0.5, "50.0"), (7.0, "100.0"), (-1.0, "0.0"), (f64::NAN, "0.0")]
        {
            assert!(
                bar(share, "fill").into_string().contains(&format!("class=\"fill\" width=\"{width}\"")),
                "{share}"
            );
        }
    }
}
