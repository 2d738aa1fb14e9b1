//! With what a request spent its time: a bar, and the same as numbers.

use std::time::Duration;

use maud::{Markup, html};

use super::super::figures::latency;
use crate::admin::request_entry::Times;

/// The width of the bar in its own units.
const WIDTH: f64 = 1000.0;

/// A part of the time: its colour, its name and its length.
type Part = (&'static str, &'static str, Duration);

/// The parts in their order. The gateway's own work is spread over the whole request; it stands before Box, since attempts
/// before the last are in it.
fn parts(times: &Times, attempts: u32) -> [Part; 5] {
    let to_head = times.to_head.unwrap_or_default();
    let body = times.body.unwrap_or_default();
    let own = if attempts > 1 { "gateway and earlier attempts" } else { "gateway" };
    let known = times.waited + to_head + body;
    [
        ("part-limit", "waited for a limit", times.waited_for_limit),
        ("part-token", "waited for a token", times.waited_for_token),
        ("part-own", own, times.total.saturating_sub(known)),
        ("part-box", "Box, to the head", to_head),
        ("part-body", "body", body),
    ]
}

/// The bar and its numbers. Parts that took no time are left out.
pub(super) fn timeline(times: &Times, attempts: u32) -> Markup {
    let parts = parts(times, attempts);
    let whole: Duration = parts.iter().map(|(_, _, time)| *time).sum();
    let scale = if whole.is_zero() { 0.0 } else { WIDTH / whole.as_secs_f64() };
    let mut from = 0.0;
    let shown: Vec<(f64, f64, &Part)> = parts
        .iter()
        .map(|part| {
            let width = part.2.as_secs_f64() * scale;
            let at = from;
            from += width;
            (at, width, part)
        })
        .filter(|(_, _, (_, _, time))| !time.is_zero())
        .collect();
    html! {
        div.timeline {
            svg viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true" {
                @for (at, width, (class, name, time)) in &shown {
                    rect.(class) x=(number(*at)) width=(number(*width)) height="12" data-tip={ (name) ": " (millis(*time)) } {}
                }
            }
            ul {
                @for (_, _, (class, name, time)) in &shown {
                    li { span.part-key.(class) aria-hidden="true" {} (name) " " strong { (millis(*time)) } }
                }
                li { "in all " strong { (millis(times.total)) } }
            }
        }
    }
}

fn millis(time: Duration) -> String {
    latency(Some(time.as_secs_f64() * 1000.0))
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        let ms = Duration::from_millis;
        let times = Times {
            total: ms(1000),
            waited: ms(300),
            waited_for_limit: ms(200),
            waited_for_token: ms(100),
            to_head: Some(ms(400)),
            body: Some(ms(250)),
        };
        let lengths = parts(&times, 1).map(|(_, _, time)| time);
        assert_eq!(lengths, [ms(200), ms(100), ms(50), ms(400), ms(250)]);
        let html = timeline(&times, 2).into_string();
        assert!(html.contains("class=\"part-box\" x=\"350.0\" width=\"400.0\""), "{html}");
        assert!(html.contains("in all <strong>1.0 s</strong>"), "{html}");
    }

    #[test]
    fn no_time_at_all_is_no_bar() {
        let zero = Duration::ZERO;
        let times = Times {
            total: zero,
            waited: zero,
            waited_for_limit: zero,
            waited_for_token: zero,
            to_head: None,
            body: None,
        };
        let html = timeline(&times, 2).into_string();
        assert!(!html.contains("<rect") && !html.contains("NaN"), "{html}");
    }
}
