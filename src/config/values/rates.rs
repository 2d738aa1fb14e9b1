//! Values of limits and budgets: rates and names.

use std::time::Duration;

/// The allowed forms of a rate, for messages.
pub(in crate::config) const A_RATE: &str =
    "a rate such as \"10/s\", \"1000/min\", \"5000/h\" or \"100000/day\"";

/// A number of requests in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Rate {
    /// At least 1, at most the number of nanoseconds in the period.
    count: u64,
    period: Duration,
}

impl Rate {
    /// The time between two requests in whole nanoseconds, rounded up, so that the rate is never exceeded.
    pub(in crate::config) fn interval(&self) -> Duration {
        Duration::from_nanos(nanos(self.period).div_ceil(self.count))
    }

    /// The number of requests per second, rounded down; may be 0.
    pub(in crate::config) fn in_a_second(&self) -> u64 {
        self.count / self.period.as_secs()
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000
}

/// Parses an integer, a slash and a unit: `s`, `min`, `h` or `day`.
pub(in crate::config) fn rate(text: &str) -> Result<Rate, String> {
    let bad = |why: &str| format!("{text:?} {why}; allowed: {A_RATE}");
    let not_a_rate = || format!("{text:?} is not {A_RATE}");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((count, unit)) = text.split_once('/') else {
        return Err(if is_number(text) { bad("has no unit") } else { not_a_rate() });
    };
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "day" => 24 * 60 * 60,
        _ => 0,
    };
    if seconds == 0 || !is_number(count) {
        // nginx writes 10r/s, TOML 1_000.
        let count: String = count.trim().trim_end_matches('r').split('_').collect();
        let meant = meant(unit.trim()).filter(|_| is_number(&count));
        return Err(match meant {
            Some(unit) => bad(&format!("is not a valid rate; did you mean \"{count}/{unit}\"?")),
            None if matches!(unit.trim(), "month" | "week" | "year") => {
                format!("{}; for a month write a [[budget]]", not_a_rate())
            }
            None => not_a_rate(),
        });
    }
    let period = Duration::from_secs(seconds);
    match count.parse() {
        Ok(0) => Err(bad("would let nothing pass; it must be at least 1")),
        Ok(count) if count <= nanos(period) => Ok(Rate { count, period }),
        _ => Err(bad("is more than 1000000000 per second")),
    }
}

fn meant(unit: &str) -> Option<&'static str> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "min",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "day",
        _ => return None,
    })
}

/// Checks the name of a limit, which appears in header fields and metrics. `box-` is reserved for Box's own limits.
pub(in crate::config) fn limit_name(text: &str) -> Result<(), String> {
    budget_name(text)?;
    match text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("box-")) {
        true => Err(format!("{text:?}: names that begin with \"box-\" are reserved for Box's own limits")),
        false => Ok(()),
    }
}

/// Checks the name of a budget, which appears in error messages and metrics.
pub(in crate::config) fn budget_name(text: &str) -> Result<(), String> {
    super::identity_name(text)
}

/// Checks `redis_prefix`, with which every key in Redis begins. Braces would affect the choice of a cluster node.
pub(in crate::config) fn redis_prefix(text: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'{' | b'}');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(());
    }
    Err(format!(
        "{text:?} cannot be a key prefix; allowed: 1 to 64 ASCII characters without white space and braces"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_intervals() {
        for (text, nanos) in [
            ("10/s", 100_000_000),
            ("1000/min", 60_000_000),
            ("5000/h", 720_000_000),
            ("100000/day", 864_000_000),
            ("1/day", 86_400_000_000_000),
            ("3/s", 333_333_334),
            ("1000000000/s", 1),
            ("60000000000/min", 1),
        ] {
            assert_eq!(rate(text).unwrap().interval(), Duration::from_nanos(nanos), "{text}");
        }
    }

    #[test]
    fn malformed_rates_get_a_suggestion() {
        for (text, meant) in [
            ("10/sec", "10/s"),
            ("10/S", "10/s"),
            ("10/second", "10/s"),
            ("10 / s", "10/s"),
            ("10r/s", "10/s"),
            ("10/m", "10/min"),
            ("1_000/min", "1000/min"),
            ("10/minute", "10/min"),
            ("10/hour", "10/h"),
            ("10/d", "10/day"),
            ("10/Days", "10/day"),
        ] {
            assert!(rate(text).unwrap_err().contains(&format!("did you mean \"{meant}\"?")), "{text}");
        }
        for (text, why) in [
            ("10", "has no unit"),
            ("0/s", "it must be at least 1"),
            ("1000000001/s", "more than 1000000000 per second"),
            ("99999999999999999999/s", "more than 1000000000 per second"),
            ("", "is not a rate"),
            ("/s", "is not a rate"),
            ("ten/s", "is not a rate"),
            ("-1/s", "is not a rate"),
            ("+1/s", "is not a rate"),
            ("1.5/s", "is not a rate"),
            ("10/", "is not a rate"),
            ("10/2s", "is not a rate"),
            ("10/month", "for a month write a [[budget]]"),
            ("10/s/s", "is not a rate"),
        ] {
            let error = rate(text).unwrap_err();
            assert!(error.contains(why) && error.contains("\"1000/min\""), "{error}");
        }
    }
}
