//! The scale of a chart: round numbers that it has lines at, and how they are written.

use crate::telemetry::words::grouped;

/// What the numbers of a chart are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin::page) enum Unit {
    /// Whole numbers.
    Count,
    /// Milliseconds.
    Millis,
}

impl Unit {
    /// A number as tables and tooltips have it, exact: `1,240`, `12.5 ms`.
    pub(in crate::admin::page) fn exact(self, value: f64) -> String {
        match self {
            Self::Count => grouped(value.round() as u64),
            Self::Millis => millis(value),
        }
    }

    /// A number beside a line of the chart, short: `12k`, `1.5 s`.
    pub(super) fn short(self, value: f64) -> String {
        match self {
            Self::Count => short_count(value),
            Self::Millis => match value {
                1000.0.. => format!("{} s", trimmed(value / 1000.0)),
                _ => format!("{} ms", trimmed(value)),
            },
        }
    }
}

/// A duration in milliseconds: `0.25 ms`, `12.5 ms`, `120 ms`, `1,240 ms`.
fn millis(value: f64) -> String {
    match value {
        100.0.. => format!("{} ms", grouped(value.round() as u64)),
        10.0.. => format!("{} ms", trimmed((value * 10.0).round() / 10.0)),
        _ => format!("{} ms", trimmed((value * 100.0).round() / 100.0)),
    }
}

fn short_count(value: f64) -> String {
    const SIZES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match SIZES.into_iter().find(|(size, _)| value >= *size) {
        Some((size, letter)) => format!("{}{letter}", trimmed(value / size)),
        None => trimmed(value),
    }
}

/// With at most two digits after the point.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lines at equal distances from 0 to above the largest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    step: f64,
    steps: u32,
}

impl Scale {
    /// The scale for values up to this one. Its step is 1, 2 or 5 times a power of ten, for counts at least 1, and it has at most
    /// five of them.
    pub(super) fn up_to(largest: f64, unit: Unit) -> Self {
        let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
        let rough = largest / 4.0;
        let power = power_of_ten(rough);
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|times| times * power)
            .find(|step| *step >= rough * 0.999_999);
        let mut step = step.unwrap_or(10.0 * power);
        if unit == Unit::Count {
            step = step.max(1.0).round();
        }
        let steps = (largest / step - 1e-9).ceil().clamp(1.0, 10.0) as u32;
        Self { step, steps }
    }

    /// The value at its upper end.
    pub(super) fn top(&self) -> f64 {
        self.step * f64::from(self.steps)
    }

    /// The values of its lines, 0 and the upper end included.
    pub(super) fn lines(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (0..=self.steps).map(move |nth| step * f64::from(nth))
    }
}

/// The largest power of ten up to a positive number. Without `log10` and `powf`, which nothing else of the program needs:
/// their library would be a third of a MiB of every gateway's memory.
fn power_of_ten(number: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 <= number {
        power *= 10.0;
    }
    while power > number {
        power /= 10.0;
    }
    power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(largest: f64, unit: Unit) -> Vec<String> {
        Scale::up_to(largest, unit).lines().map(|line| unit.short(line)).collect()
    }

    #[test]
    fn lines_are_at_round_numbers() {
        for (largest, want) in [
            (0.0, vec!["0", "1"]),
            (1.0, vec!["0", "1"]),
            (3.0, vec!["0", "1", "2", "3"]),
            (7.0, vec!["0", "2", "4", "6", "8"]),
            (97.0, vec!["0", "50", "100"]),
            (1_234.0, vec!["0", "500", "1k", "1.5k"]),
            (1e9, vec!["0", "500M", "1G"]),
            (f64::NAN, vec!["0", "1"]),
            (f64::INFINITY, vec!["0", "1"]),
            (-5.0, vec!["0", "1"]),
        ] {
            assert_eq!(lines(largest, Unit::Count), want, "{largest}");
        }
        assert_eq!(lines(0.3, Unit::Millis), ["0 ms", "0.1 ms", "0.2 ms", "0.3 ms"]);
        assert_eq!(lines(1_500.0, Unit::Millis), ["0 ms", "500 ms", "1 s", "1.5 s"]);
        assert_eq!(lines(600_000.0, Unit::Millis), ["0 ms", "200 s", "400 s", "600 s"]);
    }

    #[test]
    fn numbers_are_exact_in_tables() {
        assert_eq!(Unit::Count.exact(1_234_567.0), "1,234,567");
        for (value, text) in
            [(0.25, "0.25 ms"), (12.345, "12.3 ms"), (99.96, "100 ms"), (1_240.4, "1,240 ms")]
        {
            assert_eq!(Unit::Millis.exact(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_scale_reaches_its_largest_value_in_few_lines(power in -3.0..18.0_f64, counts in any::<bool>()) {
            let (largest, unit) = (10_f64.powf(power), if counts { Unit::Count } else { Unit::Millis });
            let scale = Scale::up_to(largest, unit);
            prop_assert!(scale.top() >= largest * (1.0 - 1e-6) && scale.top().is_finite());
            let lines: Vec<f64> = scale.lines().collect();
            prop_assert!((2..=6).contains(&lines.len()), "{largest}: {lines:?}");
            if counts {
                prop_assert!(lines.iter().all(|line| line.fract() == 0.0), "{lines:?}");
            }
            // No more than half of the height is empty.
            prop_assert!(scale.top() <= 2.0 * largest.max(0.5), "{largest}: {lines:?}");
        }
    }
}
