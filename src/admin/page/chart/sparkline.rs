//! A small chart of fixed size, without axis and text.

use std::fmt::Write as _;

use maud::{Markup, html};

/// In CSS pixels.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

/// A line with the area below it, from 0 to the largest value. `None` in the values: unknown, or nothing was measured; there the
/// line is interrupted. `label`: what it shows, with its numbers, for screen readers and the pointer.
pub(in crate::admin::page) fn sparkline(values: &[Option<f64>], label: &str) -> Markup {
    let known = |value: &Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
    let values: Vec<Option<f64>> = values.iter().map(known).collect();
    let top = values.iter().flatten().copied().fold(0.0, f64::max);
    let width = WIDTH / values.len().max(1) as f64;
    // Half a line is left above and below.
    let y = |value: f64| HEIGHT - 1.0 - if top > 0.0 { value / top * (HEIGHT - 2.0) } else { 0.0 };
    let (mut line, mut area) = (String::new(), String::new());
    let mut began: Option<f64> = None;
    for (index, value) in values.iter().enumerate() {
        let (left, right) = (index as f64 * width, (index + 1) as f64 * width);
        let middle = (left + right) / 2.0;
        let Some(value) = *value else { continue };
        let (y, last) = (y(value), !matches!(values.get(index + 1), Some(Some(_))));
        // Writing to a `String` cannot fail.
        let _ = match began {
            Some(_) => write!(line, "L{middle:.1} {y:.1}").and_then(|()| write!(area, "L{middle:.1} {y:.1}")),
            None => {
                // One that stands alone is a dash.
                let x = if last { left } else { middle };
                began = Some(x);
                write!(line, "M{x:.1} {y:.1}").and_then(|()| write!(area, "M{x:.1} {HEIGHT}V{y:.1}"))
            }
        };
        if last {
            let x = if began == Some(left) && left < middle { right } else { middle };
            if x > middle {
                let _ = write!(line, "H{x:.1}").and_then(|()| write!(area, "H{x:.1}"));
            }
            let _ = write!(area, "V{HEIGHT}z");
            began = None;
        }
    }
    html! {
        svg.sparkline width=(WIDTH) height=(HEIGHT) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            title { (label) }
            path.area d=(area) {}
            path.line d=(line) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(values: &[Option<f64>]) -> (String, String) {
        let text = sparkline(values, "a").into_string();
        let path = |class: &str| {
            let from = text.find(&format!("class=\"{class}\" d=\"")).unwrap() + class.len() + 12;
            text[from..].split('"').next().unwrap().to_owned()
        };
        (path("area"), path("line"))
    }

    #[test]
    fn a_line_goes_through_the_middles_and_is_interrupted_by_what_is_unknown() {
        let (area, line) = paths(&[Some(0.0), Some(10.0), None, Some(5.0)]);
        assert_eq!(line, "M15.0 23.0L45.0 1.0M90.0 12.0H120.0");
        assert_eq!(area, "M15.0 24V23.0L45.0 1.0V24zM90.0 24V12.0H120.0V24z");
    }

    #[test]
    fn nothing_zero_and_no_numbers_are_drawn_without_a_fault() {
        assert_eq!(paths(&[]), (String::new(), String::new()));
        assert_eq!(paths(&[None, Some(f64::NAN)]), (String::new(), String::new()));
        assert_eq!(paths(&[Some(0.0), Some(0.0)]).1, "M30.0 23.0L90.0 23.0");
        assert_eq!(paths(&[Some(1e9)]).1, "M0.0 1.0H120.0");
    }

    #[test]
    fn it_says_what_it_shows() {
        let text = sparkline(&[Some(1.0)], "requests of <web>").into_string();
        assert!(text.contains("role=\"img\" aria-label=\"requests of &lt;web&gt;\""), "{text}");
    }
}
