//! Paths of SVG, in a drawing that is one unit wide for each column and [`HEIGHT`] high, whatever it is stretched to.

use std::fmt::Write as _;
use std::ops::Range;

/// The height of a drawing.
pub(super) const HEIGHT: u32 = 1000;
/// The least height of a bar: a single error among a million requests must be seen.
const LEAST: f64 = 12.0;

/// The bars of a series.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bars {
    /// Of the columns that were counted from beginning to end.
    pub whole: String,
    /// Of the others.
    pub partial: String,
}

/// The bars of each series, on top of those of the series before. `partial`: of each column.
pub(super) fn stacked_bars(series: &[&[Option<f64>]], partial: &[bool], top: f64) -> Vec<Bars> {
    // Thin bars keep a smaller part of the distance between them.
    let (left, width) = if partial.len() > 60 { (0.06, 0.88) } else { (0.12, 0.76) };
    let mut below = vec![0.0; partial.len()];
    let mut bars = Vec::new();
    for values in series {
        let mut path = Bars::default();
        for ((index, below), partial) in below.iter_mut().enumerate().zip(partial) {
            let Some(value) = values.get(index).copied().flatten() else { continue };
            if !(value.is_finite() && value > 0.0) {
                continue;
            }
            let height = (value / top * f64::from(HEIGHT)).max(LEAST);
            let y = f64::from(HEIGHT) - *below;
            *below += height;
            let path = if *partial { &mut path.partial } else { &mut path.whole };
            let x = index as f64 + left;
            // Writing to a `String` cannot fail.
            let _ = write!(path, "M{x:.2} {y:.1}h{width}v-{height:.1}h-{width}z");
        }
        bars.push(path);
    }
    bars
}

/// A line through the middles of the columns. Columns without a value interrupt it; one that stands alone is a dash.
pub(super) fn line(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    let value = |index: usize| {
        values.get(index).copied().flatten().filter(|value| value.is_finite() && *value >= 0.0)
    };
    for index in 0..values.len() {
        let Some(this) = value(index) else { continue };
        let y = (1.0 - this / top) * f64::from(HEIGHT);
        let goes_on = value(index + 1).is_some();
        let x = index as f64 + 0.5;
        let _ = match index.checked_sub(1).and_then(value) {
            Some(_) => write!(path, "L{x} {y:.1}"),
            None if goes_on => write!(path, "M{x} {y:.1}"),
            None => write!(path, "M{} {y:.1}h.7", index as f64 + 0.15),
        };
    }
    path
}

/// Where this holds without interruption.
pub(super) fn stretches(holds: &[bool]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for index in (0..holds.len()).filter(|index| holds.get(*index) == Some(&true)) {
        match stretches.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => stretches.push(index..index + 1),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_each_other_and_gaps_and_zeros_have_none() {
        let (ok, failed) = ([Some(50.0), None, Some(0.0), Some(100.0)], [Some(25.0), None, Some(0.0), None]);
        let bars = stacked_bars(&[&ok, &failed], &[false, false, false, true], 100.0);
        assert_eq!(bars[0].whole, "M0.12 1000.0h0.76v-500.0h-0.76z");
        assert_eq!(bars[0].partial, "M3.12 1000.0h0.76v-1000.0h-0.76z");
        assert_eq!(bars[1], Bars { whole: "M0.12 500.0h0.76v-250.0h-0.76z".into(), partial: String::new() });
    }

    #[test]
    fn stretches_are_as_long_as_they_can_be() {
        assert_eq!(stretches(&[true, true, false, true]), [0..2, 3..4]);
        assert!(stretches(&[]).is_empty() && stretches(&[false]).is_empty());
    }

    #[test]
    fn a_single_error_among_many_requests_is_seen() {
        let bars = stacked_bars(&[&[Some(1e9)], &[Some(1.0)]], &[false], 1e9);
        assert_eq!(bars[1].whole, "M0.12 0.0h0.76v-12.0h-0.76z");
    }

    #[test]
    fn what_is_no_number_is_not_drawn() {
        let values = [Some(f64::NAN), Some(f64::INFINITY), Some(-1.0)];
        assert_eq!(stacked_bars(&[&values], &[false; 3], 1.0), [Bars::default()]);
        assert_eq!(line(&values, 1.0), "");
    }

    #[test]
    fn lines_are_interrupted_where_nothing_is_known_and_reach_zero_where_zero_is() {
        let values = [Some(10.0), Some(0.0), None, Some(5.0), None, None, Some(10.0), Some(10.0)];
        assert_eq!(line(&values, 10.0), "M0.5 0.0L1.5 1000.0M3.15 500.0h.7M6.5 0.0L7.5 0.0");
        assert_eq!(line(&[Some(1.0)], 1.0), "M0.15 0.0h.7");
        assert_eq!(line(&[None, None], 1.0), "");
    }
}
