//! Numbers, durations and times for people to read in the log.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;

/// A number with a comma before each three digits: `1,240`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in its two largest units: `4m12s`, `1h05m`, `2d03h`, `12s`; below ten seconds with a tenth if that is not
/// zero: `2.5s`, `4s`.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.is_zero() => "0s".to_owned(),
        0 => format!("{}ms", time.as_millis()),
        1..10 if time.subsec_millis() >= 100 => format!("{seconds}.{}s", time.subsec_millis() / 100),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A time in UTC by RFC 3339, in whole seconds: `2026-11-26T18:31:35Z`.
pub(crate) fn rfc_3339(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same in milliseconds: `2026-11-26T18:31:35.042Z`.
pub(crate) fn rfc_3339_millis(time: SystemTime) -> String {
    format!("{:.3}", Timestamp::try_from(time).unwrap_or_default())
}

/// A time in UTC, like the log's own times: `18:31:35`, with the date if it is not today's.
pub(crate) fn time_of_day(time: SystemTime, now: SystemTime) -> String {
    let utc = |time| Offset::UTC.to_datetime(Timestamp::try_from(time).unwrap_or_default());
    let (time, now) = (utc(time), utc(now));
    let format = if time.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1240, "1,240"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (millis, text) in [
            (0, "0s"),
            (40, "40ms"),
            (2_500, "2.5s"),
            (4_000, "4s"),
            (12_900, "12s"),
            (252_000, "4m12s"),
            (3_900_000, "1h05m"),
            (183_600_000, "2d03h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn another_day_has_its_date() {
        let at = |text: &str| -> SystemTime { text.parse::<Timestamp>().unwrap().try_into().unwrap() };
        let then = at("2026-11-26T18:31:35.9Z");
        assert_eq!(time_of_day(then, at("2026-11-26T23:59:59Z")), "18:31:35");
        assert_eq!(rfc_3339(then), "2026-11-26T18:31:35Z");
        assert_eq!(time_of_day(then, at("2026-11-27T00:00:00Z")), "2026-11-26 18:31:35");
    }
}
